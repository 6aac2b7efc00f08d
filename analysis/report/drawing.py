"""Matplotlib's figures inside a page, and where in them which value stands."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

_POINTS_PER_INCH = 72  # the unit of matplotlib's SVG
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Series:
    """What belongs together in a figure: values on its axes, and what to say of each."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    said: Sequence[str]
    panel: int = 0  # the number of the axes, in a figure of several


@dataclass(frozen=True)
class Drawing:
    """A figure as markup, with the points that can be asked for their values."""

    name: str
    caption: str
    svg: Markup
    points: list[dict[str, Any]]


def make_drawing(name: str, caption: str, figure: Figure, series: Sequence[Series]) -> Drawing:
    """`series` are what can be asked for, also where an inset shows a part of it from near."""
    svg = _svg(figure, name)
    # Only now, the layout is made, and the axes know where they are.
    points = []
    for one in series:
        axes = figure.axes[one.panel]
        insets = cast(list[Axes], axes.child_axes)
        points.append(_points(figure, axes, insets, one))
        points += [_points(figure, inset, [], one) for inset in insets]
    return Drawing(name, caption, svg, [one for one in points if one["at"]])


def _svg(figure: Figure, name: str) -> Markup:
    """The figure as an element of a page, as wide as there is room."""
    for text in figure.findobj(Text):
        text.set_path_effects([])  # would draw outlines instead; the page has a halo of its own
    file = io.StringIO()
    # Text stays text: it is small, can be searched, and the browser has letters that a font lacks.
    with matplotlib.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    svg = file.getvalue()
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg[svg.index("<svg ") :])
    # Labels are escaped, by matplotlib; the names are made different from those of other figures.
    return Markup(re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg))


def _points(
    figure: Figure, axes: Axes, covered_by: Sequence[Axes], series: Series
) -> dict[str, Any]:
    """The points of the series that can be seen in these axes: where in the SVG, what they say."""
    values = np.column_stack([series.x, series.y]).astype(float)
    at = axes.transData.transform(values)
    seen = _within(axes, at)
    for other in covered_by:
        seen &= ~_within(other, at)
    at *= _POINTS_PER_INCH / figure.dpi
    # The origin of an SVG is at the top.
    at[:, 1] = figure.get_figheight() * _POINTS_PER_INCH - at[:, 1]
    return {
        "name": series.name,
        "at": at[seen].round(1).tolist(),
        "said": [text for text, is_seen in zip(series.said, seen, strict=True) if is_seen],
    }


def _within(axes: Axes, at: np.ndarray) -> np.ndarray:
    """Which points are in the axes' rectangle, or on its edge; a NaN is nowhere."""
    low, high = np.asarray(axes.bbox.min) - 1, np.asarray(axes.bbox.max) + 1
    return np.all((at >= low) & (at <= high), axis=1)
