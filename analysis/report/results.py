"""The rows of a comparison: what they have reached, how far they are apart, what they have cost.

Headings and cells are those of `analysis table`; what is added is by which values they are sorted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from analysis.report.page import Cell, Column, Table
from analysis.tables import columns as main_table
from analysis.tables import comparison
from analysis.tables.text_table import TextTable

_COSTS = (
    *("gpu_h", "gpu_h_useful", "gpu_h_lost"),
    *("queue_first", "queue_total", "restarts", "attempts"),
)


def table_of_results(summary: pd.DataFrame, by: str, metric: str, last: int | None) -> Table:
    """A row per group of analysis.stats.summarise; what it has cost is in a table of its own."""
    default = main_table.choose(None, summary)
    columns = [column for column in default if column.name not in _COSTS]
    return _of_summary("results", summary, by, metric, columns, last)


def table_of_costs(summary: pd.DataFrame, by: str, metric: str) -> Table:
    """A row per group, of a summary with the columns of analysis.costs.by_group."""
    columns = main_table.choose(",".join(_COSTS), summary)
    return _of_summary("costs", summary, by, metric, columns, None)


def table_of_differences(compared: pd.DataFrame, baseline: str, by: str, metric: str) -> Table:
    """A row per group other than the baseline, of analysis.significance.compare."""
    keys = ["group", "n", "difference", "low", "p_corrected", "verdict"]
    shown = comparison.table(compared, baseline, by, metric)
    table = _sortable("differences", shown, [compared[key] for key in keys])
    return replace(table, caption=". ".join([shown.caption, *comparison.lines(compared)]))


def _of_summary(
    name: str,
    summary: pd.DataFrame,
    by: str,
    metric: str,
    columns: list[main_table.Column],
    last: int | None,
) -> Table:
    shown = main_table.table(summary, by, metric, columns, last)
    keys = ["group", *(column.source for column in columns)]
    return _sortable(name, shown, [summary[key] for key in keys])


def _sortable(name: str, shown: TextTable, keys: Iterable[pd.Series]) -> Table:
    """The table with these values of each column to sort by."""
    columns = []
    for position, (heading, values) in enumerate(zip(shown.headings, keys, strict=True)):
        cells = [
            Cell(row[position], "" if pd.isna(value) else value)
            for row, value in zip(shown.rows, values, strict=True)
        ]
        kind = "text" if shown.is_words(position) else "number"
        columns.append(Column(heading, cells, kind))
    return Table(name, columns, shown.caption)
