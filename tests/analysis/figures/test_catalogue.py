from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures import catalogue
from analysis.figures.catalogue import NothingToDrawError, Wish
from analysis.figures.looks import BASELINE_COLOUR, looks_of
from analysis.figures.style import Width
from analysis.load import load_runs
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_imported, add_run, name_runs
from tests.analysis.figures.frames import legend


def test_every_figure_of_a_half_finished_sweep(half_finished: SweepDir) -> None:
    drawn, absent = catalogue.draw_all(load_runs(half_finished), Wish())
    assert [figure.stem for figure in drawn] == [
        *("curves_test_top1", "size_test_top1", "seeds_test_top1", "lr", "timeline"),
    ]
    assert absent == []
    assert all(len(figure.data) for figure in drawn)
    assert "sresnet_small (1 of 3 seeds)" in legend(drawn[0].figure)


def test_imported_runs_have_the_figures_of_what_was_recorded(sweep: SweepDir) -> None:
    add_imported(sweep)
    drawn, absent = catalogue.draw_all(load_runs(sweep), Wish())
    assert [figure.stem for figure in drawn] == ["curves_test_top1", "seeds_test_top1"]
    assert absent == [
        "no figure size: no run has recorded the size of a network",
        "no figure lr: no run has recorded its learning rate",
        "no figure timeline: no attempt at a run has begun",
    ]
    with pytest.raises(NothingToDrawError, match="no run has recorded test top-5"):
        catalogue.draw("curves", load_runs(sweep), Wish(metric="test_top5"))


def test_groups_that_have_no_one_size_are_told(half_finished: SweepDir) -> None:
    add_imported(half_finished)
    loaded = load_runs(half_finished)
    [told] = catalogue.draw("size", loaded, Wish()).left_out
    assert told.endswith(": resnet50: size not known")
    with pytest.raises(NothingToDrawError, match="every group has runs of several sizes"):
        catalogue.draw("size", loaded, Wish(by="sweep"))


def test_an_empty_sweep_has_none(empty_sweep: SweepDir) -> None:
    drawn, absent = catalogue.draw_all(load_runs(empty_sweep), Wish())
    assert drawn == []
    assert len(absent) == len(catalogue.FIGURES)


def test_a_network_looks_alike_in_all_figures(half_finished: SweepDir) -> None:
    drawn, _ = catalogue.draw_all(load_runs(half_finished), Wish(baseline="resnet_small"))
    curves, size, seeds = (figure.figure.axes[0] for figure in drawn[:3])
    [test_line] = [line for line in curves.lines if line.get_label() == "sresnet_small"]
    look = looks_of(["sresnet_small"])["sresnet_small"]
    [finished] = [line for line in seeds.lines if line.get_label() == "sresnet_small"]
    points = [size.containers[1].lines[0], finished]
    for line in [test_line, *points]:
        assert (line.get_color(), line.get_marker()) == (look.colour, look.marker)
    assert seeds.lines[0].get_color() == size.containers[0].lines[0].get_color() == BASELINE_COLOUR


def test_the_names_of_the_files_tell_what_was_wished(half_finished: SweepDir) -> None:
    loaded = load_runs(half_finished)
    wish = Wish(by="model,lr", metric="test_err1", x="gpu_hours", width=Width.slide)
    assert catalogue.draw("curves", loaded, wish).stem == (
        "curves_test_err1_over_gpu_hours_by_model_lr_slide"
    )
    assert catalogue.draw("lr", loaded, wish).stem == "lr_by_model_lr_slide"


def test_hours_on_a_cpu_are_not_called_gpu_hours(half_finished: SweepDir) -> None:
    loaded = load_runs(half_finished)
    wish = Wish(x="gpu_hours")
    on_gpu = catalogue.draw("curves", loaded, wish).figure.axes[0].get_xlabel()
    assert on_gpu == "GPU-hours of training and evaluation"
    loaded.runs["device"] = "cpu"
    on_cpu = catalogue.draw("curves", loaded, wish).figure.axes[0].get_xlabel()
    assert on_cpu == "CPU-task-hours of training and evaluation"


def test_an_error_is_drawn_as_what_an_accuracy_lacks(half_finished: SweepDir) -> None:
    loaded = load_runs(half_finished)
    seeds = catalogue.draw("seeds", loaded, Wish(metric="test_err1"))
    assert seeds.data.query("group == 'resnet_small'")["value"].tolist() == [30.0, 28.0]
    assert seeds.figure.axes[0].get_xlabel() == "final test top-1 error (%)"


def test_the_timeline_folds_more_runs_than_it_has_rows_for(sweep: SweepDir) -> None:
    models = ["resnet_small", "sresnet_small"]
    runs = [
        add_run(sweep, model, seed=seed, epochs=1, epochs_done=1)
        for model in models
        for seed in range(21)
    ]
    name_runs(sweep, runs)
    loaded = load_runs(sweep)
    folded = catalogue.draw("timeline", loaded, Wish())
    assert len(folded.figure.axes[0].get_yticks()) == 2
    by_seed = catalogue.draw("timeline", loaded, Wish(by="seed"))
    assert pd.unique(by_seed.data["group"]).tolist() == ["all runs"]


@pytest.mark.parametrize(
    ("name", "wish", "said"),
    [
        ("curve", Wish(), "did you mean 'curves'"),
        ("curves", Wish(metric="top1"), "not a known metric"),
        ("timeline", Wish(baseline="resnet"), "did you mean 'resnet_small'"),
        ("curves", Wish(by="modle"), "did you mean 'model'"),
    ],
)
def test_unknown_names_are_answered(
    half_finished: SweepDir, name: str, wish: Wish, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        catalogue.draw(name, load_runs(half_finished), wish)
