from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.costs import costs
from analysis.load import Runs, load_runs
from analysis.report.page import Column, Table
from analysis.report.runs import (
    details_of_runs,
    names,
    options_in_common,
    own_options,
    table_of_failures,
    table_of_runs,
)
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_run, make_attempt, name_runs


def column(table: Table, heading: str) -> Column:
    (found,) = [column for column in table.columns if column.heading == heading]
    return found


def said(table: Table, heading: str) -> list[str]:
    return [cell.text for cell in column(table, heading).cells]


@pytest.fixture
def loaded(half_finished: SweepDir) -> Runs:
    return load_runs(half_finished)


def add_failed(sweep: SweepDir, cause: str, message: str, **options: object) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=1, **options)
    ended = {"ended_unix_s": 1.7e9 + 60, "cause": cause, "message": message}
    run.write_attempt(make_attempt(1, "resnet_small") | {"node": "gpu07", **ended})
    name_runs(sweep, sweep.runs())


def test_what_is_the_same_in_all_runs_is_told_once(loaded: Runs) -> None:
    common = dict(options_in_common(loaded.runs))
    assert common["epochs"] == "4"
    assert common["image_folder"] == "not set"
    assert "seed" not in common
    assert "model" not in common
    assert "sweep" not in common


def test_an_option_is_common_or_a_runs_own_and_never_both(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, "resnet_small", lr=0.1, epochs=4),
        add_run(sweep, "resnet_small", lr=0.2, epochs=5, epochs_done=5),
    ]
    name_runs(sweep, runs)
    frame = load_runs(sweep).runs
    assert list(own_options(frame)) == ["epochs=4 lr=0.1", "epochs=5 lr=0.2"]
    assert not {"epochs", "lr"} & {*dict(options_in_common(frame))}


def test_an_option_of_one_network_is_no_option_of_another(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, "resnet_small", model_options={"attention": "se"}),
        add_run(sweep, "sresnet_small"),
    ]
    name_runs(sweep, runs)
    first, second = own_options(load_runs(sweep).runs)
    assert "attention=se" in first
    assert "attention" not in second


def test_one_run_has_nothing_of_its_own(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small")])
    assert list(own_options(load_runs(sweep).runs)) == [""]


def test_a_run_is_called_by_its_network_its_group_and_its_seed(loaded: Runs) -> None:
    assert names(loaded.runs, "model")[0] == "resnet_small seed 0"
    assert names(loaded.runs, "lr")[0] == "resnet_small, lr=0.1 seed 0"


def test_runs_that_would_have_one_name_are_called_by_their_ids(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", lr=lr) for lr in (0.1, 0.2)])
    frame = load_runs(sweep).runs
    assert list(names(frame, "model")) == list(frame["run_id"])


def test_a_run_of_an_unknown_seed_has_no_seed_in_its_name(loaded: Runs) -> None:
    runs = loaded.runs.assign(seed=pd.NA)[:1]
    assert list(names(runs, "model")) == ["resnet_small"]


def test_every_run_has_a_row_with_what_is_known_of_it(loaded: Runs) -> None:
    runs, epochs = loaded.runs, loaded.epochs
    spent = costs(runs, epochs, loaded.attempts)
    table = table_of_runs(runs, epochs, spent, "model", "test_top1")
    assert said(table, "state") == ["finished"] * 3 + ["unfinished", "planned"]
    assert said(table, "epochs") == ["4", "4", "4", "2", "0"]
    assert said(table, "test top-1 (%), last epoch")[2:] == ["80.50", "50.00", "—"]
    assert said(table, "attempts") == ["1", "1", "2", "1", "0"]
    assert said(table, "waited") == ["—"] * 5


def test_each_run_is_opened_to_its_own_attempts(loaded: Runs) -> None:
    details = details_of_runs(loaded.runs, loaded.attempts)
    assert [len(one.attempts.rows) for one in details] == [1, 1, 2, 1, 0]
    run_id = loaded.runs["run_id"][2]
    assert ("run", f"demo/{run_id}") in details[2].facts
    assert said(details[2].attempts, "attempt") == ["1", "2"]
    assert said(details[2].attempts, "log") == [
        str(Path("demo", run_id, f"log.{number}.txt")) for number in (1, 2)
    ]


def test_what_failed_stands_with_cause_message_node_and_log(sweep: SweepDir) -> None:
    add_run(sweep, "resnet_small", seed=1)
    add_failed(sweep, "preempted", "SIGTERM", seed=2)
    add_failed(sweep, "out_of_memory", "<b>no</b> memory", seed=3)
    loaded = load_runs(sweep)
    table = table_of_failures(loaded.runs, loaded.attempts, "model")
    assert table is not None
    assert said(table, "run") == ["resnet_small seed 3", "resnet_small seed 2"]
    assert said(table, "cause") == ["out of memory", "preempted"]
    assert said(table, "message") == ["<b>no</b> memory", "SIGTERM"]
    assert said(table, "last node") == ["gpu07", "gpu07"]
    assert said(table, "log")[0].endswith("/log.1.txt")


def test_where_nothing_failed_there_is_no_table_of_failures(loaded: Runs) -> None:
    assert table_of_failures(loaded.runs, loaded.attempts, "model") is None
