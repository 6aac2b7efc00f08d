from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import look
from jobs.look import SweepLook
from jobs.run_dir import RunDir
from jobs.run_records import Progress, Result
from jobs.sweep_dir import SweepDir, sweep_of
from launcher.fitting import short_id
from launcher.plan import State
from launcher.run_status import RunStatus, run_status
from launcher.slurm import Task
from launcher.status import sweep_status
from tests.jobs.conftest import plan_run
from tests.launcher.conftest import add_attempt, state_of

SLURM_TASK = Task("tiny-t1", "77", 0, "RUNNING", expected_unix_s=1.0, node="n3", is_array=False)


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


def test_attempts_since_the_last_progress_are_told_to_the_plan(run: RunDir) -> None:
    add_attempt(run, cause="stopped", first_step=0, last_step=9)
    add_attempt(run, cause="preempted", code="abc")
    status = run_status(run, set())
    assert (status.idle, status.cause, status.code) == (("preempted",), "preempted", "abc")
    add_attempt(run)
    run.take_lease("local", "1", 0)
    assert run_status(run, set()).idle == ("preempted",), "the one at work does not count"


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


def test_a_heartbeat_may_be_as_rare_as_the_run_asks_for(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_attempt(run, started_unix_s=time.time() - 9000)
    run.write_progress(
        Progress(
            attempt=1, epoch=1, epochs=2, step=1, steps=4, eta_s=10.0, test_top1=50.0,
            time_unix_s=time.time() - 4000,
        )
    )  # fmt: skip
    assert run_status(run, set(), SLURM_TASK).suspect
    monkeypatch.setattr(run, "read_options", lambda: {"progress_every_s": 600.0})
    assert not run_status(run, set(), SLURM_TASK).suspect


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


def test_a_run_that_has_left_a_job_that_goes_on_is_told_by_its_own_end(run: RunDir) -> None:
    """Also where the node's clock is behind, and a job before has ended after its beginning."""
    run.observe("ended", token="t0", word="NODE_FAIL", job_id="76", nodes="", shown=False)
    failed = {"cause": "code_error", "message": "KeyError: 'x'"}
    add_attempt(run, executor="slurm", job_id="77", started_unix_s=time.time() - 20, **failed)
    for word in ("RUNNING", "PENDING"):
        status = run_status(run, set(), replace(SLURM_TASK, word=word))
        assert (status.state, status.detail) == (State.FAILED, "code_error: KeyError: 'x'")
    again = replace(SLURM_TASK, word="PENDING", job_id="78")
    assert run_status(run, set(), again).state is State.QUEUED
    run.take_lease("here", "77", 0)
    assert run_status(run, set(), replace(SLURM_TASK, word="PENDING")).state is State.QUEUED


def test_a_job_that_has_no_id_yet_is_not_one_that_the_run_has_left(run: RunDir) -> None:
    unknown = replace(SLURM_TASK, job_id="", word="PENDING")
    assert run_status(run, set(), unknown).state is State.QUEUED
    add_attempt(run, cause="stopped", executor="slurm", job_id="76")
    assert run_status(run, set(), unknown).state is State.QUEUED


def test_a_run_that_is_trained_elsewhere_than_its_ended_job_is_where_it_is(run: RunDir) -> None:
    add_attempt(run)
    run.take_lease("local", "1", 0)
    status = run_status(run, set(), replace(SLURM_TASK, word="TIMEOUT"))
    assert (status.state, status.node, status.job_id) == (State.RUNNING, "here", "")


# ------------------------------------------------------------------------------- what is remembered

DEEDS: dict[str, Callable[[RunDir], object]] = {
    "stopped": lambda run: add_attempt(run, cause="stopped", executor="slurm", job_id="77"),
    "failed": lambda run: add_attempt(run, cause="code_error", executor="slurm", job_id="77"),
    "cancelled": lambda run: add_attempt(run, cause="cancelled", executor="slurm", job_id="77"),
    "lost its node": lambda run: add_attempt(run, cause="node_failure", node="n3"),
    "finished": add_result,
    "told to stop": lambda run: run.observe("cancelled"),
    "told to go on": lambda run: run.observe("released"),
    "its job ended": lambda run: run.observe(
        "ended", token="t0", word="FAILED", job_id="76", nodes="", shown=False
    ),
}
WORDS = ("PENDING", "REQUEUE_HOLD", "RUNNING", "FAILED", "UNKNOWN")
TASKS = [None, *(replace(SLURM_TASK, word=word, reason="Priority") for word in WORDS)]


def all_statuses(run: RunDir) -> list[RunStatus]:
    """Whatever SLURM, and a launching process, know of the run."""
    return [
        run_status(run, queued, task, "its label")
        for task in TASKS
        for queued in ((), (run.run_id,))
    ]


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(deeds=st.lists(st.sampled_from(sorted(DEEDS)), max_size=5))
def test_what_is_remembered_of_a_run_gives_the_same_status_as_its_files(deeds: list[str]) -> None:
    now_s = time.time() + 1.0
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "SETTLED_AFTER_S", 0.0)
        patch.setattr(look, "WORTH_KEEPING", 1)
        patch.setattr(time, "time", lambda: now_s)
        run = plan_run(Path(folder) / "sweep")
        for deed in deeds:
            DEEDS[deed](run)
        told = all_statuses(run)
        for is_remembered in (False, True):
            sweep = SweepLook(sweep_of(run), "of this code")
            (seen,) = sweep.runs()
            assert seen.is_at_rest is is_remembered
            assert all_statuses(seen) == told
            sweep.keep()
