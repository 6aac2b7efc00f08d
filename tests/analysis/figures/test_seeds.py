from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import seeds
from analysis.figures.looks import looks_of
from analysis.figures.style import look
from tests.analysis.figures.frames import PAGE, legend


def make_ends(values: dict[str, list[float]]) -> pd.DataFrame:
    """What analysis.curves.ends gives."""
    rows = [
        {"group": group, "seed": seed, "value": value, "mean": np.mean(its), "n": len(its)}
        for group, its in values.items()
        for seed, value in enumerate(its)
    ]
    return pd.DataFrame(rows).assign(finished=True)


ENDS = make_ends({"resnet18": [70.0, 71.0, 73.0], "resnet50": [72.0, 71.0, 74.0]})


def draw(ends: pd.DataFrame) -> Figure:
    with look(PAGE):
        return seeds.draw(ends, looks_of([*ends["group"].unique()]), PAGE, about="demo")


def test_every_run_is_a_point_in_its_groups_row() -> None:
    [axes] = draw(ENDS).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["resnet18", "resnet50"]
    first, second = axes.lines
    assert list(first.get_xdata()) == [70, 71, 73]
    assert all(-0.5 < y < 0.5 for y in first.get_ydata())
    assert axes.get_xlabel() == "final test top-1 (%)"
    assert [bar.get_segments()[0][0][0] for bar in axes.collections] == pytest.approx(
        [71.333, 72.333], abs=1e-3
    )
    assert first.get_color() != second.get_color()


def test_a_seed_has_the_same_height_in_every_row() -> None:
    ends = ENDS.drop(index=1).reset_index(drop=True)
    first, second = draw(ends).axes[0].lines
    of_first, of_second = first.get_ydata(), second.get_ydata() - 1
    assert list(of_first) == [of_second[0], of_second[2]]
    assert len({*of_second}) == 3


def test_one_run_stands_in_the_middle_without_a_mean() -> None:
    figure = draw(make_ends({"resnet18": [70.0]}))
    assert list(figure.axes[0].lines[0].get_ydata()) == [0]
    assert not figure.axes[0].collections
    assert legend(figure) == ["a run, seed 0"]


def test_runs_whose_seed_is_not_known_are_drawn() -> None:
    ends = make_ends({"resnet18": [70.0, 72.0]}).assign(seed=pd.NA)
    assert list(draw(ends).axes[0].lines[0].get_ydata()) == [0, 0]


def test_an_unfinished_run_is_hollow_and_told() -> None:
    ends = ENDS.assign(finished=[True, False, True, True, True, True])
    assert (seeds.across(ends) == ends["value"]).all()
    figure = draw(ends)
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[71.0]]
    assert legend(figure) == [
        *("a run; seed 0 above, 2 below", "mean of the finished runs"),
        "unfinished: its last epoch",
    ]


def test_an_unfinished_run_far_away_is_an_arrow_with_its_value_and_the_others_stay_apart() -> None:
    values = {"resnet18": [94.0, 94.2, 10.0], "resnet50": [94.4, 33.25, 10.0], "resnet34": [99.5]}
    finished = [True, True, False, True, False, False, False]
    figure = draw(make_ends(values).assign(finished=finished, mean=94.1))
    [axes] = figure.axes
    low, high = axes.get_xlim()
    assert 93.8 < low < 94.0
    assert 94.4 < high < 94.6
    arrows = [
        (line.get_marker(), *line.get_xdata()) for line in axes.lines if line.get_marker() in "<>"
    ]
    assert [arrow for arrow, *_ in arrows] == ["<", "<", ">"]
    assert all(low < x < high for _, *places in arrows for x in places)
    assert [text.get_text() for text in axes.texts] == ["10", "10 to 33.25", "99.5"]
    assert legend(figure)[-1] == "unfinished, beyond the axis: its value"
    assert "unfinished: its last epoch" not in legend(figure)


@pytest.mark.parametrize("finished", [[False, False, False], [True, False, False]])
def test_the_axis_is_that_of_all_runs_where_no_two_finished_ones_differ(finished) -> None:
    ends = make_ends({"resnet18": [94.0, 50.0, 10.0]}).assign(finished=finished)
    assert list(seeds.across(ends)) == [94, 50, 10]
