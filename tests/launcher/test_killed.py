"""Why attempts were killed, with answers of SLURM that the real one cannot be made to give."""

from __future__ import annotations

import getpass
import math
import time
from typing import Any

import pytest

from jobs.errors import ExecutionError
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir, sweep_of
from launcher.run_status import RunStatus
from launcher.slurm import Task
from launcher.status import sweep_status
from tests.launcher.answers import Slurm
from tests.launcher.conftest import add_attempt

LONG_AGO = {"started_unix_s": 1001.0}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(monkeypatch)


@pytest.fixture
def run(sweep: SweepDir) -> RunDir:
    """A run that is task 0 of job 77."""
    add_submission(sweep)
    return sweep.run(sweep.named_runs()[0])


def add_submission(sweep: SweepDir, **facts: Any) -> None:
    record = {
        "token": "t0", "executor": "slurm", "name": "tiny-t0", "job_id": "77", "cluster": "lab",
        "runs": sweep.named_runs()[:1], "user": getpass.getuser(),
        "submitted_unix_s": 1000.0, **this_process(), **facts,
    }  # fmt: skip
    sweep.write_submission(record)


def add_start(run: RunDir, restart: int, **facts: Any) -> None:
    add_attempt(run, **{"executor": "slurm", "job_id": "77_0", "restart": restart} | facts)


def start(word: str, began_s: float, ended_s: float = math.inf, nodes: str = "n1") -> Task:
    return Task("tiny-t0", "77", 0, word, nodes, True, began_s, ended_s)


def status_of(run: RunDir) -> RunStatus:
    return next(row for row in sweep_status(sweep_of(run)) if row.run_id == run.run_id)


def test_each_kill_has_the_word_of_its_start_of_the_job_and_nobody_asks_again(
    run: RunDir, answers: Slurm
) -> None:
    for restart, started_s in enumerate((1002.0, 1201.0, 2001.0)):
        add_start(run, restart, started_unix_s=started_s)
    answers.queue = [Task("tiny-t0", "77", 0, "RUNNING")]
    answers.accounting = [
        start("RUNNING", 2000.0),
        start("NODE_FAIL", 1001.0, 1100.0, "n2"),
        start("PREEMPTED", 1200.0, 1300.0, "n4"),
    ]
    assert status_of(run).causes == {"node_failure": 1, "preempted": 1}
    assert answers.asked == ["squeue", "sacct"]
    first, second, third = run.history()
    assert (first["node"], first["message"]) == ("n2", "SLURM says NODE_FAIL")
    assert (second["node"], second["ended_unix_s"]) == ("n4", 1300.0)
    assert "cause" not in third
    status_of(run)
    assert answers.asked == ["squeue", "sacct", "squeue"]


@pytest.mark.parametrize(
    ("word", "cause", "state", "detail"),
    [
        ("NODE_FAIL", "node_failure", "stopped", "node failure on n1; goes on"),
        ("TIMEOUT", "time_limit", "stopped", "time limit: SLURM says TIMEOUT"),
        ("DEADLINE", "time_limit", "stopped", "time limit: "),
        ("PREEMPTED", "preempted", "stopped", "preemption: SLURM says PREEMPTED"),
        ("OUT_OF_MEMORY", "out_of_memory", "failed", "out_of_memory: SLURM says OUT_OF_MEMORY"),
        ("CANCELLED", "cancelled", "cancelled", ""),
        ("FAILED", "unknown", "stopped", "killed (SLURM says "),
        ("COMPLETED", "unknown", "stopped", "SLURM says COMPLETED, but there is no result"),
    ],
)
def test_slurms_words_are_causes(
    word: str, cause: str, state: str, detail: str, run: RunDir, answers: Slurm
) -> None:
    add_start(run, 0, **LONG_AGO)
    answers.accounting = [start(word, 1001.0, 1100.0)]
    status = status_of(run)
    assert (status.cause, status.state) == (cause, state)
    assert status.detail.startswith(detail)
    assert answers.asked == ["squeue", "sacct"]
    assert status_of(run) == status
    assert answers.asked == ["squeue", "sacct"], "it is written down"


def test_a_start_that_a_crashed_controller_forgot_has_not_the_end_of_another(
    run: RunDir, answers: Slurm
) -> None:
    """The accounting has one record, and not that of the first start."""
    add_start(run, 0, started_unix_s=1002.0)
    add_start(run, 1, started_unix_s=1201.0)
    answers.queue = [Task("tiny-t0", "77", 0, "FAILED")]
    answers.accounting = [start("FAILED", 1200.0, 1300.0)]
    status_of(run)
    first, second = run.history()
    assert first["message"] == "SLURM does not know why"
    assert "ended_unix_s" not in first
    assert (second["message"], second["ended_unix_s"]) == ("SLURM says FAILED", 1300.0)


def test_without_accounting_squeue_tells_of_the_last_start_and_the_others_stay_unknown(
    run: RunDir, answers: Slurm
) -> None:
    add_start(run, 0)
    add_start(run, 1)
    answers.accounting = None
    answers.queue = [Task("tiny-t0", "77", 0, "TIMEOUT", "TimeLimit")]
    assert status_of(run).causes == {"unknown": 1, "time_limit": 1}
    answers.asked.clear()
    status_of(run)
    assert answers.asked == ["squeue"], "whether it was requeued by hand"


def test_what_the_accounting_does_not_know_yet_is_asked_again_and_at_last_unknown(
    run: RunDir, answers: Slurm
) -> None:
    add_start(run, 0, started_unix_s=time.time())
    answers.queue = [Task("tiny-t0", "77", 0, "PENDING", "BeginTime")]
    answers.accounting = [start("RUNNING", 1001.0)]
    for _ in range(2):
        assert status_of(run).causes == {}
    assert answers.asked == ["squeue", "sacct"] * 2
    add_start(run, 1, **LONG_AGO)
    add_start(run, 2, **LONG_AGO)
    assert status_of(run).causes == {"unknown": 3}


def test_an_attempt_at_work_is_not_asked_about(run: RunDir, answers: Slurm) -> None:
    add_start(run, 0)
    answers.queue = [Task("tiny-t0", "77", 0, "RUNNING")]
    status_of(run)
    assert answers.asked == ["squeue"]


def test_a_database_that_is_down_hides_nothing_that_squeue_says(
    run: RunDir, answers: Slurm
) -> None:
    add_start(run, 0, **LONG_AGO)
    answers.queue = [Task("tiny-t0", "77", 0, "PENDING", "Priority")]
    answers.accounting = ExecutionError("`sacct` failed")
    assert status_of(run).state == "queued"
    assert "cause" not in run.history()[0]


@pytest.mark.parametrize("whose", [{"user": "colleague"}, {"cluster": "another"}])
def test_of_the_jobs_of_others_silence_says_nothing(
    whose: dict[str, str], sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, **whose)
    run = sweep.run(sweep.named_runs()[0])
    add_start(run, 0, **LONG_AGO)
    status_of(run)
    assert "cause" not in run.history()[0]


def test_an_id_that_was_given_out_again_belongs_to_the_job_before_the_attempt(
    run: RunDir, answers: Slurm
) -> None:
    again = {"token": "t1", "name": "tiny-t1", "submitted_unix_s": 5000.0}
    add_submission(sweep_of(run), **again)
    add_start(run, 0, **LONG_AGO)
    add_start(run, 0, started_unix_s=5001.0)
    late = Task("tiny-t1", "77", 0, "TIMEOUT", "n2", True, 5001.0, 6000.0)
    answers.accounting = [start("NODE_FAIL", 1001.0, 1100.0), late]
    assert status_of(run).causes == {"node_failure": 1, "time_limit": 1}
