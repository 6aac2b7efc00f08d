"""What a reader of foreign logs returns: trainings, and what it could not use.

A row is one line of a log, with its epoch as the log counts. A record is all that is known of one
epoch, by the names of `EpochMetrics`; there epochs count from 1, and what is not known is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from jobs.errors import InputError
from jobs.run_dir import EpochMetrics

Record = dict[str, Any]

ACCURACIES = ("train_top1", "test_top1", "test_top5")
# A log has one of these at least; the first that is there tells best what its epochs are.
JUDGED = ("test_top1", "test_loss", "train_top1", "train_loss")

# A number above is damaged, or counts something else.
LARGEST_EPOCH = 1_000_000

# Of lines and cells that are wrong, so many are shown, and so many characters of each.
_SHOWN, _SHOWN_CHARACTERS = 3, 40


class Row(NamedTuple):
    epoch: int
    values: Mapping[str, float | None]


class UnusableError(Exception):
    """A file that holds nothing to import: says why."""


@dataclass(frozen=True)
class Log:
    """One training, as its log tells it.

    `place` is where it is told, and stays the same while the log grows: see `place_of`. `network`,
    `seed` and `options` are what names and log say, and `notes` what had to be put right.
    """

    network: str
    place: str
    files: tuple[Path, ...]
    records: list[Record]
    notes: tuple[str, ...] = ()
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def with_notes(self, notes: Iterable[str]) -> Log:
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Found:
    """The trainings in some files; `skipped` says of each file without one why."""

    logs: tuple[Log, ...]
    skipped: tuple[str, ...] = ()


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


def place_of(path: Path, part: str = "") -> str:
    """The last folder and the name of what tells a training, and which of several it tells.

    Not the whole path, since logs are moved and copied with the folder that they are in.
    """
    return "/".join([*path.resolve().parts[-2:], *([part] if part else [])])


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


def records_of(parts: Mapping[str, Sequence[Row]]) -> tuple[list[Record], list[str]]:
    """A record per epoch, in order and counted from 1, and what had to be put right.

    `parts` are rows in the order of the log, by what to call their source ("the test file"), since
    one training is often told by several. Of what an epoch has twice, the last counts. A log that
    goes back was written by a training that was started again, which makes another attempt.
    Raises UnusableError for an epoch that cannot be one.
    """
    epochs = [row.epoch for rows in parts.values() for row in rows]
    first, last = min(epochs), max(epochs)
    if first < 0 or last > LARGEST_EPOCH:
        raise UnusableError(f"it has epoch {first if first < 0 else last:,}")
    notes = ["epochs count from 0 in the log, and from 1 here"] if first == 0 else []
    stitched: dict[str, dict[int, Record]] = {}
    remarked: dict[str, list[str]] = {}
    for name, rows in parts.items():
        stitched[name], remarks = _stitch(rows, shift=1 if first == 0 else 0)
        for remark in remarks:
            remarked.setdefault(remark, []).append(name)
    notes += [f"{_joined(names)} {remark}" for remark, names in remarked.items()]
    merged: dict[int, Record] = {}
    for records in stitched.values():
        for epoch, record in records.items():
            known = merged.setdefault(epoch, _nothing(epoch))
            known |= record | {"attempt": max(known["attempt"], record["attempt"])}
    notes += _absences(merged, stitched)
    return [merged[epoch] for epoch in sorted(merged)], notes


def _stitch(rows: Sequence[Row], shift: int) -> tuple[dict[int, Record], list[str]]:
    """What the rows say of each epoch, and what is odd about their order."""
    records: dict[int, Record] = {}
    remarks: list[str] = []
    twice: set[int] = set()
    attempt, before = 1, 0
    for row in rows:
        epoch = row.epoch + shift
        if epoch < before:
            attempt += 1
            remarks.append(f"went back from epoch {before} to {epoch}, as after a restart")
        values = _known(row.values)
        record = records.get(epoch, {})
        if values.keys() & record.keys():
            twice.add(epoch)
        if record.get("attempt") != attempt:
            record = {"attempt": attempt}  # nothing of an abandoned attempt stays
        record.update(values)
        records[epoch] = record
        before = epoch
    if twice:
        remarks.append(f"gave {ranges(twice)} more than once; the last counts")
    return records, remarks


def _known(values: Mapping[str, float | None]) -> Record:
    """What is there of these values. A step is a whole number, like those of ours."""
    said: Record = {name: value for name, value in values.items() if value is not None}
    step = said.pop("step", math.nan)
    return said | {"step": int(step)} if math.isfinite(step) else said


def _nothing(epoch: int) -> Record:
    return dict.fromkeys(EpochMetrics.__annotations__) | {"attempt": 1, "epoch": epoch}


def _absences(
    merged: Mapping[int, Record], stitched: Mapping[str, Mapping[int, Record]]
) -> list[str]:
    lacking: dict[str, list[str]] = {}
    for name, records in stitched.items():
        if absent := merged.keys() - records.keys():
            lacking.setdefault(ranges(absent), []).append(name)
    notes = [f"{absent}: nothing in {_joined(names)}" for absent, names in lacking.items()]
    if min(merged) > 1:
        notes.append(f"the log begins at epoch {min(merged)}")
    if gaps := set(range(min(merged), max(merged))) - merged.keys():
        notes.append(f"{ranges(gaps)} {'is' if len(gaps) == 1 else 'are'} not in the log")
    return notes


def some_of(wrong: Sequence[str]) -> str:
    """The first few of what is wrong, and how many others there are."""
    shown = [repr(text[:_SHOWN_CHARACTERS]) for text in wrong[:_SHOWN]]
    others = len(wrong) - _SHOWN
    return ", ".join(shown) + (f" and {others} others" if others > 0 else "")


def ranges(epochs: Iterable[int]) -> str:
    """Such as `epoch 7` or `epochs 15-199 and 204`."""
    runs: list[list[int]] = []
    for epoch in sorted(epochs):
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], epoch]
        else:
            runs.append([epoch])
    told = ["-".join(map(str, run)) for run in runs]
    several = len(told) > 1 or "-" in told[0]
    return f"{'epochs' if several else 'epoch'} {_joined(told)}"


def _joined(words: Sequence[str]) -> str:
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last
