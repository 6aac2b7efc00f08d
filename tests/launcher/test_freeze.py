from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.source_code import PACKAGES, SOURCE
from jobs.sweep_dir import SweepDir
from launcher.freeze import check_frozen, freeze_code


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(SOURCE / package, folder / package)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return SweepDir(tmp_path / "runs" / "sweep")


def git(source: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.check_output(["git", "-C", str(source), *who, *words], text=True)


def test_the_copy_holds_every_source_file_untracked_ones_too(source: Path, sweep: SweepDir) -> None:
    (source / "jobs" / "untracked.py").write_text("X = 1\n")
    frozen = freeze_code(sweep, source)
    for path in source.rglob("*.py"):
        assert (frozen / path.relative_to(source)).read_bytes() == path.read_bytes()
    assert (frozen / "jobs" / "untracked.py").exists()


def test_the_same_code_is_kept_once_and_other_code_beside_it(source: Path, sweep: SweepDir) -> None:
    first = freeze_code(sweep, source)
    assert freeze_code(sweep, source) == first
    (source / "jobs" / "optim.py").write_text("changed = True\n")
    second = freeze_code(sweep, source)
    assert second != first
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, second.name])


def test_the_commit_and_what_was_changed_since_are_kept(source: Path, sweep: SweepDir) -> None:
    git(source, "init", "-q")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "all")
    (source / "jobs" / "optim.py").write_text("changed = True\n")
    frozen = freeze_code(sweep, source)
    assert (frozen / "HEAD").read_text() == git(source, "rev-parse", "HEAD")
    assert "+changed = True" in (frozen / "changes.diff").read_text()


def test_code_that_is_in_no_repository_can_be_frozen(source: Path, sweep: SweepDir) -> None:
    frozen = freeze_code(sweep, source)
    assert (frozen / "HEAD").read_text() == ""


def test_the_copy_is_read_only_and_a_changed_one_is_refused(source: Path, sweep: SweepDir) -> None:
    frozen = freeze_code(sweep, source)
    path = frozen / "jobs" / "optim.py"
    assert path.stat().st_mode & 0o222 == 0
    path.chmod(0o644)
    path.write_text("changed = True\n")
    with pytest.raises(InputError, match="was changed after it was frozen"):
        check_frozen(frozen)
    with pytest.raises(InputError, match="is gone"):
        check_frozen(frozen.with_name("nosuch"))


def test_a_copy_that_others_can_write_is_refused(source: Path, sweep: SweepDir) -> None:
    frozen = freeze_code(sweep, source)
    frozen.chmod(0o777)
    with pytest.raises(InputError, match="chmod go-w"):
        check_frozen(frozen)
