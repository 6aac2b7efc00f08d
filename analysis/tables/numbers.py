"""Numbers as a person reads them."""

from __future__ import annotations

import pandas as pd

NOTHING = "—"
MINUS = "\N{MINUS SIGN}"


def spread(mean: float, std: float, digits: int) -> str:
    """`77.31 ± 0.21`, or the mean alone where there is no deviation."""
    return f"{mean:.{digits}f}" + ("" if pd.isna(std) else f" ± {std:.{digits}f}")


def signed(value: float, digits: int) -> str:
    """`+0.52` or `−0.52`."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def scaled(count: float) -> str:
    """A count as `23.7 M`."""
    value = float(count)
    for prefix in ("", "k", "M", "G", "T"):
        # 999.6 would be written with four digits, so it is one of the next unit already.
        if value < 999.5 or prefix == "T":
            break
        value /= 1000
    return f"{three_digits(value)} {prefix}" if prefix else f"{value:.0f}"


def three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"


def few_hours(value: float) -> str:
    return "< 0.01" if 0 < value < 0.005 else three_digits(value)


def duration(value_s: float) -> str:
    """The two largest units: `6 d 10 h`, `2 h 05 min`, `3 min 20 s`, `12 s`."""
    minutes, seconds = divmod(round(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def probability(p: float) -> str:
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"
