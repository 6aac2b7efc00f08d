"""A pilot, on this machine and on a real SLURM."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.causes import Cause
from jobs.config import RunConfig
from jobs.errors import ExecutionError, InputError
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from launcher.cluster import LocalProfile, SlurmProfile
from launcher.matrix import read_matrix
from launcher.pilot import (
    STEPS,
    Report,
    _why_unmeasured,
    choose_pilot,
    count_sharing,
    fly_pilot,
)
from launcher.plan import Verb
from launcher.printing import make_console
from launcher.submit import Submission, plan_submission
from tests.launcher.conftest import add_attempt
from tests.launcher.test_estimates import Sweep
from tests.launcher.test_slurm_end_to_end import TIMEOUT_S, Lab
from tests.slurm_cluster import SlurmCluster


@pytest.fixture
def lab(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[Lab]:
    yield Lab(slurm_cluster, tmp_path)
    slurm_cluster.reset()


# ---- on this machine


def plan(matrix: Path, tmp_path: Path) -> Submission:
    return plan_submission(
        read_matrix(matrix, ["epochs=100", "when_stuck=go_on"]), tmp_path / "runs"
    )


def test_the_first_run_that_is_to_be_started_is_the_pilot(matrix: Path, tmp_path: Path) -> None:
    submission = plan(matrix, tmp_path)
    submission.write()
    first, second = (submission.sweep.run(run_id) for run_id in submission.matrix.runs)
    first.observe("cancelled")
    assert [a.run_id for a in choose_pilot(plan(matrix, tmp_path)).actions] == [second.run_id]
    second.observe("cancelled")
    with pytest.raises(InputError, match="--pilot: no run is to be started"):
        choose_pilot(plan(matrix, tmp_path))


def test_a_pilot_here_trains_a_few_steps_tells_the_cost_and_the_run_goes_on(
    matrix: Path, tmp_path: Path
) -> None:
    submission = choose_pilot(plan(matrix, tmp_path))
    report = fly_pilot(submission, LocalProfile(), None, (), make_console())
    lines = list(report.lines())
    assert lines[0].endswith(f": {STEPS - 5} steps measured on cpu")
    assert "images/s" in lines[3]
    assert f"{200 - STEPS} steps x " in lines[5]
    assert "1 run not covered (sresnet_small batch 32): a pilot with --only tells" in lines[6]
    assert not any("ask for" in line for line in lines)  # there is no SLURM to ask
    assert plan(matrix, tmp_path).actions[0].verb is Verb.CONTINUE


def test_a_pilot_that_fails_says_why(matrix: Path, tmp_path: Path) -> None:
    matrix.write_text(matrix.read_text().replace("dataset: synthetic", "dataset: cifar10"))
    submission = choose_pilot(plan(matrix, tmp_path))
    with pytest.raises(InputError, match="cifar"):  # on this machine it is seen before
        fly_pilot(submission, LocalProfile(), None, (), make_console())


def test_a_pilot_that_was_not_measured_says_why(matrix: Path, tmp_path: Path) -> None:
    submission = choose_pilot(plan_submission(read_matrix(matrix, ["lr=1e30"]), tmp_path / "runs"))
    with pytest.raises(ExecutionError, match="the pilot measured nothing: loss_not_finite: the t"):
        fly_pilot(submission, LocalProfile(), None, (), make_console())


def test_a_pilot_of_a_run_that_is_shorter_says_that_it_needs_none(sweep: SweepDir) -> None:
    run = sweep.runs()[0]
    add_attempt(run, cause=Cause.FINISHED)
    why = _why_unmeasured(run, run.history())
    assert why == "the run was finished before step 50; one so short needs no pilot"


def test_a_pilot_that_was_killed_says_so_though_nobody_knows_why_yet(sweep: SweepDir) -> None:
    run = sweep.runs()[0]
    add_attempt(run, executor="slurm", job_id="77")
    why = _why_unmeasured(run, run.history())
    assert why.startswith("it was killed, and SLURM has not said why; `launcher status` asks again")


# ---- what follows from it


def submission_of(sweep: Sweep, tmp_path: Path) -> Submission:
    matrix = tmp_path / "sweep.yaml"
    matrix.write_text(
        "base: {dataset: cifar100, batch_size: 100, epochs: 10}\n"
        "axes: {model: [resnet18, resnet50]}\nseeds: 2\n"
    )
    return plan_submission(read_matrix(matrix), sweep.dir.path.parent)


def report_of(submission: Submission, run: RunDir, profile: SlurmProfile) -> list[str]:
    report = Report(submission, run, run.attempts()[-1], profile, waited_s=90)
    return list(report.lines())


def test_the_report_says_what_the_sweep_costs_and_what_to_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.time_limits.longest_time", lambda profile: (1440, "the QOS"))
    sweep = Sweep(tmp_path / "sweep")
    run = sweep.measure(sweep.plan(), step_s=3.6, eval_s=0.0)
    sweep.plan(model="resnet50")
    submission = submission_of(sweep, tmp_path)
    lines = report_of(submission, run, SlurmProfile(time="8h"))
    assert lines[1:4] == [
        "  waited     2 min",
        "  start-up   30 s",
        "  a step     3.6 s (28 images/s)",
    ]
    assert lines[5].startswith("  this run   5 GPU-h left, by estimate: 5,000 steps x 3.6 s + 10 e")
    assert lines[6] == (
        "  the sweep  2 runs as fast as measured: 10 GPU-h; 2 runs not covered "
        "(resnet50 batch 100): a pilot with --only tells"
    )
    assert lines[7].startswith("  a job      8h for the longest run (5,000 steps x 3.6 s + ")
    assert lines[7].endswith("; the QOS allows 24h")
    assert lines[8] == "  ask for    resources: {time: auto, slice: 1h}    in the matrix, or"
    assert lines[9].strip() == "--set resources.time=auto --set resources.slice=1h"
    shared = report_of(submission, run, SlurmProfile(time="8h", runs_per_gpu=4))
    assert shared[7].startswith("  a job      48h for the longest run (5,000 steps x 14.4 s + ")


def test_runs_that_share_a_gpu_cost_their_part_of_it(tmp_path: Path) -> None:
    """Measured alone, sharing is reckoned to gain nothing; measured shared, what it has gained."""
    profile = SlurmProfile(time="8h", runs_per_gpu=4)
    sweep = Sweep(tmp_path / "sweep")
    run = sweep.measure(sweep.plan(), step_s=3.6, eval_s=0.0)
    submission = submission_of(sweep, tmp_path)
    alone = report_of(submission, run, profile)
    assert alone[5].startswith("  this run   at most 5 GPU-h left, by estimate: 5,000 steps x 14.4")
    assert alone[5].endswith(", with 4 on a GPU")
    assert "2 runs as fast as measured: at most 10 GPU-h; " in alone[6]
    facts = {"token": "t1", "executor": "slurm", "job_id": "7", "runs_per_job": 4}
    facts["runs"] = [run.run_id, *"bcd"]
    sweep.dir.write_submission({**facts, "user": "me", "submitted_unix_s": 1.0, **this_process()})
    sweep.measure(run, step_s=7.2, eval_s=0.0, job_id="7_0")
    shared = report_of(submission, run, profile)
    assert "this run   2.5 GPU-h left, by estimate: 5,000 steps x 7.2 s" in shared[5]
    assert "2 runs as fast as measured: 5 GPU-h; " in shared[6]


def test_the_last_job_of_a_sweep_and_a_run_on_several_gpus_share_with_fewer() -> None:
    four, two = SlurmProfile(time="8h", runs_per_gpu=4), SlurmProfile(time="8h", runs_per_gpu=2)
    configs = {str(n): RunConfig(model="resnet18", seed=n) for n in range(6)}
    configs["2"] = RunConfig(model="resnet18", gpus=2)
    profiles = dict.fromkeys(configs, four) | {"6": two, "7": LocalProfile(runs_per_gpu=2)}
    configs |= {"6": configs["0"], "7": configs["0"]}
    assert list(count_sharing(profiles, configs).values()) == [4, 4, 1, 4, 4, 1, 1, 1]


# ---- on SLURM


def test_a_pilot_is_the_first_attempt_and_the_sweep_then_asks_for_what_it_needs(lab: Lab) -> None:
    lab.profile(time="auto")
    said = lab.submit("--pilot")
    assert f"a pilot: it does {STEPS} steps" in said
    assert "images/s)" in said
    assert "ask for    resources: {time: auto}" in said
    run = lab.runs()[0]
    (attempt,) = run.attempts()
    assert (attempt["cause"], attempt["last_step"]) == ("stopped", STEPS)
    assert lab.jobs() == []
    assert lab.states() == ["stopped"]

    lab.submit("--set", "resources.slice=3m")
    job = lab.cluster.show_job(lab.job_id())
    assert job["TimeLimit"] == "00:03:00"


def test_ctrl_c_cancels_the_pilot_and_leaves_the_run_to_be_submitted(lab: Lab) -> None:
    lab.fill_the_cluster()
    words = [sys.executable, "-m", "launcher", "submit", "sweep.yaml", "--pilot"]
    process = subprocess.Popen(
        words, cwd=lab.folder, env=lab.environment, text=True, stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            assert any("waits" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_S) == 130
        finally:
            process.kill()
    assert lab.states() == ["stopped"]
    assert "continue 1 on SLURM" in lab.submit("--dry-run")
