"""When the runs of a sweep waited and trained: frames in, frames out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.groups import RUN, grouped
from jobs.causes import ENDED_ALONE, SAVED, Cause

# What a bar says of its run, in the order in which a legend tells it. An attempt was stopped if it
# could save, and killed if it could not.
WAITING = "waiting"
STOPPED = "stopped and saved"
OUTCOMES = ("finished", "going on", STOPPED, "killed", "cancelled", "failed")

_NOT_SAVED = (
    *(Cause.INTERRUPTED, Cause.NODE_FAILURE, Cause.TASK_LOST),
    *(Cause.UNKNOWN, Cause.NOT_BEGUN),
)
_OUTCOMES: Mapping[Cause, str] = {
    **dict.fromkeys(SAVED, STOPPED),
    **dict.fromkeys(_NOT_SAVED, "killed"),
    **dict.fromkeys(ENDED_ALONE, "failed"),
    Cause.FINISHED: "finished",
    Cause.CANCELLED: "cancelled",
}


def bars(runs: pd.DataFrame, attempts: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """Two rows per attempt at most: when it `waited` in the queue, if that is known, and trained.

    One that has not begun waits until the last sign of life of any run: of what came after that,
    the files know nothing.
    `name` is the run's, `kind` is waiting or one of OUTCOMES, `begin_h` and `end_h` are hours since
    the first thing that is known of any of them, which happened at `origin_unix_s`. What is not
    known to have ended ends at its last sign of life.
    """
    named = _named(runs, by)
    known = attempts[attempts["started_unix_s"].notna()].merge(named, on=RUN)
    waiting = known[known["queued_unix_s"].notna()].assign(kind=WAITING)
    waiting = waiting.assign(begin=waiting["queued_unix_s"], end=waiting["started_unix_s"])
    training = known.assign(
        kind=[*map(_outcome, known["cause"], known["ended_unix_s"])],
        begin=known["started_unix_s"],
        end=known["ended_unix_s"].fillna(known["last_sign_unix_s"]),
    )
    last_sign_unix_s = training["end"].max()
    pending = runs[[*RUN, "attempts", "queued_unix_s"]].merge(named, on=RUN)
    pending = pending[pending["queued_unix_s"] < last_sign_unix_s].assign(kind=WAITING, cause="")
    pending = pending.assign(
        attempt=pending["attempts"] + 1, begin=pending["queued_unix_s"], end=last_sign_unix_s
    )
    found = pd.concat([waiting, training, pending]).sort_values(["begin", "end"], kind="stable")
    # A stable order of rows: that of the matrix, and in a run that of time.
    found["place"] = found["name"].map({name: place for place, name in enumerate(named["name"])})
    found = found.sort_values("place", kind="stable").reset_index(drop=True)
    origin_unix_s = found["begin"].min()
    found["begin_h"] = (found["begin"] - origin_unix_s) / 3600
    found["end_h"] = (found["end"] - origin_unix_s) / 3600
    found["origin_unix_s"] = origin_unix_s
    columns = ["name", "group", "attempt", "kind", "cause", "begin_h", "end_h", "origin_unix_s"]
    return found[[*RUN, *columns]]


def counts(bars: pd.DataFrame, bins: int = 300) -> pd.DataFrame:
    """How many runs of each group waited or trained: a row per group, kind and time.

    `runs` is the mean number over the time from `begin_h` to `end_h`, one of `bins` equal parts.
    """
    edges_h = np.linspace(0, bars["end_h"].max(), bins + 1)
    parts = []
    for (group, kind), its in bars.groupby(["group", "kind"], sort=False):
        spent_h = np.zeros(bins + 1)  # by all of them, up to each edge
        for begin_h, end_h in zip(its["begin_h"], its["end_h"], strict=True):
            spent_h += np.clip(edges_h - begin_h, 0, end_h - begin_h)
        part = {"begin_h": edges_h[:-1], "end_h": edges_h[1:]}
        about = {"group": group, "kind": kind}
        parts.append(pd.DataFrame(about | part | {"runs": np.diff(spent_h) / np.diff(edges_h)}))
    return pd.concat(parts, ignore_index=True)


def _named(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """The runs with their group, and names that differ."""
    counted = grouped(runs, by)[[*RUN, "group", "seed"]]
    name = counted["group"] + " seed " + counted["seed"].astype(str)
    counted["name"] = name.where(~name.duplicated(keep=False), counted["run_id"])
    return counted.drop(columns="seed")


def _outcome(cause: str, ended_unix_s: float) -> str:
    if not cause and pd.isna(ended_unix_s):
        return "going on"
    return _OUTCOMES[Cause(cause or Cause.UNKNOWN)]
