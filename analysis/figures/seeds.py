"""The final value of every run, as a point for each seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from analysis.figures.looks import Look, Style
from analysis.figures.style import GREY, Size, explain, head, new_figure
from analysis.metrics import METRICS

# The share of a row's height over which its seeds are spread.
_SPREAD = 0.5
# An unfinished run is drawn no further from the finished ones than this share of their range.
_BEYOND = 0.25


def draw(
    ends: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    *,
    metric: str = "test_top1",
    about: str = "",
) -> Figure:
    """What analysis.curves.ends found: a row per group, a point per run, a line at the mean.

    Each seed has the same height in every row, so that rows can be compared seed by seed. The axis
    is that of the finished runs: an unfinished one far from them is an arrow, with its value.
    """
    groups = list(ends["group"].unique())
    figure = new_figure(size, 0.9 * (size.font_pt / 8) + 1.8 * size.row_in * len(groups))
    axes = figure.add_subplot()
    label, heading = METRICS[metric].label, METRICS[metric].heading
    head(axes, size, f"Final {label} of every run", about)
    axes.set_xlabel(f"final {heading}")
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    placed = ends.assign(x=across(ends), y=offsets(ends["seed"]))
    for row, (group, its) in enumerate(placed.groupby("group", sort=False)):
        _draw_group(axes, row, its.assign(y=row + its["y"]), looks[group], size)
    marks = _marks(placed, size)
    explain(figure, size, marks, len(marks), beside=False)
    return figure


def across(ends: pd.DataFrame) -> pd.Series:
    """Where on the axis each run is drawn: at its value, or on that side of all finished ones."""
    finished = ends.loc[ends["finished"], "value"]
    beyond = _BEYOND * (finished.max() - finished.min())
    # Where no two of them differ, none can be hidden by others that are far away.
    if not beyond > 0:
        return ends["value"]
    return ends["value"].clip(finished.min() - beyond, finished.max() + beyond)


def offsets(seeds: pd.Series) -> pd.Series:
    """How far below the middle of its row a point is: the seeds one below the other."""
    rank = seeds.rank(method="dense").fillna(1) - 1
    return (rank / max(rank.max(), 1) - 0.5) * _SPREAD * (rank.max() > 0)


def _draw_group(axes: Axes, row: int, its: pd.DataFrame, look: Look, size: Size) -> None:
    point = look.point() | {"zorder": 3}
    for (finished, side), points in its.groupby(["finished", _side(its)]):
        style = {} if finished else _hollow(size, side)
        label = its["group"].iloc[0] if finished else "_unfinished"
        axes.plot(points["x"], points["y"], label=label, **point | style)
        if side:
            _write_values(axes, points, side, size)
    if its["n"].iloc[0] > 1:
        ends = (row - _SPREAD * 0.8, row + _SPREAD * 0.8)
        axes.vlines(its["mean"].iloc[0], *ends, color=look.colour, alpha=0.6, zorder=2)


def _side(its: pd.DataFrame) -> pd.Series:
    """Where the value is, seen from where it is drawn: -1 to the left, 1 to the right, 0 there."""
    return np.sign(its["value"] - its["x"]).fillna(0)


def _write_values(axes: Axes, points: pd.DataFrame, side: float, size: Size) -> None:
    """Beside the arrows, once for all of a row: its seeds are too close for a line each."""
    values = [f"{value:.4g}" for value in sorted({*points["value"]})]
    axes.annotate(
        values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}",
        (points["x"].iloc[0], points["y"].mean()),
        (-side * size.marker_pt * 1.5, 0),
        textcoords="offset points",
        ha="left" if side < 0 else "right",
        va="center",
        color=GREY,
        fontsize=size.font_pt - 1,
        zorder=2,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _hollow(size: Size, side: float = 0) -> Style:
    """Large and thin enough to see into a cross too; an arrow to a side."""
    marker = {"marker": "<" if side < 0 else ">"} if side else {}
    return {
        "markerfacecolor": "white",
        "markersize": size.marker_pt * 1.5,
        "markeredgewidth": size.line_pt / 2,
    } | marker


def _marks(ends: pd.DataFrame, size: Size) -> list[Artist]:
    point: Style = {"marker": "o", "linestyle": "none", "color": GREY}
    marks: list[Artist] = [Line2D([], [], label=_points(ends["seed"]), **point)]
    if (ends["n"] > 1).any():
        bar = point | {"marker": "|", "markersize": 12}
        marks.append(Line2D([], [], label="mean of the finished runs", **bar))
    sides = {*_side(ends[~ends["finished"]])}
    if 0 in sides:
        marks.append(Line2D([], [], label="unfinished: its last epoch", **point | _hollow(size)))
    if beyond := sides - {0}:
        arrow = point | _hollow(size, min(beyond))
        marks.append(Line2D([], [], label="unfinished, beyond the axis: its value", **arrow))
    return marks


def _points(seeds: pd.Series) -> str:
    known = sorted(seeds.dropna().unique())
    if len(known) < 2:
        return f"a run{f', seed {known[0]}' if known else ''}"
    return f"a run; seed {known[0]} above, {known[-1]} below"
