"""When the runs of a sweep waited in the queue and trained, and how their attempts ended."""

from __future__ import annotations

import time

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.looks import Style
from analysis.figures.style import Size, explain, head, new_figure
from analysis.timeline import OUTCOMES, STOPPED, WAITING

# Shades differ in grey too, and what went wrong is hatched.
FILLS: dict[str, Style] = {
    WAITING: {"facecolor": "#D9D9D9", "edgecolor": "white"},
    "finished": {"facecolor": "#009E73", "edgecolor": "white"},
    "going on": {"facecolor": "#56B4E9", "edgecolor": "white"},
    STOPPED: {"facecolor": "#E69F00", "edgecolor": "white"},
    "killed": {"facecolor": "#CC79A7", "edgecolor": "white", "hatch": "////"},
    "cancelled": {"facecolor": "#7A7A7A", "edgecolor": "white", "hatch": "...."},
    "failed": {"facecolor": "#8C2D04", "edgecolor": "white", "hatch": "xxxx"},
}
_BAR = 0.72  # of a row's height


def draw_bars(bars: pd.DataFrame, size: Size, *, about: str = "") -> Figure:
    """What analysis.timeline.bars found: a row per run."""
    names = list(bars["name"].unique())
    figure, axes = _empty(bars, size, len(names), about)
    for row, (_, its) in enumerate(bars.groupby("name", sort=False)):
        for bar in its.itertuples(index=False):
            span = [(bar.begin_h, bar.end_h - bar.begin_h)]
            axes.broken_barh(span, (row - _BAR / 2, _BAR), linewidth=0.4, **FILLS[bar.kind])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    explain(figure, size, _legend(bars), beside=False)
    return figure


def draw_counts(bars: pd.DataFrame, counts: pd.DataFrame, size: Size, *, about: str = "") -> Figure:
    """What analysis.timeline.counts found: a row per group, as high as runs waited or trained.

    `bars` are what was counted.
    """
    groups = list(counts["group"].unique())
    figure, axes = _empty(bars, size, 2 * len(groups), about)
    most = counts.groupby(["group", "begin_h"])["runs"].sum().groupby("group").max()
    for row, (_, its) in enumerate(counts.groupby("group", sort=False)):
        # The rows have one scale, so that the group with the most runs is the highest.
        table = its.pivot(index="begin_h", columns="kind", values="runs") / most.max() * 0.9
        table = table.reindex(columns=[kind for kind in FILLS if kind in table])
        upper = row + 0.45 - table.cumsum(axis="columns")
        for kind in table:
            lower = upper[kind] + table[kind]
            edges = [*table.index, its["end_h"].max()]
            axes.stairs(upper[kind], edges, baseline=lower, fill=True, linewidth=0, **FILLS[kind])
    axes.set_yticks(
        range(len(groups)), [f"{group}\nup to {_runs(most[group])}" for group in groups]
    )
    axes.set_ylim(len(groups) - 0.4, -0.6)
    explain(figure, size, _legend(bars), beside=False)
    return figure


def _runs(number: float) -> str:
    return f"{number:.0f} run{'' if round(number) == 1 else 's'}"


def _empty(bars: pd.DataFrame, size: Size, rows: int, about: str) -> tuple[Figure, Axes]:
    figure = new_figure(size, 1.0 * (size.font_pt / 8) + size.row_in * max(rows, 3))
    axes = figure.add_subplot()
    head(axes, size, "Waiting and training", about)
    origin = time.strftime("%Y-%m-%d %H:%M", time.gmtime(bars["origin_unix_s"].iloc[0]))
    # Beside the names of runs, a column has no room for it in one line.
    axes.set_xlabel(f"hours since{' ' if size.legend_beside else chr(10)}{origin} UTC")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(bars["end_h"].max(), 1e-3) * 1.01)
    return figure, axes


def _legend(bars: pd.DataFrame) -> list[Artist]:
    kinds = [kind for kind in (WAITING, *OUTCOMES) if kind in {*bars["kind"]}]
    return [Patch(label=kind, **FILLS[kind]) for kind in kinds]
