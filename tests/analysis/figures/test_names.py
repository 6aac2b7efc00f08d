from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from analysis.figures.names import Point, place_names
from analysis.figures.style import look, new_figure
from tests.analysis.figures.frames import PAGE


def make_axes() -> Axes:
    with look(PAGE):
        axes = new_figure(PAGE).add_subplot()
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 10)
    return axes


def write(axes: Axes, points: list[Point]) -> bool:
    with look(PAGE):
        return place_names(axes, points, PAGE.font_pt)


def test_a_name_stands_to_the_right_of_its_point_without_a_line() -> None:
    axes = make_axes()
    assert write(axes, [Point("resnet18", 5, 5, 4, 6)])
    [name] = axes.texts
    x, y = axes.transData.transform((5, 5))
    assert name.get_window_extent().x0 > x
    assert name.get_window_extent().y0 < y < name.get_window_extent().y1
    assert name.arrow_patch is None


def test_at_the_right_edge_a_name_stands_to_the_left() -> None:
    axes = make_axes()
    assert write(axes, [Point("resnet18", 9.8, 5, 5, 5)])
    x, _ = axes.transData.transform((9.8, 5))
    assert axes.texts[0].get_window_extent().x1 < x


def test_names_that_have_no_room_are_told() -> None:
    crowd = [Point(f"a_rather_long_name_{n}", 5, 5 + n / 100, 5, 5) for n in range(80)]
    assert not write(make_axes(), crowd)


place = st.floats(1, 9)


@settings(max_examples=15)
@given(st.lists(st.tuples(place, place), min_size=1, max_size=5))
def test_placed_names_cover_neither_each_other_nor_a_point(places: list[tuple[float, float]]):
    axes = make_axes()
    points = [Point(f"net{n}", x, y, y - 0.5, y + 0.5) for n, (x, y) in enumerate(places)]
    if write(axes, points):
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == len(points)
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)
        for point in axes.transData.transform(places):
            assert not any(box.contains(*point) for box in boxes)
