"""The parts of leaving that a real cluster cannot be made to show; the others are shown on one."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import slurm_job
from jobs.errors import ExecutionError
from jobs.lease import LeaseHolder
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.slurm_job import (
    ArrayJob,
    JobFacts,
    StopOrCancel,
    ask_state_and_name,
    check_code,
    is_gone,
    runs_of_this_job,
    why_stopped,
)
from jobs.sweep_dir import SweepDir, sweep_of

NO_SWEEP = SweepDir("there is none")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "lab")
    monkeypatch.setattr(slurm_job, "ASK_FOR_S", 1.0)
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def squeue(state: str, preempted: object = "N/A", ends: object = "N/A", restarts: int = 0) -> str:
    return f"echo '{state}    {preempted}   {ends}   {restarts}  None'"


def add_stop(run: RunDir, **facts: Any) -> None:
    """An attempt of the job that the tests are in, which was told to stop before it began."""
    start = {"started_unix_s": time.time(), "job_id": "12", "restart": 0, "pid": 1}
    run.write_attempt({"attempt": run.next_attempt(), "cause": "stopped", **start, **facts})  # type: ignore[typeddict-item]


def leave_in_a_process(run: RunDir, stops: int = 1) -> subprocess.CompletedProcess[str]:
    for _ in range(stops):
        add_stop(run)
    code = f"from jobs.run_dir import RunDir; from jobs.slurm_job import leave; \
leave(RunDir({str(run.path)!r}), 30); print('still here')"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


def test_a_running_job_is_requeued_and_left(tools: Path, run: RunDir) -> None:
    tool(tools, "squeue", squeue("RUNNING"))
    tool(tools, "scontrol", f'echo "$@" >{tools}/words')
    assert leave_in_a_process(run).stdout == "requeued: leaving\n"
    assert (tools / "words").read_text() == "requeue 12\n"
    assert not run.needs_resume.exists()


def test_a_task_of_an_array_requeues_itself_and_not_the_array(
    tools: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    add_stop(run, job_id="10_2")
    tool(tools, "squeue", squeue("RUNNING"))
    tool(tools, "scontrol", f'echo "$@" >{tools}/words')
    leave_in_a_process(run, stops=0)
    assert (tools / "words").read_text() == "requeue 10_2\n"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (squeue("COMPLETING"), "cancelled"),
        (squeue("COMPLETING", restarts=1), "stopped"),  # requeued from outside
        (squeue("COMPLETING", preempted=9999999999), "preempted"),
        (squeue("CANCELLED"), "cancelled"),
        (squeue("PENDING"), "stopped"),
        (squeue("PREEMPTED"), "preempted"),
        (squeue("COMPLETING").replace("None", "TimeLimit"), "time_limit"),
        (squeue("COMPLETING").replace("None", "NonZeroExitCode"), "stopped"),
    ],
)
def test_when_slurm_has_decided_the_job_only_leaves_and_says_why(
    answer: str, cause: str, tools: Path, run: RunDir
) -> None:
    tool(tools, "squeue", answer)
    tool(tools, "scontrol", f"touch {tools}/asked")
    assert "leaving" in leave_in_a_process(run).stdout
    assert run.attempts()[-1]["cause"] == cause
    assert not (tools / "asked").exists()


def test_that_slurm_shows_nothing_of_the_job_decides_nothing(tools: Path, run: RunDir) -> None:
    """It may be hidden from whoever asks."""
    tool(tools, "squeue", "true")
    tool(tools, "scontrol", f"touch {tools}/asked")
    assert "requeued: leaving" in leave_in_a_process(run).stdout
    assert run.attempts()[-1]["cause"] == "stopped"
    assert (tools / "asked").exists()
    assert not run.needs_resume.exists()


@pytest.mark.parametrize(
    ("answer", "scontrol"),
    [(squeue("RUNNING"), "exit 1"), ("exit 1", "exit 0"), ("exec sleep 30", "exit 0")],
)
def test_when_nobody_can_be_told_a_marker_is_left(
    answer: str, scontrol: str, tools: Path, run: RunDir
) -> None:
    tool(tools, "squeue", answer)
    tool(tools, "scontrol", scontrol)
    began_s = time.monotonic()
    leave_in = leave_in_a_process(run)
    assert "will submit this run again" in leave_in.stdout
    assert "still here" in leave_in.stdout
    assert run.needs_resume.exists()
    assert time.monotonic() - began_s < 30


def test_a_requeue_that_is_refused_at_first_is_tried_again(tools: Path, run: RunDir) -> None:
    tool(tools, "squeue", squeue("RUNNING"))
    tool(tools, "scontrol", f"test -e {tools}/tried && exit 0; touch {tools}/tried; exit 1")
    assert leave_in_a_process(run).stdout == "requeued: leaving\n"


@pytest.mark.parametrize(
    ("preempted_s", "ends_s", "cause"),
    [
        (None, 3600, "stopped"),  # a signal by hand
        (None, 80, "time_limit"),  # SLURM warns up to a minute too early
        (0, 5, "preempted"),  # within its grace
        (-1000, 3600, "stopped"),  # that was an earlier start of the job
    ],
)
def test_a_job_that_still_runs_is_told_why_it_is_to_stop(
    preempted_s: float | None, ends_s: float, cause: str
) -> None:
    now = time.time()
    facts = JobFacts(
        "RUNNING", 0.0 if preempted_s is None else now + preempted_s, now + ends_s, 0, "None"
    )
    attempt: Any = {"started_unix_s": now - 1, "restart": 0}
    assert why_stopped(facts, attempt, warning_s=30) == cause


def test_a_run_that_never_takes_a_step_is_not_requeued_for_ever(tools: Path, run: RunDir) -> None:
    tool(tools, "squeue", squeue("RUNNING"))
    tool(tools, "scontrol", f"touch {tools}/asked")
    assert "not requeued: no step of progress in 3" in leave_in_a_process(run, stops=3).stdout
    assert [attempt["cause"] for attempt in run.attempts()] == ["stopped", "stopped", "no_progress"]
    assert not (tools / "asked").exists()


def test_a_job_that_slurm_has_forgotten_has_an_empty_state(tools: Path) -> None:
    tool(tools, "squeue", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    assert ask_state_and_name("12") == ("", "")
    tool(tools, "squeue", 'echo "Unable to contact slurm controller" >&2; exit 1')
    assert ask_state_and_name("12") is None


def holder(**changes: Any) -> LeaseHolder:
    values: dict[str, Any] = {
        "token": "x", "cluster": "lab", "job_id": "7", "restart": 0, "user": getpass.getuser(),
        "host": "elsewhere", "pid": 1, "start_ticks": 1, "boot_id": "", "time_unix_s": time.time(),
    }  # fmt: skip
    return LeaseHolder(**(values | changes))  # type: ignore[typeddict-item]


def test_an_earlier_start_of_the_same_job_is_over(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert is_gone(NO_SWEEP, holder(job_id="12", restart=0)) is True
    assert is_gone(NO_SWEEP, holder(job_id="12", restart=1)) is None, "ids may have begun anew"


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("echo RUNNING", False),
        ("echo COMPLETING", False),
        ("echo PENDING", True),
        ("echo CANCELLED", True),
        ("exit 0", True),
        ("exit 1", None),
    ],
)
def test_another_job_is_over_when_slurm_does_not_run_it(
    said: str, gone: bool | None, tools: Path
) -> None:
    tool(tools, "squeue", said)
    assert is_gone(NO_SWEEP, holder()) is gone


def test_the_job_of_a_colleague_that_is_not_shown_may_still_run(tools: Path) -> None:
    """A site can hide the jobs of others; then the heartbeat decides."""
    tool(tools, "squeue", "exit 0")
    assert is_gone(NO_SWEEP, holder(user="colleague")) is None
    assert is_gone(NO_SWEEP, holder(cluster="another")) is None


def test_a_lease_of_an_ended_job_is_taken_over_at_once(tools: Path, run: RunDir) -> None:
    (run.path / "lease").write_text(json.dumps(holder()))
    tool(tools, "squeue", "echo PENDING")
    assert run.take_lease("lab", "12", 0, partial(is_gone, NO_SWEEP))["job_id"] == "12"


def test_code_that_is_not_the_frozen_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="comes before PYTHONPATH"):
        check_code(tmp_path)
    check_code(Path(slurm_job.__file__).parents[1])


def test_what_submitit_would_requeue_is_the_same_job(tmp_path: Path) -> None:
    again = ArrayJob(tmp_path / "1.json").checkpoint()
    assert again.function.submission == str(tmp_path / "1.json")


def test_what_submitit_left_when_it_was_killed_is_removed_and_nothing_of_other_tasks(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit refuses to write a result where a half-written one lies."""
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tools))
    mine, other, others = "12_0_result.pkl.save_tmp", "12_1_result.pkl.save_tmp", "112_0_x.save_tmp"
    for name in (mine, other, others, "12_0_result.pkl"):
        (tools / name).touch()
    slurm_job._remove_stale_results()
    assert {path.name for path in tools.iterdir()} == {other, others, "12_0_result.pkl"}


@pytest.mark.parametrize(("name", "gone"), [("sweep-t7", False), ("somebody-elses", None)])
def test_an_id_that_was_given_out_again_keeps_no_dead_lease_alive(
    name: str, gone: bool | None, tools: Path, run: RunDir
) -> None:
    facts = {"executor": "slurm", "job_id": "7", "runs": [run.run_id], "user": "me"}
    record = {"token": "t7", "name": "sweep-t7", "submitted_unix_s": 1.0, **facts}
    sweep_of(run).write_submission({**this_process(), **record})
    tool(tools, "squeue", f"echo 'RUNNING|{name}'")
    assert is_gone(sweep_of(run), holder(job_id="7_3")) is gone


# ---- runs that share a job


@given(st.integers(1, 9), st.integers(1, 40))
def test_the_jobs_of_a_submission_together_train_every_run_once(size: int, count: int) -> None:
    record = {"runs": [str(number) for number in range(count)], "runs_per_job": size}
    trained = []
    for index in range(-(-count // size)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_ARRAY_TASK_ID", str(index))
            trained.append(runs_of_this_job(record))
    assert [run_id for runs in trained for run_id in runs] == record["runs"]
    assert {len(runs) for runs in trained[:-1]} <= {size}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
        assert runs_of_this_job({"runs": ["an old record"]}) == ["an old record"]


def test_whoever_saves_first_waits_for_the_others_before_the_job_is_requeued(
    tools: Path, run: RunDir
) -> None:
    tool(tools, "squeue", squeue("RUNNING", ends=int(time.time()) + 20))
    tool(tools, "scontrol", f'echo "$@" >{tools}/words')
    add_stop(run)
    other = sweep_of(run).run("other")
    other.path.mkdir()
    lease = other.take_lease("lab", "12", 0)
    code = "import sys; from jobs.run_dir import RunDir; from jobs.slurm_job import leave; \
leave(RunDir(sys.argv[1]), 30, [RunDir(sys.argv[2])])"
    words = [sys.executable, "-c", code, str(run.path), str(other.path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "saved; waiting for the other runs of this job\n"
        assert run.attempts()[-1]["cause"] == "time_limit", "written, should SLURM be faster"
        time.sleep(0.5)
        assert not (tools / "words").exists()
        # The other one is last, and requeues the job; the end of that is no news about the stop.
        other.release_lease(lease)
        tool(tools, "squeue", squeue("PENDING", restarts=1))
        assert process.stdout.read() == "SLURM says PENDING: leaving\n"
    assert not (tools / "words").exists()
    assert run.attempts()[-1]["cause"] == "time_limit"


@pytest.mark.parametrize("elsewhere", [{"job_id": "13"}, {"restart": 1}])
def test_nobody_waits_for_a_run_that_another_job_trains(
    elsewhere: dict[str, Any], tools: Path, run: RunDir
) -> None:
    add_stop(run)
    other = sweep_of(run).run("other")
    other.path.mkdir()
    other.take_lease("lab", **{"job_id": "12", "restart": 0} | elsewhere)
    assert not slurm_job._are_at_work([other], run.attempts()[-1])


def test_a_run_that_shares_its_job_sees_that_it_alone_was_cancelled(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_job, "LOOK_EVERY_S", 0.0)
    watching, other = StopOrCancel(), StopOrCancel()
    watching.end_with(run)
    assert not watching.is_set
    run.observe("cancelled")
    assert watching.is_set
    assert not other.is_set, "SLURM tells a run that has its job for itself"


def test_a_task_without_a_run_ends_at_once(
    tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_job, "check_code", lambda folder: None)
    monkeypatch.setattr(StopOrCancel, "install", lambda *signals: None)
    monkeypatch.setenv("SLURM_PROCID", "2")
    record = {"token": "t", "executor": "slurm", "runs": ["a", "b"], "runs_per_job": 3}
    facts = {"user": "me", "submitted_unix_s": 1.0, "code": "c", **this_process()}
    path = SweepDir(tmp_path).write_submission({**record, **facts})
    assert ArrayJob(path)() == "not needed"
