from __future__ import annotations

import pandas as pd

from analysis.report.cells import dates, durations, numbers, texts


def test_a_number_is_read_in_its_format_and_sorted_by_its_value() -> None:
    column = numbers("params", pd.Series([1_234_567, 9], dtype="Int64"))
    assert [cell.text for cell in column.cells] == ["1,234,567", "9"]
    assert [cell.key for cell in column.cells] == [1_234_567.0, 9.0]
    assert column.kind == "number"


def test_what_is_missing_is_marked_and_has_no_key() -> None:
    for column in (
        numbers("n", pd.Series([pd.NA], dtype="Int64")),
        numbers("x", [float("nan")]),
        durations("wait", [None]),
        texts("node", [""]),
    ):
        assert [(cell.text, cell.key) for cell in column.cells] == [("—", "")]


def test_a_date_is_in_utc() -> None:
    (cell,) = dates("began", [1.7e9]).cells
    assert (cell.text, cell.key) == ("2023-11-14 22:13", 1.7e9)
