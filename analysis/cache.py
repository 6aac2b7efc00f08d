"""What was read of runs, kept for the next look at their sweep.

It lies beside the sweep, in `.analysis_cache/<sweep>/`, and can be deleted at any time. Each look
adds a file with the runs that were new or had changed; when there are many, they become one. What
is kept of a run counts as long as none of the run's files has changed, and this code neither.
Files that are damaged, or that cannot be written, are as good as none: then the run directories are
read, as without a cache. Several people may read and write at once, since a file appears whole.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import time
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson

import analysis.columns
import analysis.reading
import attention_models.registry
import jobs.causes
import jobs.config
import jobs.events
import jobs.files
import jobs.run_dir
import jobs.run_records
from analysis.columns import MEASURED, Epochs, gather, join
from analysis.reading import RunRecord
from jobs.files import SETTLED_AFTER_S, digest_of
from jobs.run_dir import FileStamp
from jobs.sweep_dir import SweepDir

FOLDER = ".analysis_cache"
FILES = 8

# A temporary file that is so old was left by a process that was killed.
ABANDONED_AFTER_S = 3600.0

# On whose meaning it depends what a record says.
_READERS = (
    *(analysis.columns, analysis.reading, attention_models.registry),
    *(jobs.causes, jobs.config, jobs.events, jobs.files, jobs.run_dir, jobs.run_records),
)
_DAMAGE = (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Read:
    """A run as it was read, with the stamps that its files had before."""

    stamps: Sequence[FileStamp]
    record: RunRecord


class Cache:
    """What is kept of one sweep. As long as it is open, the epochs of its records can be read."""

    def __init__(self, sweep: SweepDir) -> None:
        place = sweep.path.resolve()
        self._folder = place.parent / FOLDER / place.name
        self._files: list[_File] = []
        self._kept: dict[str, RunRecord] = {}

    def __enter__(self) -> Cache:
        for path in sorted(self._folder.glob("*.npz")):
            with contextlib.suppress(*_DAMAGE):
                file = _File(path)
                self._files.append(file)
                self._kept |= file.records()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def find(self, run_id: str, stamps: Sequence[FileStamp]) -> RunRecord | None:
        """What is kept of a run whose files have these stamps."""
        return self._kept.get(_key(run_id, stamps))

    def keep(self, runs: Iterable[Read]) -> None:
        """Keep what was read of all runs of the sweep, where it is not kept yet."""
        settled_unix_s = time.time() - SETTLED_AFTER_S
        known = {id(record) for record in self._kept.values()}
        settled = [run for run in runs if _changed_unix_s(run.stamps) < settled_unix_s]
        new = [run for run in settled if id(run.record) not in known]
        if not new:
            return
        is_full = len(self._files) >= FILES
        with contextlib.suppress(OSError):
            self._write(settled if is_full else new)
            for file in self._files if is_full else ():
                file.path.unlink(missing_ok=True)

    def _write(self, runs: Sequence[Read]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        parts = join(run.record.epochs for run in runs)
        columns = {name: gather(parts, name) for name in MEASURED}
        index = orjson.dumps([_entry(run) for run in runs])
        token = secrets.token_hex(8)
        beside = self._folder / f".{token}.tmp"
        try:
            with open(beside, "wb") as file:
                np.savez(
                    file,
                    version=np.array(_version()),
                    index=np.frombuffer(index, np.uint8),
                    **columns,  # type: ignore[arg-type]
                )
            os.replace(beside, self._folder / f"{token}.npz")
        finally:
            beside.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        for path in self._folder.glob(".*.tmp"):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER_S:
                path.unlink(missing_ok=True)


class _File:
    """One file of a cache: runs, and a column of their epochs for each measured value."""

    def __init__(self, path: Path) -> None:
        """Raises one of _DAMAGE if it is not whole, or was written by another version."""
        self.path = path
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(open(path, "rb"))
            self._arrays = np.load(stream, allow_pickle=False)
            if self._arrays["version"] != _version() or self._arrays.zip.testzip() is not None:
                raise ValueError(f"{path} is damaged, or of another version")
            self._stays_open = opened.pop_all()

    def close(self) -> None:
        self._arrays.close()
        self._stays_open.close()

    def records(self) -> dict[str, RunRecord]:
        """Every run in it, by its key."""
        found = {}
        begin = 0
        for entry in orjson.loads(self._arrays["index"].tobytes()):
            epochs = Epochs(self, begin, begin + entry["epochs"])
            found[entry["key"]] = RunRecord(entry["row"], entry["attempts"], epochs)
            begin = epochs.end
        return found

    def column(self, name: str) -> np.ndarray:
        return self._column(name)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - it ends with the load that it belongs to
    def _column(self, name: str) -> np.ndarray:
        array: np.ndarray = self._arrays[name]
        return array


def _entry(run: Read) -> dict[str, Any]:
    record = run.record
    return {
        "key": _key(record.row["run_id"], run.stamps),
        "row": record.row,
        "attempts": record.attempts,
        "epochs": len(record.epochs),
    }


def _key(run_id: str, stamps: Sequence[FileStamp]) -> str:
    return orjson.dumps([run_id, stamps]).decode()


def _changed_unix_s(stamps: Iterable[FileStamp]) -> float:
    return max((stamp[3] for stamp in stamps), default=0) / 1e9


@functools.cache
def _version() -> str:
    """Of the code that a record went through."""
    return digest_of(module.__file__ or "" for module in _READERS)
