"""The figures by name: what each needs of the loaded frames, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis import curves, stats, timeline
from analysis.figures import curves as drawn_curves
from analysis.figures import schedule, seeds, sizes
from analysis.figures import timeline as drawn_timeline
from analysis.figures.files import Drawn
from analysis.figures.looks import Look, looks_of
from analysis.figures.style import SIZES, Width, look
from analysis.groups import check_group, grouped, keys_of
from analysis.load import Runs
from analysis.metrics import METRICS, check_metric
from attention_models import UnknownNameError
from jobs.errors import ExecutionError, InputError

X_COLUMNS = {"epoch": "epoch", "step": "step", "gpu_hours": "gpu_h"}


class NothingToDrawError(ExecutionError):
    """The runs have not recorded what a figure shows."""


@dataclass(frozen=True)
class Wish:
    """What is to be drawn. `by` as in analysis.groups, `x` is a key of X_COLUMNS."""

    by: str = "model"
    metric: str = "test_top1"
    x: str = "epoch"
    baseline: str | None = None
    width: Width = Width.page


def draw(name: str, loaded: Runs, wish: Wish) -> Drawn:
    """The figure of this name, one of FIGURES.

    Raises InputError for an unknown name in the wish, NothingToDrawError if the runs lack what it
    shows, and ExecutionError for more groups than a figure can show.
    """
    if name not in FIGURES:
        raise InputError(str(UnknownNameError("figure", name, FIGURES)))
    check_metric(wish.metric)
    if wish.baseline is not None:
        groups = [*dict.fromkeys(grouped(loaded.runs, wish.by)["group"])]
        check_group("baseline", wish.baseline, groups)
    with look(SIZES[wish.width]):
        return FIGURES[name](loaded, wish)


def draw_all(loaded: Runs, wish: Wish) -> tuple[list[Drawn], list[str]]:
    """Every figure that the runs have the data for; and why there is none of the others."""
    drawn, absent = [], []
    for name in FIGURES:
        try:
            drawn.append(draw(name, loaded, wish))
        except ExecutionError as error:
            absent.append(f"no figure {name}: {error}")
    return drawn, absent


def _curves(loaded: Runs, wish: Wish) -> Drawn:
    counterpart = wish.metric.replace("test", "train")
    metrics = [*dict.fromkeys([wish.metric, *({counterpart} & {*METRICS})])]
    found = curves.curves(loaded.runs, loaded.epochs, wish.by, metrics)
    x = X_COLUMNS[wish.x]
    _check_known(found.loc[found["metric"] == wish.metric, "mean"], METRICS[wish.metric].label)
    _check_known(found[x], "how long an epoch took" if x == "gpu_h" else f"its {x}")
    shown = found[found["mean"].notna() & found[x].notna()]
    on_cpu = {*loaded.runs["device"].dropna()} - {""} == {"cpu"}
    figure = drawn_curves.draw(
        shown,
        _looks(loaded, wish),
        SIZES[wish.width],
        metric=wish.metric,
        x=x,
        device="CPU-task" if on_cpu else "GPU",
        about=_about(loaded, wish),
    )
    of = wish.metric if wish.x == "epoch" else f"{wish.metric}_over_{wish.x}"
    return _as_drawn(f"curves_{of}", figure, found, wish)


def _size(loaded: Runs, wish: Wish) -> Drawn:
    if not (loaded.runs["state"] == "finished").any():
        raise NothingToDrawError("no run has finished")
    found = stats.summarise(loaded.runs, loaded.epochs, wish.by, wish.metric)
    _check_known(found["final_mean"], METRICS[wish.metric].label)
    counts = stats.sizes(loaded.runs, wish.by).loc[found.loc[found["final_mean"].notna(), "group"]]
    _check_known(counts.where(counts > 0).stack(), "the size of a network")
    if not counts.eq(1).any(axis=None):
        raise NothingToDrawError("every group has runs of several sizes, or of unknown size")
    about = _about(loaded, wish)
    figure = sizes.draw(
        found, _looks(loaded, wish), SIZES[wish.width], metric=wish.metric, about=about
    )
    columns = ["group", *sizes.PANELS, "final_mean", "final_std", "finished", "planned"]
    drawn = _as_drawn(f"size_{wish.metric}", figure, found[columns], wish)
    return replace(drawn, left_out=sizes.left_out(counts))


def _seeds(loaded: Runs, wish: Wish) -> Drawn:
    found = curves.ends(loaded.runs, loaded.epochs, wish.by, wish.metric)
    _check_known(found["value"], METRICS[wish.metric].label)
    about = _about(loaded, wish)
    figure = seeds.draw(
        found, _looks(loaded, wish), SIZES[wish.width], metric=wish.metric, about=about
    )
    return _as_drawn(f"seeds_{wish.metric}", figure, found, wish)


def _learning_rate(loaded: Runs, wish: Wish) -> Drawn:
    found = curves.schedules(loaded.runs, loaded.epochs, wish.by)
    _check_known(found["lr"], "its learning rate")
    about = _about(loaded, wish)
    figure = schedule.draw(found, _looks(loaded, wish), SIZES[wish.width], about=about)
    return _as_drawn("lr", figure, found, wish)


def _timeline(loaded: Runs, wish: Wish) -> Drawn:
    bars = timeline.bars(loaded.runs, loaded.attempts, wish.by)
    if bars.empty:
        raise NothingToDrawError("no attempt at a run has begun")
    size, about = SIZES[wish.width], _about(loaded, wish)
    if bars["name"].nunique() <= size.most_rows:
        figure = drawn_timeline.draw_bars(bars, size, about=about)
        return _as_drawn("timeline", figure, bars, wish)
    # A group's row needs twice the height of a run's.
    if 2 * bars["group"].nunique() > size.most_rows:
        bars = bars.assign(group="all runs")
    counts = timeline.counts(bars)
    figure = drawn_timeline.draw_counts(bars, counts, size, about=about)
    return _as_drawn("timeline", figure, counts, wish)


FIGURES: dict[str, Callable[[Runs, Wish], Drawn]] = {
    "curves": _curves,
    "size": _size,
    "seeds": _seeds,
    "lr": _learning_rate,
    "timeline": _timeline,
}


def _as_drawn(stem: str, figure: Figure, data: pd.DataFrame, wish: Wish) -> Drawn:
    by = "" if wish.by == "model" else "_by_" + "_".join(keys_of(wish.by))
    width = "" if wish.width is Width.page else f"_{wish.width}"
    return Drawn(stem + by + width, figure, data, SIZES[wish.width])


def _looks(loaded: Runs, wish: Wish) -> dict[str, Look]:
    """Of all groups, those that this figure does not show too: they look alike in every figure."""
    groups = [*dict.fromkeys(grouped(loaded.runs, wish.by)["group"])]
    return looks_of(groups, wish.by, wish.baseline)


def _about(loaded: Runs, wish: Wish) -> str:
    told = [
        *loaded.runs["sweep"].unique(),
        *loaded.runs["dataset"].dropna().unique(),
        *([] if wish.by == "model" else [f"by {wish.by}"]),
    ]
    return ", ".join(told)


def _check_known(values: pd.Series, what: str) -> None:
    if not values.notna().any():
        raise NothingToDrawError(f"no run has recorded {what}")
