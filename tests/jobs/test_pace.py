from __future__ import annotations

import time

import pytest
import torch

from jobs.pace import WARM_UP_STEPS, Pace


class Clock:
    """Seconds that pass as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "time", lambda: self.now_s)


def make_pace() -> Pace:
    attempt = {"started_unix_s": 60.0}
    return Pace(attempt, torch.device("cpu"), eval_steps=7)  # type: ignore[arg-type]


def test_steps_are_measured_after_the_first_few_and_without_evaluations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, pace = Clock(monkeypatch), make_pace()
    for step_s in [20.0] * WARM_UP_STEPS + [2.0] * 3:
        pace.begin()
        clock.now_s += step_s
        pace.count_step()
        pace.pause()
        clock.now_s += 50  # an evaluation
    pace.count_evaluation(50.0)
    measured = pace.read()
    assert measured is not None
    assert measured["startup_s"] == 60
    assert (measured["steps"], measured["step_s"]) == (3, 2.0)
    assert (measured["eval_steps"], measured["eval_s"]) == (7, 50.0)
    assert measured["peak_mem_mb"] > 1


def test_too_few_steps_tell_nothing() -> None:
    pace = make_pace()
    pace.begin()
    for _ in range(WARM_UP_STEPS):
        assert pace.read() is None
        pace.begin()
        pace.count_step()
    assert pace.read() is None
