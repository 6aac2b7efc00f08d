"""`tsv`: a line `epoch<TAB>loss<TAB>accuracy` for each epoch, training and test in a file each.

The files of a training are those of one folder whose names differ in `train` and `test` alone.
Accuracies are top-1 in percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from analysis.importing.epochs import records_of
from analysis.importing.log import Found, Log, Row, UnusableError, place_of
from analysis.importing.names import Named, parse_name
from analysis.importing.text import read_text, some_of, to_number

SUFFIXES = ("", ".txt", ".tsv", ".log", ".dat")

# The folder, the name without the word for the half, and what else the name says.
_Training = tuple[Path, Named]
# The file, its rows, and what is odd about it.
_Half = tuple[Path, list[Row], list[str]]


def read(files: Sequence[Path]) -> Found:
    """The trainings that these files tell; what is no such file is skipped and named."""
    halves: dict[_Training, dict[str, _Half]] = {}
    skipped: list[str] = []
    for path in files:
        try:
            named = _check_name(path)
            rows, notes = _read_half(path, named.split)
        except UnusableError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        training = (path.parent, Named(named.network, "", named.seed, named.dataset))
        there = halves.setdefault(training, {})
        if named.split in there:
            other = there[named.split][0].name
            skipped.append(f"{path.name}: {other} is the {named.split} file of {named.network}")
        else:
            there[named.split] = (path, rows, notes)
    logs = tuple(_join(folder, named, there) for (folder, named), there in halves.items())
    return Found(logs, tuple(skipped))


def _check_name(path: Path) -> Named:
    if path.suffix.lower() not in SUFFIXES:
        raise UnusableError(f"its name ends in {path.suffix}, and logs end in .txt, .tsv or .log")
    named = parse_name(path.stem)
    if not named.split:
        raise UnusableError("its name says neither train nor test")
    return named


def _read_half(path: Path, split: str) -> tuple[list[Row], list[str]]:
    text = read_text(path)
    lines = [line for line in text.splitlines() if line.strip()]
    notes = []
    if not text.endswith(("\n", "\r")) and _is_cut(lines, split):
        notes.append(f"the last line of the {split} file is cut and left out: {lines.pop()!r}")
    rows = [row for line in lines if (row := _read_line(line, split))]
    if not rows:
        raise UnusableError("it has no line of the form epoch<TAB>loss<TAB>accuracy")
    bad = [line for line in lines if not (_read_line(line, split) or _is_heading(line))]
    if bad:
        notes.append(f"lines of the {split} file that are no records are left out: {some_of(bad)}")
    return rows, notes


def _read_line(line: str, split: str) -> Row | None:
    fields = line.split("\t")
    if len(fields) != 3 or not fields[0].strip().isdecimal():
        return None
    loss, top1 = map(to_number, fields[1:])
    if loss is None or top1 is None or not (math.isnan(top1) or 0 <= top1 <= 100):
        return None
    return Row(int(fields[0]), {f"{split}_loss": loss, f"{split}_top1": top1})


def _is_heading(line: str) -> bool:
    return line.startswith("#") or line.lower().startswith("epoch")


def _is_cut(lines: Sequence[str], split: str) -> bool:
    """Whether the last line is no record, or its last number has fewer decimals than the one above.

    A file that is being written may end anywhere, and `7` is as good a number as `75.260`.
    """
    decimals = [len(line.rstrip().rpartition("\t")[2].partition(".")[2]) for line in lines[-2:]]
    return _read_line(lines[-1], split) is None or decimals[-1] < decimals[0]


def _join(folder: Path, named: Named, halves: dict[str, _Half]) -> Log:
    notes = [note for _, _, notes in halves.values() for note in notes]
    records, remarks = records_of(
        {f"the {split} file": rows for split, (_, rows, _) in halves.items()}
    )
    for split, other in (("train", "test"), ("test", "train")):
        if split not in halves:
            notes.append(f"there is no {split} file beside the {other} file")
    return Log(
        network=named.network,
        place=place_of(folder / "-".join(filter(None, (named.dataset, named.network)))),
        files=tuple(path for path, _, _ in halves.values()),
        records=records,
        notes=(*named.notes, *notes, *remarks),
        seed=named.seed,
        options=named.options,
    )
