from __future__ import annotations

import pytest

from launcher.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (90, "2 min"), (9000, "2.5 h"), (2e5, "2.3 d")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
