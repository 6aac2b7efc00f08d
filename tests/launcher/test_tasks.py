"""Adoption and what SLURM says, with a SLURM that says what the real one cannot be made to."""

from __future__ import annotations

import time

import pytest

from jobs.processes import this_process
from jobs.run_dir import SweepDir
from launcher import slurm
from launcher.slurm import Task
from launcher.status import sweep_status
from launcher.tasks import tasks_of_runs
from tests.launcher.answers import Slurm, add_submission, record_of


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(monkeypatch)


def test_a_job_that_squeue_shows_is_adopted(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep)
    answers.queue = [Task("tiny-t0", "77", 0, "PENDING"), Task("tiny-t0", "77", 1, "PENDING")]
    tasks_of_runs([sweep])
    assert record_of(sweep)["job_id"] == "77"
    assert answers.asked == ["squeue"]
    assert {status.state for status in sweep_status(sweep)} == {"queued"}


def test_a_job_that_only_the_accounting_remembers_is_adopted(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep)
    answers.accounting = [Task("tiny-t0", "77", 0, "FAILED")]
    tasks_of_runs([sweep])
    assert record_of(sweep)["job_id"] == "77"


def test_a_submission_that_never_reached_slurm_is_given_up_after_a_while(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, submitted_unix_s=time.time())
    tasks_of_runs([sweep])
    assert "refused" not in record_of(sweep)
    assert {status.state for status in sweep_status(sweep)} == {"queued"}, "it may yet turn up"
    (path,) = sweep.submissions()
    sweep.write_submission(record_of(sweep) | {"submitted_unix_s": time.time() - 100}, path)
    tasks_of_runs([sweep])
    assert record_of(sweep)["refused"] == "never reached SLURM"
    assert {status.state for status in sweep_status(sweep)} == {"planned"}


def test_a_submission_under_way_is_left_to_its_launcher(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, **this_process())
    tasks_of_runs([sweep])
    assert answers.asked == []
    assert {status.state for status in sweep_status(sweep)} == {"queued"}


def test_one_question_to_squeue_and_one_to_the_accounting_is_enough(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", 0, "RUNNING")]
    answers.accounting = [Task("tiny-t0", "77", 1, "NODE_FAIL", "n1")]
    first, second = sweep_status(sweep)
    assert answers.asked == ["squeue", "sacct"]
    assert (first.state, second.state) == ("running", "stopped")
    assert "NODE_FAIL" in second.detail
    # What has ended is written down, and not asked for again.
    answers.asked.clear()
    answers.accounting = []
    first, second = sweep_status(sweep)
    assert answers.asked == ["squeue"]
    assert (first.state, second.state) == ("running", "stopped")


def test_a_job_that_slurm_has_forgotten_has_ended(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77")
    assert {status.state for status in sweep_status(sweep)} == {"stopped"}


def test_a_job_of_another_cluster_is_not_taken_for_ended(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77", cluster="another")
    statuses = sweep_status(sweep)
    assert {status.state for status in statuses} == {"queued"}
    assert statuses[0].detail == "submitted to cluster another: ask there"


def test_the_job_of_a_colleague_that_is_not_shown_is_not_taken_for_ended(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77", user="colleague")
    assert {status.state for status in sweep_status(sweep)} == {"queued"}
    assert [run.observed() for run in sweep.runs()] == [[], []]


def test_what_nobody_knows_is_not_written_down(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77")
    assert {status.state for status in sweep_status(sweep)} == {"stopped"}
    answers.accounting = [Task("tiny-t0", "77", index, "CANCELLED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"cancelled"}


def test_a_late_word_of_slurm_does_not_undo_a_release(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "CANCELLED") for index in (0, 1)]
    sweep_status(sweep)
    run = sweep.runs()[0]
    run.observe("released")
    run.observe("cancelled", token="t0")
    assert not run.is_cancelled()
    run.observe("cancelled")
    assert run.is_cancelled()


def test_a_job_cancelled_elsewhere_stays_cancelled_when_slurm_has_forgotten_it(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "CANCELLED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"cancelled"}
    answers.queue = []
    assert {status.state for status in sweep_status(sweep)} == {"cancelled"}


def test_the_newest_submission_of_a_run_counts(sweep: SweepDir, answers: Slurm) -> None:
    first, second = sweep.named_runs()
    add_submission(sweep, job_id="77")
    newer = {"token": "t1", "name": "tiny-t1", "submitted_unix_s": 1001.0}
    add_submission(sweep, **newer, runs=[second], job_id="78")
    answers.queue = [
        Task("tiny-t0", "77", 0, "RUNNING"),
        Task("tiny-t0", "77", 1, "CANCELLED"),
        Task("tiny-t1", "78", 0, "PENDING", "Priority", is_array=False),
    ]
    tasks = {path.name: task.id for path, task in tasks_of_runs([sweep]).items()}
    assert tasks == {first: "77_0", second: "78"}
    states = {status.run_id: (status.state, status.detail) for status in sweep_status(sweep)}
    assert states == {first: ("running", ""), second: ("queued", "Priority")}


def test_a_sweep_of_somebody_else_can_be_looked_at(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*anything: object, **facts: object) -> None:
        raise PermissionError

    monkeypatch.setattr("jobs.run_dir.RunDir.observe", refused)
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "COMPLETED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"failed"}


def test_of_two_jobs_of_one_name_the_first_is_kept_and_the_other_cancelled(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(slurm, "scancel", cancelled.extend)
    add_submission(sweep)
    answers.queue = [
        Task("tiny-t0", job_id, index, "PENDING") for job_id in ("100", "99") for index in (0, 1)
    ]
    assert {task.job_id for task in tasks_of_runs([sweep]).values()} == {"99"}
    assert record_of(sweep)["job_id"] == "99"
    assert cancelled == ["100"]
