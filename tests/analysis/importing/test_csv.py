from __future__ import annotations

from pathlib import Path

import pytest

from analysis.importing.csv import read
from jobs.errors import InputError
from tests.analysis.importing.conftest import WriteLog

HEADING = "epoch,train_loss,test_top1,lr"
LINES = ("1,2.5,30.5,0.1", "2,1.5,45.25,0.01")


def test_columns_are_known_by_their_names(write: WriteLog) -> None:
    [log] = read([write("resnet18_cifar10_seed3.csv", HEADING, *LINES)]).logs
    assert (log.network, log.seed, log.options) == ("resnet18", 3, {"dataset": "cifar10"})
    last = log.records[-1]
    assert (last["epoch"], last["train_loss"], last["test_top1"], last["lr"]) == (
        *(2, 1.5),
        *(45.25, 0.01),
    )


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ", "])
def test_other_delimiters_are_found(write: WriteLog, delimiter: str) -> None:
    path = write("net.csv", *(line.replace(",", delimiter) for line in (HEADING, *LINES)))
    assert [record["lr"] for record in read([path]).logs[0].records] == [0.1, 0.01]


def test_columns_that_are_named_count_more_than_those_that_are_known(write: WriteLog) -> None:
    path = write("net.csv", "round,score,test_top1", "1,0.5,1", "2,0.75,2")
    [log] = read([path], {"epoch": "round", "test_top1": "score"}, "fraction").logs
    assert [(record["epoch"], record["test_top1"]) for record in log.records] == [(1, 50), (2, 75)]


def test_a_column_that_no_file_has_is_a_mistake_of_the_caller(write: WriteLog) -> None:
    path = write("net.csv", HEADING, *LINES)
    with pytest.raises(InputError, match="'test_topl' is not a known column; did you mean"):
        read([path], {"test_top1": "test_topl"})


def test_columns_that_are_not_used_are_told(write: WriteLog) -> None:
    [log] = read([write("net.csv", HEADING + ",mood", LINES[0] + ",7")]).logs
    assert "columns that are not used: mood" in log.notes


def test_rows_that_each_say_a_part_of_an_epoch_are_joined(write: WriteLog) -> None:
    lines = ("0,49,2.5,", "0,97,,30.5", "1,149,1.5,", "1,195,,45.0")
    path = write("net/version_0/metrics.csv", "epoch,step,train_loss,val_acc", *lines)
    [log] = read([path]).logs
    assert log.network == "net"
    assert [(one["epoch"], one["train_loss"], one["test_top1"]) for one in log.records] == [
        *((1, 2.5, 30.5), (2, 1.5, 45.0))
    ]


def test_an_epoch_that_is_not_whole_is_within_the_next_one(write: WriteLog) -> None:
    lines = ("0.5,2.5,", "1.0,,30.5", "1.5,1.5,", "2.0,,45.0")
    [log] = read([write("net.csv", "epoch,train_loss,eval_accuracy", *lines)]).logs
    assert [(one["epoch"], one["train_loss"]) for one in log.records] == [(1, 2.5), (2, 1.5)]


def test_a_line_that_does_not_say_its_epoch_is_left_out_and_told(write: WriteLog) -> None:
    [log] = read([write("net.csv", HEADING, LINES[0], "mean,1.5,45.25,0.01")]).logs
    assert len(log.records) == 1
    assert "lines without an epoch are left out: 'mean'" in log.notes


def test_without_a_column_of_epochs_the_lines_are_counted_and_this_is_told(write: WriteLog) -> None:
    [log] = read([write("net.csv", "test_top1,lr", "10.5,0.1", "20.5,0.1")]).logs
    assert [record["epoch"] for record in log.records] == [1, 2]
    assert "no column holds the epoch: its lines are counted" in log.notes


def test_a_table_of_several_trainings_is_taken_apart(write: WriteLog) -> None:
    lines = [f"{net},{seed},1,{top1}" for net, seed, top1 in (("a", 0, 50.0), ("a", 1, 51.0))]
    lines += ["b,0,1,60.0", "a,0,2,55.0"]
    logs = read([write("all.csv", "model,seed,epoch,test_top1", *lines)]).logs
    assert [(log.network, log.seed, len(log.records)) for log in logs] == [
        *(("a", 0, 2), ("a", 1, 1), ("b", 0, 1))
    ]
    assert len({log.place for log in logs}) == 3


def test_damaged_lines_and_cells_are_left_out_and_told(write: WriteLog) -> None:
    path = write("net.csv", HEADING, LINES[0], "2,1.5", "3,oops,50.5,0.1", "4,1.0,5", end="")
    [log] = read([path]).logs
    assert [(one["epoch"], one["train_loss"]) for one in log.records] == [(1, 2.5), (3, None)]
    assert {
        "the last line is cut and left out: 4,1.0,5",
        "lines that do not have 4 cells are left out: '2,1.5'",
        "cells that hold no number are left out: 'train_loss=oops'",
    } <= {*log.notes}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("hello",), "its first line does not name columns"),
        (("1,2", "3,4"), "its first line holds numbers"),
        (("epoch,epoch", "1,2"), "several of its columns are called epoch"),
        ((HEADING,), "it has no whole line below"),
        (("epoch,mood", "1,2"), "none of its columns is known to hold a loss or an accuracy"),
        ((",", ","), "it is empty"),
        (("epoch,test_top1", "-3,50"), "it has epoch -3"),
        (("epoch,test_top1", "1," + "5" * 200_000), "it is no such table"),
        (("epoch,test_top1", "1,250"), "test_top1 of epoch 1 is 250 %"),
        (("epoch,test_top1", "one,50"), "no line has a number in epoch"),
    ],
)
def test_a_file_that_is_no_such_table_is_skipped_and_told(
    write: WriteLog, lines: tuple[str, ...], why: str
) -> None:
    found = read([write("junk.csv", *lines)])
    assert found.logs == ()
    [told] = found.skipped
    assert told.startswith(f"junk.csv: {why}")


def test_a_binary_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_bytes(b"\0\1\2")
    assert read([tmp_path / "net.csv"]).skipped == ("net.csv: it is no text",)
