"""What a report says of some runs: asks for every table, note and figure, and computes none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from analysis import costs, curves, fairness, published, significance, stats
from analysis.figures.catalogue import Wish
from analysis.load import Runs
from analysis.metrics import METRICS
from analysis.report.figures import draw_all
from analysis.report.page import Page, Table
from analysis.report.results import table_of_costs, table_of_differences, table_of_results
from analysis.report.runs import (
    details_of_runs,
    options_in_common,
    table_of_failures,
    table_of_runs,
)
from analysis.tables import lines

_STATES = ("finished", "unfinished", "failed", "cancelled", "planned")


def make_page(
    loaded: Runs,
    *,
    title: str,
    folders: Sequence[Path],
    by: str = "model",
    metric: str = "test_top1",
    baseline: str | None = None,
    last: int | None = None,
    with_published: bool = False,
) -> Page:
    """The report of these runs, which `folders` hold.

    Raises InputError for a metric, an option to group by or a baseline that is not there.
    """
    runs, epochs, attempts = loaded.runs, loaded.epochs, loaded.attempts
    spent = costs.costs(runs, epochs, attempts)
    summary = stats.summarise(runs, epochs, by, metric, last)
    summary = summary.merge(costs.by_group(runs, spent, by), on="group")
    results = summary
    citations: list[str] = []
    if with_published:
        results, citations = published.add_to(summary, published.beside(runs, by, metric))
    drawings, not_drawn = draw_all(loaded, Wish(by, metric, baseline=baseline))
    return Page(
        title=title,
        about=_about(folders, by, metric),
        states=_states(runs),
        problems=loaded.problems,
        fairness=fairness.notes(runs, by),
        results=table_of_results(results, by, metric, last),
        missing=lines.missing_lines(stats.missing(runs, by)) + lines.stuck_lines(runs),
        citations=citations,
        baseline=baseline or "",
        differences=_differences(loaded, by, metric, baseline),
        drawings=drawings,
        below_drawings=lines.cut_lines(curves.cut_curves(runs, by)) + not_drawn,
        costs=table_of_costs(summary, by, metric),
        failures=table_of_failures(runs, attempts, by),
        options=options_in_common(runs),
        runs=table_of_runs(runs, epochs, spent, by, metric),
        details=details_of_runs(runs, attempts),
    )


def _differences(loaded: Runs, by: str, metric: str, baseline: str | None) -> Table | None:
    if baseline is None:
        return None
    compared = significance.compare(loaded.runs, loaded.epochs, by, metric, baseline)
    return table_of_differences(compared, baseline, by, metric)


def _about(folders: Iterable[Path], by: str, metric: str) -> list[str]:
    made = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    unit = f" in {METRICS[metric].unit}" if METRICS[metric].unit else ""
    return [
        f"Made on {made} UTC from {', '.join(str(folder) for folder in folders)}",
        f"{METRICS[metric].label}{unit}, a row for each {by.replace(',', ' and ')}",
    ]


def _states(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """How many runs there are of each state, but for those of which there are none."""
    counts = runs["state"].value_counts()
    return [(state, int(counts[state])) for state in _STATES if state in counts]
