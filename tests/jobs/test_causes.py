from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.causes import IDLE_LIMITS, Cause, describe_idle, idle_attempts, is_given_up


def told(cause: Cause, first: int, last: int) -> dict[str, Any]:
    return {"cause": cause, "first_step": first, "last_step": last}


def killed(first: int | None = None) -> dict[str, Any]:
    return {} if first is None else {"first_step": first}


def within_evaluation(cause: Cause, step: int, first: int, last: int) -> dict[str, Any]:
    return told(cause, step, step) | {"first_eval_batch": first, "last_eval_batch": last}


STOP, TAKEN = Cause.STOPPED, Cause.PREEMPTED
FULL, BROKEN = Cause.STORAGE_FAILED, Cause.NODE_FAILURE


@pytest.mark.parametrize(
    ("attempts", "idle"),
    [
        ([], []),
        ([told(STOP, 0, 5), told(TAKEN, 5, 5), {"cause": STOP}], [STOP, TAKEN]),
        ([told(STOP, 5, 5), told(STOP, 5, 6)], []),
        # What a killed one had saved is only known once another has begun.
        ([killed(0)], []),
        ([killed(0), killed(0), killed(0)], [Cause.UNKNOWN] * 2),
        ([killed(0), killed(7), killed(7)], [Cause.UNKNOWN]),
        ([killed(0), killed(), killed(4)], [Cause.UNKNOWN]),
        ([killed(), killed()], [Cause.UNKNOWN] * 2),
        # What a failed one reached is lost; what it had saved is known likewise.
        ([told(FULL, 5, 9), told(BROKEN, 5, 9), told(FULL, 5, 9)], [BROKEN, FULL]),
        ([told(FULL, 5, 9), told(STOP, 7, 7)], [STOP]),
        # Within an evaluation there are no steps.
        ([within_evaluation(TAKEN, 0, 0, 40), within_evaluation(TAKEN, 0, 40, 80)], []),
        ([within_evaluation(TAKEN, 0, 40, 40), told(TAKEN, 0, 0)], [TAKEN, TAKEN]),
        ([within_evaluation(TAKEN, 5, 9, 9), told(STOP, 5, 6)], []),
        ([told(TAKEN, 0, 5) | {"last_eval_batch": 3}, told(STOP, 5, 5)], [STOP]),
        ([killed(0), killed(0) | {"first_eval_batch": 2}, killed(0)], [Cause.UNKNOWN]),
        # A person was asked in between.
        ([{"cause": STOP}, {"cause": Cause.NO_PROGRESS}, {"cause": STOP}], [STOP]),
        ([{"cause": STOP}, {"cause": Cause.CANCELLED}], []),
    ],
)
def test_attempts_without_a_step_of_progress_are_counted_from_the_last(
    attempts: list[dict[str, Any]], idle: list[Cause]
) -> None:
    assert idle_attempts(attempts) == idle


@given(st.lists(st.sampled_from(sorted(IDLE_LIMITS))), st.lists(st.integers(1, 3), min_size=1))
def test_a_run_that_gets_on_is_never_given_up_however_it_is_disturbed(
    causes: list[Cause], steps: list[int]
) -> None:
    attempts, step = [], 0
    for number, cause in enumerate(causes):
        after = step + steps[number % len(steps)]
        kill = killed(step) | {"cause": cause}
        attempts.append(kill if number % 2 else told(cause, step, after))
        step = after
    assert idle_attempts(attempts) == []


@given(st.lists(st.sampled_from(sorted(IDLE_LIMITS))))
def test_each_cause_has_a_budget_of_its_own(causes: list[Cause]) -> None:
    counts = {cause: causes.count(cause) for cause in IDLE_LIMITS}
    used_up = any(counts[cause] >= limit for cause, limit in IDLE_LIMITS.items())
    assert is_given_up(idle_attempts([{"cause": cause} for cause in causes])) is used_up


def test_the_reason_counts_how_the_attempts_ended() -> None:
    said = describe_idle([STOP, TAKEN, STOP])
    assert said == "no step of progress in 3 attempts: stopped 2, preempted 1"


def test_a_word_of_a_later_version_is_unknown() -> None:
    assert Cause("eaten_by_mice") is Cause.UNKNOWN
