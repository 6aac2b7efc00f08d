"""The code that a job runs: its files, and what tells one state of it from another."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

# What a job imports. The launcher is not among them: it runs where it was typed.
PACKAGES = ("attention_models", "jobs")
SOURCE = Path(__file__).resolve().parents[1]


def code_version(source: Path = SOURCE) -> str:
    """The hash of a frozen copy, else the commit; with `+` and the hash of changes not committed.

    Where there is no repository, only the hash; and where the code cannot be read now, that is left
    out, since no attempt shall fail for it.
    """
    if source.parent.name == "code" and (source / "HEAD").exists():
        return source.name
    commit = ask_git(source, "rev-parse", "--short=12", "HEAD").strip()
    ours = [f"{package}/*.py" for package in PACKAGES]
    if commit and not ask_git(source, "status", "--porcelain", "--", *ours):
        return commit
    try:
        return f"{commit}+{hash_of_code(source)}"
    except OSError:
        return f"{commit}+"


def hash_of_code(source: Path = SOURCE) -> str:
    """The hash that the code in `source` as it is now is frozen under."""
    return hash_of(source, source_files(source))


def hash_of(source: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        content = (source / path).read_bytes()
        digest.update(f"{path.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def source_files(source: Path) -> list[Path]:
    """Every Python file of the packages, relative to where they lie.

    Editors have files beside theirs whose names begin with a dot.
    """
    found = (path for package in PACKAGES for path in (source / package).rglob("[!.]*.py"))
    return sorted(path.relative_to(source) for path in found)


def ask_git(source: Path, *words: str) -> str:
    """What git says, or nothing where the code is not in a repository."""
    try:
        return subprocess.check_output(
            ["git", "-C", str(source), *words], stderr=subprocess.DEVNULL, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
