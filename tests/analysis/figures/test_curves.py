"""What is drawn: lines, names, limits and colours, not pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import curves
from analysis.figures.looks import looks_of
from analysis.figures.style import SIZES, Size, Width, look
from tests.analysis.figures.frames import FINAL, PAGE, legend, make_curves


def draw(frame: pd.DataFrame, size: Size = PAGE, baseline: str | None = None, **options) -> Figure:
    with look(size):
        looks = looks_of(list(frame["group"].unique()), "model", baseline)
        return curves.draw(frame, looks, size, **options)


def labelled(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if not str(line.get_label()).startswith("_")]


def inset_of(figure: Figure) -> Axes | None:
    return next(iter(figure.axes[0].child_axes), None)


def test_every_network_has_a_test_line_with_marks_and_a_thin_pale_training_line() -> None:
    frame = make_curves()
    [axes] = draw(frame).axes
    tests = labelled(axes)
    trains = [line for line in axes.lines if line not in tests]
    assert [line.get_label() for line in tests] == list(FINAL)
    for test, train in zip(tests, trains, strict=True):
        assert test.get_color() == train.get_color()
        assert train.get_alpha() < 1
        assert train.get_linewidth() < test.get_linewidth()
        assert train.get_marker() == "" != test.get_marker()
    drawn = frame.query("group == 'resnet50' and metric == 'test_top1'")
    assert list(tests[2].get_xdata()) == list(drawn["epoch"])
    assert list(tests[2].get_ydata()) == list(drawn["mean"])


def test_the_lines_have_the_looks_of_their_networks() -> None:
    [axes] = draw(make_curves(), baseline="resnet34").axes
    looks = looks_of(list(FINAL), baseline="resnet34")
    for line in labelled(axes):
        expected = looks[str(line.get_label())]
        assert to_hex(line.get_color()).upper() == expected.colour
        assert line.get_marker() == expected.marker


def test_the_legend_reads_as_the_lines_end_the_best_on_top() -> None:
    explained = ["mean ± 1 std over 3 seeds", "training"]
    assert legend(draw(make_curves())) == ["resnet50", "resnet18", "resnet34", *explained]
    loss = make_curves(metric="test_loss")
    names = legend(draw(loss, metric="test_loss"))[:3]
    assert names == ["resnet34", "resnet18", "resnet50"]


def test_the_legend_says_which_lines_are_not_complete() -> None:
    frame = make_curves()
    frame.loc[frame["group"] == "resnet18", ["n", "seeds"]] = 2
    frame.loc[frame["group"] == "resnet34", "finished"] = False
    assert legend(draw(frame)) == [
        *("resnet50 (3 seeds)", "resnet18 (2 of 3 seeds)", "resnet34 (unfinished, 3 seeds)"),
        *("mean ± 1 std", "training"),
    ]


def test_the_band_is_one_deviation_wide() -> None:
    band = draw(make_curves(std=0.5)).axes[0].collections[2]
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(77.9)


def test_one_seed_has_no_band_and_says_so() -> None:
    figure = draw(make_curves(seeds=1))
    assert not figure.axes[0].collections
    assert legend(figure)[3:] == ["1 seed each", "training"]


def test_runs_of_one_seed_are_not_called_seeds() -> None:
    frame = make_curves().assign(seeds=1, std=np.nan)
    assert "3 runs each" in legend(draw(frame))


def test_the_inset_shows_the_last_fifth_of_the_test_curves() -> None:
    inset = inset_of(draw(make_curves()))
    assert inset is not None
    assert [line.get_label() for line in inset.lines] == list(FINAL), "training is not drawn"
    left, right = inset.get_xlim()
    assert (left, right) == (49, 60)
    low, high = inset.get_ylim()
    assert 76 < low < 76.5
    assert 77.5 < high < 77.7


def test_the_inset_covers_no_curve() -> None:
    for metric, sign in (("test_top1", 1), ("test_loss", -1)):
        frame = make_curves(metric=metric)
        frame["mean"] *= sign
        figure = draw(frame, metric=metric)
        figure.draw_without_rendering()
        inset = inset_of(figure)
        assert inset is not None
        box = inset.get_window_extent()
        for line in figure.axes[0].lines:
            points = figure.axes[0].transData.transform(line.get_xydata())
            assert not any(box.contains(*point) for point in points)


@pytest.mark.parametrize(
    "frame",
    [
        make_curves({"resnet18": 77.0}),
        make_curves({"resnet18": 77.0, "resnet50": 40.0}),
        make_curves({"resnet18": 77.0, "resnet50": 77.0}, std=0.0).assign(mean=77.0),
        make_curves(epochs=5),
    ],
    ids=["one curve", "curves that end far apart", "equal curves", "a short training"],
)
def test_there_is_no_inset_where_it_would_say_nothing(frame: pd.DataFrame) -> None:
    assert inset_of(draw(frame)) is None


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_short_training_shows_every_epoch(epochs: int) -> None:
    figure = draw(make_curves(epochs=epochs))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert {line.get_markevery() for line in labelled(axes)} == {None}
    assert all(tick == round(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize(
    ("x", "label", "last"),
    [
        ("epoch", "epoch", 60),
        ("step", "step", 600),
        ("gpu_h", "GPU-hours of training and evaluation", 30),
    ],
)
def test_curves_are_drawn_over_what_is_wished(x: str, label: str, last: float) -> None:
    axes = draw(make_curves(), x=x).axes[0]
    assert axes.get_xlabel() == label
    assert labelled(axes)[0].get_xdata()[-1] == last


def test_axes_and_title_say_what_is_shown() -> None:
    axes = draw(make_curves(), about="demo").axes[0]
    assert axes.get_ylabel() == "test top-1 (%)"
    assert axes.get_title("left") == "Test top-1 over training: demo"
    loss = draw(make_curves(metric="test_loss"), metric="test_loss").axes[0]
    assert loss.get_ylabel() == "test loss"


@pytest.mark.parametrize("width", Width)
def test_nothing_leaves_its_figure_and_text_keeps_its_size(width: Width) -> None:
    size = SIZES[width]
    many = {f"a_network_with_quite_a_long_name_{number}": 70.0 + number for number in range(8)}
    figure = draw(make_curves(many), size)
    figure.draw_without_rendering()
    assert figure.get_figwidth() == size.width_in
    [box] = figure.legends
    assert figure.bbox.contains(*box.get_window_extent().p0)
    assert figure.bbox.contains(*box.get_window_extent().p1)
    assert {text.get_fontsize() for text in box.get_texts()} == {size.font_pt}
    axes = figure.axes[0].get_window_extent()
    assert not axes.overlaps(box.get_window_extent())
    assert axes.width > 0.3 * figure.bbox.width
