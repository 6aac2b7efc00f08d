from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.importing.log import Found
from analysis.importing.tsv import read
from analysis.importing.writing import Plan, plan
from analysis.load import load_runs
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_run, name_runs
from tests.analysis.importing.conftest import WriteLog

LINES = ("1\t2.5\t30.5", "2\t1.5\t45.25")


def carry_out(paths: Sequence[Path], sweep: SweepDir, **known: Any) -> list[Plan]:
    plans, skipped = plan(read(paths), sweep, "tsv", known, {})
    assert skipped == []
    for one in plans:
        one.carry_out()
    return plans


def test_a_training_becomes_a_run_with_what_is_known_and_no_defaults(
    write: WriteLog, sweep: SweepDir
) -> None:
    carry_out([write("cifar_100_Net_seed3_test.txt", *LINES)], sweep, epochs=150)
    loaded = load_runs(sweep)
    [(_, row)] = loaded.runs.iterrows()
    assert (row["model"], row["seed"], row["dataset"], row["epochs"]) == (
        *("Net", 3),
        *("cifar100", 150),
    )
    assert (row["origin"], row["state"], row["lr"]) == ("imported", "finished", None)
    assert (row["best_test_top1"], row["final_test_top1"]) == (45.25, 45.25)
    assert list(loaded.epochs["test_loss"]) == [2.5, 1.5]
    assert loaded.epochs["train_loss"].isna().all()


def test_what_was_told_and_the_files_digests_are_written_down(
    write: WriteLog, sweep: SweepDir
) -> None:
    [done] = carry_out([write("Net_test.txt", *LINES)], sweep)
    written = done.run.read_imported()
    assert written is not None
    assert written["format"] == "tsv"
    [file] = written["files"]
    assert (file["name"], len(file["sha256"])) == ("Net_test.txt", 64)
    assert written["notes"] == ["there is no train file beside the test file"]


def test_the_same_again_changes_nothing_and_a_log_that_grew_replaces(
    write: WriteLog, sweep: SweepDir
) -> None:
    path = write("Net_test.txt", *LINES)
    [first] = carry_out([path], sweep)
    before = (first.run.path / "imported.json").read_bytes()
    [again] = carry_out([path], sweep)
    assert (first.change, again.change) == ("new", "unchanged")
    assert (first.run.path / "imported.json").read_bytes() == before
    write("Net_test.txt", *LINES, "3\t1.0\t50.0")
    [grown] = carry_out([path], sweep)
    assert (grown.change, grown.run.run_id) == ("replaced", first.run.run_id)
    assert list(load_runs(sweep).epochs["test_top1"]) == [30.5, 45.25, 50.0]


def test_the_other_half_of_a_pair_may_come_later(write: WriteLog, sweep: SweepDir) -> None:
    test = write("Net_test.txt", *LINES)
    [first] = carry_out([test], sweep)
    [whole] = carry_out([test, write("Net_train.txt", *LINES)], sweep)
    assert (whole.change, whole.run.run_id) == ("replaced", first.run.run_id)


def test_what_is_known_may_be_told_later(write: WriteLog, sweep: SweepDir) -> None:
    path = write("Net_test.txt", *LINES)
    carry_out([path], sweep)
    [again] = carry_out([path], sweep, dataset="cifar100")
    assert again.change == "replaced"
    assert list(load_runs(sweep).runs["dataset"]) == ["cifar100"]


def test_a_copy_of_a_log_is_no_second_seed(write: WriteLog, sweep: SweepDir) -> None:
    path = write("Net_test.txt", *LINES)
    copy = write("elsewhere/Net_test.txt", *LINES)
    [first] = carry_out([path], sweep)
    [moved] = carry_out([copy], sweep)
    assert moved.run.run_id == first.run.run_id
    plans, skipped = plan(read([path, copy]), sweep, "tsv", {}, {})
    assert len(plans) == 1
    assert skipped == ["Net_test.txt: the same epochs as in Net_test.txt"]


def test_equal_logs_of_two_networks_are_both_imported_and_told(
    write: WriteLog, sweep: SweepDir
) -> None:
    paths = [write(f"{network}_test.txt", *LINES) for network in ("One", "Two")]
    _, second = carry_out(paths, sweep)
    assert "the same epochs as those of One" in second.imported["notes"]
    assert [one.change for one in carry_out(paths, sweep)] == ["unchanged", "unchanged"]


def test_files_of_one_name_in_folders_of_one_name_are_not_mixed(
    write: WriteLog, sweep: SweepDir
) -> None:
    paths = [
        write(f"{place}/same/Net_test.txt", *LINES[: count + 1])
        for count, place in enumerate(["here", "there"])
    ]
    plans, skipped = plan(read(paths), sweep, "tsv", {}, {})
    assert len(plans) == 1
    assert "give the folders names of their own" in skipped[0]


def test_a_run_that_is_trained_here_is_never_overwritten(write: WriteLog, sweep: SweepDir) -> None:
    path = write("Net_test.txt", *LINES)
    [planned], _ = plan(read([path]), sweep, "tsv", {}, {})
    trained = add_run(sweep, "resnet_small", epochs_done=2)
    trained.path.rename(planned.run.path)
    before = (planned.run.path / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="trained here"):
        planned.carry_out()
    plans, [skipped] = plan(read([path]), sweep, "tsv", {}, {})
    assert plans == []
    assert "trained here" in skipped
    assert (planned.run.path / "metrics.jsonl").read_bytes() == before


def test_imported_runs_stand_beside_those_that_are_trained_here(
    write: WriteLog, sweep: SweepDir
) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small")])
    carry_out([write("Net_test.txt", *LINES)], sweep)
    assert list(load_runs(sweep).runs["origin"]) == ["trained", "imported"]


def test_a_network_of_ours_is_counted(write: WriteLog, sweep: SweepDir) -> None:
    found = read([write("cifar_100_PreActResNet50_test.txt", *LINES)])
    [one], _ = plan(found, sweep, "tsv", {}, {"PreActResNet50": "preact_resnet50"})
    one.carry_out()
    [(_, row)] = load_runs(sweep).runs.iterrows()
    assert (row["model"], row["params"]) == ("preact_resnet50", 23_693_476)
    assert "preact_resnet50 is called PreActResNet50 in the log" in one.imported["notes"]


def test_without_a_data_set_nothing_is_counted_and_this_is_told(
    write: WriteLog, sweep: SweepDir
) -> None:
    found = read([write("Plain_test.txt", *LINES)])
    [one], _ = plan(found, sweep, "tsv", {}, {"Plain": "preact_resnet50"})
    assert "params" not in one.imported
    assert any("--set dataset=" in note for note in one.imported["notes"])


def test_a_name_that_no_log_has_is_a_mistake(write: WriteLog, sweep: SweepDir) -> None:
    found = read([write("Plain_test.txt", *LINES)])
    with pytest.raises(InputError, match=r"'Plane' is not a known network here; did you mean"):
        plan(found, sweep, "tsv", {}, {"Plane": "preact_resnet50"})


def test_nothing_is_written_by_planning(write: WriteLog, sweep: SweepDir) -> None:
    plans, _ = plan(read([write("Net_test.txt", *LINES)]), sweep, "tsv", {}, {})
    assert [one.change for one in plans] == ["new"]
    assert not sweep.path.exists()
    assert plan(Found(()), sweep, "tsv", {}, {}) == ([], [])
