"""Adoption and what SLURM says, with a SLURM that says what the real one cannot be made to."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.processes import this_process
from jobs.sweep_dir import SweepDir
from launcher import slurm
from launcher.cancel import cancel_sweep
from launcher.matrix import read_matrix
from launcher.slurm import Task
from launcher.status import sweep_status
from launcher.submit import plan_submission
from launcher.tasks import tasks_of_runs
from tests.launcher.answers import Slurm, add_submission, record_of
from tests.launcher.conftest import add_attempt


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(monkeypatch)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that were cancelled."""
    ids: list[str] = []
    monkeypatch.setattr(slurm, "scancel", ids.extend)
    return ids


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
    for ago_s, state in ((100, "queued"), (200, "planned")):
        # Its launcher is gone; the sbatch of that may be waiting for an answer, for two minutes.
        sweep.write_submission(record_of(sweep) | {"submitted_unix_s": time.time() - ago_s}, path)
        assert {status.state for status in sweep_status(sweep)} == {state}
    assert record_of(sweep)["refused"] == "never reached SLURM"


def test_a_submission_from_another_login_node_is_not_made_twice(
    sweep: SweepDir, answers: Slurm
) -> None:
    """Its launcher cannot be looked up: it may be gone, or still trying."""
    add_submission(sweep, host="login1", submitted_unix_s=time.time() - 200)
    (status, _) = sweep_status(sweep)
    assert (status.state, status.detail) == (
        "queued",
        "SLURM does not show it yet; ask again in a minute",
    )
    answers.queue = [Task("tiny-t0", "77", index, "PENDING") for index in (0, 1)]
    assert {status.job_id for status in sweep_status(sweep)} == {"77_0", "77_1"}
    assert record_of(sweep)["job_id"] == "77"


def test_a_record_that_its_launcher_is_changing_is_left_to_it(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One on another host, which may find that SLURM takes only some of the runs."""
    add_submission(sweep, host="login1", submitted_unix_s=time.time() - 1)
    (path,) = sweep.submissions()
    fewer = record_of(sweep) | {"runs": sweep.named_runs()[:1], "job_id": "77"}
    answers.queue = [Task("tiny-t0", "77", 0, "PENDING", is_array=False)]
    asking = answers.asking_squeue

    def change_meanwhile(names: list[str]) -> Any:
        sweep.write_submission(fewer, path)
        return asking(names)

    monkeypatch.setattr(slurm, "asking_squeue", change_meanwhile)
    tasks_of_runs([sweep])
    assert record_of(sweep) == fewer


def test_a_submission_from_another_login_node_is_given_up_after_a_while(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, host="login1", submitted_unix_s=time.time() - 500)
    assert {status.state for status in sweep_status(sweep)} == {"planned"}
    assert record_of(sweep)["refused"] == "never reached SLURM"


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


def test_the_lost_job_of_a_single_run_is_that_of_its_attempt(
    sweep: SweepDir, answers: Slurm
) -> None:
    """It is no array, so its id has no index."""
    run = sweep.runs()[0]
    add_submission(sweep, job_id="77", runs=[run.run_id])
    assert (
        sweep_status(sweep)[0].detail
        == "SLURM has forgotten its job, in which the run did not begin"
    )
    add_attempt(run, executor="slurm", job_id="77", cause="time_limit", message="SIGUSR2")
    assert sweep_status(sweep)[0].detail == "time limit: SIGUSR2"


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
    tasks = {run.run_id: task.id for run, task in tasks_of_runs([sweep]).items()}
    assert tasks == {first: "77_0", second: "78"}
    states = {status.run_id: (status.state, status.detail) for status in sweep_status(sweep)}
    assert states == {
        first: ("running", ""),
        second: ("queued", "other jobs are before it (Priority)"),
    }


def test_a_sweep_of_somebody_else_can_be_looked_at(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*anything: object, **facts: object) -> None:
        raise PermissionError

    monkeypatch.setattr("jobs.run_dir.RunDir.observe", refused)
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "COMPLETED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"failed"}


def test_a_sweep_of_somebody_else_whose_job_has_no_id_yet_can_be_looked_at(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*anything: object) -> None:
        raise PermissionError

    add_submission(sweep, user="colleague")
    monkeypatch.setattr("jobs.sweep_dir.SweepDir.write_submission", refused)
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"running"}


def test_of_two_jobs_of_one_name_the_first_is_kept_and_the_other_cancelled(
    sweep: SweepDir, answers: Slurm, killed: list[str]
) -> None:
    add_submission(sweep)
    answers.queue = [
        Task("tiny-t0", job_id, index, "PENDING") for job_id in ("100", "99") for index in (0, 1)
    ]
    assert {task.job_id for task in tasks_of_runs([sweep]).values()} == {"99"}
    assert record_of(sweep)["job_id"] == "99"
    assert killed == ["100"]


def test_what_squeue_still_shows_as_ended_may_be_requeued_by_hand(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "TIMEOUT") for index in (0, 1)]
    for _ in range(2):
        assert {status.state for status in sweep_status(sweep)} == {"stopped"}
    assert [len(run.observed()) for run in sweep.runs()] == [1, 1], "it is written down once"
    answers.queue[0] = Task("tiny-t0", "77", 0, "PENDING", "BeginTime")
    assert [status.state for status in sweep_status(sweep)] == ["queued", "stopped"]
    # What SLURM has forgotten, nobody can requeue; and the accounting need not be asked.
    answers.queue, answers.asked = [], []
    assert {status.state for status in sweep_status(sweep)} == {"stopped"}
    assert answers.asked == ["squeue"]
    monkeypatch.setattr("launcher.tasks.REMEMBERED_S", 0.0)
    sweep_status(sweep)
    assert answers.asked == ["squeue"]


def test_what_the_accounting_says_that_squeue_has_forgotten_is_final(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77")
    ended = {"started_unix_s": 1001.0, "ended_unix_s": 1100.0}
    answers.accounting = [Task("tiny-t0", "77", i, "TIMEOUT", "n1", **ended) for i in (0, 1)]
    for _ in range(2):
        assert {status.state for status in sweep_status(sweep)} == {"stopped"}
    assert answers.asked == ["squeue", "sacct"]


def test_the_lease_of_a_job_that_slurm_has_ended_is_a_dead_one(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77")
    run = sweep.run(sweep.named_runs()[0])
    holder = run.take_lease("lab", "77_0", 0) | {"host": "elsewhere"}
    (run.path / "lease").write_text(json.dumps(holder))
    ended = {"started_unix_s": 1001.0, "ended_unix_s": 1100.0}
    answers.accounting = [Task("tiny-t0", "77", 0, "NODE_FAIL", "n1", **ended)]
    assert [sweep_status(sweep)[0].state for _ in range(2)] == ["stopped"] * 2
    other = holder | {"job_id": "4711", "cluster": "local"}
    (run.path / "lease").write_text(json.dumps(other))
    assert sweep_status(sweep)[0].state == "running", "trained on another machine since"


def test_a_colleagues_submission_that_is_not_shown_is_not_taken_for_lost(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, user="colleague")
    assert {status.state for status in sweep_status(sweep)} == {"queued"}
    assert "refused" not in record_of(sweep)


# ---- runs that share a job


@pytest.fixture
def pack(matrix: Path, tmp_path: Path) -> SweepDir:
    """Six runs in two jobs, of which the first has four."""
    submission = plan_submission(read_matrix(matrix, ["seeds=3"]), tmp_path / "runs")
    submission.write()
    add_submission(submission.sweep, job_id="77", runs_per_job=4)
    return submission.sweep


def test_runs_that_share_a_job_have_its_task(pack: SweepDir, answers: Slurm) -> None:
    answers.queue = [
        Task("tiny-t0", "77", 0, "RUNNING"),
        Task("tiny-t0", "77", 1, "PENDING", "Priority"),
    ]
    rows = [(status.state, status.detail) for status in sweep_status(pack)]
    assert rows == [("running", "")] * 4 + [("queued", "other jobs are before it (Priority)")] * 2
    (tasks,) = [tasks_of_runs([pack])]
    assert [tasks[pack.run(run_id)].id for run_id in pack.named_runs()] == (
        ["77_0"] * 4 + ["77_1"] * 2
    )


def test_a_run_that_failed_in_a_job_is_not_running_because_others_are(
    pack: SweepDir, answers: Slurm
) -> None:
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING") for index in (0, 1)]
    failed, stopped, cancelled, *_ = (pack.run(run_id) for run_id in pack.named_runs())
    start = {"executor": "slurm", "job_id": "77_0", "restart": 0}
    add_attempt(failed, **start, cause="loss_not_finite", message="at step 3")
    add_attempt(stopped, **start, cause="preempted", message="SIGUSR2 after step 4")
    add_attempt(cancelled, **start, cause="cancelled", message="alone")
    cancelled.observe("cancelled")
    states = [status.state for status in sweep_status(pack)]
    assert states == ["failed", "running", "cancelled", "running", "running", "running"]
    answers.queue[0] = Task("tiny-t0", "77", 0, "PENDING")
    states = [status.state for status in sweep_status(pack)][:4]
    assert states == ["failed", "queued", "cancelled", "queued"]


def test_a_run_whose_data_are_missing_waits_when_its_job_is_started_again_for_others(
    pack: SweepDir, answers: Slurm
) -> None:
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING") for index in (0, 1)]
    start = {"executor": "slurm", "job_id": "77_0", "restart": 0}
    add_attempt(pack.run(pack.named_runs()[0]), **start, cause="data_missing", message="no files")
    status = sweep_status(pack)[0]
    assert (status.state, status.detail) == ("failed", "data_missing: no files")
    answers.queue[0] = Task("tiny-t0", "77", 0, "PENDING")
    assert sweep_status(pack)[0].state == "queued"


def test_a_run_that_was_cancelled_before_its_job_began_is_cancelled_there(
    pack: SweepDir, answers: Slurm
) -> None:
    pack.run(pack.named_runs()[0]).observe("cancelled")
    for word in ("PENDING", "RUNNING"):
        answers.queue = [Task("tiny-t0", "77", index, word) for index in (0, 1)]
        states = [status.state for status in sweep_status(pack)]
        assert states == ["cancelled"] + 5 * ["queued" if word == "PENDING" else "running"]


def test_a_run_that_is_released_while_its_job_goes_on_for_others_can_be_submitted(
    pack: SweepDir, answers: Slurm
) -> None:
    run = pack.run(pack.named_runs()[0])
    start = {"executor": "slurm", "job_id": "77_0", "restart": 0, "ended_unix_s": 1100.0}
    add_attempt(run, **start, cause="cancelled", message="the other runs of its job go on")
    run.observe("released")
    began = {"expected_unix_s": 1050.0}
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING", **began) for index in (0, 1)]
    assert [status.state for status in sweep_status(pack)] == ["stopped"] + 5 * ["running"]
    # The job was started again, and the run with it.
    began = {"expected_unix_s": 1150.0}
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING", **began) for index in (0, 1)]
    assert {status.state for status in sweep_status(pack)} == {"running"}


def test_a_run_that_failed_in_a_job_does_not_keep_it_from_being_cancelled(
    pack: SweepDir, answers: Slurm, killed: list[str]
) -> None:
    start = {"executor": "slurm", "job_id": "77_1", "restart": 0}
    failed, _ = (pack.run(run_id) for run_id in pack.named_runs()[4:])
    add_attempt(failed, **start, cause="code_error", message="ValueError")
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING") for index in (0, 1)]
    cancel_sweep(pack, lambda line: None, only=sweep_status(pack)[5:])
    assert killed == ["77_1"]


def test_a_job_is_cancelled_with_the_last_of_its_runs(
    pack: SweepDir, answers: Slurm, killed: list[str]
) -> None:
    answers.queue = [Task("tiny-t0", "77", index, "RUNNING") for index in (0, 1)]
    rows, said = sweep_status(pack), list[str]()
    cancel_sweep(pack, said.append, only=rows[1:2])
    assert killed == []
    assert said[0].startswith(f"{rows[1].run_id}: the job goes on for other runs")
    cancel_sweep(pack, said.append, only=rows[2:5])
    assert killed == []
    cancel_sweep(pack, said.append, only=rows[5:])
    assert killed == ["77_1"]
    cancel_sweep(pack, said.append, only=rows[:1])
    assert killed == ["77_1", "77_0"]
