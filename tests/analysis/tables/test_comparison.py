from __future__ import annotations

import pandas as pd

from analysis.significance import Verdict
from analysis.tables import comparison
from analysis.tables.text_table import TextTable

MINUS = "\N{MINUS SIGN}"


def test_differences_have_signs_intervals_and_a_verdict(comparison_table: TextTable) -> None:
    assert comparison_table.caption == "test top-1 (%), final epoch: difference to plain"
    assert comparison_table.rows == [
        ("se", "5", "+0.82", "[+0.31, +1.33]", "0.022", "better"),
        (
            *("bam", "4", f"{MINUS}0.25", f"[{MINUS}0.90, +0.40]", "0.310"),
            "not told apart: n = 4 shows 0.75 or more",
        ),
        ("cbam", "1", "+0.50", "—", "—", "n = 1 is too small to tell"),
    ]


def test_other_verdicts_are_said_as_they_are(compared: pd.DataFrame) -> None:
    unknown = compared.assign(verdict=Verdict.UNKNOWN_SEEDS)
    assert comparison.table(unknown, "plain").rows[0][-1] == "seeds are not known"


def test_how_often_p_was_corrected_is_said(compared: pd.DataFrame) -> None:
    [line, _] = comparison.lines(compared)
    assert "Holm-corrected for 2 comparisons" in line
    [line] = comparison.lines(compared.iloc[:1])
    assert "Holm" not in line
    assert comparison.lines(compared.iloc[2:]) == []


def test_not_told_apart_is_explained_where_it_is_said(compared: pd.DataFrame) -> None:
    assert comparison.lines(compared)[1].startswith("not told apart does not mean equal")
    assert len(comparison.lines(compared.iloc[[0]])) == 1
