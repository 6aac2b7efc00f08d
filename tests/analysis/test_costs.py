from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import costs

START_S = 10.0  # of an attempt, until its first step
EPOCH_S = 100.0  # training and evaluation
HOUR_S = 3600.0


def run_row(run_id: str = "a", **changed: Any) -> dict[str, Any]:
    about = {"sweep": "demo", "run_id": run_id, "model": "plain", "origin": "trained"}
    return about | {"device": "V100", "state": "unfinished", "epochs_done": 0} | changed


def attempt_row(attempt: int, started_s: float, ended_s: float, **changed: Any) -> dict[str, Any]:
    about = {"sweep": "demo", "run_id": "a", "attempt": attempt, "gpus": 1, "runs_per_gpu": 1}
    times = {
        "queued_unix_s": started_s - 60,
        "started_unix_s": started_s,
        "last_sign_unix_s": ended_s,
    }
    return about | times | {"first_step": 0.0, "steps_per_epoch": 10.0} | changed


def epoch_row(epoch: int, attempt: int, ended_s: float, **changed: Any) -> dict[str, Any]:
    about = {"sweep": "demo", "run_id": "a", "attempt": attempt, "epoch": epoch}
    measured = {"step": 10.0 * epoch, "epoch_s": EPOCH_S - 10, "eval_s": 10.0}
    return about | measured | {"time_unix_s": ended_s} | changed


def costs_of(
    attempts: list[dict[str, Any]],
    epochs: list[dict[str, Any]],
    runs: list[dict[str, Any]] | None = None,
) -> pd.DataFrame:
    return costs.costs(
        pd.DataFrame(runs or [run_row()]),
        frame(epochs, epoch_row(1, 1, 0.0)),
        frame(attempts, attempt_row(1, 0.0, 0.0)),
    )


def frame(rows: list[dict[str, Any]], like: dict[str, Any]) -> pd.DataFrame:
    """The rows; without any, a frame with the same columns and types."""
    return pd.DataFrame(rows or [like]).iloc[: len(rows)]


def seconds(row: pd.Series) -> dict[str, float]:
    return {
        name: float(row[f"gpu_h{name}"] * HOUR_S) if name else float(row["gpu_h"] * HOUR_S)
        for name in ("", "_useful", "_lost")
    }


def test_an_undisturbed_run_loses_nothing() -> None:
    epochs = [epoch_row(n, 1, START_S + n * EPOCH_S) for n in (1, 2)]
    row = costs_of([attempt_row(1, 0, START_S + 2 * EPOCH_S + 5)], epochs).iloc[0]
    assert seconds(row) == pytest.approx({"": 215, "_useful": 200, "_lost": 0})
    assert (row["restarts"], row["queue_first_s"], row["queue_total_s"]) == (0, 60, 60)


def test_a_saved_stop_loses_the_start_up_of_the_next_attempt() -> None:
    # Stopped in the middle of epoch 2, saved, and gone on from there.
    attempts = [
        attempt_row(1, 0, START_S + 1.5 * EPOCH_S),
        attempt_row(2, 1000, 1000 + START_S + 0.5 * EPOCH_S, first_step=15.0),
    ]
    epochs = [epoch_row(1, 1, START_S + EPOCH_S), epoch_row(2, 2, 1000 + START_S + 0.5 * EPOCH_S)]
    row = costs_of(attempts, epochs).iloc[0]
    assert seconds(row) == pytest.approx({"": 220, "_useful": 200, "_lost": START_S})
    assert (row["restarts"], row["queue_total_s"]) == (1, 120)


def test_steps_that_were_trained_again_and_what_died_unsaved_are_lost() -> None:
    # Killed 70 s into epoch 3 with nothing saved since epoch 1: epoch 2 is trained again.
    attempts = [
        attempt_row(1, 0, START_S + 2 * EPOCH_S + 70),
        attempt_row(2, 1000, 1000 + START_S + EPOCH_S, first_step=10.0),
    ]
    epochs = [epoch_row(1, 1, START_S + EPOCH_S), epoch_row(2, 2, 1000 + START_S + EPOCH_S)]
    row = costs_of(attempts, epochs).iloc[0]
    assert seconds(row)["_lost"] == pytest.approx(EPOCH_S + 70 + START_S)


def test_what_has_no_record_yet_is_neither_useful_nor_lost() -> None:
    # Half of epoch 2 was saved; the second attempt goes on with it, and has recorded nothing.
    attempts = [
        attempt_row(1, 0, START_S + EPOCH_S + 45),
        attempt_row(2, 1000, 1030, first_step=15.0),
    ]
    row = costs_of(attempts, [epoch_row(1, 1, START_S + EPOCH_S)]).iloc[0]
    assert seconds(row) == pytest.approx({"": 185, "_useful": 100, "_lost": 0})


def test_hours_are_counted_for_every_gpu_and_shared_where_runs_share_one() -> None:
    epochs = [epoch_row(1, 1, START_S + EPOCH_S)]
    one, eight, quarter = (
        seconds(costs_of([attempt_row(1, 0, 110, **changed)], epochs).iloc[0])
        for changed in ({}, {"gpus": 8}, {"runs_per_gpu": 4})
    )
    assert eight == pytest.approx({name: 8 * value for name, value in one.items()})
    assert quarter == pytest.approx({name: value / 4 for name, value in one.items()})


def test_a_wait_that_is_not_known_makes_the_total_unknown() -> None:
    attempts = [attempt_row(1, 0, 10), attempt_row(2, 100, 110, queued_unix_s=np.nan)]
    row = costs_of(attempts, []).iloc[0]
    assert row["queue_first_s"] == 60
    assert np.isnan(row["queue_total_s"])


def test_a_run_that_has_not_begun_cost_nothing_and_an_imported_one_is_not_known() -> None:
    runs = [run_row("fresh"), run_row("theirs", origin="imported")]
    fresh, theirs = (row for _, row in costs_of([], [], runs).iterrows())
    assert (fresh["restarts"], fresh["gpu_h"], fresh["gpu_h_lost"]) == (0, 0, 0)
    assert pd.isna(fresh["queue_first_s"])
    assert theirs.drop(["sweep", "run_id"]).isna().all()


def test_a_group_adds_hours_up_and_averages_waits() -> None:
    runs = [run_row("a"), run_row("b"), run_row("c", model="theirs", origin="imported")]
    attempts = [
        attempt_row(1, 0, HOUR_S),
        attempt_row(1, 0, HOUR_S, run_id="b", queued_unix_s=-120.0),
    ]
    of_runs = costs_of(attempts, [], runs)
    plain, theirs = (row for _, row in costs.by_group(pd.DataFrame(runs), of_runs).iterrows())
    assert (plain["group"], plain["gpu_h"], plain["queue_first_s"]) == ("plain", 2, 90)
    assert (plain["hours_of"], theirs["group"]) == ("GPU", "theirs")
    assert pd.isna(theirs["gpu_h"])
    unknown = pd.DataFrame(runs).assign(device="")
    assert costs.by_group(unknown, of_runs)["hours_of"].isna().all()
    on_cpus = pd.DataFrame(runs).assign(device="cpu")
    assert set(costs.by_group(on_cpus, of_runs)["hours_of"]) == {"CPU"}


def test_without_any_run_there_are_no_costs() -> None:
    runs = frame([], run_row())
    nothing = costs.costs(runs, frame([], epoch_row(1, 1, 0)), frame([], attempt_row(1, 0, 0)))
    assert nothing.empty
    assert costs.by_group(runs, nothing).empty


lengths = st.floats(0, 1e5, allow_nan=False)


@settings(max_examples=50)
@given(st.lists(st.tuples(lengths, lengths, st.integers(0, 4)), min_size=1, max_size=4))
def test_what_is_of_use_and_what_is_lost_are_never_more_than_all(
    history: list[tuple[float, float, int]],
) -> None:
    attempts, epochs, now_s = [], [], 0.0
    for number, (waited_s, held_s, records) in enumerate(history, 1):
        now_s += waited_s
        attempts.append(attempt_row(number, now_s, now_s + held_s, first_step=5.0 * number))
        for _ in range(records):
            epochs.append(epoch_row(len(epochs) + 1, number, now_s + held_s))
        now_s += held_s
    row = costs_of(attempts, epochs).iloc[0]
    assert row["gpu_h_useful"] >= 0
    assert row["gpu_h_lost"] >= 0
    assert row["gpu_h_useful"] + row["gpu_h_lost"] <= row["gpu_h"] + 1e-9
