"""The parts of leaving that a real cluster cannot be made to show; the others are shown on one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import slurm_job
from jobs.errors import ExecutionError
from jobs.run_dir import LeaseHolder, RunDir
from jobs.slurm_job import ArrayJob, JobFacts, check_code, is_gone, job_state, why_stopped


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
        ("true", "stopped"),  # forgotten
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
    assert job_state("12") == ""
    tool(tools, "squeue", 'echo "Unable to contact slurm controller" >&2; exit 1')
    assert job_state("12") is None


def holder(**changes: Any) -> LeaseHolder:
    import getpass

    values: dict[str, Any] = {
        "token": "x", "cluster": "lab", "job_id": "7", "restart": 0, "user": getpass.getuser(),
        "host": "elsewhere", "pid": 1, "start_ticks": 1, "boot_id": "", "time_unix_s": time.time(),
    }  # fmt: skip
    return LeaseHolder(**(values | changes))  # type: ignore[typeddict-item]


def test_an_earlier_start_of_the_same_job_is_over(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert is_gone(holder(job_id="12", restart=0)) is True
    assert is_gone(holder(job_id="12", restart=1)) is None, "ids may have begun anew"


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
    assert is_gone(holder()) is gone


def test_the_job_of_a_colleague_that_is_not_shown_may_still_run(tools: Path) -> None:
    """A site can hide the jobs of others; then the heartbeat decides."""
    tool(tools, "squeue", "exit 0")
    assert is_gone(holder(user="colleague")) is None
    assert is_gone(holder(cluster="another")) is None


def test_a_lease_of_an_ended_job_is_taken_over_at_once(tools: Path, run: RunDir) -> None:
    import json

    (run.path / "lease").write_text(json.dumps(holder()))
    tool(tools, "squeue", "echo PENDING")
    assert run.take_lease("lab", "12", 0, is_gone)["job_id"] == "12"


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
