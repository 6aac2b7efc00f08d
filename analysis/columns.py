"""The measured values of many epochs: a column for each, which a frame takes over as it is.

A list of 300,000 dictionaries would need many times the memory, and the time.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import orjson

from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.run_records import EpochMetrics

MEASURED = tuple(EpochMetrics.__annotations__)
_TYPE_CODES = {name: "q" if name in ("attempt", "epoch") else "d" for name in MEASURED}
# Whole in a record; a column of steps may have NaN, where another program did not record them.
_WHOLE = ("attempt", "epoch", "step")
_ITEM_BYTES = 8
_FIRST_BYTES = 2**20
_VALUES = itemgetter(*MEASURED)
_PACK = struct.Struct("".join(_TYPE_CODES.values())).pack


class Source(Protocol):
    """Something that holds the epochs of several runs."""

    def column(self, name: str) -> np.ndarray:
        """(epochs,), int64 for attempt and epoch, float64 for the others."""


@dataclass(frozen=True)
class Epochs:
    """The epochs of a run, or of several: where they are in each column of a source."""

    source: Source
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


class EpochColumns:
    """Columns that grow by a run at a time."""

    def __init__(self) -> None:
        self._columns = {name: _Column(code) for name, code in _TYPE_CODES.items()}

    def column(self, name: str) -> np.ndarray:
        return self._columns[name].values()

    def append(self, columns: Mapping[str, np.ndarray]) -> Epochs:
        begin = len(self._columns["epoch"])
        for name, column in self._columns.items():
            column.append(columns[name])
        return Epochs(self, begin, len(self._columns["epoch"]))


class _Column:
    """Numbers that take the memory that they need, and no more while there become more of them.

    Arrays that are joined in the end need it twice, and what grows on the heap leaves holes there.
    Pages of a mapping cost nothing before something is written to them.
    """

    def __init__(self, code: str) -> None:
        self._code = code
        self._size = 0
        self._memory = mmap.mmap(-1, _FIRST_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def __len__(self) -> int:
        return self._size // _ITEM_BYTES

    def append(self, values: np.ndarray) -> None:
        end = self._size + values.nbytes
        if end > len(self._memory):
            self._memory.resize(max(end, 2 * len(self._memory)))
        self._memory[self._size : end] = values.tobytes()
        self._size = end

    def values(self) -> np.ndarray:
        """All of them, without a copy. From then on nothing can be appended."""
        return np.frombuffer(self._memory, self._code, len(self))


def read_columns(run: RunDir, absent: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The measured values of a run: (epochs,) each, sorted by epoch, the last record of each.

    `absent` stands for values that a record may lack. Raises InputError for others that are
    missing, or that are no numbers.
    """
    try:
        packed = [_PACK(*_VALUES(orjson.loads(line))) for line in run.metric_lines()]
    except (orjson.JSONDecodeError, KeyError, TypeError, OverflowError, struct.error):
        # A torn line, or a value that is null, missing or wrong.
        file = run.metrics.name
        packed = [
            _PACK(*(_number(name, record, file, absent) for name in MEASURED))
            for record in run.read_metrics()
        ]
    rows = np.frombuffer(b"".join(packed)).reshape(-1, len(MEASURED))
    columns = {
        name: rows[:, place].view(code) for place, (name, code) in enumerate(_TYPE_CODES.items())
    }
    if (np.diff(columns["epoch"]) > 0).all():
        return columns
    # Epochs that were trained again, after a stop.
    _, from_the_end = np.unique(columns["epoch"][::-1], return_index=True)
    return {name: column[len(column) - 1 - from_the_end] for name, column in columns.items()}


def join(parts: Iterable[Epochs]) -> list[Epochs]:
    """The same epochs in as few parts as there can be."""
    joined: list[Epochs] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last is not None and last.source is part.source and last.end == part.begin:
            joined[-1] = replace(last, end=part.end)
        elif len(part):
            joined.append(part)
    return joined


def gather(parts: Sequence[Epochs], name: str) -> np.ndarray:
    """A column of all these epochs; of a single part without a copy."""
    pieces = [part.source.column(name)[part.begin : part.end] for part in parts]
    return pieces[0] if len(pieces) == 1 else np.concatenate([EpochColumns().column(name), *pieces])


def _number(
    name: str, record: Mapping[str, Any], file: str, absent: Mapping[str, Any]
) -> int | float:
    """One value. A float may be null, which is how JSON holds a NaN."""
    if name not in record and name not in absent:
        raise InputError(f"{file} is damaged: epoch {record['epoch']} lacks {name!r}")
    value = record.get(name, absent.get(name))
    if value is None and (name not in _WHOLE or name not in record):
        return math.nan
    if type(value) not in ((int,) if name in _WHOLE else (int, float)) or abs(value) >= 2**63:
        raise InputError(f"{file} is damaged: {name} is {value!r}")
    return value
