"""Files that are whole or not there: written beside and renamed, or appended line by line."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from jobs.errors import InputError

StrPath = str | os.PathLike[str]

# Most files of a run are smaller.
READ_AT_ONCE_BYTES = 2**14

# A file may be written twice within one tick of its file system's clock. Until so much later, what
# was read of it may be the first of two that cannot be told apart.
SETTLED_AFTER_S = 2.0


class DamagedError(Exception):
    """The file is not what was written."""


def write_atomic(
    path: StrPath, content: bytes | memoryview, *, sync: bool = True, by_way_of: StrPath = ""
) -> None:
    """Write beside, sync, rename: a reader sees the old file or the new one, never half of one.

    Written in another folder, `by_way_of` which it comes, it changes that one's time as well.
    """
    path = Path(path)
    beside = _write_beside(path, content, sync=sync, folder=Path(by_way_of or path.parent))
    os.replace(beside, path)
    if sync:
        sync_folder(path.parent)


def write_exclusive(path: StrPath, content: bytes) -> None:
    """Write a file that must not be there yet; FileExistsError if it is, and nothing is changed."""
    path = Path(path)
    beside = _write_beside(path, content, sync=True, folder=path.parent)
    try:
        os.link(beside, path)
    finally:
        beside.unlink()
    sync_folder(path.parent)


def _write_beside(path: Path, content: bytes | memoryview, *, sync: bool, folder: Path) -> Path:
    beside = folder / f".{path.name}.{os.urandom(4).hex()}.tmp"
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def remove_half_written(folder: Path) -> None:
    """Remove what killed writers left in a folder and below it."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def remove_file(path: StrPath) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pretty(value: Any) -> bytes:
    """JSON for a file that a person may open."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def append_record(path: StrPath, record: Mapping[str, Any]) -> None:
    """Append one line of JSON. A torn line before it is ended first, so that it stays one loss."""
    line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    with open(path, "a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_records(path: StrPath, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Every whole record of a JSON-lines file that has these keys; a missing file has none."""
    needed = set(keys)
    try:
        lines = read_bytes(path).splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict) and needed <= record.keys():
            yield record


def read_record(path: StrPath, keys: Iterable[str]) -> Any:
    """A JSON object that has these keys, or None if there is no such file.

    Raises InputError if the file is there and holds something else.
    """
    value = read_json(path)
    if value is None:
        return None
    missing = sorted(set(keys) - value.keys()) if isinstance(value, dict) else ["everything"]
    if missing:
        raise InputError(f"{path} is damaged: it lacks {', '.join(missing)}")
    return value


def read_json(path: StrPath) -> Any:
    """What a JSON file holds, None if it is not there; InputError if it is damaged."""
    try:
        return orjson.loads(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise InputError(f"{path} is damaged: it is a folder") from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def read_bytes(path: StrPath) -> bytes:
    """All of a file, in half of the time that `open` takes: small ones are read by the thousand."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(descriptor, READ_AT_ONCE_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def digest_of(paths: Iterable[StrPath]) -> str:
    """Of the contents of files, such as the code on which the meaning of a cache depends."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(read_bytes(path))
    return digest.hexdigest()


def numbers_in(folder: StrPath, suffix: str = ".json") -> list[int]:
    """The numbers that name files of a folder, `3` for `3.json`, in order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return sorted(int(stem) for stem in stems if stem.isdigit())
