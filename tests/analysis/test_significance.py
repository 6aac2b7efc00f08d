from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis import significance
from analysis.significance import Verdict
from jobs.errors import InputError


def frames(**finals: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finished runs of each network with these accuracies: a list by seed, or a dict of seeds."""
    runs, epochs = [], []
    for model, of_seeds in finals.items():
        items = of_seeds.items() if isinstance(of_seeds, dict) else enumerate(of_seeds)
        for number, (seed, value) in enumerate(items):
            key = {"sweep": "demo", "run_id": f"{model}-{number}"}
            runs.append(
                {**key, "model": model, "seed": seed, "state": "finished", "epochs_done": 1}
            )
            epochs.append({**key, "epoch": 1, "test_top1": value, "train_top1": 99.0})
    return pd.DataFrame(runs), pd.DataFrame(epochs)


def compare(baseline: str = "plain", metric: str = "test_top1", **finals: Any) -> pd.DataFrame:
    runs, epochs = frames(**finals)
    return significance.compare(runs, epochs, "model", metric, baseline).set_index("group")


def test_interval_and_p_are_those_of_the_paired_t_test() -> None:
    plain, se = [74.1, 75.0, 74.4, 74.9, 74.2], [75.0, 75.6, 75.3, 75.2, 75.1]
    row = compare(plain=plain, se=se).loc["se"]
    test = stats.ttest_rel(se, plain)
    assert row["p"] == pytest.approx(test.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert row["difference"] == pytest.approx(np.mean(se) - np.mean(plain))
    assert (row["n"], row["verdict"]) == (5, Verdict.BETTER)


def test_known_values_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt(3) with two degrees of freedom.
    row = compare(plain=[70, 70, 70], se=[71, 72, 73]).loc["se"]
    assert row["p"] == pytest.approx(0.0742, abs=1e-4)
    assert (row["low"], row["high"]) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert row["verdict"] == Verdict.NOT_TOLD
    assert row["told_from"] == pytest.approx(2.4841, abs=1e-3)


def test_only_seeds_of_both_are_paired() -> None:
    row = compare(plain={0: 70.0, 1: 71.0, 2: 72.5}, se={1: 72.0, 2: 73.0, 7: 99.0}).loc["se"]
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(0.75)


def test_for_an_error_less_is_better() -> None:
    finals = {"plain": [70.0, 71, 72], "se": [75.0, 76.1, 77.05]}
    accuracy, error = (compare(metric=m, **finals).loc["se"] for m in ("test_top1", "test_err1"))
    assert accuracy["verdict"] == error["verdict"] == Verdict.BETTER
    assert error["difference"] == pytest.approx(-accuracy["difference"])
    reverse = compare("se", **finals).loc["plain"]
    assert reverse["verdict"] == Verdict.WORSE


@pytest.mark.parametrize(
    ("own", "n", "verdict"),
    [
        ({}, 0, Verdict.NO_SEED),
        ({None: 75.0}, 0, Verdict.UNKNOWN_SEEDS),
        ({9: 75.0}, 0, Verdict.NO_SEED),
        ({0: 75.0}, 1, Verdict.TOO_FEW),
        ({0: 75.0, 1: 76.001}, 2, Verdict.TOO_FEW),
        ({0: 75.0, 1: 76.0, 2: 77.0}, 3, Verdict.NO_SPREAD),
        ({0: 75.0, 1: 76.0, 2: float("nan")}, 3, Verdict.NO_NUMBER),
    ],
)
def test_where_there_is_no_test_it_says_why(own: dict[Any, float], n: int, verdict: str) -> None:
    finals = {"plain": [70.0, 71.0, 72.0], "se": own, "bam": [70.0]}
    runs, epochs = frames(**finals)
    if not own:
        begun = {"sweep": "demo", "run_id": "se-0", "model": "se", "seed": 0, "state": "unfinished"}
        runs = pd.concat([runs, pd.DataFrame([begun | {"epochs_done": 0}])], ignore_index=True)
    row = significance.compare(runs, epochs, baseline="plain").set_index("group").loc["se"]
    assert (row["n"], row["verdict"]) == (n, verdict)
    assert np.isnan(row["p_corrected"])
    assert np.isfinite(row["low"]) == (n == 2)


def test_the_baseline_must_be_a_row() -> None:
    with pytest.raises(InputError, match="'plane' is not a known baseline; did you mean 'plain'"):
        compare("plane", plain=[1.0], se=[2.0])


def test_holm_corrects_by_rank_and_never_turns_the_order() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03])
    assert significance.holm(p) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_between_no_correction_and_bonferronis(p: list[float]) -> None:
    corrected = significance.holm(np.array(p))
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()


@settings(max_examples=30)
@given(st.lists(st.floats(0, 100), min_size=3, max_size=6), st.floats(1.05, 3))
def test_a_difference_beyond_what_can_be_told_is_told(own: list[float], beyond: float) -> None:
    spread = compare(plain=[0.0] * len(own), se=own).loc["se"]
    if np.isnan(spread["p"]):
        return
    shift = beyond * spread["told_from"] - np.mean(own)
    moved = compare(plain=[0.0] * len(own), se=[value + shift for value in own]).loc["se"]
    assert moved["verdict"] == Verdict.BETTER
