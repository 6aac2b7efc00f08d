"""What a reader of foreign logs returns: trainings, and what it could not use.

A row is one line of a log, with its epoch as the log counts. A record is all that is known of one
epoch, by the names of `EpochMetrics`; there epochs count from 1, and what is not known is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]

ACCURACIES = ("train_top1", "test_top1", "test_top5")
# A log has one of these at least; the first that is there tells best what its epochs are.
JUDGED = ("test_top1", "test_loss", "train_top1", "train_loss")


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


def place_of(path: Path, part: str = "") -> str:
    """The last folder and the name of what tells a training, and which of several it tells.

    Not the whole path, since logs are moved and copied with the folder that they are in.
    """
    return "/".join([*path.resolve().parts[-2:], *([part] if part else [])])
