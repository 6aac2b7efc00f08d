from __future__ import annotations

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import GREY, SIZES, Width, explain, head, look, new_figure


def make_figure(width: Width, handles: int, title: str = "Test top-1", about: str = "") -> Figure:
    size = SIZES[width]
    with look(size):
        figure = new_figure(size)
        head(figure.add_subplot(), size, title, about)
        explain(figure, size, [Line2D([], [], label=f"network{n}") for n in range(handles)], 1)
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("width", Width)
@pytest.mark.parametrize("handles", [3, 30])
def test_the_legend_is_whole_and_off_the_axes(width: Width, handles: int) -> None:
    figure = make_figure(width, handles)
    box, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert figure.bbox.contains(*box.p0)
    assert figure.bbox.contains(*box.p1)
    assert (box.x0 >= axes.x1) == SIZES[width].legend_beside
    assert (box.y1 <= axes.y0) != SIZES[width].legend_beside
    assert figure.legends[0].get_texts()[-1].get_color() == GREY


def test_a_legend_of_long_names_leaves_the_width_to_the_axes() -> None:
    size = SIZES[Width.page]
    with look(size):
        figure = new_figure(size)
        axes = figure.add_subplot()
        explain(figure, size, [Line2D([], [], label="a network with a name " * 2)])
        figure.draw_without_rendering()
    assert axes.get_window_extent().width > 0.9 * figure.bbox.width


def test_a_column_has_no_title_since_the_paper_has_a_caption() -> None:
    assert make_figure(Width.column, 1).axes[0].get_title("left") == ""


def test_a_long_title_is_wrapped_inside_the_figure() -> None:
    figure = make_figure(Width.page, 1, about=", ".join(f"sweep_{n}" for n in range(30)))
    axes = figure.axes[0]
    title = axes._left_title.get_window_extent()
    assert "\n" in axes.get_title("left")
    assert title.x1 <= figure.bbox.x1
    assert title.y1 <= figure.bbox.y1


def test_a_dollar_sign_in_a_name_is_a_dollar_sign() -> None:
    figure = make_figure(Width.page, 1, about="a$x_{b$")
    assert figure.axes[0].get_title("left") == "Test top-1: a$x_{b$"
    assert not figure.axes[0]._left_title.get_parse_math()


def test_the_settings_hold_only_while_a_figure_is_made() -> None:
    before = matplotlib.rcParams["font.size"]
    with look(SIZES[Width.slide]):
        assert matplotlib.rcParams["font.size"] == 18
    assert matplotlib.rcParams["font.size"] == before
