from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from jobs.causes import Cause
from jobs.config import changed_options
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Progress, Result
from jobs.sweep_dir import SweepDir, sweep_of
from launcher.labels import short_id
from launcher.plan import State
from launcher.slurm import Task
from launcher.status import RunStatus, format_duration, run_status, sweep_status, time_left_s
from tests.launcher.conftest import add_attempt


@pytest.fixture
def run(sweep: SweepDir) -> RunDir:
    return sweep.runs()[0]


def state_of(run: RunDir) -> tuple[State, str]:
    status = run_status(run, queued=set())
    return status.state, status.detail


def add_result(run: RunDir) -> None:
    run.write_result(
        Result(
            run_id=run.run_id, best_test_top1=91.0, best_epoch=1, final_test_top1=90.5,
            final_test_top5=99.0, params=1, macs=1, wall_s=1.0, attempts=3, weights_sha256="",
            time_unix_s=1.0,
        )
    )  # fmt: skip


def test_a_run_at_chance_is_marked_in_the_table_whether_it_runs_or_is_finished(
    sweep: SweepDir, run: RunDir
) -> None:
    add_attempt(run)
    holder = run.take_lease("local", "1", 0)
    progress = Progress(
        attempt=1, epoch=40, epochs=200, step=400, steps=2000, eta_s=1.0, test_top1=10.0,
        time_unix_s=time.time(),
    )  # fmt: skip
    run.write_progress(progress)
    assert state_of(run) == (State.RUNNING, "")
    run.write_progress({**progress, "stuck_at_chance": True})
    assert state_of(run)[1].startswith("stuck at chance")
    run.release_lease(holder)
    add_result(run)
    assert state_of(run) == (State.FINISHED, "")
    result = run.read_result()
    assert result is not None
    run.write_result({**result, "stuck_at_chance": True})
    assert sweep_status(sweep)[0].detail.startswith("stuck at chance")


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


def test_a_new_job_that_ends_before_the_run_begins_is_told_from_the_old_one(run: RunDir) -> None:
    add_attempt(run, cause="stopped", message="SIGTERM after step 5", job_id="77_0")
    newer = Task("tiny-t1", "78", 0, "FAILED")
    assert "before the run began" in run_status(run, set(), newer).detail
    assert run_status(run, set(), Task("tiny-t0", "77", 0, "FAILED")).detail.startswith("SIGTERM")


def test_attempts_since_the_last_progress_are_told_to_the_plan(run: RunDir) -> None:
    add_attempt(run, cause="stopped", first_step=0, last_step=9)
    add_attempt(run, cause="preempted", code="abc")
    status = run_status(run, set())
    assert (status.idle, status.cause, status.code) == (("preempted",), "preempted", "abc")
    add_attempt(run)
    run.take_lease("local", "1", 0)
    assert run_status(run, set()).idle == ("preempted",), "the one at work does not count"


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


def test_a_held_run_is_running_whatever_its_attempts_say(run: RunDir) -> None:
    add_attempt(run, cause="code_error")
    holder = run.take_lease("local", "1", 0)
    assert state_of(run)[0] is State.RUNNING
    run.release_lease(holder)
    assert state_of(run)[0] is State.FAILED


def test_a_result_means_finished_whatever_else_is_there(run: RunDir) -> None:
    add_attempt(run, cause="code_error")
    run.observe("cancelled")
    run.take_lease("local", "1", 0)
    add_result(run)
    status = run_status(run, queued={run.run_id})
    assert (status.state, status.done, status.test_top1) == (State.FINISHED, 1.0, 90.5)
    assert (status.epoch, status.attempts) == (2, 3)


def test_a_cancelled_run_stays_cancelled_until_it_is_released(run: RunDir) -> None:
    add_attempt(run, cause="stopped")
    run.observe("cancelled")
    assert state_of(run)[0] is State.CANCELLED
    run.observe("released")
    assert state_of(run)[0] is State.STOPPED


def test_runs_of_a_living_queue_are_queued_and_those_of_a_dead_one_are_not(sweep: SweepDir) -> None:
    first, second = (run.run_id for run in sweep.runs())
    me = this_process()
    sweep.write_submission(
        {
            "token": "a",
            "executor": "local",
            "user": "me",
            "submitted_unix_s": 1.0,
            "runs": [first],
            **me,
        }
    )
    sweep.write_submission(
        {
            "token": "b",
            "executor": "local",
            "user": "me",
            "submitted_unix_s": 1.0,
            "runs": [second],
            **me,
            "ended_unix_s": 1.0,
        }
    )
    sweep.write_submission(
        {
            "token": "c",
            "executor": "local",
            "user": "me",
            "submitted_unix_s": 1.0,
            "runs": [second],
            **me,
            "start_ticks": 1,
        }
    )
    sweep.write_submission(
        {
            "token": "d",
            "executor": "local",
            "user": "me",
            "submitted_unix_s": 1.0,
            "runs": [second],
            **me,
            "host": "elsewhere",
        }
    )
    states = {status.run_id: status.state for status in sweep_status(sweep)}
    assert states == {first: State.QUEUED, second: State.PLANNED}


def test_progress_is_shown_and_time_left_only_while_it_runs(run: RunDir) -> None:
    add_attempt(run)
    run.write_progress(
        Progress(
            attempt=1, epoch=2, epochs=2, step=3, steps=4, eta_s=10.0, test_top1=50.0,
            time_unix_s=time.time(),
        )
    )  # fmt: skip
    assert run_status(run, set()).eta_s is None
    run.take_lease("local", "1", 0)
    status = run_status(run, set())
    assert (status.epoch, status.done, status.eta_s, status.test_top1) == (2, 0.75, 10.0, 50.0)


def test_an_edited_configuration_is_shown_as_a_failure(run: RunDir) -> None:
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 9'))
    found, said = state_of(run)
    assert found is State.FAILED
    assert "was edited" in said


@pytest.mark.parametrize("name", ["result.json", "progress.json", "attempts/1.json"])
def test_a_damaged_file_is_shown_with_its_run_and_hides_no_other(
    name: str, sweep: SweepDir
) -> None:
    first, second = (sweep.run(run_id) for run_id in sweep.named_runs())
    path = first.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    statuses = sweep_status(sweep)
    assert [status.state for status in statuses] == [State.FAILED, State.PLANNED]
    assert f"{path} is damaged" in statuses[0].detail
    assert second.run_id == statuses[1].run_id


def test_runs_stand_in_the_order_of_the_matrix_and_unnamed_ones_last(sweep: SweepDir) -> None:
    first, second = (run.run_id for run in sweep.runs())
    sweep.add_matrix("changed", [second])
    statuses = sweep_status(sweep)
    assert [(status.run_id, status.named) for status in statuses] == [
        (second, True),
        (first, False),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (90, "2 min"), (9000, "2.5 h"), (2e5, "2.3 d")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


SLURM_TASK = Task("tiny-t1", "77", 0, "RUNNING", expected_unix_s=1.0, node="n3", is_array=False)


def test_a_run_that_gives_no_sign_of_life_though_slurm_says_running_is_suspect(
    run: RunDir,
) -> None:
    add_attempt(run, started_unix_s=time.time() - 4000, executor="slurm", job_id="77")
    progress = Progress(
        attempt=1, epoch=1, epochs=2, step=1, steps=4, eta_s=10.0, test_top1=50.0,
        time_unix_s=time.time() - 720,
    )  # fmt: skip
    run.write_progress(progress)
    status = run_status(run, set(), SLURM_TASK)
    assert (status.state, status.suspect, status.node) == (State.RUNNING, True, "n3")
    assert status.detail == (
        f"no sign of life for 12 min on n3: `launcher logs {short_id(run.run_id)}` shows its last "
        "words; `scontrol requeue 77` starts it again"
    )
    for word in ("SUSPENDED", "COMPLETING", "CONFIGURING"):
        assert not run_status(run, set(), replace(SLURM_TASK, word=word)).suspect
    run.write_progress({**progress, "time_unix_s": time.time() - 200})
    assert not run_status(run, set(), SLURM_TASK).suspect


def test_a_run_that_loads_data_or_compiles_is_suspect_much_later(run: RunDir) -> None:
    add_attempt(run, started_unix_s=time.time() - 1000)
    run.write_progress(
        Progress(
            attempt=1, epoch=0, epochs=2, step=0, steps=4, eta_s=None, test_top1=None,
            time_unix_s=time.time() - 1000,
        )
    )  # fmt: skip
    assert not run_status(run, set(), SLURM_TASK).suspect
    begun = replace(SLURM_TASK, expected_unix_s=time.time() - 2000)
    assert not run_status(run, set(), begun).suspect, "its attempt has begun since"
    other = sweep_of(run).runs()[1]
    late = run_status(other, set(), begun)
    assert late.detail.startswith("it has not begun to train for 33 min on n3: ")


def test_a_heartbeat_may_be_as_rare_as_the_run_asks_for(sweep: SweepDir) -> None:
    config = sweep.runs()[0].read_config().model_copy(update={"progress_every_s": 600.0})
    slow = sweep.run(config.run_id)
    add_attempt(slow, started_unix_s=time.time() - 9000)
    slow.write_progress(
        Progress(
            attempt=1, epoch=1, epochs=2, step=1, steps=4, eta_s=10.0, test_top1=50.0,
            time_unix_s=time.time() - 4000,
        )
    )  # fmt: skip
    assert not run_status(slow, set(), SLURM_TASK, changed_options(config)).suspect
    assert run_status(slow, set(), SLURM_TASK).suspect


def test_a_queued_run_says_why_in_plain_words_and_when_slurm_means_to_start_it(
    run: RunDir,
) -> None:
    start_unix_s = time.time() + 3600
    waiting = replace(SLURM_TASK, word="PENDING", reason="Priority", expected_unix_s=start_unix_s)
    status = run_status(run, set(), waiting)
    assert (status.state, status.reason) == (State.QUEUED, "Priority")
    assert status.detail == "other jobs are before it (Priority)"
    assert (status.expected_start_unix_s, status.job_id) == (start_unix_s, "77")
    far = replace(waiting, expected_unix_s=time.time() + 5e8)
    assert run_status(run, set(), far).expected_start_unix_s is None, "SLURM cannot tell"


def test_a_job_that_completed_without_a_result_is_told_as_such(run: RunDir) -> None:
    add_attempt(run, executor="slurm", job_id="77")
    run.explain(1, Cause.UNKNOWN, "SLURM says COMPLETED")
    assert state_of(run) == (
        State.STOPPED,
        "SLURM says COMPLETED, but there is no result; goes on from its last checkpoint",
    )


def test_what_is_left_of_a_sweep_is_estimated_from_what_its_runs_take() -> None:
    running = [RunStatus(f"r{n}", State.RUNNING, eta_s=3000.0, done=0.5) for n in range(2)]
    finished = [RunStatus(f"f{n}", State.FINISHED, done=1.0, wall_s=6000.0) for n in range(3)]
    queued = [RunStatus(f"q{n}", State.QUEUED) for n in range(4)]
    assert time_left_s([*running, *finished]) == 3000.0
    assert time_left_s([*running, *finished, *queued]) == (2 * 3000 + 4 * 6000) / 2
    assert time_left_s([*finished, *queued]) is None
