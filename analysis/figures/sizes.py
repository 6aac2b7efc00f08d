"""Accuracy against the size of the networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.looks import Look, Style
from analysis.figures.names import Point, place_names
from analysis.figures.style import GREY, Size, explain, head, new_figure
from analysis.metrics import METRICS

PANELS = {"params": "parameters", "macs": "multiply-accumulates of an image"}
# A range of so many times the smallest is drawn in powers of ten.
LOG_FROM = 20
# The names of more points stand in a legend.
MOST_NAMED = 12
# What a tick such as `1.225 G` takes with the gap beside it, in heights of its letters.
_TICK_EM = 6
# More are counted.
_MOST_TOLD = 10
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))


def draw(
    summary: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    *,
    metric: str = "test_top1",
    about: str = "",
) -> Figure:
    """The final mean of each group in analysis.stats.summarise, with its deviation.

    A panel for parameters and one for multiply-accumulates, where they are known. The names stand
    beside the points, or in a legend where there is no room for that.
    """
    shown = summary[summary["final_mean"].notna()]
    panels = [name for name in PANELS if shown[name].notna().any()]
    figure = new_figure(size, size.height_in * (0.35 + 0.55 * len(panels)))
    # One below the other: names need width.
    grid = figure.subplots(len(panels), 1, sharey=True, squeeze=False)[:, 0]
    label, heading = METRICS[metric].label, METRICS[metric].heading
    head(grid[0], size, f"Final {label} and size", about)
    for axes, column in zip(grid, panels, strict=True):
        axes.set_ylabel(f"final {heading}")
        _draw_points(axes, shown[shown[column].notna()], looks, column, size)
    marks = [_what_bars_say(shown)]
    explain(figure, size, marks, len(marks), beside=False)
    named = len(shown) <= MOST_NAMED and all(
        _name_points(axes, shown[shown[column].notna()], column, size)
        for axes, column in zip(grid, panels, strict=True)
    )
    if not named:
        _name_in_legend(figure, shown, looks, size, marks)
    return figure


def left_out(counts: pd.DataFrame) -> list[str]:
    """A line for all groups of which the same is not drawn for the same reason.

    `counts` are what analysis.stats.sizes found of those with a final mean.
    """
    reasons = {
        "size not known": counts == 0,
        "runs of several sizes in one group": counts > 1,
    }
    return [
        f"not drawn in figure size ({_panels(lacking)}): {_listed([*its.index])}: {reason}"
        for reason, lacks in reasons.items()
        for lacking, its in lacks[lacks.any(axis=1)].groupby([*PANELS], sort=False)
    ]


def _panels(lacking: tuple[bool, ...]) -> str:
    return ", ".join(itertools.compress(PANELS.values(), lacking))


def _listed(groups: Sequence[str]) -> str:
    more = len(groups) - _MOST_TOLD
    return "; ".join(groups[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")


def _draw_points(
    axes: Axes, shown: pd.DataFrame, looks: Mapping[str, Look], column: str, size: Size
) -> None:
    values = shown[column].astype(float)
    unit_size, unit = next(pair for pair in _UNITS if values.max() >= pair[0] or pair[0] == 1)
    axes.set_xlabel(PANELS[column])
    if values.min() > 0 and values.max() / values.min() >= LOG_FROM:
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=int(size.width_in * 72 / (size.font_pt * _TICK_EM)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / unit_size:g} {unit}".strip())
    axes.margins(x=0.2, y=0.2)
    for group in shown.itertuples(index=False):
        axes.errorbar(
            float(getattr(group, column)),
            group.final_mean,
            yerr=None if pd.isna(group.final_std) else group.final_std,
            label=group.group,
            **looks[group.group].point() | {"capsize": 2, "zorder": 3},
        )


def _name_points(axes: Axes, shown: pd.DataFrame, column: str, size: Size) -> bool:
    """Whether there is room for all names; none is written where there is not."""
    std = shown["final_std"].fillna(0)
    columns = (
        *(shown["group"], shown[column].astype(float), shown["final_mean"]),
        *(shown["final_mean"] - std, shown["final_mean"] + std),
    )
    points = [Point(*row) for row in zip(*columns, strict=True)]
    return place_names(axes, points, size.font_pt - 1)


def _name_in_legend(
    figure: Figure,
    shown: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    marks: Sequence[Artist],
) -> None:
    for legend in figure.legends:
        legend.remove()
    for axes in figure.axes:
        for text in [*axes.texts]:
            text.remove()
    names = [
        Line2D([], [], label=group, **looks[group].point())
        for group in shown.sort_values("final_mean", ascending=False)["group"]
    ]
    explain(figure, size, [*names, *marks], len(marks))


def _what_bars_say(shown: pd.DataFrame) -> Artist:
    numbers = sorted({*shown["finished"]})
    many = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    runs = "run" if numbers == [1] else "runs"
    bar: Style = {"marker": "|", "linestyle": "none", "color": GREY, "markersize": 12}
    if shown["final_std"].notna().any():
        return Line2D([], [], label=f"mean ± 1 std over {many} finished {runs} each", **bar)
    point = bar | {"marker": "o", "markersize": None}
    return Line2D([], [], label=f"final value of {many} {runs} each", **point)
