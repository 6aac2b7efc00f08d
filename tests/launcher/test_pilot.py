"""A pilot, on this machine and on a real SLURM."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.causes import Cause
from jobs.errors import ExecutionError, InputError
from jobs.run_dir import RunDir, SweepDir
from launcher.cluster import LocalProfile, SlurmProfile
from launcher.matrix import read_matrix
from launcher.pilot import STEPS, Report, _why_unmeasured, choose_pilot, fly_pilot
from launcher.plan import Verb
from launcher.show import make_console
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


# ---- what follows from it


def report_of(sweep: Sweep, run: RunDir, profile: SlurmProfile, tmp_path: Path) -> list[str]:
    matrix = tmp_path / "sweep.yaml"
    matrix.write_text(
        "base: {dataset: cifar100, batch_size: 100, epochs: 10}\n"
        "axes: {model: [resnet18, resnet50]}\nseeds: 2\n"
    )
    submission = plan_submission(read_matrix(matrix), sweep.dir.path.parent)
    report = Report(submission, run, run.attempts()[-1], profile, waited_s=90)
    return list(report.lines())


def test_the_report_says_what_the_sweep_costs_and_what_to_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.time_limits.longest_time", lambda profile: (1440, "the QOS"))
    sweep = Sweep(tmp_path / "sweep")
    run = sweep.measure(sweep.plan(), step_s=3.6, eval_s=0.0)
    sweep.plan(model="resnet50")
    lines = report_of(sweep, run, SlurmProfile(time="8h"), tmp_path)
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
    shared = report_of(sweep, run, SlurmProfile(time="8h", runs_per_gpu=4), tmp_path)
    assert shared[7].startswith("  a job      48h for the longest run (5,000 steps x 14.4 s + ")


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
