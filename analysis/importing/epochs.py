"""The rows of a log become a record for each epoch, over duplicates, restarts and gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from analysis.importing.log import Record, Row, UnusableError
from jobs.run_records import EpochMetrics

# A number above is damaged, or counts something else.
LARGEST_EPOCH = 1_000_000


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
