"""Whether a difference to the baseline can be told from the spread over seeds."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import stats

from analysis.groups import check_group, grouped
from analysis.metrics import METRICS
from analysis.per_run import per_run

LEVEL = 0.05
LEAST_SEEDS = 3
# Differences that are equal but for the rounding of floats have no spread to compare with.
_EQUAL = 1e-9


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    NOT_TOLD = "not told apart"
    TOO_FEW = "too few seeds"
    NO_SEED = "no seed that both have finished"
    UNKNOWN_SEEDS = "seeds are not known"
    NO_SPREAD = "same difference for every seed"
    NO_NUMBER = "a run has no number"


def compare(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    by: str = "model",
    metric: str = "test_top1",
    baseline: str = "",
    which: str = "final",
    last: int | None = None,
) -> pd.DataFrame:
    """A row per group other than the baseline, over the seeds of which both have a finished run.

    `difference` is the mean of the `n` differences, group minus baseline, in units of the metric;
    `low` to `high` is its 95 % interval and `p` the paired t-test's, each for this comparison
    alone; `p_corrected` is Holm's for all rows together; `verdict` is a Verdict. `which` is
    "final", "best" or, with `last`, "last": see `per_run`.

    A verdict of better or worse needs p_corrected < 0.05. Below three seeds there is no test: the
    deviation of two differences has one degree of freedom, and two that are alike by chance make
    anything significant. Without a verdict nothing is said to be equal, however large n is;
    `told_from` is the difference from which on, with this spread and n, any correction would have
    told it.

    Raises InputError for a baseline that is no group. Runs whose seed is not known have no partner.
    """
    counted = grouped(runs, by)
    names = list(counted["group"].unique())
    check_group("baseline", baseline, names)
    counted["value"] = per_run(counted, epochs, metric, last)[which]
    finished = counted[counted["state"] == "finished"]
    usable = finished[finished["seed"].notna()]
    by_seed = {
        group: its_runs.groupby("seed")["value"].agg(lambda values: values.mean(skipna=False))
        for group, its_runs in usable.groupby("group")
    }
    of_baseline = by_seed.get(baseline, pd.Series(dtype=float))
    rows = []
    for group in names:
        if group != baseline:
            own = by_seed.get(group, of_baseline.iloc[:0])
            shared = own.index.intersection(of_baseline.index)
            rows.append({"group": group} | _paired(own[shared], of_baseline[shared]))
    found = pd.DataFrame(rows, columns=["group", "n", "difference", "low", "high", "p"])
    found["p_corrected"] = holm(found["p"].to_numpy(float))
    found["told_from"] = _told_from(found)
    sign = 1 if METRICS[metric].best == "max" else -1
    verdicts = [_verdict(row, sign) for row in found.itertuples()]
    unknown = {*finished.loc[finished["seed"].isna(), "group"]}
    found["verdict"] = [
        Verdict.UNKNOWN_SEEDS
        if verdict is Verdict.NO_SEED and unknown & {group, baseline}
        else verdict
        for group, verdict in zip(found["group"], verdicts, strict=True)
    ]
    return found


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of so many tests as are not NaN: (k,) -> (k,)."""
    corrected = np.full(len(p), np.nan)
    order = [number for number in np.argsort(p) if not np.isnan(p[number])]
    largest = 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, p[number] * (len(order) - rank)))
        corrected[number] = largest
    return corrected


def _paired(own: pd.Series, of_baseline: pd.Series) -> dict[str, float]:
    differences = (own - of_baseline).to_numpy(float)
    n = len(differences)
    row = {"n": n, "difference": differences.mean() if n else np.nan}
    if n < 2 or not np.ptp(differences) > _EQUAL:
        return row | dict.fromkeys(("low", "high", "p"), np.nan)
    test = stats.ttest_rel(own, of_baseline)
    low, high = test.confidence_interval(1 - LEVEL)
    return row | {"low": low, "high": high, "p": test.pvalue if n >= LEAST_SEEDS else np.nan}


def _told_from(found: pd.DataFrame) -> pd.Series:
    """Where p times the number of tests, which Holm never exceeds, would reach the level."""
    freedom = found["n"] - 1
    error = (found["high"] - found["low"]) / 2 / stats.t.ppf(1 - LEVEL / 2, freedom)
    tests = max(1, found["p"].notna().sum())
    return error * stats.t.ppf(1 - LEVEL / 2 / tests, freedom)


def _verdict(row: pd.Series, sign: int) -> Verdict:
    if row.n == 0:
        return Verdict.NO_SEED
    if np.isnan(row.difference):
        return Verdict.NO_NUMBER
    if row.n < LEAST_SEEDS:
        return Verdict.TOO_FEW
    if np.isnan(row.p):
        return Verdict.NO_SPREAD
    if row.p_corrected >= LEVEL:
        return Verdict.NOT_TOLD
    return Verdict.BETTER if row.difference * sign > 0 else Verdict.WORSE
