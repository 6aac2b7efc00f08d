"""The columns that a table can have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.metrics import METRICS
from analysis.tables.numbers import (
    NOTHING,
    duration,
    few_hours,
    scaled,
    signed,
    spread,
    three_digits,
)
from analysis.tables.text_table import TextTable
from attention_models import UnknownNameError
from jobs.errors import InputError

INCOMPLETE = "*"


@dataclass(frozen=True)
class Column:
    """A column by its name in --columns.

    It is shown of a summary that has `source`, the values to sort by. `cell` makes the text of a
    row, where the value is not missing, with so many digits after the point. In `heading`,
    {metric}, {chosen}, {train}, {last} and {hours_of} stand for what is compared.
    """

    name: str
    heading: str
    source: str
    cell: Callable[[Any, int], str]
    is_default: bool = False


def _measure(name: str, heading: str, *, is_default: bool) -> Column:
    def cell(row: Any, digits: int) -> str:
        mean, std = getattr(row, f"{name}_mean"), getattr(row, f"{name}_std")
        # Its runs have recorded the metric, but the final one is no number.
        return "nan" if pd.isna(mean) else spread(mean, std, digits)

    return Column(name, heading, f"{name}_mean", cell, is_default)


def _of(source: str, text: Callable[[Any], str]) -> Callable[[Any, int], str]:
    return lambda row, digits: text(getattr(row, source))


COLUMNS = (
    Column(
        "runs",
        "runs",
        "finished",
        lambda row, digits: (
            f"{row.finished}/{row.planned}" + ("" if row.finished == row.planned else INCOMPLETE)
        ),
        is_default=True,
    ),
    Column("seeds", "seeds", "seeds", _of("seeds", str), is_default=True),
    _measure("best", "{metric}, best epoch{chosen}", is_default=True),
    _measure("final", "{metric}, final epoch", is_default=True),
    _measure("last", "{metric}, last {last} epochs", is_default=True),
    Column(
        "train",
        "{train}, final epoch",
        "train_mean",
        lambda row, digits: f"{row.train_mean:.{digits}f}",
    ),
    Column(
        "gap",
        "train minus test",
        "gap_mean",
        lambda row, digits: signed(row.gap_mean, digits),
        is_default=True,
    ),
    Column("params", "params", "params", _of("params", scaled), is_default=True),
    Column("macs", "MACs", "macs", _of("macs", scaled), is_default=True),
    Column("epoch_s", "s per epoch", "epoch_s", _of("epoch_s", three_digits), is_default=True),
    Column("images_s", "images/s", "throughput_img_s", _of("throughput_img_s", scaled)),
    Column("gpu_h", "{hours_of}-h, all runs", "gpu_h", _of("gpu_h", few_hours)),
    Column("gpu_h_useful", "{hours_of}-h, useful", "gpu_h_useful", _of("gpu_h_useful", few_hours)),
    Column(
        "gpu_h_lost", "{hours_of}-h, lost to restarts", "gpu_h_lost", _of("gpu_h_lost", few_hours)
    ),
    Column(
        "queue_first", "mean wait for first start", "queue_first_s", _of("queue_first_s", duration)
    ),
    Column(
        "queue_total", "mean wait for all starts", "queue_total_s", _of("queue_total_s", duration)
    ),
    Column("restarts", "restarts", "restarts", _of("restarts", str), is_default=True),
    Column("attempts", "attempts", "attempts", _of("attempts", str)),
    Column("published", "published", "published", _of("published", str), is_default=True),
)
ALL = "all"
_ALWAYS = ("runs", "seeds", "best", "final")
# A page or a terminal that is too narrow has to do without these, the first ones first.
OPTIONAL = (
    *("attempts", "queue_total", "queue_first", "gpu_h_lost", "gpu_h_useful", "gpu_h"),
    *("restarts", "images_s", "epoch_s", "macs", "params", "train", "gap", "seeds"),
)


def choose(names: str | None, summary: pd.DataFrame) -> list[Column]:
    """The columns of these names with commas between, of "all", or by default those that are usual.

    Of the usual ones, some are left out if nothing is known of them in any row.
    Raises InputError for a name that is no column's, or one of which the summary has nothing.
    """
    found = {column.name: column for column in COLUMNS if column.source in summary}
    if names is None:
        is_known = summary.notna().any() | summary.empty
        return [
            column
            for column in found.values()
            if column.is_default and (is_known[column.source] or column.name in _ALWAYS)
        ]
    asked = [name.strip() for name in names.split(",")]
    if asked == [ALL]:
        return list(found.values())
    for name in asked:
        if name == "published" and name not in found:
            raise InputError("the column 'published' needs --published")
        if name == "last" and name not in found:
            raise InputError("the column 'last' needs --last N, the number of epochs to average")
        if name not in found:
            wrong = UnknownNameError("column", name, [*found, ALL], "analysis table --help")
            raise InputError(str(wrong))
    return [found[name] for name in dict.fromkeys(asked)]


def headings(
    columns: Iterable[Column], summary: pd.DataFrame, metric: str, last: int | None = None
) -> list[str]:
    """What stands above each of the columns."""
    about = {
        "metric": METRICS[metric].heading,
        "chosen": " (chosen on test)" if metric.startswith("test") else "",
        "train": METRICS[train].heading
        if (train := metric.replace("test", "train")) in METRICS
        else "",
        "last": last,
        "hours_of": _hours_of(summary),
    }
    return [column.heading.format(**about) for column in columns]


def table(
    summary: pd.DataFrame,
    by: str = "model",
    metric: str = "test_top1",
    columns: Sequence[Column] | None = None,
    last: int | None = None,
    optional: Sequence[str] = OPTIONAL,
) -> TextTable:
    """The summary as text, each of its groups a row; the columns of these names are optional."""
    columns = choose(None, summary) if columns is None else columns
    digits = 2 if METRICS[metric].unit == "%" else 3
    rows = list(summary.itertuples(index=False))
    return TextTable(
        headings=("network" if by == "model" else by, *headings(columns, summary, metric, last)),
        rows=[(row.group, *(_cell(column, row, digits) for column in columns)) for row in rows],
        is_complete=[pd.isna(row.planned) or row.finished == row.planned for row in rows],
        optional=[
            position
            for name in optional
            for position, column in enumerate(columns, 1)
            if column.name == name
        ],
    )


def _cell(column: Column, row: Any, digits: int) -> str:
    # Without a best epoch a metric was never recorded: only then is a final one missing.
    source = "best_mean" if column.name == "final" else column.source
    return NOTHING if pd.isna(getattr(row, source)) else column.cell(row, digits)


def _hours_of(summary: pd.DataFrame) -> str:
    known = summary["hours_of"].dropna() if "hours_of" in summary else []
    return "/".join(sorted({*known})) or "GPU"
