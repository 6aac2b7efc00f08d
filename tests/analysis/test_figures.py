"""What is drawn: lines, names, limits and colours, not pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import figures
from jobs.errors import InputError

EPOCHS = 60
FINAL = {"plain": 77.0, "worse": 76.0, "better": 78.0}


def make_curves(
    final: dict[str, float] = FINAL, epochs: int = EPOCHS, std: float = 0.5
) -> pd.DataFrame:
    """What stats.curves gives: two metrics of each group, rising to its final value."""
    parts = []
    for group, end in final.items():
        for metric, above in (("test_top1", 0.0), ("train_top1", 20.0)):
            epoch = np.arange(1, epochs + 1)
            mean = end + above - 50 * (1 - epoch / epochs)
            about = {"group": group, "metric": metric, "std": std, "n": 3, "planned": 3}
            parts.append(pd.DataFrame({"epoch": epoch, "mean": mean, "finished": True} | about))
    return pd.concat(parts, ignore_index=True)


def solid_lines(figure: Figure) -> list[Line2D]:
    return [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]


def test_every_network_has_a_solid_test_line_and_a_lighter_dashed_training_line() -> None:
    curves = make_curves()
    figure = figures.draw_training(curves)
    solid = solid_lines(figure)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_label() for line in solid] == list(FINAL)
    for test, train in zip(solid, dashed, strict=True):
        assert test.get_color() == train.get_color()
        assert train.get_alpha() < 1
        assert train.get_linewidth() < test.get_linewidth()
    better = curves.query("group == 'better' and metric == 'test_top1'")
    assert list(solid[2].get_xdata()) == list(better["epoch"])
    assert list(solid[2].get_ydata()) == list(better["mean"])


@pytest.mark.parametrize(("baseline", "black"), [(None, "plain"), ("better", "better")])
def test_the_baseline_is_black_and_no_colour_is_used_twice(
    baseline: str | None, black: str
) -> None:
    lines = solid_lines(figures.draw_training(make_curves(), baseline=baseline))
    colours = {str(line.get_label()): to_hex(line.get_color()) for line in lines}
    assert colours[black] == "#000000"
    assert len(set(colours.values())) == len(FINAL)


def test_an_unknown_baseline_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match="did you mean 'plain'"):
        figures.draw_training(make_curves(), baseline="plane")


def test_more_networks_than_colours_are_told_apart_by_their_marks() -> None:
    many = {f"network{number}": float(number) for number in range(15)}
    lines = solid_lines(figures.draw_training(make_curves(many)))
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(many)


def legend(figure: Figure) -> list[str]:
    found = figure.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_the_legend_reads_as_the_lines_end_from_top_to_bottom() -> None:
    assert legend(figures.draw_training(make_curves())) == [
        *("better", "plain", "worse"),
        *(" ", "test", "training", "± 1 std over runs"),
    ]
    assert legend(figures.draw_last_quarter(make_curves()))[:3] == ["better", "plain", "worse"]


def test_the_legend_says_which_lines_are_not_complete() -> None:
    curves = make_curves()
    curves.loc[curves["group"] == "plain", "n"] = 2
    curves.loc[curves["group"] == "worse", "finished"] = False
    names = legend(figures.draw_training(curves))[:3]
    assert names == ["better", "plain (2 of 3 runs)", "worse (unfinished)"]


def test_the_band_is_one_deviation_wide_and_one_seed_has_none() -> None:
    axes = figures.draw_training(make_curves(std=0.5)).axes[0]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(77.5)
    single = figures.draw_training(make_curves(std=np.nan))
    assert "± 1 std over runs" not in legend(single)


def test_the_zoomed_figure_shows_the_test_curves_of_the_last_quarter() -> None:
    figure = figures.draw_last_quarter(make_curves())
    [axes] = figure.axes
    assert len(axes.lines) == len(FINAL), "training is not drawn"
    assert min(axes.lines[0].get_xdata()) == EPOCHS * 3 // 4
    bottom, top = axes.get_ylim()
    lowest = 76.0 - 50 / 4 - 0.5
    assert lowest - 1.5 < bottom < lowest
    assert 78.5 < top < 80


def test_a_network_that_has_not_come_so_far_is_not_in_the_zoomed_figure() -> None:
    curves = make_curves()
    early = curves[(curves["group"] != "worse") | (curves["epoch"] <= 20)]
    assert "worse" not in legend(figures.draw_last_quarter(early))
    assert "worse" in legend(figures.draw_training(early))


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_short_training_shows_every_epoch(epochs: int) -> None:
    for draw in (figures.draw_training, figures.draw_last_quarter):
        figure = draw(make_curves(epochs=epochs))
        assert {line.get_marker() for line in solid_lines(figure)} == {"o"}
        figure.draw_without_rendering()
        ticks = figure.axes[0].get_xticks()
        assert all(tick == round(tick) for tick in ticks)


def test_axes_and_titles_say_what_is_shown() -> None:
    whole = figures.draw_training(make_curves(), about="demo").axes[0]
    near = figures.draw_last_quarter(make_curves(), about="demo").axes[0]
    assert (whole.get_xlabel(), near.get_xlabel()) == ("Epoch", "Epoch")
    assert whole.get_ylabel() == "Accuracy (top-1, %)"
    assert near.get_ylabel() == "Test accuracy (top-1, %)"
    assert whole.get_title("left") == "Accuracy over training: demo"
    assert near.get_title("left") == "Test accuracy in the last quarter of training: demo"


def test_a_metric_without_a_training_counterpart_is_drawn_alone() -> None:
    curves = make_curves().query("metric == 'test_top1'").assign(metric="test_top5")
    figure = figures.draw_training(curves, metric="test_top5")
    assert len(figure.axes[0].lines) == len(FINAL)
    assert "training" not in legend(figure)


def test_nothing_drawn_leaves_its_figure() -> None:
    figure = figures.draw_training(make_curves({"a_network_with_quite_a_long_name": 70.0}))
    figure.draw_without_rendering()
    found = figure.axes[0].get_legend()
    assert found is not None
    assert found.get_window_extent().x1 <= figure.bbox.x1


def test_the_files_are_written_and_the_data_beside_them(tmp_path: Path) -> None:
    curves = make_curves(epochs=8)
    written = figures.plot_accuracy(curves, tmp_path / "new" / "folder", suffix="_by_lr")
    assert [path.name for path in written] == [
        "accuracy_by_lr.png",
        "accuracy_by_lr.svg",
        "accuracy_by_lr_zoomed.png",
        "accuracy_by_lr_zoomed.svg",
        "accuracy_by_lr.csv",
    ]
    assert all(path.stat().st_size for path in written)
    pd.testing.assert_frame_equal(pd.read_csv(written[-1]), curves)


def test_the_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    curves = make_curves(epochs=8)
    first, second = (figures.plot_accuracy(curves, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert b"<dc:date>" not in first[1].read_bytes()
