from __future__ import annotations

import itertools
import re

import pytest

from analysis.figures.catalogue import Wish
from analysis.load import load_runs
from analysis.report.drawing import Drawing
from analysis.report.figures import draw_all
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_imported, add_run, add_slurm_attempt, name_runs


def said(drawing: Drawing) -> dict[str, list[str]]:
    """What the points say, by the names of their series; an inset repeats some of them."""
    found: dict[str, list[str]] = {}
    for points in drawing.points:
        found.setdefault(points["name"], []).extend(points["said"])
    return found


@pytest.fixture
def drawings(half_finished: SweepDir) -> dict[str, Drawing]:
    drawings, _ = draw_all(load_runs(half_finished), Wish())
    return {drawing.name: drawing for drawing in drawings}


def test_a_point_of_a_curve_says_its_epoch_mean_deviation_and_number_of_runs(drawings) -> None:
    of_curves = said(drawings["curves"])
    assert "epoch 4: 71.00 ± 1.41 (n = 2)" in of_curves["resnet_small, test top-1"]
    assert "epoch 4: 80.50 (n = 1)" in of_curves["sresnet_small, test top-1"]
    assert "epoch 4: 76.00 ± 1.41 (n = 2)" in of_curves["resnet_small, train top-1"]


def test_a_point_of_a_seed_says_it_and_whether_it_is_the_end(drawings) -> None:
    assert said(drawings["seeds"]) == {
        "resnet_small": ["seed 0: 70.00", "seed 1: 72.00"],
        "sresnet_small": ["seed 0: 80.50", "seed 1: 50.00 in epoch 2, unfinished"],
    }


def test_a_seed_far_from_the_finished_ones_can_be_asked_for_its_value(sweep: SweepDir) -> None:
    runs = [add_run(sweep, "resnet_small", seed=seed, final=94 + seed / 10) for seed in range(2)]
    name_runs(sweep, [*runs, add_run(sweep, "resnet_small", seed=2, final=11, epochs_done=1)])
    drawings, _ = draw_all(load_runs(sweep), Wish())
    (of_seeds,) = (said(drawing) for drawing in drawings if drawing.name == "seeds")
    assert of_seeds["resnet_small"][-1] == "seed 2: 10.00 in epoch 1, unfinished"


def test_a_point_of_a_network_says_its_size_in_both_panels(drawings) -> None:
    assert said(drawings["size"])["resnet_small"] == [
        "71.00 ± 1.41 (n = 2)\n175,258 parameters",
        "71.00 ± 1.41 (n = 2)\n26,000,000 multiply-accumulates of an image",
    ]


def test_a_learning_rate_says_where_runs_restarted(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=2)
    run.append_metrics(run.read_metrics()[0] | {"epoch": 3, "attempt": 2, "lr": 0.01})
    name_runs(sweep, [run])
    drawings, _ = draw_all(load_runs(sweep), Wish())
    (learning_rate,) = (drawing for drawing in drawings if drawing.name == "lr")
    (points,) = said(learning_rate).values()
    assert points == ["epoch 1: 0.1", "epoch 2: 0.1", "epoch 3: 0.01, 1 of 1 runs restarted"]


def test_a_learning_rate_names_all_that_have_it(drawings: dict[str, Drawing]) -> None:
    assert [*said(drawings["lr"])] == ["resnet_small; sresnet_small"]


def test_a_bar_says_along_its_whole_length_how_long_it_was_and_why_it_ended(sweep) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=1)
    ended = {"ended_unix_s": 1.7e9 + 7200, "cause": "preempted", "message": ""}
    add_slurm_attempt(run, 1, 0, **ended)
    name_runs(sweep, [run])
    drawings, _ = draw_all(load_runs(sweep), Wish())
    (bars,) = (drawing for drawing in drawings if drawing.name == "timeline")
    (points,) = bars.points
    assert set(points["said"]) == {"attempt 1, stopped and saved: 2 h 00 min (preempted)"}
    across = [x for x, _ in points["at"]]
    assert len(across) > 50
    assert max(b - a for a, b in itertools.pairwise(across)) < 10


def test_every_point_stands_inside_its_figure(drawings: dict[str, Drawing]) -> None:
    for drawing in drawings.values():
        width, height = map(float, re.findall(r"[\d.]+", drawing.svg[: drawing.svg.index(">")])[2:])
        for points in drawing.points:
            assert len(points["at"]) == len(points["said"])
            assert all(0 <= x <= width and 0 <= y <= height for x, y in points["at"])


def test_what_cannot_be_drawn_is_said(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", epochs_done=None)])
    drawings, absent = draw_all(load_runs(sweep), Wish())
    assert drawings == []
    assert "no figure curves: " in absent[0]


def test_a_network_that_a_figure_leaves_out_is_said(half_finished: SweepDir) -> None:
    add_imported(half_finished)
    drawings, [told] = draw_all(load_runs(half_finished), Wish())
    assert "size" in {drawing.name for drawing in drawings}
    assert told.endswith(": resnet50: size not known")


def test_a_baseline_that_is_not_there_is_a_mistake(half_finished: SweepDir) -> None:
    with pytest.raises(InputError, match="did you mean 'resnet_small'"):
        draw_all(load_runs(half_finished), Wish(baseline="resnet_smal"))
