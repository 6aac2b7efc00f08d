from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.plan import Action, Policy, Standing, State, Verb, plan, summarise

standings = st.lists(st.builds(Standing, st.text(), st.sampled_from(State), st.text()))


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


@given(standings, st.builds(Policy, st.booleans()))
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
