from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from analysis.figures import sizes
from analysis.figures.looks import looks_of
from analysis.figures.style import SIZES, Width, look
from tests.analysis.figures.frames import PAGE, legend

NAMES = ["preact_resnet50", "bam_preact_resnet50", "sresnet50", "sresnet50_skips"]


def make_summary(groups: list[str] = NAMES, std: float = 0.3, seeds: int = 3) -> pd.DataFrame:
    """What analysis.stats.summarise gives of networks whose sizes are nearly the same."""
    place = np.arange(len(groups))
    return pd.DataFrame(
        {
            "group": groups,
            "params": pd.array(23_693_476 + 50_000 * place, dtype="Int64"),
            "macs": pd.array(1_298_000_000 + 9_000_000 * (place % 2), dtype="Int64"),
            "final_mean": 75 + 0.2 * place,
            "final_std": std,
            "finished": seeds,
            "planned": seeds,
        }
    )


def draw(summary: pd.DataFrame, **options) -> Figure:
    with look(PAGE):
        return sizes.draw(summary, looks_of(list(summary["group"])), PAGE, **options)


def points(axes: Axes) -> dict[str, tuple[float, float]]:
    return {box.get_label(): tuple(box.lines[0].get_xydata()[0]) for box in axes.containers}


def test_each_network_is_a_point_at_its_size_and_final_mean() -> None:
    params, macs = draw(make_summary()).axes
    assert points(params)["sresnet50"] == (23_793_476, 75.4)
    assert points(macs)["bam_preact_resnet50"] == (1_307_000_000, 75.2)
    assert (params.get_xlabel(), macs.get_xlabel()) == (
        *("parameters", "multiply-accumulates of an image"),
    )
    assert params.get_ylabel() == "final test top-1 (%)"
    figure = draw(make_summary())
    figure.draw_without_rendering()
    assert any(tick.get_text() == "23.7 M" for tick in figure.axes[0].get_xticklabels())


def test_the_bar_is_one_deviation_and_a_single_run_has_none() -> None:
    [bar] = draw(make_summary()).axes[0].containers[0].lines[2]
    assert list(bar.get_segments()[0][:, 1]) == pytest.approx([74.7, 75.3])
    single = draw(make_summary(std=np.nan, seeds=1))
    assert single.axes[0].containers[0].lines[2] == ()
    assert legend(single) == ["final value of 1 run each"]
    assert legend(draw(make_summary())) == ["mean ± 1 std over 3 finished runs each"]


def test_names_stand_beside_the_points_and_cover_neither_each_other_nor_a_point() -> None:
    figure = draw(make_summary())
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert {text.get_text() for text in axes.texts} == {*NAMES}
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        for x, y in axes.transData.transform(list(points(axes).values())):
            assert not any(Bbox.contains(box, x, y) for box in boxes)


def test_many_names_stand_in_a_legend() -> None:
    many = [f"network{number}" for number in range(20)]
    figure = draw(make_summary(many))
    assert not any(axes.texts for axes in figure.axes)
    assert legend(figure)[:-1] == many[::-1], "the best on top"


def test_what_is_not_known_is_left_out() -> None:
    summary = make_summary()
    summary["macs"] = pd.NA
    summary.loc[0, "final_mean"] = np.nan
    summary.loc[1, "params"] = pd.NA
    [params] = draw(summary).axes
    assert list(points(params)) == NAMES[2:]


def test_who_is_left_out_is_told_with_the_panels_and_the_reason() -> None:
    counts = pd.DataFrame(
        {"params": [1, 0, 1, 0, 2], "macs": [1, 0, 0, 0, 3]}, index=["a", "b", "c", "d", "e"]
    )
    both = "parameters, multiply-accumulates of an image"
    assert sizes.left_out(counts) == [
        f"not drawn in figure size ({both}): b; d: size not known",
        "not drawn in figure size (multiply-accumulates of an image): c: size not known",
        f"not drawn in figure size ({both}): e: runs of several sizes in one group",
    ]
    many = pd.DataFrame({"params": 0, "macs": 0}, index=[f"network{n}" for n in range(12)])
    assert "; network9 and 2 more: size not known" in sizes.left_out(many)[0]


def test_sizes_far_apart_are_drawn_in_powers_of_ten() -> None:
    summary = make_summary()
    assert draw(summary).axes[0].get_xscale() == "linear"
    summary.loc[0, "params"] = 129_000
    assert draw(summary).axes[0].get_xscale() == "log"


@pytest.mark.parametrize("width", Width)
def test_the_ticks_below_an_axis_do_not_run_into_each_other(width: Width) -> None:
    summary = make_summary()
    summary["macs"] = pd.array([1_298_000_000] * len(summary), dtype="Int64")
    with look(SIZES[width]):
        figure = sizes.draw(summary, looks_of(NAMES), SIZES[width])
        figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
