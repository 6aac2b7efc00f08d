from __future__ import annotations

from pathlib import Path

import pytest

from jobs.causes import Cause
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from launcher.matrix import read_matrix
from launcher.plan import State
from launcher.selected import Selected, select_actions
from launcher.status import status_of_sweeps
from launcher.submit import plan_submission
from tests.launcher.conftest import add_attempt


def selected(only: str | None, *sweeps: SweepDir) -> list[list[str]]:
    statuses = Selected(only)(sweeps, status_of_sweeps(sweeps))
    return [[status.run_id.partition("-")[0] for status in of_sweep] for of_sweep in statuses]


def test_runs_are_selected_by_their_options_and_by_where_they_stand(sweep: SweepDir) -> None:
    run = sweep.run(sweep.named_runs()[1])
    add_attempt(run, cause="code_error", message="")
    assert selected(None, sweep) == [["resnet_small", "sresnet_small"]]
    assert selected("epochs == 2 and state == planned", sweep) == [["resnet_small"]]
    for only in (
        "attempts > 0",
        "cause == code_error",
        "state == failed",
        "top1 == null and epoch == 0 and model_options.stem == auto and not state == planned",
    ):
        assert selected(only, sweep) == [["sresnet_small"]]  # fmt: skip


def test_why_slurm_killed_a_run_is_known_as_well(sweep: SweepDir) -> None:
    run = sweep.run(sweep.named_runs()[0])
    add_attempt(run)
    run.explain(1, Cause.OUT_OF_MEMORY, "SLURM says OUT_OF_MEMORY")
    assert selected("cause == out_of_memory", sweep) == [["resnet_small"]]


def test_a_run_whose_configuration_was_edited_is_still_known_by_its_state(sweep: SweepDir) -> None:
    (sweep.runs()[0].path / "config.json").write_text("{}")
    assert selected("state == failed", sweep) == [["resnet_small"]]
    assert selected("model in [resnet_small, sresnet_small]", sweep) == [["sresnet_small"]]


def test_a_sweep_may_have_none_of_the_runs_but_not_all_sweeps(
    sweep: SweepDir, matrix: Path
) -> None:
    other = plan_submission(
        read_matrix(matrix, ["name=other", "model=resnet18"]), sweep.path.parent
    )
    other.write()
    assert selected("model == resnet18", sweep, other.sweep) == [[], ["resnet18"]]
    with pytest.raises(InputError) as caught:
        selected("model == resnet50 or state == failed", sweep, other.sweep)
    assert str(caught.value) == (
        "--only 'model == resnet50 or state == failed': it selects no run: model is resnet_small, "
        "sresnet_small or resnet18; state is planned"
    )


def test_what_was_selected_stays_selected_when_its_state_changes(sweep: SweepDir) -> None:
    chosen = Selected("state == planned and model == resnet_small")
    (before,) = chosen([sweep], status_of_sweeps([sweep]))
    add_attempt(sweep.run(before[0].run_id))
    (after,) = chosen([sweep], status_of_sweeps([sweep]))
    assert [run.run_id for run in before] == [run.run_id for run in after]
    assert after[0].state is not State.PLANNED


def test_of_a_submission_all_runs_are_planned_and_the_selected_ones_started(
    matrix: Path, tmp_path: Path
) -> None:
    submission = plan_submission(read_matrix(matrix), tmp_path / "runs")
    part = select_actions("model == sresnet_small and state == planned", submission)
    assert [action.run_id.partition("-")[0] for action in part.actions] == ["sresnet_small"]
    assert select_actions(None, submission) is submission
    part.write()
    assert len(part.sweep.runs()) == 2
