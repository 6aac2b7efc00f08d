from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from analysis.report.drawing import Series, make_drawing

SERIES = Series("plain", [1, 2, 3], [10.0, 30.0, 20.0], ["first", "second", "third"])


@pytest.fixture
def figure() -> Figure:
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(SERIES.x, SERIES.y, label=SERIES.name)
    axes.set_ylabel("test top-1 (%)")
    return figure


def path_of_line(svg: str) -> list[list[float]]:
    """Where matplotlib has drawn the one line that has three points in this colour."""
    (path,) = re.findall(r'<path d="([^"]*)" [^>]*stroke: #1f77b4', svg)
    return [[float(number) for number in point] for point in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_points_are_where_the_line_is_drawn(figure: Figure) -> None:
    drawing = make_drawing("curves", "", figure, [SERIES])
    (points,) = drawing.points
    assert points["name"] == "plain"
    assert points["said"] == ["first", "second", "third"]
    for at, drawn in zip(points["at"], path_of_line(drawing.svg), strict=True):
        assert at == pytest.approx(drawn, abs=0.06)


def test_points_are_where_the_line_is_drawn_at_any_resolution_and_scale(figure: Figure) -> None:
    figure.set_dpi(200)
    figure.axes[0].set_xscale("log")
    drawing = make_drawing("curves", "", figure, [SERIES])
    for at, drawn in zip(drawing.points[0]["at"], path_of_line(drawing.svg), strict=True):
        assert at == pytest.approx(drawn, abs=0.06)


def test_points_that_are_not_to_be_seen_say_nothing(figure: Figure) -> None:
    figure.axes[0].set_xlim(1.5, 3)
    lost = Series("lost", [1, 2], [float("nan"), 1e6], ["never", "trained"])
    drawing = make_drawing("curves", "", figure, [SERIES, lost])
    assert [points["said"] for points in drawing.points] == [["second", "third"]]


def test_an_inset_answers_for_itself_and_hides_what_is_below_it(figure: Figure) -> None:
    inset = figure.axes[0].inset_axes((0.4, 0.6, 0.5, 0.4))
    inset.set(xlim=(2.5, 3.5), ylim=(15, 25))
    drawing = make_drawing("curves", "", figure, [SERIES])
    assert [points["said"] for points in drawing.points] == [["first", "third"], ["third"]]


def test_the_svg_is_an_element_that_fills_its_place(figure: Figure) -> None:
    svg = make_drawing("curves", "", figure, [SERIES]).svg
    assert svg.startswith('<svg viewBox="0 0 288 216">')
    # HTML knows this prefix without a declaration, XML does not.
    ElementTree.fromstring(str(svg).replace("xlink:", ""))
    assert "test top-1 (%)" in svg
    assert "DOCTYPE" not in svg


def test_two_figures_in_a_page_share_no_names(figure: Figure) -> None:
    ids = [
        set(re.findall(r'\bid="([^"]*)"', make_drawing(name, "", figure, []).svg))
        for name in ("curves", "loss")
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_every_name_that_a_figure_uses_is_there(figure: Figure) -> None:
    svg = make_drawing("curves", "", figure, [SERIES]).svg
    used = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
    assert used
    assert set(used) <= set(re.findall(r'\bid="([^"]*)"', svg))


def test_a_label_is_text_whatever_it_holds(figure: Figure) -> None:
    figure.axes[0].set_title("<script>alert(1)</script> 注意 力")
    svg = make_drawing("curves", "", figure, []).svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 注意 力" in svg
