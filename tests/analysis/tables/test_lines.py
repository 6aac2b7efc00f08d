from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import stats
from analysis.load import load_runs
from analysis.tables.lines import MOST_NAMED, cut_lines, empty_lines, missing_lines, stuck_lines
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import EPOCHS, add_run, make_attempt, name_runs


def lines_of(sweep: SweepDir, runs: list[RunDir]) -> list[str]:
    name_runs(sweep, runs)
    return missing_lines(stats.missing(load_runs(sweep).runs))


def test_each_missing_run_is_told_with_how_far_it_is(half_finished: SweepDir) -> None:
    assert missing_lines(stats.missing(load_runs(half_finished).runs)) == [
        f"missing: sresnet_small seed 1: unfinished, 2 of {EPOCHS} epochs done",
        "missing: sresnet_small seed 2: not started",
    ]


def test_what_failed_is_told_with_its_cause_and_what_was_cancelled(sweep: SweepDir) -> None:
    failed = add_run(sweep, "resnet_small", epochs_done=1)
    ended = {"cause": "out_of_memory", "message": "CUDA out of memory\nmore of it"}
    failed.write_attempt(make_attempt(1, "resnet_small", ended_unix_s=1.7e9, **ended))
    cancelled = add_run(sweep, "resnet_small", seed=1, epochs_done=1)
    cancelled.observe("cancelled")
    assert lines_of(sweep, [failed, cancelled]) == [
        "missing: resnet_small seed 0: failed (out_of_memory), 1 of 4 epochs done: "
        "CUDA out of memory",
        "missing: resnet_small seed 1: cancelled, 1 of 4 epochs done",
    ]


def test_many_missing_runs_are_counted(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, "resnet_small", seed=seed, epochs_done=1 if seed < 3 else None)
        for seed in range(MOST_NAMED + 1)
    ]
    assert lines_of(sweep, runs) == [
        "missing: 11 runs: 8 not started, 3 unfinished; each is shown by `launcher status demo`"
    ]


def test_a_long_message_is_cut() -> None:
    missing = pd.DataFrame(
        [("demo", "a", "failed", 0, 1, "code_error", "x" * 500)],
        columns=["sweep", "name", "state", "epochs_done", "epochs", "cause", "message"],
    )
    [line] = missing_lines(missing)
    assert line.endswith("x…")
    assert len(line) < 300


def test_finished_runs_that_only_guess_are_told() -> None:
    runs = pd.DataFrame(
        [("a", "finished", True), ("b", "finished", False), ("c", "unfinished", True)],
        columns=["run_id", "state", "stuck_at_chance"],
    )
    assert stuck_lines(runs) == ["in the numbers, though they only guess: a"]
    assert stuck_lines(runs.iloc[1:]) == []
    many = pd.DataFrame(
        {"run_id": map(str, range(12)), "state": "finished", "stuck_at_chance": True}
    )
    assert stuck_lines(many)[0].endswith("9 and 2 more")


def test_a_curve_that_is_cut_is_told_with_the_runs_that_cut_it() -> None:
    cut = pd.DataFrame({"group": ["a"], "epoch": [3], "longest": [30], "run_ids": ["a-1, a-2"]})
    assert cut_lines(cut) == [
        "the curve of a is cut at epoch 3 of 30, where the shortest of its runs end: a-1, a-2"
    ]


def test_an_empty_table_says_that_there_is_no_run(half_finished: SweepDir, tmp_path: Path) -> None:
    assert empty_lines(load_runs(half_finished).runs) == []
    empty = SweepDir(tmp_path / "runs" / "empty")
    name_runs(empty, [])
    [line] = empty_lines(load_runs(empty).runs)
    assert "no rows" in line
