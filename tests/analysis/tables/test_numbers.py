from __future__ import annotations

import pytest

from analysis.tables.numbers import (
    duration,
    few_hours,
    probability,
    scaled,
    signed,
    spread,
    three_digits,
)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (23_705_252, "23.7 M"),
        (99_960_000, "100 M"),
        (999_600_000, "1.00 G"),
        (1_304_694_884, "1.30 G"),
        (9_996_000, "10.0 M"),
        (5_000_000_000_000_000, "5000 T"),
    ],
)
def test_a_large_count_has_three_digits_and_a_prefix(count: int, shown: str) -> None:
    assert scaled(count) == shown


@pytest.mark.parametrize(
    ("value_s", "shown"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d 0 h"),
        (6 * 86400 + 10 * 3600 + 37 * 60, "6 d 10 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(value_s: float, shown: str) -> None:
    assert duration(value_s) == shown


def test_small_numbers_do_not_become_zero() -> None:
    assert [few_hours(value) for value in (0, 0.004, 0.005, 12.34)] == [
        "0.00",
        "< 0.01",
        "0.01",
        "12.3",
    ]
    assert [probability(p) for p in (0.0004, 0.0005, 1)] == ["< 0.001", "0.001", "1.000"]


def test_a_deviation_that_there_is_not_is_left_out() -> None:
    assert spread(77.31, 0.2, 2) == "77.31 ± 0.20"
    assert spread(77.3, float("nan"), 2) == "77.30"


def test_signs_and_digits() -> None:
    assert signed(0.52, 2) == "+0.52"
    assert signed(-0.52, 1) == "\N{MINUS SIGN}0.5"
    assert [three_digits(value) for value in (1.234, 12.34, 123.4)] == ["1.23", "12.3", "123"]
