from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.run_dir import RunDir
from jobs.slurm_job import EARLY_WARNING_S
from launcher import time_limits
from launcher.cluster import UNMEASURED_MIN, SlurmProfile, write_minutes
from launcher.doctor.site import Partition, Site
from launcher.estimates import Estimate
from launcher.time_limits import (
    CLASSES_MIN,
    MARGIN,
    Limit,
    apply_limits,
    auto_limit,
    check_slice,
    explain_limits,
    for_pilot,
    longest_time,
    needed_time_s,
    round_up_min,
    set_limits,
    shortest_slice_min,
    startup_share,
)
from tests.launcher.test_estimates import Sweep

ESTIMATE = Estimate(steps=10_000, step_s=0.2, evaluations=10, eval_s=20.0, startup_s=60.0)
AUTO = SlurmProfile(time="auto")
MINUTES = st.integers(min_value=1, max_value=60 * 24 * 30)
SECONDS = st.floats(min_value=0, max_value=1e7)


@given(SECONDS, st.none() | MINUTES, st.none() | MINUTES)
def test_a_limit_is_enough_unless_a_slice_or_the_partition_forbids_it(
    step_s: float, slice_min: int | None, longest_min: int | None
) -> None:
    profile = SlurmProfile(time="auto", slice=slice_min and write_minutes(slice_min))
    estimate = replace(ESTIMATE, step_s=step_s / 10_000)
    limit = auto_limit(profile, estimate, longest_min, "a partition").minutes
    bounds = [bound for bound in (slice_min, longest_min) if bound is not None]
    assert all(limit <= bound for bound in bounds)
    assert limit in bounds or 60 * limit >= needed_time_s(estimate, profile.signal_delay_s)


@given(SECONDS)
def test_limits_are_few_and_not_much_longer_than_what_is_needed(needed_s: float) -> None:
    minutes = round_up_min(needed_s)
    assert 60 * minutes >= needed_s
    assert minutes in CLASSES_MIN or minutes % 1440 == 0
    assert 60 * minutes <= max(600, 2 * needed_s)


def test_a_run_is_not_warned_before_it_has_ended() -> None:
    needed_s = needed_time_s(ESTIMATE, signal_delay_s=120)
    assert needed_s == MARGIN * (10_000 * 0.2 + 10 * 20) + 60 + 120 + EARLY_WARNING_S


def test_the_reason_says_what_was_reckoned_and_what_cut_it() -> None:
    formula = "estimate: (10,000 steps x 0.2 s + 10 evaluations x 20 s) x 1.3"
    assert auto_limit(AUTO, ESTIMATE, None) == Limit(60, f"{formula} + start-up and warning")
    sliced = auto_limit(SlurmProfile(time="auto", slice="30m"), ESTIMATE, 600, "partition gpu")
    assert sliced.minutes == 30
    assert sliced.why.startswith(f"a slice of the 1h that it needs; {formula}")
    cut = auto_limit(AUTO, ESTIMATE, 45, "partition gpu")
    assert cut.minutes == 45
    assert cut.why.startswith("all that partition gpu allows; estimate")


def test_without_a_measurement_it_is_a_slice_or_four_hours_and_says_how_to_measure() -> None:
    limit = auto_limit(AUTO, None, None)
    assert limit.minutes == UNMEASURED_MIN
    assert limit.why == "nothing measured yet: `launcher submit MATRIX --pilot` measures"
    assert auto_limit(AUTO, None, 60, "partition gpu").minutes == 60
    assert auto_limit(SlurmProfile(time="auto", slice="2h"), None, 600).minutes == 120


def test_a_slice_that_is_spent_on_starting_is_told_with_figures() -> None:
    profile = SlurmProfile(time="8h", slice="10m", signal_delay_s=60)
    assert check_slice(profile, startup_s=20) == ""
    assert check_slice(profile, startup_s=120) == (
        "slice 10m: a start takes 120 s (measured) of the 540 s before the warning; 30m is spent "
        "better"
    )
    assert check_slice(profile, startup_s=400) == (
        "slice 10m: a start takes 400 s (measured) of the 540 s before the warning: if the next "
        "ones do as well, it hardly trains; take 2h or more"
    )
    assert startup_share(2, startup_s=1, signal_delay_s=60) == 1  # nothing is left


@given(st.floats(min_value=0.1, max_value=3600), st.integers(min_value=10, max_value=3600))
def test_the_slice_that_is_advised_is_long_enough(startup_s: float, delay_s: int) -> None:
    slice_min = shortest_slice_min(startup_s, delay_s, 0.05)
    assert startup_share(slice_min, startup_s, delay_s) <= 0.05 + 1e-9


def test_the_shortest_of_the_clusters_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    partitions = [
        Partition("gpu", is_default=True, max_time_min=2880),
        Partition("short", max_time_min=60),
        Partition("free"),
    ]
    monkeypatch.setattr(time_limits, "_ask_site", lambda: Site(partitions=partitions))
    assert longest_time(AUTO) == (2880, "partition gpu")
    both = AUTO.model_copy(update={"partition": "gpu,short"})
    assert longest_time(both) == (60, "partition short")
    assert longest_time(AUTO.model_copy(update={"partition": "free"})) == (None, "")
    monkeypatch.setattr(time_limits, "_ask_site", Site)  # SLURM did not answer
    assert longest_time(AUTO) == (None, "")


def test_each_run_has_a_limit_of_its_own_and_few_arrays_come_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "_ask_site", Site)
    sweep = Sweep(tmp_path / "sweep")
    known = [sweep.measure(sweep.plan(seed=seed), 1.0 + seed / 100) for seed in range(3)]
    short, new = sweep.plan(epochs=1, seed=5), sweep.plan(model="resnet50")
    fixed = sweep.plan(seed=6)

    def limits(**resources: Any) -> tuple[list[RunDir], dict[str, Limit]]:
        runs = [*known, short, new]
        profiles = {run.run_id: AUTO.model_copy(update=resources) for run in runs}
        profiles[fixed.run_id] = SlurmProfile(time="1:30:00")
        found = set_limits(sweep.dir, profiles, lambda run_id: sweep.dir.run(run_id).read_config())
        times = apply_limits(profiles, found)
        assert times[fixed.run_id] is profiles[fixed.run_id]
        assert all(times[key].time_min == limit.minutes for key, limit in found.items())
        return runs, found

    runs, found = limits()
    assert [found[run.run_id].minutes for run in runs] == [120, 120, 120, 20, 240]
    lines = list(explain_limits(found))
    assert lines[1].startswith("3 runs in jobs of 2h: estimate: (5,000 steps x 1 s + 10 evalu")
    assert lines[2].startswith("1 run in jobs of 4h: nothing measured yet")
    runs, found = limits(slice="1h")
    assert [found[run.run_id].minutes for run in runs] == [60, 60, 60, 20, 60]


def test_a_run_on_several_gpus_has_them_for_itself_whatever_runs_per_gpu_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "_ask_site", Site)
    sweep = Sweep(tmp_path / "sweep")
    one, two = (sweep.measure(sweep.plan(gpus=gpus), 1.0) for gpus in (1, 2))
    profiles = {run.run_id: AUTO.model_copy(update={"runs_per_gpu": 4}) for run in (one, two)}
    found = set_limits(sweep.dir, profiles, lambda run_id: sweep.dir.run(run_id).read_config())
    assert [found[run.run_id].minutes for run in (one, two)] == [480, 120]


def test_with_a_fixed_time_and_no_slice_nothing_is_read_or_asked(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "nowhere")
    assert set_limits(sweep.dir, {"a": SlurmProfile(time="1h")}, lambda run_id: 1 / 0) == {}


def test_a_pilot_asks_for_little_and_never_for_more_than_its_profile() -> None:
    assert for_pilot(SlurmProfile(time="500:00:00")).time_min == 30
    assert for_pilot(SlurmProfile(time="auto", slice="10m")).time_min == 10
    assert for_pilot(SlurmProfile(time="8h", signal_delay_s=1800)).time_min == 60
    assert for_pilot(SlurmProfile(time="8h", runs_per_gpu=3)).runs_per_gpu == 1


def test_runs_that_share_a_gpu_may_each_be_so_many_times_slower() -> None:
    shared = ESTIMATE.shared_by(3)
    assert shared.training_s == pytest.approx(3 * ESTIMATE.training_s)
    assert shared.startup_s == ESTIMATE.startup_s
