from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.errors import ExecutionError
from jobs.sweep_dir import SweepDir
from jobs.train_job import StopOnSignal, attempt_run
from launcher.cancel import cancel_sweep
from launcher.matrix import read_matrix
from launcher.plan import State
from launcher.status import sweep_status
from launcher.submit import plan_submission


def test_every_unfinished_run_is_cancelled_and_the_finished_ones_are_not(sweep: SweepDir) -> None:
    first, second = sweep.runs()
    assert attempt_run(first, StopOnSignal()) == "finished"
    said: list[str] = []
    cancel_sweep(sweep, said.append)
    assert said == ["tiny: cancelled 1 run, 0 of them running"]
    states = {status.run_id: status.state for status in sweep_status(sweep)}
    assert states == {first.run_id: State.FINISHED, second.run_id: State.CANCELLED}
    cancel_sweep(sweep, said.append)
    assert said[1:] == ["tiny: cancelled 0 runs: all are finished or cancelled"]


def test_only_the_selected_runs_are_cancelled(sweep: SweepDir) -> None:
    first, second = sweep_status(sweep)
    said: list[str] = []
    cancel_sweep(sweep, said.append, only=[second])
    assert said == ["tiny: cancelled 1 run, 0 of them running"]
    states = {status.run_id: status.state for status in sweep_status(sweep)}
    assert states == {first.run_id: State.PLANNED, second.run_id: State.CANCELLED}


def test_a_run_that_two_sweeps_name_is_cancelled_in_one_of_them(
    sweep: SweepDir, matrix: Path
) -> None:
    other = plan_submission(read_matrix(matrix, ["name=other"]), sweep.path.parent)
    other.write()
    cancel_sweep(sweep, lambda line: None)
    assert {status.state for status in sweep_status(sweep)} == {State.CANCELLED}
    assert {status.state for status in sweep_status(other.sweep)} == {State.PLANNED}


def test_a_run_that_was_cancelled_while_its_job_started_is_not_trained(sweep: SweepDir) -> None:
    run = sweep.runs()[0]
    cancel_sweep(sweep, lambda line: None)
    assert attempt_run(run, StopOnSignal()) == "cancelled"
    assert run.attempts() == []
    assert run.lease() is None


def test_a_run_that_cannot_be_told_is_a_failure(sweep: SweepDir) -> None:
    run = sweep.runs()[0]
    holder = run.take_lease("local", "1", 0) | {"host": "elsewhere"}
    (run.path / "lease").write_text(json.dumps(holder))
    with pytest.raises(ExecutionError, match="runs on elsewhere: cancel it there as well"):
        cancel_sweep(sweep, lambda line: None)
    assert run.is_cancelled()


def test_a_lease_that_outlived_its_process_is_not_signalled(sweep: SweepDir) -> None:
    run = sweep.runs()[0]
    holder = run.take_lease("local", "1", 0) | {"start_ticks": 1}
    Path(run.path / "lease").write_text(json.dumps(holder))
    cancel_sweep(sweep, lambda line: None)
    assert run.is_cancelled()
