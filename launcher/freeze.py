"""Freezing the code: a queued job runs the source as it was when it was submitted.

The packages that a job imports are copied into the sweep, once per content, untracked files
included, with the commit they come from and what was changed since.
"""

from __future__ import annotations

import getpass
import os
import shutil
from pathlib import Path

from jobs.errors import InputError
from jobs.source_code import PACKAGES, SOURCE, ask_git, hash_of, hash_of_code, source_files
from jobs.sweep_dir import SweepDir, check_private


def freeze_code(sweep: SweepDir, source: Path = SOURCE) -> Path:
    """The sweep's copy of the code as it is now; its folder is named by the content's hash."""
    files = source_files(source)
    frozen = sweep.code_folder(hash_of(source, files))
    if frozen.exists() and frozen.stat().st_uid != os.getuid():
        # A colleague's copy of the same code; who may change it is not for us to say.
        frozen = sweep.code_folder(f"{frozen.name}-{getpass.getuser()}")
    if not frozen.exists():
        _copy(source, files, frozen)
    check_frozen(frozen)
    return frozen


def check_frozen(frozen: Path) -> None:
    """InputError if a frozen copy is gone, was changed, or could be changed by others."""
    advice = "`launcher resume --update-code` takes today's code"
    if not frozen.is_dir():
        raise InputError(f"{frozen} is gone; {advice}")
    try:
        check_private(frozen)
    except InputError as error:
        raise InputError(f"{error}; or: {advice}") from None
    if hash_of_code(frozen) != frozen.name.partition("-")[0]:
        raise InputError(f"{frozen} was changed after it was frozen; remove it. {advice}")


def _copy(source: Path, files: list[Path], frozen: Path) -> None:
    """Copy beside, make read-only, rename: nobody imports half of a copy."""
    beside = frozen.with_name(f".{frozen.name}.{os.getpid()}.tmp")
    for path in files:
        (beside / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copyfile(source / path, beside / path)
        (beside / path).chmod(0o444)
    (beside / "HEAD").write_text(ask_git(source, "rev-parse", "HEAD"))
    (beside / "changes.diff").write_text(ask_git(source, "diff", "HEAD", "--", *PACKAGES))
    for folder in [path for path in beside.rglob("*") if path.is_dir()]:
        folder.chmod(0o555)
    beside.chmod(0o755)
    try:
        os.rename(beside, frozen)
    except OSError:
        # Somebody froze the same code at the same moment; the two copies are equal.
        remove_read_only(beside)
        if not frozen.exists():
            raise


def remove_read_only(folder: Path) -> None:
    """Remove a folder that holds frozen code."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)
