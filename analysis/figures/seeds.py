"""The final value of every run, as a point for each seed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.looks import Look, Style
from analysis.figures.style import GREY, Size, explain, head, new_figure
from analysis.metrics import METRICS

# The share of a row's height over which its seeds are spread.
_SPREAD = 0.5


def draw(
    ends: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    *,
    metric: str = "test_top1",
    about: str = "",
) -> Figure:
    """What analysis.curves.ends found: a row per group, a point per run, a line at the mean.

    Each seed has the same height in every row, so that rows can be compared seed by seed.
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
    below = offsets(ends["seed"])
    for row, (group, its) in enumerate(ends.groupby("group", sort=False)):
        _draw_group(axes, row, its.assign(y=row + below[its.index]), looks[group], size)
    marks = _marks(ends, size)
    explain(figure, size, marks, len(marks), beside=False)
    return figure


def offsets(seeds: pd.Series) -> pd.Series:
    """How far below the middle of its row a point is: the seeds one below the other."""
    rank = seeds.rank(method="dense").fillna(1) - 1
    return (rank / max(rank.max(), 1) - 0.5) * _SPREAD * (rank.max() > 0)


def _draw_group(axes: Axes, row: int, its: pd.DataFrame, look: Look, size: Size) -> None:
    for finished, points in its.groupby("finished"):
        style = look.point() | {"zorder": 3} | ({} if finished else _hollow(size))
        label = its["group"].iloc[0] if finished else "_unfinished"
        axes.plot(points["value"], points["y"], label=label, **style)
    if its["n"].iloc[0] > 1:
        ends = (row - _SPREAD * 0.8, row + _SPREAD * 0.8)
        axes.vlines(its["mean"].iloc[0], *ends, color=look.colour, alpha=0.6, zorder=2)


def _hollow(size: Size) -> Style:
    """Large and thin enough to see into a cross too."""
    return {
        "markerfacecolor": "white",
        "markersize": size.marker_pt * 1.5,
        "markeredgewidth": size.line_pt / 2,
    }


def _marks(ends: pd.DataFrame, size: Size) -> list[Artist]:
    point: Style = {"marker": "o", "linestyle": "none", "color": GREY}
    marks: list[Artist] = [Line2D([], [], label=_points(ends["seed"]), **point)]
    if (ends["n"] > 1).any():
        bar = point | {"marker": "|", "markersize": 12}
        marks.append(Line2D([], [], label="mean of the finished runs", **bar))
    if not ends["finished"].all():
        marks.append(Line2D([], [], label="unfinished: its last epoch", **point | _hollow(size)))
    return marks


def _points(seeds: pd.Series) -> str:
    known = sorted(seeds.dropna().unique())
    if len(known) < 2:
        return f"a run{f', seed {known[0]}' if known else ''}"
    return f"a run; seed {known[0]} above, {known[-1]} below"
