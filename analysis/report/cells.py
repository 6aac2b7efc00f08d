"""Columns of a frame as columns of a page: what is read, and what it is sorted by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from analysis.report.page import Cell, Column
from analysis.tables.numbers import NOTHING, duration

_MISSING = Cell(NOTHING, "")


def texts(heading: str, values: Iterable[Any], kind: str = "text") -> Column:
    """Words; an empty one is missing."""
    return _column(heading, values, str, str, kind)


def numbers(heading: str, values: Iterable[Any], form: str = ",.0f") -> Column:
    """Numbers in a format of Python's."""
    return _column(heading, values, lambda value: format(value, form), float, "number")


def durations(heading: str, values_s: Iterable[Any]) -> Column:
    """Seconds, as a person says them."""
    return _column(heading, values_s, duration, float, "number")


def dates(heading: str, values_unix_s: Iterable[Any]) -> Column:
    return _column(heading, values_unix_s, date, float, "number")


def date(value_unix_s: float) -> str:
    """In UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(value_unix_s))


def _column(
    heading: str,
    values: Iterable[Any],
    read: Callable[[Any], str],
    key: Callable[[Any], float | str],
    kind: str,
) -> Column:
    cells = [
        _MISSING if pd.isna(value) or value == "" else Cell(read(value), key(value))
        for value in values
    ]
    return Column(heading, cells, kind)
