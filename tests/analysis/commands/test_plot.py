from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.commands import plot
from analysis.figures import catalogue, style
from jobs.sweep_dir import SweepDir
from tests.analysis.commands.conftest import Analysis
from tests.analysis.conftest import EPOCHS, add_imported, add_run, name_runs

# One figure is enough where it does not matter which, and drawing takes its time.
CURVES = ("--figure", "curves", "--format", "svg")


@pytest.fixture(autouse=True)
def in_the_folder_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def add_sweep(name: str, *models: str, **options) -> SweepDir:
    sweep = SweepDir(Path("runs", name))
    name_runs(sweep, [add_run(sweep, model, **options) for model in models])
    return sweep


def test_every_figure_is_written_to_the_sweep_and_the_paths_are_printed(
    analysis: Analysis, half_finished: SweepDir
) -> None:
    ended = analysis("plot", "demo")
    assert ended.status == 0
    paths = [Path(line) for line in ended.out.splitlines()]
    stems = ["curves_test_top1", "size_test_top1", "seeds_test_top1", "lr", "timeline"]
    assert [path.name for path in paths] == [
        f"{stem}.{ending}" for stem in stems for ending in ("png", "svg", "csv")
    ]
    assert {path.parent for path in paths} == {Path("runs/demo/figures")}
    assert all(path.stat().st_size for path in paths)
    assert "missing: sresnet_small seed 1" in ended.err


def test_only_the_wanted_figures_are_written_as_wished(
    analysis: Analysis, half_finished: SweepDir
) -> None:
    wishes = ("--figure", "seeds", "--figure", "curves", "--metric", "test_err1")
    more = ("--x", "step", "--width", "column", "--format", "pdf", "-o", "new/folder")
    ended = analysis("plot", "demo", *wishes, *more)
    assert ended.out.splitlines() == [
        "new/folder/seeds_test_err1_column.pdf",
        "new/folder/seeds_test_err1_column.csv",
        "new/folder/curves_test_err1_over_step_column.pdf",
        "new/folder/curves_test_err1_over_step_column.csv",
    ]


def test_figures_of_several_sweeps_are_written_here(
    analysis: Analysis, half_finished: SweepDir
) -> None:
    add_sweep("other", "bam_resnet_small")
    ended = analysis("plot", "demo", "other", "--by", "sweep", "--metric", "test_loss", *CURVES)
    assert ended.out.splitlines()[0] == "figures/curves_test_loss_by_sweep.svg"
    data = pd.read_csv("figures/curves_test_loss_by_sweep.csv")
    assert {*data["group"]} == {"demo", "other"}


def test_what_the_data_do_not_support_is_said_and_an_error_where_it_is_asked_for(
    analysis: Analysis,
) -> None:
    add_imported(SweepDir("runs/logs"))
    ended = analysis("plot", "logs", "--format", "svg")
    assert ended.status == 0
    assert "no figure lr: no run has recorded its learning rate\n" in ended.err
    assert "runs/logs/figures/curves_test_top1.svg" in ended.out
    asked = analysis("plot", "logs", "--figure", "lr")
    assert (asked.status, asked.out) == (1, "")
    assert asked.err.endswith("error: no run has recorded its learning rate\n")


def test_a_network_that_a_figure_leaves_out_is_said(
    analysis: Analysis, half_finished: SweepDir
) -> None:
    add_imported(half_finished)
    ended = analysis("plot", "demo", "--figure", "size", "--format", "svg")
    assert ": resnet50: size not known\n" in ended.err


def test_nothing_to_draw_is_no_mistake_of_the_person(analysis: Analysis) -> None:
    add_sweep("fresh", "resnet_small", epochs_done=None)
    ended = analysis("plot", "fresh")
    assert ended.status == 1
    assert ended.err.endswith("error: nothing to draw yet: no run has finished an epoch\n")
    assert not Path("runs/fresh/figures").exists()


def test_a_curve_that_is_cut_off_is_said(analysis: Analysis) -> None:
    [short] = add_sweep("one", "resnet_small", epochs=3, epochs_done=3).runs()
    add_sweep("two", "resnet_small", "resnet_small")
    said = (
        f"the curve of resnet_small is cut at epoch 3 of {EPOCHS}, "
        f"where the shortest of its runs end: {short.run_id}\n"
    )
    assert said in analysis("plot", "one", "two", *CURVES).err
    assert "is cut" not in analysis("plot", "one", "two", "--by", "model,epochs", *CURVES).err


def test_finished_runs_of_an_older_matrix_are_drawn_only_on_demand(analysis: Analysis) -> None:
    sweep = SweepDir("runs/two")
    name_runs(sweep, [add_run(sweep, "resnet_small", seed=seed) for seed in range(3)], "the first")
    name_runs(sweep, [add_run(sweep, "resnet_small", epochs=5, epochs_done=5)], "the second")
    data = Path("runs/two/figures/curves_test_top1.csv")
    assert "3 finished runs" in analysis("plot", "two", *CURVES).err
    assert pd.read_csv(data)["epoch"].max() == 5
    analysis("plot", "two", "--all-versions", *CURVES)
    assert {*pd.read_csv(data)["n"]} == {4}


def test_a_title_says_by_what_lines_differ(analysis: Analysis, half_finished: SweepDir) -> None:
    analysis("plot", "demo", "--by", "lr", *CURVES)
    drawn = Path("runs/demo/figures/curves_test_top1_by_lr.svg").read_text()
    assert "demo, digits, by lr" in drawn


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "top1"], "error: 'top1' is not a known metric"),
        (["--baseline", "resnet"], "did you mean 'resnet_small'?"),
        (["--format", "jpg"], "'jpg' is not a known format of figures"),
        (["--figure", "curve"], "Invalid value"),
        (["--width", "poster"], "Invalid value"),
    ],
)
def test_a_mistake_ends_with_2_says_what_is_valid_and_leaves_no_folder(
    analysis: Analysis, half_finished: SweepDir, arguments: list[str], said: str
) -> None:
    ended = analysis("plot", "demo", "-o", "folder", *arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not Path("folder").exists()


def test_the_choices_are_those_that_can_be_drawn() -> None:
    # They stand in the command once more, because asking for help loads no matplotlib.
    assert [*plot.Figure] == [*catalogue.FIGURES, "all"]
    assert [*plot.X] == [*catalogue.X_COLUMNS]
    assert [*plot.Width] == [*style.Width]
