"""The figures of a report: those of `analysis plot`, with words for each of their points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import timeline
from analysis.figures import catalogue, seeds, sizes
from analysis.figures.style import look
from analysis.groups import as_written
from analysis.load import Runs
from analysis.metrics import METRICS
from analysis.report.drawing import Drawing, Series, make_drawing
from analysis.tables.numbers import duration, spread
from jobs.errors import ExecutionError

# A bar answers along its whole length: so many points would fill the width of the figure.
_ALONG = 100


def draw_all(loaded: Runs, wish: catalogue.Wish) -> tuple[list[Drawing], list[str]]:
    """Every figure that the runs have the data for; and what is not drawn, and why.

    Raises InputError for a metric, an option to group by or a baseline that is not there.
    """
    drawings, not_drawn = [], []
    for name, (caption, series_of) in _FIGURES.items():
        try:
            drawn = catalogue.draw(name, loaded, wish)
        except ExecutionError as error:
            not_drawn.append(f"no figure {name}: {error}")
            continue
        not_drawn += drawn.left_out
        with look(drawn.size):
            series = series_of(drawn.data, wish.metric)
            drawings.append(make_drawing(name, caption, drawn.figure, series))
    return drawings, not_drawn


def _of_curves(lines: pd.DataFrame, metric: str) -> list[Series]:
    return [
        Series(
            f"{group}, {METRICS[name].label}",
            line["epoch"],
            line["mean"],
            [f"epoch {p.epoch}: {_mean(p.mean, p.std, p.n, name)}" for p in line.itertuples()],
        )
        for (group, name), line in lines.groupby(["group", "metric"], sort=False)
    ]


def _of_sizes(summary: pd.DataFrame, metric: str) -> list[Series]:
    shown = summary[summary["final_mean"].notna()]
    panels = [name for name in sizes.PANELS if shown[name].notna().any()]
    return [
        Series(
            point.group,
            [getattr(point, name)],
            [point.final_mean],
            [
                f"{_mean(point.final_mean, point.final_std, point.finished, metric)}\n"
                f"{getattr(point, name):,} {sizes.PANELS[name]}"
            ],
            panel,
        )
        for panel, name in enumerate(panels)
        for point in shown[shown[name].notna()].itertuples()
    ]


def _of_seeds(ends: pd.DataFrame, metric: str) -> list[Series]:
    across, offsets = seeds.across(ends), seeds.offsets(ends["seed"])
    return [
        Series(
            str(group),
            across[its.index],
            row + offsets[its.index],
            [
                f"seed {as_written(end.seed)}: {end.value:.{_digits(metric)}f}"
                + ("" if end.finished else f" in epoch {end.epoch}, unfinished")
                for end in its.itertuples()
            ],
        )
        for row, (group, its) in enumerate(ends.groupby("group", sort=False))
    ]


def _of_schedules(schedules: pd.DataFrame, metric: str) -> list[Series]:
    return [
        Series(
            str(groups),
            its["epoch"],
            its["lr"],
            [
                f"epoch {point.epoch}: {point.lr:.4g}"
                + (f", {point.restarts} of {point.runs} runs restarted" if point.restarts else "")
                for point in its.itertuples()
            ],
        )
        for (_, groups), its in schedules.groupby(["schedule", "groups"], sort=False)
    ]


def _of_timeline(bars: pd.DataFrame, metric: str) -> list[Series]:
    if "name" not in bars:
        return []  # too many runs: they are counted, and the areas speak for themselves
    width_h = bars["end_h"].max()
    return [
        _along(bar, row, width_h)
        for row, (_, its) in enumerate(bars.groupby("name", sort=False))
        for bar in its.itertuples()
    ]


def _along(bar: Any, row: int, width_h: float) -> Series:
    """A bar as points from its begin to its end, which all say the same."""
    lasted_h = bar.end_h - bar.begin_h
    points = 2 + int(_ALONG * lasted_h / width_h) if width_h else 2
    said = f"attempt {bar.attempt}, {bar.kind}: {duration(lasted_h * 3600)}"
    if bar.cause and bar.kind not in (timeline.WAITING, bar.cause):
        said += f" ({bar.cause.replace('_', ' ')})"
    x = np.linspace(bar.begin_h, bar.end_h, points).tolist()
    return Series(bar.name, x, [row] * points, [said] * points)


_FIGURES: Mapping[str, tuple[str, Callable[[pd.DataFrame, str], list[Series]]]] = {
    "curves": ("the metric over the training, mean over seeds", _of_curves),
    "seeds": ("the final metric of each run", _of_seeds),
    "size": ("the final metric against the size of the networks", _of_sizes),
    "lr": ("the learning rate over the training", _of_schedules),
    "timeline": ("when runs waited and trained", _of_timeline),
}


def _mean(mean: float, std: float, n: int, metric: str) -> str:
    """Such as `77.31 ± 0.21 (n = 3)`; one run has no deviation."""
    return f"{spread(mean, std, _digits(metric))} (n = {n})"


def _digits(metric: str) -> int:
    return 2 if METRICS[metric].unit else 3
