from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.per_run import per_run

NAN = float("nan")


def frames(*histories: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with these test accuracies by epoch; training is ten points above."""
    runs = [{"sweep": "demo", "run_id": f"r{number}"} for number in range(len(histories))]
    epochs = [
        {**run, "epoch": epoch, "test_top1": value, "train_top1": value + 10, "epoch_s": epoch}
        for run, history in zip(runs, histories, strict=True)
        for epoch, value in enumerate(history, 1)
    ]
    columns = ["sweep", "run_id", "epoch", "test_top1", "train_top1", "epoch_s"]
    return pd.DataFrame(runs, columns=columns[:2]), pd.DataFrame(epochs, columns=columns)


def test_best_final_and_training_are_those_of_each_run() -> None:
    found = per_run(*frames([50.0, 70.0, 60.0], [10.0, 20.0]))
    assert found["best"].tolist() == [70.0, 20.0]
    assert found["final"].tolist() == [60.0, 20.0]
    assert found["train"].tolist() == [70.0, 30.0]
    assert found["epoch_s"].tolist() == [2.0, 1.5]


def test_a_loss_or_an_error_is_best_where_it_is_smallest() -> None:
    found = per_run(*frames([50.0, 70.0, 60.0]), metric="test_err1")
    assert (found["best"][0], found["final"][0]) == (30.0, 40.0)


def test_the_last_epochs_are_averaged_where_there_are_so_many() -> None:
    found = per_run(*frames([50.0, 70.0, 60.0], [10.0]), last=2)
    assert found["last"].tolist() == pytest.approx([65.0, NAN], nan_ok=True)


def test_an_epoch_without_a_number_spoils_what_it_is_part_of_and_not_the_best() -> None:
    found = per_run(*frames([50.0, NAN], [NAN, 50.0], [NAN]), last=2)
    assert found["best"].tolist() == pytest.approx([50.0, 50.0, NAN], nan_ok=True)
    assert found["final"].tolist() == pytest.approx([NAN, 50.0, NAN], nan_ok=True)
    assert found["last"].tolist() == pytest.approx([NAN, NAN, NAN], nan_ok=True)


def test_a_run_without_epochs_has_a_row_without_numbers() -> None:
    assert per_run(*frames([], [10.0]))["final"].tolist() == pytest.approx([NAN, 10.0], nan_ok=True)
    assert per_run(*frames([])).isna().all(axis=None)
    assert per_run(*frames()).empty


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.floats(0, 100), max_size=5), min_size=1, max_size=4),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_it_is_what_a_loop_finds_whatever_the_order_of_the_rows(
    histories: list[list[float]], last: int, random: Any
) -> None:
    runs, epochs = frames(*histories)
    order = list(range(len(epochs)))
    random.shuffle(order)
    shuffled = epochs.iloc[order].astype({"sweep": "category", "run_id": "category"})
    found = per_run(runs.sample(frac=1, random_state=1), shuffled, last=last).sort_index()
    for row, history in zip(found.itertuples(), histories, strict=True):
        if history:
            assert (row.best, row.final) == (max(history), history[-1])
        if len(history) >= last:
            assert row.last == pytest.approx(np.mean(history[-last:]))
        else:
            assert np.isnan(row.last)
