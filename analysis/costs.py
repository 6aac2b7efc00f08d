"""What runs have cost: GPU-hours, of use and lost to restarts, and the wait in the queue."""

from __future__ import annotations

import pandas as pd

from analysis.groups import RUN, grouped

_ATTEMPT = [*RUN, "attempt"]
_SUMS = ["restarts", "gpu_h", "gpu_h_useful", "gpu_h_lost"]
_WAITS = ["queue_first_s", "queue_total_s"]


def costs(runs: pd.DataFrame, epochs: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """A row per run, in the order of `runs`: `sweep`, `run_id`, and NaN where it is not known

    - `restarts`: its attempts but the first.
    - `queue_first_s`, `queue_total_s`: how long it waited for its first start, and for all of them.
    - `gpu_h`: hours times GPUs (or tasks, on CPUs) from the start of each attempt to its end or, if
      it was killed unseen or goes on, to its last sign of life. Of a GPU that several runs share,
      each has its part.
    - `gpu_h_useful`: of these, training and evaluating the epochs whose records count: of an epoch
      that was trained twice, once.
    - `gpu_h_lost`: of these, what restarts cost: the start-up of each attempt but the first, steps
      that were trained again, and the time in which a dead attempt had done nothing that was saved.
      What follows the newest attempt's last record is not judged yet, and no loss.

    The rest of gpu_h is the first start-up and what is not judged: useful + lost <= gpu_h.
    """
    taken = _taken(runs, attempts).merge(_recorded(epochs), how="left", on=_ATTEMPT)
    taken["spent"] = taken["weight"] * (taken["last_sign_unix_s"] - taken["started_unix_s"])
    taken["useful"] = taken["weight"] * taken["record_s"].fillna(0)
    taken["wait"] = taken["started_unix_s"] - taken["queued_unix_s"]
    by_run = taken.groupby(RUN, sort=False)
    sums = by_run[["spent", "useful", "wait"]].sum()
    waits_known = by_run["wait"].count() == by_run.size()
    first, newest = by_run.nth(0).set_index(RUN), by_run.nth(-1).set_index(RUN)
    lost = sums["spent"] - sums["useful"] - _first_startup(first) - _not_judged(newest, by_run)
    useful = sums["useful"].clip(upper=sums["spent"])  # clocks of two nodes differ
    found = pd.DataFrame(
        {
            "restarts": by_run.size() - 1,
            "queue_first_s": first["wait"],
            "queue_total_s": sums["wait"].where(waits_known),
            "gpu_h": sums["spent"] / 3600,
            "gpu_h_useful": useful / 3600,
            "gpu_h_lost": lost.where(by_run.size() > 1, 0).clip(0, sums["spent"] - useful) / 3600,
        }
    )
    rows = found.reindex(pd.MultiIndex.from_frame(runs[RUN])).reset_index()
    not_begun = (rows["restarts"].isna() & runs["origin"].eq("trained").to_numpy()).to_numpy()
    rows.loc[not_begun, _SUMS] = 0
    return rows.astype({"restarts": "Int64"})


def by_group(runs: pd.DataFrame, costs: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """A row per group, over all of its runs, finished or not.

    Hours and restarts are sums, missing if they are not known of a run; waits are means over the
    runs of which they are known. `hours_of` is "GPU" or "CPU", or missing before any attempt.
    """
    counted = grouped(runs, by).merge(costs, on=RUN)
    groups = counted.groupby("group", sort=False)
    known = groups[_SUMS].count().eq(groups.size(), axis=0)
    found = groups[_SUMS].sum().where(known).join(groups[_WAITS].mean())
    devices = groups["device"].agg(lambda devices: {*devices} - {""})
    found["hours_of"] = [_kind(of_group) for of_group in devices]
    return found.reset_index()


def _kind(devices: set[str]) -> str | None:
    if not devices:
        return None
    return "CPU" if devices == {"cpu"} else "GPU"


def _taken(runs: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """The attempts of these runs, with the `weight` of GPUs that each had for itself."""
    taken = attempts.astype(dict.fromkeys(RUN, object)).merge(runs[RUN], on=RUN)
    taken["weight"] = taken["gpus"] / taken["runs_per_gpu"]
    return taken.sort_values(_ATTEMPT, kind="stable")


def _recorded(epochs: pd.DataFrame) -> pd.DataFrame:
    """A row per attempt that recorded an epoch which counts."""
    spent_s = epochs["epoch_s"] + epochs["eval_s"]
    records = epochs[[*_ATTEMPT, "epoch", "step", "epoch_s"]].assign(
        spent_s=spent_s, ended=epochs["time_unix_s"], began=epochs["time_unix_s"] - spent_s
    )
    found = records.groupby(_ATTEMPT, observed=True).agg(
        record_s=("spent_s", "sum"),
        train_s=("epoch_s", "mean"),
        first_epoch=("epoch", "min"),
        first_began_unix_s=("began", "min"),
        last_record_unix_s=("ended", "max"),
        last_record_step=("step", "max"),
    )
    return found.reset_index().astype(dict.fromkeys(RUN, object))


def _first_startup(first: pd.DataFrame) -> pd.Series:
    """Weighted seconds until the first attempt began the first epoch, if it came to record it."""
    startup_s = first["first_began_unix_s"] - first["started_unix_s"]
    return (first["weight"] * startup_s).where(first["first_epoch"] == 1, 0).clip(0)


def _not_judged(newest: pd.DataFrame, by_run: pd.api.typing.DataFrameGroupBy) -> pd.Series:
    """Weighted seconds since the last record, and those of steps that have no record yet.

    Such steps of earlier attempts are what the newest one, without a record of its own, began with.
    """
    since = newest["last_record_unix_s"].fillna(newest["started_unix_s"])
    open_s = newest["last_sign_unix_s"] - since
    step_s = by_run["train_s"].mean() / newest["steps_per_epoch"]
    steps = newest["first_step"] - by_run["last_record_step"].max().fillna(0)
    carried_s = (steps.clip(0) * step_s).where(newest["last_record_step"].isna(), 0).fillna(0)
    return newest["weight"] * (open_s + carried_s)
