"""Names beside points, where they cover neither each other nor a point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from analysis.figures.style import GREY

# Where a name is tried, in the order in which it is liked: beside the point, then above and below,
# then further away on a line.
_DIRECTIONS_DEG = (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)
_DISTANCES_PT = (7, 14, 22, 32, 44, 58)
_LINE_FROM_PT = 14


@dataclass(frozen=True)
class Point:
    """In the units of the axes; `low` and `high` are the ends of its error bar."""

    name: str
    x: float
    y: float
    low: float
    high: float


def place_names(axes: Axes, points: Sequence[Point], font_pt: float) -> bool:
    """Write the names, from the highest point down; the axes must have their final limits.

    False if there is no room for one of them. An error bar is covered only where nothing else is
    left, and no point is.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes are made in a figure"
    figure.draw_without_rendering()  # lays the axes out, so that places are known
    radius_px = font_pt / 2 * figure.dpi / 72
    taken = [_covered(axes, point, point.y, point.y, radius_px) for point in points]
    bars = [_covered(axes, point, point.low, point.high, radius_px / 2) for point in points]
    for point in sorted(points, key=lambda it: (-it.y, it.x, it.name)):
        extent = _place(axes, point, [*taken, *bars], font_pt) or _place(
            axes, point, taken, font_pt
        )
        if extent is None:
            return False
        taken.append(extent)
    return True


def _place(axes: Axes, point: Point, taken: Sequence[Bbox], font_pt: float) -> Bbox | None:
    """Write one name at the nearest free place, and say where; None if there is none."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes are made in a figure"
    for distance_pt, direction_deg in itertools.product(_DISTANCES_PT, _DIRECTIONS_DEG):
        name = _write(axes, point, distance_pt, direction_deg, font_pt)
        extent = name.get_window_extent().padded(figure.dpi / 72)
        if _is_free(extent, taken, axes.get_window_extent()):
            return extent
        name.remove()
    return None


def _write(
    axes: Axes, point: Point, distance_pt: float, direction_deg: float, font_pt: float
) -> Annotation:
    right, up = (round(part(math.radians(direction_deg)), 6) for part in (math.cos, math.sin))
    is_far = distance_pt >= _LINE_FROM_PT
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    return axes.annotate(
        point.name,
        (point.x, point.y),
        (distance_pt * right, distance_pt * up),
        textcoords="offset points",
        fontsize=font_pt,
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="bottom" if up > 0.9 else "top" if up < -0.9 else "center",
        arrowprops=line if is_far else None,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _covered(axes: Axes, point: Point, low: float, high: float, radius_px: float) -> Bbox:
    (x, low), (_, high) = axes.transData.transform([(point.x, low), (point.x, high)])
    return Bbox.from_extents(x - radius_px, low - radius_px, x + radius_px, high + radius_px)


def _is_free(extent: Bbox, taken: Sequence[Bbox], inside: Bbox) -> bool:
    fits = inside.x0 <= extent.x0 and extent.x1 <= inside.x1
    fits = fits and inside.y0 <= extent.y0 and extent.y1 <= inside.y1
    return fits and extent.count_overlaps(taken) == 0
