"""Durations as people say them."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """Such as `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for size_s, unit, digits in ((86400, "d", 1), (3600, "h", 1), (60, "min", 0)):
        if seconds >= size_s:
            return f"{seconds / size_s:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
