from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import timeline
from analysis.load import load_runs
from jobs.causes import Cause
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import (
    STARTED_UNIX_S,
    add_run,
    add_slurm_attempt,
    add_submission,
    name_runs,
)


def bars_of(sweep: SweepDir) -> pd.DataFrame:
    loaded = load_runs([sweep])
    return timeline.bars(loaded.runs, loaded.attempts)


def test_a_preempted_run_waits_trains_waits_and_trains(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=0, attempts=0)
    name_runs(sweep, [run])
    add_submission(sweep, [run])
    add_slurm_attempt(run, 1, 0)
    add_slurm_attempt(run, 2, 1, cause="finished")
    bars = bars_of(sweep)
    assert list(bars["kind"]) == ["waiting", "stopped and saved", "waiting", "finished"]
    assert list(bars["begin_h"]) == pytest.approx([0, 0.5, 1.5, 2.5])
    assert list(bars["end_h"]) == pytest.approx([0.5, 1.5, 2.5, 3.5])
    assert {*bars["origin_unix_s"]} == {STARTED_UNIX_S - 1800}
    assert {*bars["name"]} == {"resnet_small seed 0"}


def test_a_run_that_has_not_begun_waits_up_to_the_last_sign_of_life(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, "resnet_small", seed=seed, epochs_done=0, attempts=0) for seed in range(2)
    ]
    name_runs(sweep, runs)
    add_submission(sweep, runs)
    assert bars_of(sweep).empty, "without any, nobody knows until when"
    add_slurm_attempt(runs[0], 1, 0)
    pending = bars_of(sweep).iloc[-1]
    assert (pending["name"], pending["kind"]) == ("resnet_small seed 1", "waiting")
    assert (pending["attempt"], pending["begin_h"], pending["end_h"]) == (1, 0, 1.5)


def test_without_a_queue_there_is_no_waiting(half_finished: SweepDir) -> None:
    bars = bars_of(half_finished)
    assert "waiting" not in {*bars["kind"]}
    assert bars["name"].nunique() == 4
    assert (bars["end_h"] >= bars["begin_h"]).all()


def test_every_cause_has_an_outcome() -> None:
    for cause in Cause:
        assert timeline._outcome(cause.value, 1.0) in timeline.OUTCOMES
    assert timeline._outcome("", np.nan) == "going on"
    assert timeline._outcome("", 1.0) == "killed"
    assert timeline._outcome("a word of a later version", 1.0) == "killed"


def test_runs_of_one_name_are_told_apart(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", lr=lr) for lr in (0.1, 0.2)])
    assert bars_of(sweep)["name"].nunique() == 2


hours = st.floats(0, 100)


@given(st.lists(st.tuples(hours, hours).map(sorted), min_size=1, max_size=8))
def test_the_counts_add_up_to_the_time_that_was_spent(spans: list[list[float]]) -> None:
    spans = [*spans, [0.0, 100.0]]
    bars = pd.DataFrame(spans, columns=["begin_h", "end_h"]).assign(group="a", kind="finished")
    counts = timeline.counts(bars, bins=7)
    spent_h = (counts["runs"] * (counts["end_h"] - counts["begin_h"])).sum()
    assert spent_h == pytest.approx((bars["end_h"] - bars["begin_h"]).sum())
    assert counts["runs"].max() <= len(spans) + 1e-9


def test_the_counts_of_an_hour_are_the_runs_in_it() -> None:
    bars = pd.DataFrame(
        {
            "group": ["a", "a", "b"],
            "kind": ["waiting", "finished", "finished"],
            "begin_h": [0.0, 1.0, 0.5],
            "end_h": [1.0, 2.0, 2.0],
        }
    )
    counts = timeline.counts(bars, bins=2).groupby(["group", "kind"])["runs"].agg(list)
    assert counts.to_dict() == {
        ("a", "waiting"): [1, 0],
        ("a", "finished"): [0, 1],
        ("b", "finished"): [0.5, 1],
    }
