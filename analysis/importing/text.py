"""Files of text that others have written, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.importing.log import UnusableError
from jobs.errors import InputError

# Of lines and cells that are wrong, so many are shown, and so many characters of each.
_SHOWN, _SHOWN_CHARACTERS = 3, 40


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files that are given, once each; a folder stands for the files in it.

    Raises InputError for a path that is not there.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}")
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                found.setdefault(file.resolve(), file)
    return list(found.values())


def read_text(path: Path) -> str:
    """What a file of text holds, or an UnusableError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableError(f"it cannot be read: {error.strerror}") from None
    if not content.strip():
        raise UnusableError("it is empty")
    if b"\0" in content:
        raise UnusableError("it is no text")
    return content.decode("utf-8-sig", errors="replace")


def to_number(text: str) -> float | None:
    """A number as logs write it, NaN and infinity included; None for something else."""
    try:
        return float(text)
    except ValueError:
        return None


def some_of(wrong: Sequence[str]) -> str:
    """The first few of what is wrong, and how many others there are."""
    shown = [repr(text[:_SHOWN_CHARACTERS]) for text in wrong[:_SHOWN]]
    others = len(wrong) - _SHOWN
    return ", ".join(shown) + (f" and {others} others" if others > 0 else "")
