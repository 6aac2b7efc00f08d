"""A metric over the training, with the last part of it once more from near."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.figures.looks import Look, Style
from analysis.figures.style import GREY, Size, explain, head, new_figure
from analysis.metrics import METRICS

AXES = {"epoch": "epoch", "step": "step", "gpu_h": "{device}-hours of training and evaluation"}
# A curve of so few epochs shows each of them.
FEW_EPOCHS = 15
MARKS = 7
# The bands of more groups are paler, so that what is behind is seen.
MANY_GROUPS = 8
# The part of the training that the inset shows, and when it says nothing: the ends are so far apart
# in the whole figure, as a share of its height, that they are seen there.
INSET_PART = 0.2
INSET_TELLS_BELOW = 0.2

_TRAIN: Style = {"alpha": 0.4, "marker": "", "zorder": 1.5}


def draw(
    curves: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    *,
    metric: str = "test_top1",
    x: str = "epoch",
    device: str = "GPU",
    about: str = "",
) -> Figure:
    """What analysis.curves.curves found: test as lines with bands, training thin and pale.

    `x` is a key of AXES.
    """
    shown = curves[curves["metric"] == metric]
    train = curves[curves["metric"] != metric]
    figure = new_figure(size)
    axes = figure.add_subplot()
    head(axes, size, f"{METRICS[metric].label.capitalize()} over training", about)
    axes.set_ylabel(METRICS[metric].heading)
    axes.set_xlabel(AXES[x].format(device=device))
    axes.margins(x=0.015)
    if x != "gpu_h":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if curves[x].nunique() == 1:
        axes.set_xlim(curves[x].min() - 1, curves[x].max() + 1)
    for group, curve in train.groupby("group", sort=False):
        thin = looks[group].line() | _TRAIN | {"linewidth": size.line_pt * 0.6}
        axes.plot(curve[x], curve["mean"], **thin)
    _draw_lines(axes, shown, looks, x)
    explain(figure, size, *_legend(shown, looks, METRICS[metric].best == "max", not train.empty))
    _draw_inset(axes, shown, train, looks, size, x)
    return figure


def _draw_lines(axes: Axes, shown: pd.DataFrame, looks: Mapping[str, Look], x: str) -> None:
    groups = shown["group"].nunique()
    opacity = 0.15 * min(1, MANY_GROUPS / max(groups, 1))
    for place, (group, curve) in enumerate(shown.groupby("group", sort=False)):
        line = looks[group].line() | _marks(len(curve), place, groups)
        axes.plot(curve[x], curve["mean"], label=group, zorder=3, **line)
        if curve["std"].notna().any():
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            band = {"color": looks[group].colour, "alpha": opacity, "linewidth": 0, "zorder": 2}
            axes.fill_between(curve[x], low, high, **band)


def _marks(epochs: int, place: int, groups: int) -> Style:
    """Some marks on a long curve, each curve's at other epochs, so that none hides another."""
    if epochs <= FEW_EPOCHS:
        return {}
    step = epochs // MARKS
    return {"markevery": (step * place // groups, step)}


# ---- the legend


def _legend(
    shown: pd.DataFrame, looks: Mapping[str, Look], larger_is_better: bool, with_train: bool
) -> tuple[list[Artist], int]:
    """The names as their lines end, the best on top; then what the marks mean, and how many."""
    ends = shown.groupby("group", sort=False).tail(1)
    ends = ends.sort_values("mean", ascending=not larger_is_better)
    numbers = ends[["n", "seeds"]].drop_duplicates()
    all_alike = (
        len(numbers) == 1 and ends["finished"].all() and (ends["n"] == ends["planned"]).all()
    )
    names: list[Artist] = [
        Line2D([], [], label=end.group if all_alike else _told(end), **looks[end.group].line())
        for end in ends.itertuples(index=False)
    ]
    marks: list[Artist] = []
    if shown["std"].notna().any():
        over = f" over {_number(ends.iloc[0])}" if all_alike else ""
        marks.append(Patch(color=GREY, alpha=0.25, linewidth=0, label=f"mean ± 1 std{over}"))
    elif all_alike:
        each = " each" if len(ends) > 1 else ""
        marks.append(Line2D([], [], linestyle="none", label=_number(ends.iloc[0]) + each))
    if with_train:
        thin = _TRAIN | {"linewidth": 0.8, "alpha": 0.7}
        marks.append(Line2D([], [], color=GREY, label="training", **thin))
    return names + marks, len(marks)


def _told(end: Any) -> str:
    if not end.finished:
        return f"{end.group} (unfinished, {_number(end)})"
    of = "" if end.n == end.planned else f" of {end.planned}"
    return f"{end.group} ({_number(end, of)})"


def _number(end: Any, of: str = "") -> str:
    """Such as `3 seeds`, or `4 runs` where several have one seed."""
    what = "seed" if end.n == end.seeds else "run"
    return f"{end.n}{of} {what}{'' if end.n == 1 and not of else 's'}"


# ---- the inset


def _draw_inset(
    axes: Axes,
    shown: pd.DataFrame,
    train: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    x: str,
) -> None:
    """The end of the test curves from near, where they end together and there is room for it."""
    window = _window(shown, x)
    if window is None:
        return
    (left, right), (low, high) = window
    bottom, top = axes.get_ylim()
    if high - low > INSET_TELLS_BELOW * (top - bottom):
        return
    place = _free_place(axes, pd.concat([shown, train]), x)
    if place is None:
        return
    inset = axes.inset_axes(place)
    _draw_lines(inset, shown[shown[x].between(left, right)], looks, x)
    inset.set_xlim(left, right)
    inset.set_ylim(low, high)
    inset.tick_params(labelsize=size.font_pt - 1.5, length=2)
    inset.xaxis.set_major_locator(MaxNLocator(4, integer=x != "gpu_h", steps=[1, 2, 5, 10]))
    inset.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    inset.spines[["right", "top"]].set_visible(True)
    axes.indicate_inset_zoom(inset, edgecolor=GREY, linewidth=size.line_pt / 2, alpha=0.6)


def _window(shown: pd.DataFrame, x: str) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The limits of the last part of the curves; None where there is nothing to tell apart."""
    last, first = shown[x].max(), shown[x].min()
    near = shown[shown[x] >= last - INSET_PART * (last - first)]
    if near["group"].nunique() < 2 or near["epoch"].nunique() < 3:
        return None
    std = near["std"].fillna(0)
    low, high = (near["mean"] - std).min(), (near["mean"] + std).max()
    if not low < high:
        return None
    air = 0.06 * (high - low)
    return (near[x].min(), last), (low - air, high + air)


def _free_place(
    axes: Axes, drawn: pd.DataFrame, x: str
) -> tuple[float, float, float, float] | None:
    """Left, bottom, width and height, as shares of the axes, of a corner without a curve."""
    corners = [
        (left, bottom, 0.97 - left, height)
        for left in (0.4, 0.5, 0.58)
        for height in (0.5, 0.42, 0.36)
        for bottom in (0.12, 0.97 - height)
    ]
    points = axes.transAxes.inverted().transform(
        axes.transData.transform(drawn[[x, "mean"]].to_numpy(float))
    )
    room = 0.1  # around the inset, for the numbers at its axes
    for left, bottom, width, height in corners:
        inside = (points[:, 0] > left - room) & (points[:, 0] < left + width)
        inside &= (points[:, 1] > bottom - room) & (points[:, 1] < bottom + height + room / 2)
        if not np.any(inside):
            return left, bottom, width, height
    return None
