from __future__ import annotations

import time
from typing import Any

import pytest

from jobs.causes import Cause
from jobs.run_dir import RunDir
from launcher.plan import State
from launcher.run_status import run_status
from launcher.slurm import Task
from tests.launcher.conftest import add_attempt, state_of


def test_a_run_without_an_attempt_is_planned(run: RunDir) -> None:
    assert state_of(run) == (State.PLANNED, "")


@pytest.mark.parametrize(
    ("end", "state", "detail"),
    [
        ({}, State.STOPPED, "killed; goes on from its last checkpoint"),
        ({"cause": "stopped", "message": "SIGTERM after step 5"}, State.STOPPED, "SIGTERM after"),
        ({"cause": "interrupted", "message": ""}, State.STOPPED, "interrupted"),
        ({"cause": "finished"}, State.STOPPED, "its result is missing"),
        ({"cause": "code_error", "message": "KeyError: 'x'"}, State.FAILED, "code_error: KeyError"),
        ({"cause": "data_missing", "message": "no files"}, State.FAILED, "data_missing: no files"),
        ({"cause": "no_progress", "message": "no step"}, State.FAILED, "no_progress: no step"),
        ({"cause": "preempted", "message": "SIGUSR2 after"}, State.STOPPED, "preemption: SIGUSR2"),
        ({"cause": "node_failure", "node": "n3"}, State.STOPPED, "node failure on n3; goes on"),
        ({"cause": "gpu_failed", "message": "RuntimeError: u"}, State.FAILED, "gpu_failed: Runt"),
        ({"cause": "storage_failed", "message": "OSError: [Errno 122]"}, State.FAILED, "storage_"),
        ({"cause": "unknown"}, State.STOPPED, "killed; goes on"),
    ],
)
def test_the_last_attempt_says_how_a_run_ended(
    end: dict[str, Any], state: State, detail: str, run: RunDir
) -> None:
    add_attempt(run, cause="code_error")
    add_attempt(run, **end)
    found, said = state_of(run)
    assert found is state
    assert said.startswith(detail)


def test_how_often_it_ended_so_is_told_and_counted(run: RunDir) -> None:
    for node in ("n3", "n4", "n3"):
        add_attempt(run, cause="node_failure", node=node)
        add_attempt(run, cause="time_limit", message="SIGUSR2 after step 7")
    assert state_of(run)[1] == "3rd time limit: SIGUSR2 after step 7"
    add_attempt(run, cause="node_failure", node="n[1-2]")
    status = run_status(run, queued=set())
    assert status.detail == "4th node failure on n[1-2]; goes on from its last checkpoint"
    assert status.causes == {"node_failure": 4, "time_limit": 3}
    assert status.failed_nodes == ("n3", "n4", "n3"), "of several nodes it is not known which"


def test_a_run_that_slurm_cancelled_is_cancelled_until_it_is_released(run: RunDir) -> None:
    """The run itself was told of it; SLURM may have forgotten its job by now."""
    add_attempt(run, cause="cancelled", ended_unix_s=time.time() - 1)
    assert state_of(run)[0] is State.CANCELLED
    run.observe("released")
    assert state_of(run)[0] is State.STOPPED


def test_a_cancelled_run_stays_cancelled_until_it_is_released(run: RunDir) -> None:
    add_attempt(run, cause="stopped")
    run.observe("cancelled")
    assert state_of(run)[0] is State.CANCELLED
    run.observe("released")
    assert state_of(run)[0] is State.STOPPED


def test_a_new_job_that_ends_before_the_run_begins_is_told_from_the_old_one(run: RunDir) -> None:
    add_attempt(run, cause="stopped", message="SIGTERM after step 5", job_id="77_0")
    newer = Task("tiny-t1", "78", 0, "FAILED")
    assert "before the run began" in run_status(run, set(), newer).detail
    assert run_status(run, set(), Task("tiny-t0", "77", 0, "FAILED")).detail.startswith("SIGTERM")


def end_job(run: RunDir, number: int, word: str) -> None:
    facts = {"token": f"t{number}", "job_id": f"{number}_0", "nodes": "", "shown": False}
    run.observe("ended", word=word, **facts)


def test_jobs_that_ended_before_the_run_began_are_told_to_the_plan_with_their_causes(
    run: RunDir,
) -> None:
    add_attempt(run, cause="stopped", job_id="1_0")
    for number, word in enumerate(["TIMEOUT", "FAILED", "COMPLETED", "NODE_FAIL", "FAILED"], 1):
        end_job(run, number, word)
        end_job(run, number, word)  # told by squeue, and later by the accounting
    status = run_status(run, set())
    assert (status.state, status.cause) == (State.FAILED, Cause.NOT_BEGUN)
    ends = ("not_begun", "node_failure", "not_begun", "not_begun")
    assert status.idle == (*ends, "stopped"), "the attempt's own job, 1_0, is no other end"
    end_job(run, 6, "OUT_OF_MEMORY")
    assert run_status(run, set()).cause is Cause.OUT_OF_MEMORY
    end_job(run, 7, "UNKNOWN")
    assert run_status(run, set()).cause is Cause.UNKNOWN
    run.observe("released")
    assert run_status(run, set()).idle == ("stopped",)
    end_job(run, 8, "FAILED")
    add_attempt(run, started_unix_s=time.time(), cause="preempted", job_id="9_0")
    assert run_status(run, set()).idle == ("preempted", "stopped"), "it has begun since"


def test_a_job_that_completed_without_a_result_is_told_as_such(run: RunDir) -> None:
    add_attempt(run, executor="slurm", job_id="77")
    run.explain(1, Cause.UNKNOWN, "SLURM says COMPLETED")
    assert state_of(run) == (
        State.STOPPED,
        "SLURM says COMPLETED, but there is no result; goes on from its last checkpoint",
    )


def test_a_node_that_failed_before_the_run_began_is_told_too(run: RunDir) -> None:
    add_attempt(run, cause="node_failure", node="n1", executor="slurm", job_id="77_0")
    for job_id, word, nodes in (
        ("77_0", "NODE_FAIL", "n1"),  # the attempt's own job
        ("78_0", "BOOT_FAIL", "n7"),
        ("78_0", "BOOT_FAIL", "n7"),  # told by squeue, and later by the accounting
        ("79_0", "NODE_FAIL", "n[1-2]"),
        ("80_0", "FAILED", "n3"),
    ):
        run.observe("ended", token=f"t{job_id}", word=word, job_id=job_id, nodes=nodes, shown=False)
    assert run_status(run, set()).failed_nodes == ("n1", "n7")
