"""Statistics over seeds: every function takes the loaded frames and returns a frame.

Means and deviations are those of a sample (ddof=1) and are over finished runs only, except where a
curve says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from attention_models import UnknownNameError
from jobs.config import NETWORK_OPTIONS, OPTIONS_LISTED_BY, RunConfig
from jobs.errors import InputError


@dataclass(frozen=True)
class Metric:
    """A column of the epochs that can be compared."""

    label: str
    unit: str
    best: Literal["max", "min"]


METRICS = {
    "test_top1": Metric("test top-1", "%", "max"),
    "test_top5": Metric("test top-5", "%", "max"),
    "test_loss": Metric("test loss", "", "min"),
    "train_top1": Metric("train top-1", "%", "max"),
    "train_loss": Metric("train loss", "", "min"),
}
GROUP_KEYS = ("sweep", *RunConfig.model_fields, *NETWORK_OPTIONS)

_RUN = ["sweep", "run_id"]


def summarise(
    runs: pd.DataFrame, epochs: pd.DataFrame, by: str = "model", metric: str = "test_top1"
) -> pd.DataFrame:
    """A row per group, in the order of the matrix.

    `best_*` is the best epoch of each run, `final_*` its last one; both are NaN without a finished
    run, the deviations also with only one. `params` and `macs` are missing where a group mixes
    networks. `epoch_s` and `attempts` are over all runs, finished or not.
    """
    check_metric(metric)
    counted = _grouped(runs, by)
    groups = counted.groupby("group", sort=False)
    measured = epochs.merge(counted[[*_RUN, "group", "state"]], on=_RUN).sort_values("epoch")
    finished = measured[measured["state"] == "finished"]
    per_run = finished.groupby(["group", *_RUN])
    best = _over_runs(per_run[metric].agg(METRICS[metric].best).groupby("group"))
    # Not "last", which would skip a NaN.
    final = _over_runs(per_run[metric].nth(-1).groupby(finished["group"]))
    summary = pd.DataFrame(
        {
            "finished": counted["state"].eq("finished").groupby(counted["group"]).sum(),
            "planned": groups.size(),
            "best_mean": best["mean"],
            "best_std": best["std"],
            "final_mean": final["mean"],
            "final_std": final["std"],
            "params": groups["params"].agg(_common),
            "macs": groups["macs"].agg(_common),
            "epoch_s": measured.groupby("group")["epoch_s"].mean(),
            "attempts": groups["attempts"].sum(),
        }
    )
    counts = dict.fromkeys(("finished", "planned", "attempts"), int)
    whole = dict.fromkeys(("params", "macs"), "Int64")
    in_order = summary.reindex(counted["group"].unique()).rename_axis("group")
    return in_order.astype(counts | whole).reset_index()


def curves(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    by: str = "model",
    metrics: Sequence[str] = ("test_top1", "train_top1"),
) -> pd.DataFrame:
    """A row per group, metric and epoch: mean, std, min and max over `n` of its `planned` runs.

    A group's curve is over its finished runs, so that it ends at the table's final mean. A group
    without one (`finished` is False) is drawn over the runs that have begun, up to the last epoch
    that all of them have reached: a seed that ends early never makes the mean jump.
    """
    for metric in metrics:
        check_metric(metric)
    counted = _grouped(runs, by)
    is_finished = counted["state"] == "finished"
    counted["finished"] = counted["group"].isin(counted.loc[is_finished, "group"])
    counted["planned"] = counted.groupby("group")["run_id"].transform("size")
    drawn = counted[(counted["epochs_done"] > 0) & (is_finished | ~counted["finished"])]
    reached = drawn.groupby("group")["epochs_done"].transform("min").rename("reached")
    points = epochs.merge(drawn[[*_RUN, "group"]].join(reached), on=_RUN)
    points = points[points["epoch"] <= points["reached"]].melt(
        id_vars=["group", "epoch"], value_vars=list(metrics), var_name="metric"
    )
    over_runs = _over_runs(points.groupby(["group", "metric", "epoch"])["value"]).reset_index()
    # A left key's order is kept: the groups come in the order of the matrix.
    in_order = counted[["group", "planned", "finished"]].drop_duplicates()
    return in_order.merge(over_runs, on="group")[
        ["group", "metric", "epoch", "mean", "std", "min", "max", "n", "planned", "finished"]
    ]


def cut_curves(runs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """A row per curve over finished runs of different length, which ends where the shortest do.

    `group`, its last `epoch`, the one of its `longest` run, and the `run_ids` of the shortest.
    """
    finished = _grouped(runs, by).query("state == 'finished'")
    lengths = finished.groupby("group")["epochs_done"]
    ends = finished.assign(epoch=lengths.transform("min"), longest=lengths.transform("max"))
    shortest = ends.query("epochs_done == epoch and epoch < longest")
    runs_of = shortest.groupby(["group", "epoch", "longest"], sort=False)["run_id"]
    return runs_of.agg(", ".join).rename("run_ids").reset_index()


def missing(runs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """A row per run that has not finished: its `name`, `state`, `epochs_done` and `epochs`."""
    counted = _grouped(runs, by)
    about = _labels(counted, [*dict.fromkeys(["model", *_keys(by)])])
    counted["name"] = about + " seed " + counted["seed"].astype(str)
    if counted["name"].duplicated().any():
        counted["name"] = counted["run_id"]
    columns = ["name", "state", "epochs_done", "epochs"]
    return counted.loc[counted["state"] != "finished", columns].reset_index(drop=True)


def mixed_options(runs: pd.DataFrame, by: str = "model") -> list[str]:
    """The options besides the seed in which runs of one group differ.

    A mean over them is no mean over seeds; whoever shows it should say so.
    """
    grouped = _grouped(runs, by).groupby("group")
    # Options of networks are told one by one.
    told = {"seed", "model_options", *_keys(by)}
    if "model_options" in _keys(by):
        told |= {*_options_of_networks(runs)}
    # Not set is a value of its own, but no value of an option that a network does not have.
    values = [
        *((name, grouped[name].nunique(dropna=False)) for name in RunConfig.counting_fields()),
        *((name, grouped[name].nunique()) for name in _options_of_networks(runs)),
    ]
    return [name for name, found in values if name not in told and (found > 1).any()]


def _options_of_networks(runs: pd.DataFrame) -> list[str]:
    return [name for name in runs.columns if name.startswith("model_options.")]


def check_metric(metric: str, valid: Iterable[str] = METRICS) -> None:
    if metric not in valid:
        raise InputError(str(UnknownNameError("metric", metric, valid)))


def _keys(by: str) -> list[str]:
    """The options that `by` names: one, or several with commas between them."""
    keys = [key.strip() for key in by.split(",")]
    for key in keys:
        of_another_library = key.startswith("model_options.")
        if key not in GROUP_KEYS and not of_another_library:
            wrong = UnknownNameError("option to group by", key, GROUP_KEYS, OPTIONS_LISTED_BY)
            raise InputError(str(wrong))
    return keys


def _grouped(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """The runs, with the label of the group that each belongs to.

    One configuration that was trained in two sweeps is one run of its group, the one that got
    further: counted twice, it would make a deviation over seeds too small.
    """
    grouped = runs.assign(group=_labels(runs, _keys(by)))
    furthest_first = grouped.assign(finished=grouped["state"] == "finished").sort_values(
        ["finished", "epochs_done"], ascending=False
    )
    kept = furthest_first.drop_duplicates(["group", "run_id"]).index
    return grouped[grouped.index.isin(kept)].copy()


def _labels(runs: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Each run's values: `0.02` for one key; of several, all but the network say their key."""
    named = [
        "" if key == "model" or len(keys) == 1 else f"{key.removeprefix('model_options.')}="
        for key in keys
    ]
    # An option of another library's network has a column only if a run has it.
    unset = pd.Series(pd.NA, index=runs.index)
    rows = zip(*(runs.get(key, unset) for key in keys), strict=True)
    labels = [", ".join(map(str.__add__, named, map(_label, row))) for row in rows]
    return pd.Series(labels, index=runs.index, dtype=object)


def _label(value: Any) -> str:
    """The value as a matrix spells it."""
    if pd.isna(value) or value == "":
        return "not set"
    return str(value).lower() if str(value) in ("True", "False") else str(value)


def _over_runs(values: Any) -> pd.DataFrame:
    """Mean, std, min, max and number of each group of runs' values.

    A run that diverged to NaN makes them NaN; it must not fall out of a mean unseen.
    """
    found = values.agg(["mean", "std", "min", "max", "size", "count"])
    whole = found["size"] == found["count"]
    return found[["mean", "std", "min", "max"]].where(whole).assign(n=found["size"])


def _common(values: pd.Series) -> Any:
    """The one value that all runs which know it share."""
    known = values.dropna().unique()
    return known[0] if len(known) == 1 else pd.NA
