"""Accuracy over training, as two figures: the whole training, and its last quarter from near.

Drawing computes nothing: what is drawn comes from `stats.curves`, and is written beside as CSV.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from attention_models import UnknownNameError
from jobs.errors import InputError

# Okabe and Ito's colours, which stay apart for colour-blind readers; black is the baseline's, and
# yellow is left out because it cannot be read on white.
BASELINE_COLOUR = "#000000"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# With more networks than colours, the second round of colours is told apart by its marks.
MARKS = ("", "s", "^", "D", "v")


@dataclass(frozen=True)
class Quantity:
    """What the figures call a metric."""

    name: str
    unit: str
    stem: str


PLOTTED = {
    "test_top1": Quantity("accuracy", " (top-1, %)", "accuracy"),
    "test_top5": Quantity("accuracy", " (top-5, %)", "accuracy_top5"),
    "test_loss": Quantity("loss", "", "loss"),
}
DPI = 200
# A curve of so few epochs shows each of them.
FEW_EPOCHS = 15

_GREY = "#666666"
_TRAIN: dict[str, Any] = {
    "linestyle": (0, (4, 2)),
    "linewidth": 1.0,
    "alpha": 0.5,
    "markersize": 3,
    "zorder": 1.5,
}
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 12,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same everywhere
    "font.size": 10,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.hashsalt": "attention-sweeps",
    "xtick.color": _GREY,
    "xtick.labelcolor": "black",
    "ytick.color": _GREY,
    "ytick.labelcolor": "black",
}


def plot_accuracy(
    curves: pd.DataFrame,
    out_dir: Path,
    *,
    metric: str = "test_top1",
    baseline: str | None = None,
    about: str = "",
    suffix: str = "",
) -> list[Path]:
    """Write both figures as PNG and SVG, and their data as CSV; returns the paths.

    The same data gives the same bytes. `suffix` is added to the files' names.
    """
    stem = PLOTTED[metric].stem + suffix
    figures = {
        stem: draw_training(curves, metric, baseline, about),
        f"{stem}_zoomed": draw_last_quarter(curves, metric, baseline, about),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = out_dir / f"{name}.{ending}"
            with matplotlib.rc_context(_STYLE):
                figure.savefig(path, dpi=DPI, metadata=metadata)
            written.append(path)
    data = out_dir / f"{stem}.csv"
    curves.to_csv(data, index=False)
    return [*written, data]


def draw_training(
    curves: pd.DataFrame, metric: str = "test_top1", baseline: str | None = None, about: str = ""
) -> Figure:
    """Test (solid) and training (dashed) over all epochs."""
    train = curves[curves["metric"] == metric.replace("test", "train")]
    test = curves[curves["metric"] == metric]
    looks = _looks(curves, baseline)
    quantity = PLOTTED[metric]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _empty(test, f"{quantity.name.capitalize()} over training", about)
        axes.set_ylabel(f"{quantity.name.capitalize()}{quantity.unit}")
        for group, curve in train.groupby("group", sort=False):
            marks = _marks(train, looks[group]["marker"])
            axes.plot(curve["epoch"], curve["mean"], **looks[group] | marks | _TRAIN)
        _draw_test(axes, test, looks)
        _explain(axes, test, looks, with_train=not train.empty)
    return figure


def draw_last_quarter(
    curves: pd.DataFrame, metric: str = "test_top1", baseline: str | None = None, about: str = ""
) -> Figure:
    """The test curves over the last quarter of training, with limits fitted to them there."""
    test = curves[curves["metric"] == metric]
    last = test["epoch"].max()
    near = test[test["epoch"] >= min(round(last * 3 / 4), last - 1)]
    looks = _looks(curves, baseline)
    quantity = PLOTTED[metric]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _empty(near, f"Test {quantity.name} in the last quarter of training", about)
        axes.set_ylabel(f"Test {quantity.name}{quantity.unit}")
        _draw_test(axes, near, looks)
        _explain(axes, near, looks, with_train=False)
    return figure


def _looks(curves: pd.DataFrame, baseline: str | None) -> dict[str, dict[str, Any]]:
    """Colour and mark of each group; the baseline, else the first group, is black."""
    groups = list(curves["group"].unique())
    if baseline is not None and baseline not in groups:
        raise InputError(str(UnknownNameError("baseline", baseline, groups)))
    black = groups[0] if baseline is None else baseline
    others = [group for group in groups if group != black]
    rounds = itertools.cycle(itertools.product(MARKS, COLOURS))
    looks = {
        group: {"color": colour, "marker": mark}
        for group, (mark, colour) in zip(others, rounds, strict=False)
    }
    return {black: {"color": BASELINE_COLOUR, "marker": ""}, **looks}


def _empty(shown: pd.DataFrame, title: str, about: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"{title}: {about}" if about else title)
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.015)
    if shown["epoch"].nunique() == 1:
        axes.set_xlim(shown["epoch"].min() - 1, shown["epoch"].max() + 1)
    return figure, axes


def _draw_test(axes: Axes, test: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    for group, curve in test.groupby("group", sort=False):
        marks = _marks(test, looks[group]["marker"])
        axes.plot(curve["epoch"], curve["mean"], label=group, zorder=3, **looks[group] | marks)
        axes.fill_between(
            curve["epoch"],
            curve["mean"] - curve["std"],
            curve["mean"] + curve["std"],
            color=looks[group]["color"],
            alpha=0.15,
            linewidth=0,
            zorder=2,
        )


def _marks(shown: pd.DataFrame, marker: str) -> dict[str, Any]:
    if shown["epoch"].nunique() <= FEW_EPOCHS:
        return {"marker": marker or "o"}
    return {"marker": marker, "markevery": 0.1}


def _explain(
    axes: Axes, test: pd.DataFrame, looks: dict[str, dict[str, Any]], *, with_train: bool
) -> None:
    """The names in the order in which their lines end, from top to bottom; below, the marks."""
    ends = test.groupby("group", sort=False).tail(1).sort_values("mean", ascending=False)
    handles: list[Line2D | Patch] = [
        Line2D([], [], label=_name(end), **looks[end.group]) for end in ends.itertuples(index=False)
    ]
    names = len(handles)
    if with_train:
        handles += [
            Line2D([], [], color=_GREY, label="test"),
            Line2D([], [], color=_GREY, label="training", **_TRAIN | {"alpha": 1.0}),
        ]
    if test["std"].notna().any():
        handles.append(Patch(color=_GREY, alpha=0.25, linewidth=0, label="± 1 std over runs"))
    if len(handles) > names:
        handles.insert(names, Line2D([], [], linestyle="none", label=" "))
    legend = axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0
    )
    for text in legend.get_texts()[names:]:
        text.set_color(_GREY)


def _name(end: Any) -> str:
    if not end.finished:
        return f"{end.group} (unfinished)"
    return end.group if end.n == end.planned else f"{end.group} ({end.n} of {end.planned} runs)"
