from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jobs.source_code import code_version, hash_of_code


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for package in ("attention_models", "jobs"):
        (folder / package).mkdir(parents=True)
        (folder / package / "one.py").write_text("ONE = 1\n")
    return folder


def commit(source: Path) -> str:
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.check_call([*git, *words])
    return subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()


def test_code_that_is_committed_is_named_by_its_commit(source: Path) -> None:
    head = commit(source)
    (source / "README.md").write_text("no part of what a job runs\n")
    assert code_version(source) == head


def test_changes_that_are_not_committed_are_told_from_each_other(source: Path) -> None:
    head, changed = commit(source), source / "jobs" / "one.py"
    versions = []
    for text in ("raise\n", "mended = True\n"):
        changed.write_text(text)
        versions.append(code_version(source))
    assert versions[0] != versions[1]
    assert versions[1] == f"{head}+{hash_of_code(source)}"
    (source / "jobs" / ".#one.py").symlink_to("nowhere")  # as Emacs has while it edits
    assert code_version(source) == versions[1]
    changed.write_text("ONE = 1\n")
    (source / "jobs" / "new.py").write_text("")
    assert code_version(source) == f"{head}+{hash_of_code(source)}", "an untracked file"


def test_code_in_no_repository_is_named_by_its_content(source: Path) -> None:
    assert code_version(source) == f"+{hash_of_code(source)}"


def test_code_that_cannot_be_read_now_has_a_version_all_the_same(source: Path) -> None:
    head = commit(source)
    (source / "jobs" / "gone.py").symlink_to("nowhere")
    assert code_version(source) == f"{head}+"


def test_frozen_code_is_named_by_its_folder(tmp_path: Path) -> None:
    frozen = tmp_path / "code" / "1f0e"
    frozen.mkdir(parents=True)
    (frozen / "HEAD").write_text("")
    assert code_version(frozen) == "1f0e"
