"""What figures draw over a training: every function takes the loaded frames and returns a frame.

A curve is over the finished runs of its group, so that it ends at the table's final mean. A group
without one is drawn over the runs that have begun.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.groups import RUN, grouped
from analysis.metrics import check_metric, values_of
from analysis.stats import over_runs

# A label of a group may itself hold commas.
NAMES_APART = "; "

_POSITIONS = ["step", "gpu_h"]


def curves(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    by: str = "model",
    metrics: Sequence[str] = ("test_top1", "train_top1"),
) -> pd.DataFrame:
    """A row per group, metric and epoch: mean, std, min and max over `n` of its `planned` runs.

    Only epochs that all `n` runs have recorded: a seed that ends early never makes the mean jump.
    `seeds` is how many different ones they have, NaN if one is not known; with a single seed there
    is no deviation. `finished` is False for a group that has no finished run. `step` and `gpu_h`,
    the GPU-hours of training and evaluation up to the end of the epoch, are means over the runs;
    NaN where one is not known.
    """
    for metric in metrics:
        check_metric(metric)
    drawn = _drawn(runs, by)
    values = {metric: values_of(epochs, metric) for metric in metrics}
    points = epochs[[*RUN, "epoch", "step", "epoch_s", "eval_s"]].assign(**values)
    points = points.merge(drawn[[*RUN, "group", "gpus", "n"]], on=RUN).sort_values("epoch")
    points["gpu_h"] = _gpu_h(points)
    recorded = points.groupby(["group", "epoch"])["run_id"].transform("size")
    points = points[recorded == points["n"]]
    places = [points["group"], points["epoch"]]
    parts = [over_runs(points[metric].groupby(places)).assign(metric=metric) for metric in metrics]
    positions = [
        over_runs(points[name].groupby(places))["mean"].rename(name) for name in _POSITIONS
    ]
    found = pd.concat(parts).join(pd.concat(positions, axis=1)).reset_index()
    # A left key's order is kept: the groups come in the order of the matrix.
    about = drawn[["group", "seeds", "planned", "finished"]].drop_duplicates()
    statistics = ["mean", "std", "min", "max", "n", "seeds"]
    found = about.merge(found, on="group")
    found["std"] = found["std"].where(found["seeds"] != 1)
    return found[["group", "metric", "epoch", *_POSITIONS, *statistics, "planned", "finished"]]


def ends(
    runs: pd.DataFrame, epochs: pd.DataFrame, by: str = "model", metric: str = "test_top1"
) -> pd.DataFrame:
    """A row per run that has begun: its group, seed, last epoch, and the metric there as `value`.

    `finished` says whether that is its end; `mean` is over the `n` finished runs of its group,
    NaN where there is none.
    """
    check_metric(metric)
    counted = grouped(runs, by)
    last = epochs.loc[epochs.groupby(RUN, observed=True)["epoch"].idxmax()]
    last = last[[*RUN, "epoch"]].assign(value=values_of(last, metric))
    found = counted[[*RUN, "group", "seed", "state"]].merge(last, on=RUN)
    found["finished"] = found.pop("state") == "finished"
    over = over_runs(found[found["finished"]].groupby("group")["value"])
    found["mean"] = found["group"].map(over["mean"])
    found["n"] = found["group"].map(over["n"]).fillna(0).astype(int)
    return found


def schedules(runs: pd.DataFrame, epochs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """A row per learning rate schedule and epoch: the `lr` at its end.

    Runs with the same learning rates have one schedule, and a run that is not so far has the first
    schedule that begins like it. `groups` names those that have it, with NAMES_APART; `runs` counts
    them, and `restarts` the attempts at them that recorded their first epoch here, without those
    that began the run.
    """
    order = {group: place for place, group in enumerate(grouped(runs, by)["group"].unique())}
    known = epochs[epochs["lr"].notna()].merge(grouped(runs, by)[[*RUN, "group"]], on=RUN)
    known = known.sort_values("epoch")
    of_run = [known[name] for name in RUN]
    known["restarts"] = known.groupby(of_run, observed=True)["attempt"].diff().fillna(0) > 0
    known["schedule"] = _schedules(known)
    groups = {
        schedule: NAMES_APART.join(sorted(names, key=order.__getitem__))
        for schedule, names in known.groupby("schedule")["group"].unique().items()
    }
    found = known.groupby(["schedule", "epoch"]).agg(
        lr=("lr", "first"), runs=("lr", "size"), restarts=("restarts", "sum")
    )
    found = found.reset_index()
    found.insert(1, "groups", found["schedule"].map(groups))
    return found


def cut_curves(runs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """A row per curve over finished runs of different length, which ends where the shortest do.

    `group`, its last `epoch`, the one of its `longest` run, and the `run_ids` of the shortest.
    """
    finished = grouped(runs, by).query("state == 'finished'")
    lengths = finished.groupby("group")["epochs_done"]
    ends = finished.assign(epoch=lengths.transform("min"), longest=lengths.transform("max"))
    shortest = ends.query("epochs_done == epoch and epoch < longest")
    runs_of = shortest.groupby(["group", "epoch", "longest"], sort=False)["run_id"]
    return runs_of.agg(", ".join).rename("run_ids").reset_index()


def _drawn(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """The runs that are in a curve, with what there is to say of their group."""
    counted = grouped(runs, by)
    is_finished = counted["state"] == "finished"
    counted["finished"] = counted["group"].isin(counted.loc[is_finished, "group"])
    counted["planned"] = counted.groupby("group")["run_id"].transform("size")
    drawn = counted[(counted["epochs_done"] > 0) & (is_finished | ~counted["finished"])].copy()
    drawn["n"] = drawn.groupby("group")["run_id"].transform("size")
    seeds = drawn.groupby("group")["seed"]
    drawn["seeds"] = seeds.transform("nunique").where(seeds.transform("count") == drawn["n"])
    return drawn


def _gpu_h(points: pd.DataFrame) -> pd.Series:
    """GPU-hours since the beginning of each run; NaN from where one is not known."""
    gpu_h = (points["epoch_s"] + points["eval_s"]) * points["gpus"].astype(float) / 3600
    of_run = [points[name] for name in RUN]
    return gpu_h.groupby(of_run, observed=True).cumsum(skipna=False)


def _schedules(known: pd.DataFrame) -> pd.Series:
    """The number of each record's schedule; one that is only the beginning of another is that."""
    run = known.groupby(RUN, observed=True, sort=False).ngroup()
    rates = {
        number: tuple(zip(its["epoch"], its["lr"], strict=True))
        for number, its in known.groupby(run)
    }
    whole: list[tuple[tuple[int, float], ...]] = []
    schedule = {}
    for rate in sorted({*rates.values()}, key=lambda rate: (-len(rate), rate)):
        begins = (place for place, longer in enumerate(whole) if longer[: len(rate)] == rate)
        schedule[rate] = next(begins, len(whole))
        if schedule[rate] == len(whole):
            whole.append(rate)
    return run.map({number: schedule[rate] for number, rate in rates.items()})
