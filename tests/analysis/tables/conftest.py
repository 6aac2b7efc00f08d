"""A table of each kind, as the modules of this package take them."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import costs, stats
from analysis.load import load_runs
from analysis.significance import Verdict
from analysis.tables import columns, comparison
from analysis.tables.text_table import TextTable
from jobs.sweep_dir import SweepDir


@pytest.fixture
def summary(half_finished: SweepDir) -> pd.DataFrame:
    """Of a network with two of two runs, and one with one of three."""
    loaded = load_runs(half_finished)
    spent = costs.costs(loaded.runs, loaded.epochs, loaded.attempts)
    of_groups = costs.by_group(loaded.runs, spent)
    return stats.summarise(loaded.runs, loaded.epochs).merge(of_groups, on="group")


@pytest.fixture
def main_table(summary: pd.DataFrame) -> TextTable:
    return columns.table(summary)


@pytest.fixture
def compared() -> pd.DataFrame:
    """What significance.compare gives: one row told apart, one not, one without a test."""
    nan = float("nan")
    return pd.DataFrame(
        [
            ("se", 5, 0.82, 0.31, 1.33, 0.011, 0.022, 0.60, Verdict.BETTER),
            ("bam", 4, -0.25, -0.9, 0.4, 0.31, 0.31, 0.7512, Verdict.NOT_TOLD),
            ("cbam", 1, 0.5, nan, nan, nan, nan, nan, Verdict.TOO_FEW),
        ],
        columns=[
            *("group", "n", "difference", "low", "high"),
            *("p", "p_corrected", "told_from", "verdict"),
        ],
    )


@pytest.fixture
def comparison_table(compared: pd.DataFrame) -> TextTable:
    return comparison.table(compared, "plain")
