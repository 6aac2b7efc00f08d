"""Sizes, and what all figures have in common. matplotlib is told of it only while they are made."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "#595959"
FAINT = "#E4E4E4"
DPI = 200
# A legend that would take more of the width stands below.
MOST_BESIDE = 0.42


class Width(StrEnum):
    """Where a figure goes to: a column of a paper, the width of its page, a slide."""

    column = "column"
    page = "page"
    slide = "slide"


@dataclass(frozen=True)
class Size:
    """The measures of a figure as it is printed, so that its text can be read there."""

    width_in: float
    height_in: float  # of the axes, without the legend below
    font_pt: float
    line_pt: float
    marker_pt: float
    most_rows: int  # that have room for their names
    legend_beside: bool

    @property
    def row_in(self) -> float:
        """The height of a line of text."""
        return self.font_pt * 1.6 / 72


SIZES = {
    Width.column: Size(3.5, 2.5, 8, 1.1, 3.2, 40, False),
    Width.page: Size(7.2, 3.4, 8.5, 1.3, 4, 40, True),
    Width.slide: Size(13.33, 6.2, 18, 2.4, 8, 22, True),
}


@contextlib.contextmanager
def look(size: Size) -> Iterator[None]:
    """matplotlib's settings, for a figure of this size."""
    with matplotlib.rc_context(_settings(size)):
        yield


def new_figure(size: Size, height_in: float | None = None) -> Figure:
    return Figure(figsize=(size.width_in, height_in or size.height_in), layout="constrained")


def head(axes: Axes, size: Size, title: str, about: str) -> None:
    """A title; none in a column, where the paper has a caption."""
    if size.legend_beside:
        text = f"{title}: {about}" if about else title
        letters = int(size.width_in * 72 / (size.font_pt * 0.6))
        axes.set_title(textwrap.fill(text, letters, break_on_hyphens=False))


def explain(
    figure: Figure, size: Size, handles: Sequence[Artist], greyed: int = 0, *, beside: bool = True
) -> None:
    """The legend, below the axes or, where there is room and it is wanted, `beside` them.

    Its last `greyed` entries explain marks. The figure grows where the legend needs more room.
    """
    labels = [str(handle.get_label()).splitlines() for handle in handles]
    letters = max((len(line) for label in labels for line in label), default=0) + 7
    width_in = letters * size.font_pt * 0.62 / 72
    lines = sum(map(len, labels))
    if beside and size.legend_beside and width_in < size.width_in * MOST_BESIDE:
        figure.set_figheight(max(figure.get_figheight(), (lines + 2) * size.row_in))
        legend = figure.legend(handles=handles, loc="outside right upper")
    else:
        columns = max(int(size.width_in / width_in), 1)
        rows = math.ceil(lines / columns)
        figure.set_figheight(figure.get_figheight() + rows * size.row_in)
        legend = figure.legend(handles=handles, loc="outside lower left", ncols=columns)
    for text in legend.get_texts()[len(handles) - greyed :]:
        text.set_color(GREY)


def _settings(size: Size) -> dict[Any, Any]:
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": GREY,
        "axes.grid": True,
        "axes.labelsize": size.font_pt,
        "axes.linewidth": size.line_pt / 2,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlepad": size.font_pt * 0.8,
        "axes.titlesize": size.font_pt,
        "font.family": "DejaVu Sans",  # comes with matplotlib: a figure is the same everywhere
        "font.size": size.font_pt,
        "grid.color": FAINT,
        "grid.linewidth": size.line_pt / 2,
        "hatch.linewidth": size.line_pt / 2,
        "legend.fontsize": size.font_pt,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "lines.linewidth": size.line_pt,
        "lines.markersize": size.marker_pt,
        "pdf.fonttype": 42,  # text that can be searched and edited
        "text.parse_math": False,  # a name may hold a dollar sign
        "svg.hashsalt": "attention-sweeps",
        "xtick.color": GREY,
        "xtick.labelcolor": "black",
        "xtick.labelsize": size.font_pt - 0.5,
        "ytick.color": GREY,
        "ytick.labelcolor": "black",
        "ytick.labelsize": size.font_pt - 0.5,
    }
