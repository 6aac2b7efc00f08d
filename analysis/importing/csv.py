"""`csv`: a table with a row per epoch, or several, and columns whose names say what they hold.

Usual names are known, such as those of Keras, Lightning, timm and of our own export; others are
given. A table with columns for the network, the seed or the run holds several trainings.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.importing.epochs import records_of
from analysis.importing.log import JUDGED, Found, Log, Row, UnusableError, place_of
from analysis.importing.names import parse_name, telling_name
from analysis.importing.quantities import check_accuracies, in_percent, quantities
from analysis.importing.text import read_text, some_of, to_number
from attention_models import UnknownNameError
from jobs.errors import InputError

# Columns that tell trainings apart, by the names that are known for them.
APART = {
    "network": ("model", "network", "arch", "architecture"),
    "seed": ("seed",),
    "run": ("run_id", "run", "run_name", "experiment"),
    "sweep": ("sweep",),
}
_DELIMITERS = ",;\t|"

_Line = dict[str, str]


def read(
    files: Sequence[Path], columns: Mapping[str, str] | None = None, unit: str | None = None
) -> Found:
    """The trainings in these tables.

    `columns` says which column holds what, by the names of `EpochMetrics` and by "network" and
    "seed"; what it does not say is found by the columns' names. `unit` of accuracies is "percent",
    "fraction" or, to judge by the values, None.
    Raises InputError for a column that no file has.
    """
    tables: dict[Path, tuple[list[str], list[_Line], list[str]]] = {}
    skipped: list[str] = []
    for path in files:
        try:
            tables[path] = _read_table(path)
        except UnusableError as error:
            skipped.append(f"{path.name}: {error}")
    _check_columns(columns or {}, [name for names, _, _ in tables.values() for name in names])
    logs: list[Log] = []
    for path, (names, lines, notes) in tables.items():
        try:
            logs += _read_trainings(path, names, lines, notes, columns or {}, unit)
        except UnusableError as error:
            skipped.append(f"{path.name}: {error}")
    return Found(tuple(logs), tuple(skipped))


def _check_columns(columns: Mapping[str, str], there: Sequence[str]) -> None:
    for name in columns.values():
        if there and name not in there:
            raise InputError(str(UnknownNameError("column", name, dict.fromkeys(there))))


def _read_table(path: Path) -> tuple[list[str], list[_Line], list[str]]:
    """The names of the columns, the whole lines, and what is odd about the others."""
    text = read_text(path)
    heading = text.lstrip().splitlines()[0]
    delimiter = max(_DELIMITERS, key=heading.count)
    if delimiter not in heading:
        raise UnusableError("its first line does not name columns")
    names, *lines = _cells(text, delimiter)
    if all(to_number(name) is not None for name in names):
        raise UnusableError("its first line holds numbers, and must name the columns")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UnusableError(f"several of its columns are called {', '.join(repeated)}")
    notes = []
    if lines and not text.endswith(("\n", "\r")) and len(lines[-1]) < len(names):
        notes.append(f"the last line is cut and left out: {delimiter.join(lines.pop())}")
    if bad := [line for line in lines if len(line) != len(names)]:
        shown = some_of([delimiter.join(line) for line in bad])
        notes.append(f"lines that do not have {len(names)} cells are left out: {shown}")
    whole = [dict(zip(names, line, strict=True)) for line in lines if len(line) == len(names)]
    if not whole:
        raise UnusableError("it has no whole line below the names of its columns")
    return names, whole, notes


def _cells(text: str, delimiter: str) -> list[list[str]]:
    """The cells of each line that is not empty; UnusableError if there is none."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [[cell.strip() for cell in row] for row in reader if any(row)]
    except csv.Error as error:
        raise UnusableError(f"it is no such table: {error}") from None
    if not rows:
        raise UnusableError("it is empty")
    return rows


def _read_trainings(
    path: Path,
    names: Sequence[str],
    lines: Sequence[_Line],
    notes: Sequence[str],
    columns: Mapping[str, str],
    unit: str | None,
) -> list[Log]:
    apart = {
        what: columns.get(what) or next((n for n in names if n.lower() in known), "")
        for what, known in APART.items()
    }
    known, remarks = quantities(name for name in names if name not in apart.values())
    known |= {what: name for what, name in columns.items() if what not in apart and name in names}
    if not known.keys() & {*JUDGED}:
        raise UnusableError(
            f"none of its columns is known to hold a loss or an accuracy ({', '.join(names)}); say "
            "which does, as with --test-top1 COLUMN"
        )
    unused = [name for name in names if name not in {*known.values(), *apart.values()}]
    if unused:
        remarks.append(f"columns that are not used: {', '.join(unused)}")
    if "epoch" not in known:
        remarks.append("no column holds the epoch: its lines are counted")
    trainings: dict[tuple[str, ...], list[_Line]] = {}
    for line in lines:
        trainings.setdefault(tuple(line.get(name, "") for name in apart.values()), []).append(line)
    return [
        _make_log(path, dict(zip(apart, values, strict=True)), part, known, unit).with_notes(
            [*notes, *remarks]
        )
        for values, part in trainings.items()
    ]


def _make_log(
    path: Path,
    about: Mapping[str, str],
    lines: Sequence[_Line],
    known: Mapping[str, str],
    unit: str | None,
) -> Log:
    rows, remarks = _rows(lines, known)
    if not rows:
        raise UnusableError(f"no line has a number in {known.get('epoch', 'it')}")
    records, more = records_of({"the log": rows})
    records, scaled = in_percent(records, unit, known.values())
    if wrong := check_accuracies(records):
        raise UnusableError(f"{wrong}; if they are fractions, say --accuracy fraction")
    named = parse_name(telling_name(path))
    from_name = [] if about["network"] else named.notes
    seed = to_number(about["seed"])
    return Log(
        network=about["network"] or named.network,
        place=place_of(path, part=" ".join(value for value in about.values() if value)),
        files=(path,),
        records=records,
        notes=(*from_name, *remarks, *more, *scaled),
        seed=int(seed) if seed is not None and seed.is_integer() else named.seed,
        options=named.options,
    )


def _rows(lines: Sequence[_Line], known: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """The numbers of the lines, each with its epoch, and what had to be left out.

    An epoch that is not whole is a moment within the next one.
    """
    rows: list[Row] = []
    without: list[str] = []
    for number, line in enumerate(lines, 1):
        values = {what: to_number(line[name]) for what, name in known.items()}
        epoch = values.pop("epoch") if "epoch" in known else number
        if epoch is None or not math.isfinite(epoch):
            without.append(line[known["epoch"]])
        else:
            rows.append(Row(math.ceil(epoch), values))
    notes = [f"lines without an epoch are left out: {some_of(without)}"] if without else []
    cells = [
        f"{name}={line[name]}"
        for line in lines
        for name in known.values()
        if line[name] and to_number(line[name]) is None
    ]
    notes += [f"cells that hold no number are left out: {some_of(cells)}"] if cells else []
    return rows, notes
