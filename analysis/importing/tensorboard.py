"""`tensorboard`: event files, those of `torch.utils.tensorboard`, Lightning, Keras and ours.

A folder of event files is one training, with its folders `train` and `validation` if it has such.
Tags are known as the columns of a table are.
"""

from __future__ import annotations

import math
import os
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from analysis.importing.log import Found, Log, Row, UnusableError, records_of
from analysis.importing.names import parse_name, split_word, telling_name
from analysis.importing.quantities import check_accuracies, in_percent, quantities
from jobs.errors import InputError

_MARK = "tfevents"
# Of each record of an event file: its length and that number's checksum, and its own behind it.
_HEAD_BYTES, _TAIL_BYTES = 12, 4


class _Point(NamedTuple):
    step: int
    value: float
    time_unix_s: float


def event_files_in(paths: Sequence[Path]) -> list[Path]:
    """Every event file that is given or lies in or below a given folder.

    Raises InputError for a path that is not there.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}")
        below = path.rglob(f"*{_MARK}*") if path.is_dir() else [path]
        found |= {file.resolve(): file for file in sorted(below) if file.is_file()}
    return list(found.values())


def read(
    files: Sequence[Path], tags: Mapping[str, str] | None = None, unit: str | None = None
) -> Found:
    """The trainings in these event files.

    `tags` says which tag holds what, by the names of `EpochMetrics`, and `unit` is that of the
    accuracies, as for tables. Raises InputError if TensorBoard is not installed.
    """
    trainings: dict[Path, list[Path]] = {}
    skipped = [f"{path.name}: it is no event file" for path in files if _MARK not in path.name]
    for path in files:
        if _MARK in path.name:
            trainings.setdefault(_folder_of(path), []).append(path)
    logs: list[Log] = []
    for folder, its_files in trainings.items():
        try:
            logs.append(_read_training(folder, its_files, tags or {}, unit))
        except UnusableError as error:
            skipped.append(f"{folder}: {error}")
    return Found(tuple(logs), tuple(skipped))


def _folder_of(file: Path) -> Path:
    """The folder of the training that an event file belongs to."""
    folder = file.parent
    return folder.parent if split_word(folder.name) else folder


def _read_training(
    folder: Path, files: Sequence[Path], tags: Mapping[str, str], unit: str | None
) -> Log:
    points: dict[str, list[_Point]] = {}
    notes: list[str] = []
    # The names begin with the time at which they were made.
    for path in sorted(files, key=lambda path: path.name):
        if not _is_whole(path):
            notes.append(f"{path.name} is empty or ends within a record, as one that is written to")
        inner = path.parent.relative_to(folder)
        for tag, point in _read_events(path):
            points.setdefault(str(inner / tag), []).append(point)
    known, remarks = quantities(points)
    known |= {what: tag for what, tag in tags.items() if tag in points}
    if not known.keys() & {"test_top1", "test_loss", "train_top1", "train_loss"}:
        raise UnusableError(
            "none of its tags is known to hold a loss or an accuracy "
            f"({', '.join(points) or 'there is none'}); say which does, as with --test-top1 TAG"
        )
    series = {what: points[tag] for what, tag in known.items()}
    rows, counted = _rows(series)
    records, more = records_of(rows)
    records, scaled = in_percent(records, unit)
    if wrong := check_accuracies(records):
        raise UnusableError(f"{wrong}; if they are fractions, say --accuracy fraction")
    named = parse_name(telling_name(folder))
    all_notes = (*named.notes, *notes, *remarks, *counted, *more, *scaled)
    return Log(named.network, tuple(files), records, all_notes, named.seed, named.options)


def _read_events(path: Path) -> Iterator[tuple[str, _Point]]:
    """Every scalar of an event file with its tag, in the order in which they were written."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise InputError(
            "event files are read by the package tensorboard, which is not installed: "
            "pip install tensorboard"
        ) from None
    for event in EventFileLoader(os.fspath(path)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                # The shortest number that is stored so: 75.32, not 75.31999969 in single precision.
                number = float(str(make_ndarray(value.tensor)[()]))
                yield value.tag, _Point(event.step, number, event.wall_time)


def _is_whole(path: Path) -> bool:
    """Whether the file ends where a record does."""
    size = path.stat().st_size
    position = 0
    with open(path, "rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(_HEAD_BYTES)
            if len(head) < _HEAD_BYTES:
                return False
            (length,) = struct.unpack("<Q", head[:8])
            position += _HEAD_BYTES + length + _TAIL_BYTES
    return position == size and size > 0


def _rows(
    series: Mapping[str, Sequence[_Point]],
) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each series, with the epochs that its steps mean, and how these were found."""
    if "epoch" in series:
        at = sorted((point.step, point.value) for point in series["epoch"])
        steps = [step for step, _ in at]

        def epoch_of(step: int) -> int:
            return math.ceil(at[max(0, bisect_right(steps, step) - 1)][1])

        told = []
    else:
        apart = _steps_apart(series)

        def epoch_of(step: int) -> int:
            return step if apart == 1 else max(1, math.ceil(step / apart))

        told = [f"values are {apart} steps apart: so many are taken as an epoch"]
        told = told if apart > 1 else []
    rows: dict[str, list[Row]] = {
        what: [
            {"epoch": epoch_of(step), what: value, "time_unix_s": time_unix_s}
            for step, value, time_unix_s in points
        ]
        for what, points in series.items()
        if what != "epoch"
    }
    return rows, told


def _steps_apart(series: Mapping[str, Sequence[_Point]]) -> int:
    """So many steps mostly lie between two evaluations, or else two values of training."""
    judged = next(
        series[what]
        for what in ("test_top1", "test_loss", "train_top1", "train_loss")
        if what in series
    )
    steps = sorted({point.step for point in judged})
    apart = Counter(later - step for step, later in pairwise(steps))
    return apart.most_common(1)[0][0] if apart else 1
