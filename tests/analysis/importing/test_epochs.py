from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.importing.epochs import LARGEST_EPOCH, ranges, records_of
from analysis.importing.log import Row, UnusableError
from jobs.run_records import EpochMetrics


def rows(*epochs: int) -> list[Row]:
    """A row for each epoch; its test loss is its place among the rows."""
    return [Row(epoch, {"test_loss": float(place)}) for place, epoch in enumerate(epochs)]


def test_epochs_that_count_from_0_count_from_1_afterwards() -> None:
    records, notes = records_of({"the log": rows(0, 1, 2)})
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert notes == ["epochs count from 0 in the log, and from 1 here"]
    records, notes = records_of({"the log": rows(1, 2)})
    assert [record["epoch"] for record in records] == [1, 2]
    assert notes == []


def test_a_record_has_every_name_and_null_for_what_the_log_lacks() -> None:
    [record], _ = records_of({"the log": rows(1)})
    assert record.keys() == EpochMetrics.__annotations__.keys()
    assert {name for name, value in record.items() if value is not None} == {
        *("attempt", "epoch", "test_loss")
    }


def test_the_last_record_of_an_epoch_counts_and_this_is_told() -> None:
    records, notes = records_of({"the log": rows(1, 2, 2, 3)})
    assert [record["test_loss"] for record in records] == [0, 2, 3]
    assert notes == ["the log gave epoch 2 more than once; the last counts"]


def test_a_log_that_goes_back_is_another_attempt() -> None:
    records, notes = records_of({"the log": rows(1, 2, 3, 2, 3, 4)})
    assert [record["attempt"] for record in records] == [1, 2, 2, 2]
    assert [record["test_loss"] for record in records] == [0, 3, 4, 5]
    assert notes[0] == "the log went back from epoch 3 to 2, as after a restart"


def test_nothing_of_an_abandoned_attempt_stays_in_an_epoch() -> None:
    before = [Row(1, {"test_loss": 1.0}), Row(2, {"test_loss": 2.0, "lr": 0.1})]
    records, _ = records_of({"the log": [*before, Row(1, {}), Row(2, {"lr": 0.2})]})
    assert [record["test_loss"] for record in records] == [None, None]


def test_several_rows_of_an_epoch_may_each_say_a_part() -> None:
    parts = [Row(1, {"lr": 0.1, "test_loss": None}), Row(1, {"test_loss": 2.0})]
    [record], notes = records_of({"the log": parts})
    assert (record["lr"], record["test_loss"]) == (0.1, 2.0)
    assert notes == []


def test_two_files_of_a_training_are_joined_and_what_one_lacks_is_told() -> None:
    train = [Row(epoch, {"train_loss": 9.0}) for epoch in (1, 2, 3)]
    records, notes = records_of({"the train file": train, "the test file": rows(1, 3)})
    assert [record["train_loss"] for record in records] == [9.0, 9.0, 9.0]
    assert [record["test_loss"] for record in records] == [0, None, 1]
    assert notes == ["epoch 2: nothing in the test file"]


def test_what_two_files_have_in_common_is_told_once() -> None:
    _, notes = records_of({"one": rows(1, 2, 2), "two": rows(1, 2, 2)})
    assert notes == ["one and two gave epoch 2 more than once; the last counts"]


def test_gaps_and_a_late_beginning_are_told() -> None:
    _, notes = records_of({"the log": rows(3, 4, 6, 9)})
    assert notes == ["the log begins at epoch 3", "epochs 5 and 7-8 are not in the log"]
    assert records_of({"the log": rows(1, 3)})[1] == ["epoch 2 is not in the log"]


def test_a_number_that_cannot_be_an_epoch_is_none() -> None:
    for epoch in (-1, LARGEST_EPOCH + 1):
        with pytest.raises(UnusableError, match=f"it has epoch {epoch:,}"):
            records_of({"the log": rows(1, epoch)})


def test_a_step_is_a_whole_number() -> None:
    steps = [391.0, float("nan"), None]
    records, _ = records_of({"the log": [Row(n, {"step": s}) for n, s in enumerate(steps, 1)]})
    assert [record["step"] for record in records] == [391, None, None]
    assert type(records[0]["step"]) is int


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_whatever_the_order_each_epoch_is_there_once_with_its_last_value(epochs: list[int]) -> None:
    records, _ = records_of({"the log": rows(*epochs)})
    shift = 1 if min(epochs) == 0 else 0
    last = {epoch + shift: place for place, epoch in enumerate(epochs)}
    assert [record["epoch"] for record in records] == sorted(last)
    assert all(record["test_loss"] == last[record["epoch"]] for record in records)


@pytest.mark.parametrize(
    ("epochs", "told"),
    [
        ([7], "epoch 7"),
        ([7, 8], "epochs 7-8"),
        ([9, 7], "epochs 7 and 9"),
        ([1, 2, 5, 7, 8, 9], "epochs 1-2, 5 and 7-9"),
    ],
)
def test_epochs_are_told_as_ranges(epochs: list[int], told: str) -> None:
    assert ranges(epochs) == told
