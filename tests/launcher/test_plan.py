from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.causes import IDLE_LIMITS, NOT_RETRIED, Cause
from launcher.plan import BUDGETS, Action, Policy, Standing, State, Verb, plan, summarise

causes = st.sampled_from(Cause)
standings = st.lists(
    st.builds(
        Standing,
        st.text(),
        st.sampled_from(State),
        st.text(),
        st.none() | causes,
        st.lists(st.sampled_from(sorted(IDLE_LIMITS)), max_size=20).map(tuple),
        st.text(),
    )
)
policies = st.builds(Policy, st.booleans(), st.booleans(), code=st.text())


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (State.PLANNED, Verb.START),
        (State.STOPPED, Verb.CONTINUE),
        (State.FAILED, Verb.RETRY),
        (State.HELD, Verb.RELEASE),
        (State.CANCELLED, Verb.LEAVE),
        (State.RUNNING, Verb.LEAVE),
        (State.QUEUED, Verb.LEAVE),
        (State.FINISHED, Verb.LEAVE),
    ],
)
def test_what_is_missing_or_failed_is_started_and_the_rest_left(state: State, verb: Verb) -> None:
    assert plan([Standing("a", state)], Policy())[0].verb is verb


def test_what_was_cancelled_goes_on_only_when_asked_for() -> None:
    run = Standing("a", State.CANCELLED)
    assert "without --cancelled" in plan([run], Policy())[0].reason
    assert plan([run], Policy(release_cancelled=True))[0].verb is Verb.CONTINUE


@given(standings)
def test_every_run_has_one_action_in_its_place(runs: list[Standing]) -> None:
    actions = plan(runs, Policy())
    assert [action.run_id for action in actions] == [run.run_id for run in runs]


def verb_of(state: State, policy: Policy | None = None, **facts: Any) -> Verb:
    return plan([Standing("a", state, **facts)], policy or Policy())[0].verb


@pytest.mark.parametrize("cause", Cause)
def test_what_would_fail_again_is_left_and_the_rest_goes_on(cause: Cause) -> None:
    verb = verb_of(State.FAILED, cause=cause)
    assert verb is (Verb.LEAVE if cause in NOT_RETRIED else Verb.RETRY)
    assert verb_of(State.FAILED, Policy(retry_failed=True), cause=cause) is Verb.RETRY


def test_an_error_in_the_code_is_tried_again_with_other_code() -> None:
    run = Standing("a", State.FAILED, "code_error: KeyError", Cause.CODE_ERROR, code="abc")
    same = ["abc", "", "abc-colleague"]
    for code, verb in [*((code, Verb.LEAVE) for code in same), ("def", Verb.RETRY)]:
        assert plan([run], Policy(code=code))[0].verb is verb
    assert "--failed or other code (on SLURM: `submit`," in plan([run], Policy())[0].reason
    assert "the code is another one now" in plan([run], Policy(code="def"))[0].reason
    assert verb_of(State.FAILED, Policy(code="def"), cause=Cause.OUT_OF_MEMORY) is Verb.LEAVE


@pytest.mark.parametrize("cause", BUDGETS)
def test_a_run_that_makes_no_progress_is_left_when_the_budget_of_the_cause_is_used_up(
    cause: Cause,
) -> None:
    limit = IDLE_LIMITS[cause]
    others = tuple(other for other in BUDGETS if other is not cause)
    for idle, verb in [(limit - 1, Verb.CONTINUE), (limit, Verb.LEAVE)]:
        facts: dict[str, Any] = {"cause": cause, "idle": (cause,) * idle + others}
        assert verb_of(State.STOPPED, **facts) is verb
        assert verb_of(State.STOPPED, Policy(retry_failed=True), **facts) is Verb.CONTINUE
    (action,) = plan([Standing("a", State.STOPPED, "x", None, (cause,) * limit)], Policy())
    assert action.reason.startswith(f"x; no step of progress in {limit} attempts: {cause} {limit}")
    assert verb_of(State.STOPPED, Policy(budgets={cause: 99}), idle=(cause,) * limit) is (
        Verb.CONTINUE
    )


def test_of_a_run_whose_jobs_end_before_it_begins_the_plan_says_how_to_start_it_otherwise() -> None:
    cause = Cause.NOT_BEGUN
    (action,) = plan([Standing("a", State.FAILED, "no python", cause, (cause,) * 3)], Policy())
    assert action.reason == (
        "no python; 3 jobs have ended so: correct the profile in cluster.yaml, and "
        "`launcher submit --failed` starts it so"
    )


def test_a_person_may_stop_a_run_before_it_begins_as_often_as_it_pleases() -> None:
    assert verb_of(State.STOPPED, idle=(Cause.STOPPED,) * 9) is Verb.CONTINUE


@given(standings, policies)
def test_nobody_is_disturbed_at_work_and_nothing_finished_is_done_again(
    runs: list[Standing], policy: Policy
) -> None:
    untouchable = {State.RUNNING, State.QUEUED, State.FINISHED}
    for run, action in zip(runs, plan(runs, policy), strict=True):
        assert run.state not in untouchable or action.verb is Verb.LEAVE


def test_the_summary_counts_what_is_done() -> None:
    actions = [
        Action("a", Verb.START, ""),
        Action("b", Verb.START, ""),
        Action("c", Verb.LEAVE, ""),
    ]
    assert summarise(actions) == "3 runs: start 2, leave 1"
    assert summarise(actions[:1]) == "1 run: start 1"
    assert summarise([]) == "0 runs: nothing to do"
