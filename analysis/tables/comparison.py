"""The differences to a baseline as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.metrics import METRICS
from analysis.significance import Verdict
from analysis.tables.numbers import NOTHING, probability, signed
from analysis.tables.text_table import TextTable


def table(
    comparison: pd.DataFrame,
    baseline: str,
    by: str = "model",
    metric: str = "test_top1",
    which: str = "final epoch",
) -> TextTable:
    """What `significance.compare` found, a row per group other than the baseline."""
    digits = 2 if METRICS[metric].unit == "%" else 3
    return TextTable(
        headings=(
            *("network" if by == "model" else by, "shared seeds"),
            *("difference", "95 % interval", "p (Holm)", "verdict"),
        ),
        rows=[_row(row, digits) for row in comparison.itertuples()],
        is_complete=[True] * len(comparison),
        caption=f"{METRICS[metric].heading}, {which}: difference to {baseline}",
        words=[5],
    )


def lines(comparison: pd.DataFrame) -> list[str]:
    """How the table is to be read."""
    tests = int(comparison["p"].notna().sum())
    if not tests:
        return []
    corrected = f", Holm-corrected for {tests} comparisons" if tests > 1 else ""
    found = [
        f"p is of the paired t-test over shared seeds{corrected}; an interval is for its "
        "comparison alone"
    ]
    if (comparison["verdict"] == Verdict.NOT_TOLD).any():
        found.append(
            "not told apart does not mean equal: with this spread, so few seeds show only a "
            "difference as large as is said, or larger"
        )
    return found


def _row(row: Any, digits: int) -> tuple[str, ...]:
    def number(value: float) -> str:
        return NOTHING if pd.isna(value) else signed(value, digits)

    interval = f"[{number(row.low)}, {number(row.high)}]"
    return (
        row.group,
        str(row.n),
        number(row.difference),
        NOTHING if pd.isna(row.low) else interval,
        NOTHING if pd.isna(row.p_corrected) else probability(row.p_corrected),
        _verdict(row, digits),
    )


def _verdict(row: Any, digits: int) -> str:
    if row.verdict == Verdict.TOO_FEW:
        return f"n = {row.n} is too small to tell"
    if row.verdict == Verdict.NOT_TOLD:
        return f"not told apart: n = {row.n} shows {row.told_from:.{digits}f} or more"
    return str(row.verdict)
