from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from jobs import look, run_dir
from jobs.processes import this_process
from jobs.sweep_dir import SweepDir
from launcher.plan import State
from launcher.run_status import RunStatus
from launcher.status import (
    list_runs,
    look_at,
    status_from,
    status_of_sweeps,
    sweep_status,
    time_left_s,
)


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


def test_what_is_left_of_a_sweep_is_estimated_from_what_its_runs_take() -> None:
    running = [RunStatus(f"r{n}", State.RUNNING, eta_s=3000.0, done=0.5) for n in range(2)]
    finished = [RunStatus(f"f{n}", State.FINISHED, done=1.0, wall_s=6000.0) for n in range(3)]
    queued = [RunStatus(f"q{n}", State.QUEUED) for n in range(4)]
    assert time_left_s([*running, *finished]) == 3000.0
    assert time_left_s([*running, *finished, *queued]) == (2 * 3000 + 4 * 6000) / 2
    assert time_left_s([*finished, *queued]) is None


# ------------------------------------------------------------------------------- what is remembered


def take_a_look(sweep: SweepDir) -> list[RunStatus]:
    """As `launcher status` does, long after all that has happened to the runs."""
    for run in sweep.runs():
        os.utime(run.path, (1e9, 1e9))
    return status_of_sweeps([sweep], remembers=True)[0]


@pytest.fixture
def _few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WORTH_KEEPING", 1)


@pytest.mark.usefixtures("_few_are_kept")
def test_the_next_look_at_runs_at_rest_reads_none_of_their_files(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = take_a_look(sweep)
    for name in ("read_json", "read_record", "read_records", "numbers_in"):
        monkeypatch.delattr(run_dir, name)
    assert take_a_look(sweep) == before
    assert {status.label for status in before} == {"resnet_small s0", "sresnet_small s0"}


@pytest.fixture
def on_gpus(sweep: SweepDir) -> Callable[[int], None]:
    """Plan the first run on so many GPUs, which changes no result and not its name."""
    run, other = (run.read_config() for run in sweep.runs())

    def plan(gpus: int) -> None:
        config = run.model_copy(update={"bn": "sync", "gpus": gpus})
        configs = {each.run_id: each for each in (config, other)}
        sweep.write_configs(configs, {})
        sweep.add_matrix(f"on {gpus} GPUs", configs)

    return plan


@pytest.mark.usefixtures("_few_are_kept")
@pytest.mark.parametrize("is_first", [False, True], ids=["a newer matrix", "in a new folder"])
def test_labels_are_told_anew_when_the_matrix_is_another_one(
    sweep: SweepDir, on_gpus: Callable[[int], None], is_first: bool
) -> None:
    labels = []
    for gpus in (2, 4):
        if is_first:
            shutil.rmtree(sweep.path / "matrices")
        on_gpus(gpus)
        labels.append(take_a_look(sweep)[0].label)
    assert labels == [f"resnet_small gpus={gpus} bn=sync s0" for gpus in (2, 4)]


@pytest.mark.usefixtures("_few_are_kept")
def test_a_look_that_lasts_sees_what_a_newer_matrix_says(
    sweep: SweepDir, on_gpus: Callable[[int], None]
) -> None:
    lasting = look_at(sweep, remembers=True)
    for gpus in (2, 4):
        on_gpus(gpus)
        lasting.look_again()
        [found] = status_from([list_runs(lasting)], {})
        assert (found[0].gpus, found[0].label) == (gpus, f"resnet_small gpus={gpus} bn=sync s0")


@pytest.mark.usefixtures("_few_are_kept")
def test_a_damaged_run_has_its_label_when_it_is_mended(sweep: SweepDir) -> None:
    config = sweep.runs()[0].path / "config.json"
    text = config.read_text()
    config.write_text("{")
    for _ in range(2):
        labels = [status.label for status in take_a_look(sweep)]
        assert labels == [config.parent.name, "sresnet_small s0"]
    config.write_text(text)
    assert take_a_look(sweep)[0].label == "resnet_small s0"
