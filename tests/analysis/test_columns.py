from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analysis.columns import MEASURED, EpochColumns, Epochs, gather, join, read_columns
from jobs.errors import InputError
from jobs.run_dir import RunDir
from tests.analysis.conftest import make_metrics


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


def test_every_value_has_a_column_with_one_number_per_epoch(run: RunDir) -> None:
    records = [make_metrics(1, 10.0), make_metrics(2, 20.0)]
    for record in records:
        run.append_metrics(record)
    columns = read_columns(run, absent={})
    assert columns.keys() == {*MEASURED}
    for name, column in columns.items():
        assert list(column) == [record[name] for record in records]  # type: ignore[literal-required]
    assert (columns["epoch"].dtype, columns["step"].dtype) == (np.int64, np.float64)


def test_a_run_without_records_has_empty_columns(run: RunDir) -> None:
    assert read_columns(run, absent={})["test_top1"].shape == (0,)


def test_the_last_record_of_an_epoch_counts_in_the_order_of_epochs(run: RunDir) -> None:
    for epoch, top1 in [(1, 1.0), (2, 2.0), (3, 3.0), (2, 4.0), (3, 5.0)]:
        run.append_metrics(make_metrics(epoch, top1))
    columns = read_columns(run, absent={})
    assert list(columns["epoch"]) == [1, 2, 3]
    assert list(columns["test_top1"]) == [1.0, 4.0, 5.0]


def test_null_is_nan_and_a_torn_line_is_none(run: RunDir) -> None:
    run.append_metrics(make_metrics(1, 1.0, train_loss=None))
    with open(run.metrics, "a") as file:
        file.write('{"attempt": 1, "epoch": 2, "st')
    run.append_metrics(make_metrics(2, 2.0))
    columns = read_columns(run, absent={})
    assert list(columns["epoch"]) == [1, 2]
    assert np.isnan(columns["train_loss"][0])


@pytest.mark.parametrize("value", ["two", None, 2.5, True, 2**63])
def test_an_epoch_that_is_no_whole_number_is_told(run: RunDir, value: object) -> None:
    line = {**make_metrics(1, 1.0), "epoch": value, "train_loss": None}
    run.append_metrics(line)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^metrics\.jsonl is damaged: epoch is "):
        read_columns(run, absent={})


def test_what_a_record_may_lack_is_nan_and_what_it_must_have_is_told(run: RunDir) -> None:
    record = make_metrics(1, 1.0)
    del record["step"]  # type: ignore[misc]
    run.append_metrics(record)
    assert math.isnan(read_columns(run, absent={"step": None})["step"][0])
    with pytest.raises(InputError, match=r"^metrics\.jsonl is damaged: epoch 1 lacks 'step'"):
        read_columns(run, absent={})


def test_many_runs_grow_into_the_columns_of_one_frame(run: RunDir) -> None:
    columns = EpochColumns()
    of_one = {name: np.arange(1000).astype(float) for name in MEASURED}
    of_one |= {name: np.arange(1000) for name in ("attempt", "epoch")}
    parts = [columns.append(of_one) for _ in range(200)]
    [whole] = join(parts)
    assert (whole.begin, whole.end) == (0, 200_000), "more than a column has memory for at first"
    for name in ("epoch", "test_top1"):
        assert (gather([whole], name) == np.tile(np.arange(1000), 200)).all()


def test_parts_are_joined_where_they_are_neighbours_of_one_source() -> None:
    one, other = EpochColumns(), EpochColumns()
    given = [Epochs(one, 0, 2), Epochs(one, 2, 3), Epochs(one, 5, 5), Epochs(other, 3, 4)]
    assert join(given) == [Epochs(one, 0, 3), Epochs(other, 3, 4)]
    assert gather([], "epoch").dtype == np.int64
