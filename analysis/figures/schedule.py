"""The learning rate over the training, and where attempts at a run began anew."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from analysis.curves import NAMES_APART
from analysis.figures.looks import BASELINE_COLOUR, COLOURS, DASHES, Look, Style
from analysis.figures.style import GREY, Size, explain, head, new_figure

# A schedule of so few different learning rates goes down in steps, best seen in powers of ten.
FEW_RATES = 10
# So many names are told for one line.
MOST_NAMES = 3


def draw(
    schedules: pd.DataFrame, looks: Mapping[str, Look], size: Size, *, about: str = ""
) -> Figure:
    """What analysis.curves.schedules found: a line per schedule, a triangle at each restart.

    A schedule of one group has its colour.
    """
    figure = new_figure(size)
    axes = figure.add_subplot()
    head(axes, size, "Learning rate over training", about)
    axes.set_xlabel("epoch")
    axes.set_ylabel("learning rate at the end of the epoch")
    axes.margins(x=0.015)
    if schedules["lr"].min() > 0 and 1 < schedules["lr"].nunique() <= FEW_RATES:
        _in_powers_of_ten(axes, schedules["lr"])
    handles: list[Artist] = []
    for number, (groups, its) in enumerate(schedules.groupby(["schedule", "groups"], sort=False)):
        line = _line(number, groups[1], looks)
        [drawn] = axes.plot(its["epoch"], its["lr"], label=_label(its), **line, zorder=2)
        handles.append(drawn)
        begins = its[its["restarts"] > 0]
        mark: Style = {
            "marker": 6,
            "linestyle": "none",
            "markersize": size.marker_pt * 1.5,
            "zorder": 3,
        }
        axes.plot(begins["epoch"], begins["lr"], color=line["color"], label="_restarts", **mark)
    restarts = int(schedules["restarts"].sum())
    if restarts:
        told = f"{restarts} restart{'s' if restarts > 1 else ''} of runs"
        handles.append(Line2D([], [], color=GREY, marker=6, linestyle="none", label=told))
    explain(figure, size, handles, int(restarts > 0))
    return figure


def _in_powers_of_ten(axes: Axes, rates: pd.Series) -> None:
    """With ticks as a matrix spells them: matplotlib's own need its mathematical text."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_as_spelt)
    # Within one power of ten, the ticks between are all there is.
    is_narrow = rates.max() < 10 * rates.min()
    axes.yaxis.set_minor_formatter(_as_spelt if is_narrow else NullFormatter())


def _as_spelt(rate: float, _: float) -> str:
    return f"{rate:g}"


def _line(number: int, groups: str, looks: Mapping[str, Look]) -> Style:
    if groups in looks:
        return looks[groups].line() | {"marker": ""}
    colours = (BASELINE_COLOUR, *COLOURS)
    dash = DASHES[number // len(colours) % len(DASHES)]
    return {"color": colours[number % len(colours)], "linestyle": dash}


def _label(schedule: pd.DataFrame) -> str:
    names = schedule["groups"].iloc[0].split(NAMES_APART)
    runs = schedule["runs"].max()
    told = names[:MOST_NAMES] + (
        [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    )
    return "\n".join(told) + f" ({runs} run{'s' if runs > 1 else ''})"
