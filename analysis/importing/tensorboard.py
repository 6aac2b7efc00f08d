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
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from analysis.importing.epochs import records_of
from analysis.importing.log import JUDGED, Found, Log, Row, UnusableError, place_of
from analysis.importing.names import parse_name, split_word, telling_name
from analysis.importing.quantities import check_accuracies, in_percent, quantities
from attention_models import UnknownNameError
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
    skipped: list[str] = []
    for path in files:
        if _MARK in path.name:
            trainings.setdefault(_folder_of(path), []).append(path)
        else:
            skipped.append(f"{path.name}: it is no event file")
    scalars = {}
    for folder, its_files in trainings.items():
        try:
            scalars[folder] = _read_folder(folder, its_files)
        except OSError as error:
            skipped.append(f"{folder}: {error.filename} cannot be read: {error.strerror}")
    _check_tags(tags or {}, [tag for points, _ in scalars.values() for tag in points])
    logs: list[Log] = []
    for folder, (points, notes) in scalars.items():
        try:
            log = _make_log(folder, tuple(trainings[folder]), points, tags or {}, unit)
            logs.append(log.with_notes(notes))
        except UnusableError as error:
            skipped.append(f"{folder}: {error}")
    return Found(tuple(logs), tuple(skipped))


def _folder_of(file: Path) -> Path:
    """The folder of the training that an event file belongs to."""
    folder = file.parent
    return folder.parent if split_word(folder.name) else folder


def _check_tags(tags: Mapping[str, str], there: Sequence[str]) -> None:
    for tag in tags.values():
        if there and tag not in there:
            raise InputError(str(UnknownNameError("tag", tag, dict.fromkeys(there))))


def _read_folder(folder: Path, files: Sequence[Path]) -> tuple[dict[str, list[_Point]], list[str]]:
    """The values of each tag, in the order in which they were written, and what is damaged.

    A file in a folder of `folder` has that folder's name before its tags.
    """
    points: dict[str, list[_Point]] = {}
    notes: list[str] = []
    # The names begin with the time at which they were made.
    for path in sorted(files, key=lambda path: path.name):
        inner = path.parent.relative_to(folder)
        events = [tuple(_scalars(event)) for event in _load_events(path)]
        for tag, point in chain.from_iterable(events):
            points.setdefault(str(inner / tag), []).append(point)
        notes += _describe_damage(path, len(events))
    return points, notes


def _load_events(path: Path) -> Iterator[Any]:
    """Every event of a file, up to the first that is damaged."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    except ImportError:
        raise InputError(
            "event files are read by the package tensorboard, which is not installed: "
            "pip install tensorboard"
        ) from None
    yield from EventFileLoader(os.fspath(path)).Load()


def _scalars(event: Any) -> Iterator[tuple[str, _Point]]:
    from tensorboard.util.tensor_util import make_ndarray

    for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == "scalars":
            # The shortest number that is stored so: 75.32, not 75.31999969 in single precision.
            number = float(str(make_ndarray(value.tensor)[()]))
            yield value.tag, _Point(event.step, number, event.wall_time)


def _describe_damage(path: Path, read: int) -> list[str]:
    """What could not be read of an event file of which so many events were."""
    size = path.stat().st_size
    count = position = 0
    with open(path, "rb") as file:
        while len(head := file.read(_HEAD_BYTES)) == _HEAD_BYTES:
            (length,) = struct.unpack("<Q", head[:8])
            position += _HEAD_BYTES + length + _TAIL_BYTES
            if position > size:
                break
            count += 1
            file.seek(position)
    if read < count:
        return [f"{path.name} is damaged: only the first {read} of its {count} records are read"]
    if position != size or not size:
        return [f"{path.name} is empty or ends within a record, like one that is being written"]
    return []


def _make_log(
    folder: Path,
    files: tuple[Path, ...],
    points: Mapping[str, Sequence[_Point]],
    tags: Mapping[str, str],
    unit: str | None,
) -> Log:
    known, remarks = quantities(points)
    known |= {what: tag for what, tag in tags.items() if tag in points}
    if not known.keys() & {*JUDGED}:
        raise UnusableError(
            "none of its tags is known to hold a loss or an accuracy "
            f"({', '.join(points) or 'there is none'}); say which does, as with --test-top1 TAG"
        )
    rows, counted = _rows({what: points[tag] for what, tag in known.items()})
    records, stitched = records_of(rows)
    records, scaled = in_percent(records, unit)
    if wrong := check_accuracies(records):
        raise UnusableError(f"{wrong}; if they are fractions, say --accuracy fraction")
    named = parse_name(telling_name(folder))
    notes = (*named.notes, *remarks, *counted, *stitched, *scaled)
    return Log(
        network=named.network,
        place=place_of(folder),
        files=files,
        records=records,
        notes=notes,
        seed=named.seed,
        options=named.options,
    )


def _rows(series: Mapping[str, Sequence[_Point]]) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each series, with the epochs that its steps mean, and how these were found."""
    notes: list[str] = []
    if epochs := [point for point in series.get("epoch", ()) if math.isfinite(point.value)]:
        epoch_of = _epochs_told(epochs)
    else:
        series, epoch_of, notes = _epochs_counted(series)
    rows: dict[str, list[Row]] = {
        what: [
            Row(epoch_of(step), {what: value, "time_unix_s": time_unix_s})
            for step, value, time_unix_s in points
        ]
        for what, points in series.items()
        if what != "epoch"
    }
    return rows, notes


def _epochs_told(epochs: Sequence[_Point]) -> Callable[[int], int]:
    """The epoch of a step where a tag holds it: what it was at that step or at the last before."""
    at = sorted((point.step, point.value) for point in epochs)
    steps = [step for step, _ in at]
    return lambda step: math.ceil(at[max(0, bisect_right(steps, step) - 1)][1])


def _epochs_counted(
    series: Mapping[str, Sequence[_Point]],
) -> tuple[Mapping[str, Sequence[_Point]], Callable[[int], int], list[str]]:
    """The series of which the epochs can be told, the epoch of a step, and what was decided.

    A step is an epoch, or there are as many in one as mostly lie between two evaluations.
    """
    judged = next(what for what in JUDGED if what in series)
    steps = sorted({point.step for point in series[judged]})
    distances = Counter(later - step for step, later in pairwise(steps)).most_common(1)
    apart = distances[0][0] if distances else 1
    if apart > 1:
        told = f"values are {apart} steps apart: so many are taken as an epoch"
        return series, lambda step: max(1, math.ceil(step / apart)), [told]
    # Often the loss is told by step, and the accuracy by epoch.
    other = {what for what, points in series.items() if points[-1].step > 2 * steps[-1] + 1}
    notes = [f"{what} is left out: its steps are no epochs" for what in sorted(other)]
    return {what: series[what] for what in series if what not in other}, lambda step: step, notes
