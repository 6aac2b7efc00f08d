"""Statistics over seeds: every function takes the loaded frames and returns a frame.

Means and deviations are those of a sample (ddof=1) and are over finished runs only.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.groups import grouped, keys_of, labels
from analysis.per_run import per_run

MEASURES = ("best", "final", "last")


def summarise(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    by: str = "model",
    metric: str = "test_top1",
    last: int | None = None,
) -> pd.DataFrame:
    """A row per group, in the order of the matrix.

    Of the `finished` ones among the `planned` runs, which have so many different `seeds`, missing
    where one is not known: `best_*` is over the best epoch of each run, `final_*` over its last
    one, and with `last`, `last_*` over the mean of its last so many epochs. `train_mean` is what
    training had in the last epoch, and `gap_mean` is that minus the final value. They are NaN
    without a finished run or if one of them has no number; a deviation is also NaN if there is
    only one seed.
    `params` and `macs` are missing where a group mixes networks. `epoch_s`, `throughput_img_s`
    (means over runs) and `attempts` (their sum) are over all runs, finished or not.
    """
    counted = grouped(runs, by)
    groups = counted.groupby("group", sort=False)
    measured = per_run(counted, epochs, metric, last).assign(group=counted["group"])
    finished = measured[counted["state"] == "finished"]
    of_finished = finished.groupby("group")
    seeds = counted.loc[finished.index].groupby("group")["seed"]
    columns = {
        "finished": of_finished.size(),
        "planned": groups.size(),
        "seeds": seeds.agg(_number_of_seeds),
    }
    for name in MEASURES if last else MEASURES[:2]:
        found = over_runs(of_finished[name])
        columns[f"{name}_mean"] = found["mean"]
        columns[f"{name}_std"] = found["std"].where(columns["seeds"] != 1)
    columns["train_mean"] = over_runs(of_finished["train"])["mean"]
    columns["gap_mean"] = columns["train_mean"] - columns["final_mean"]
    of_all = measured.groupby("group")
    columns |= {
        "params": groups["params"].agg(_common),
        "macs": groups["macs"].agg(_common),
        "epoch_s": of_all["epoch_s"].mean(),
        "throughput_img_s": of_all["throughput_img_s"].mean(),
        "attempts": groups["attempts"].sum(),
    }
    summary = pd.DataFrame(columns).reindex(counted["group"].unique()).rename_axis("group")
    summary["finished"] = summary["finished"].fillna(0)
    counts = dict.fromkeys(("finished", "planned", "attempts"), int)
    whole = dict.fromkeys(("seeds", "params", "macs"), "Int64")
    return summary.astype(counts | whole).reset_index()


def sizes(runs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """How many different `params` and `macs` the runs of each group have, 0 where none is known."""
    return grouped(runs, by).groupby("group", sort=False)[["params", "macs"]].nunique()


def missing(runs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """A row per run that has not finished: its `name`, `state`, how far it is, and why it failed.

    With the columns `sweep`, `name`, `state`, `epochs_done`, `epochs`, `cause` and `message`.
    """
    counted = grouped(runs, by)
    about = labels(counted, [*dict.fromkeys(["model", *keys_of(by)])])
    counted["name"] = about + " seed " + counted["seed"].astype(str)
    if counted["name"].duplicated().any():
        counted["name"] = counted["run_id"]
    columns = ["sweep", "name", "state", "epochs_done", "epochs", "cause", "message"]
    return counted.loc[counted["state"] != "finished", columns].reset_index(drop=True)


def over_runs(values: Any) -> pd.DataFrame:
    """Mean, std, min, max and number of each group of runs' values.

    A run that diverged to NaN makes them NaN; it must not fall out of a mean unseen.
    """
    found = values.agg(["mean", "std", "min", "max", "size", "count"])
    whole = found["size"] == found["count"]
    return found[["mean", "std", "min", "max"]].where(whole).assign(n=found["size"])


def _number_of_seeds(seeds: pd.Series) -> float:
    return float("nan") if seeds.isna().any() else seeds.nunique()


def _common(values: pd.Series) -> Any:
    """The one value that all runs which know it share."""
    known = values.dropna().unique()
    return known[0] if len(known) == 1 else pd.NA
