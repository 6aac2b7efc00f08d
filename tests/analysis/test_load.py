from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from analysis.load import load_runs
from jobs.causes import Cause
from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import (
    EPOCHS,
    STARTED_UNIX_S,
    add_imported,
    add_run,
    add_slurm_attempt,
    add_submission,
    damage,
    make_attempt,
    make_environment,
    make_metrics,
    name_runs,
)


def only_row(sweep: SweepDir) -> pd.Series:
    [(_, row)] = load_runs([sweep]).runs.iterrows()
    return row


def test_there_is_a_row_per_planned_run_in_the_order_of_the_matrix(sweep: SweepDir) -> None:
    runs = [add_run(sweep, "sresnet_small", seed=1), add_run(sweep, "resnet_small", seed=0)]
    name_runs(sweep, runs)
    loaded = load_runs([sweep]).runs
    assert list(loaded["run_id"]) == [run.run_id for run in runs]
    assert list(loaded["model"]) == ["sresnet_small", "resnet_small"]


def test_a_finished_run_has_its_results(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", final=70.0, attempts=3)])
    row = only_row(sweep)
    assert row["state"] == "finished"
    assert row["epochs_done"] == EPOCHS
    assert (row["best_test_top1"], row["best_epoch"]) == (71.0, EPOCHS - 1)
    assert (row["final_test_top1"], row["final_test_top5"]) == (70.0, 99.0)
    assert (row["params"], row["macs"], row["attempts"]) == (175_258, 26_000_000, 3)


def test_the_size_of_an_unfinished_run_comes_from_its_attempts(half_finished: SweepDir) -> None:
    runs = load_runs([half_finished]).runs
    begun, untouched = runs.iloc[3], runs.iloc[4]
    assert (begun["state"], begun["epochs_done"], begun["params"]) == ("unfinished", 2, 1_234_567)
    assert untouched["state"] == "planned"
    assert pd.isna(untouched["params"])


def test_an_attempt_that_was_killed_while_it_began_does_not_hide_the_size(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=2)
    killed = make_attempt(2, "resnet_small")
    del killed["params"], killed["macs"]
    run.write_attempt(killed)
    name_runs(sweep, [run])
    row = only_row(sweep)
    assert (row["attempts"], row["params"], row["macs"]) == (2, 175_258, 26_000_000)


def test_records_of_older_versions_are_read(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small")
    path = run.path / "metrics.jsonl"
    old = path.read_text().replace('"data_wait_share":0.25,', "")
    assert old != path.read_text()
    path.write_text(old)
    name_runs(sweep, [run])
    assert only_row(sweep)["state"] == "finished"
    assert load_runs([sweep]).epochs["data_wait_share"].isna().all()


def test_an_attempt_without_metrics_is_unfinished(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", epochs_done=0)])
    row = only_row(sweep)
    assert (row["state"], row["epochs_done"], row["attempts"]) == ("unfinished", 0, 1)


def test_there_is_a_row_per_epoch_and_the_last_record_of_an_epoch_counts(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", seed=7, epochs_done=3)
    run.append_metrics(make_metrics(3, 33.0, attempt=2))
    name_runs(sweep, [run])
    epochs = load_runs([sweep]).epochs
    assert list(epochs["epoch"]) == [1, 2, 3]
    assert list(epochs["attempt"]) == [1, 1, 2]
    assert epochs["test_top1"].iloc[-1] == 33.0
    assert set(epochs["seed"]) == {7}


def test_an_option_that_is_a_list_is_one_text_by_which_runs_can_be_grouped(
    sweep: SweepDir,
) -> None:
    lists = [[3, 5], [4]]
    name_runs(sweep, [add_run(sweep, "resnet_small", lr_milestones_epochs=one) for one in lists])
    assert set(load_runs([sweep]).runs["lr_milestones_epochs"]) == {"3 5", "4"}


def test_only_selected_runs_are_loaded_with_their_epochs(half_finished: SweepDir) -> None:
    loaded = load_runs([half_finished], only="model == sresnet_small and epochs_done in [2, 4]")
    assert list(loaded.runs["seed"]) == [0, 1]
    assert set(loaded.epochs["run_id"]) == set(loaded.runs["run_id"])
    lists = load_runs([half_finished], only="lr_milestones_epochs == [] and state == planned")
    assert list(lists.runs["seed"]) == [2]
    with pytest.raises(InputError, match=r"^--only 'seed > 2': it selects no run: seed is 0, 1 or"):
        load_runs([half_finished], only="seed > 2")


def test_a_loss_that_diverged_is_nan(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=0)
    run.append_metrics(make_metrics(1, 1.0, train_loss=float("nan")))
    name_runs(sweep, [run])
    epochs = load_runs([sweep]).epochs
    assert epochs["train_loss"].dtype == float
    assert epochs["train_loss"].isna().all()


def test_an_option_that_only_some_runs_set_keeps_its_type(sweep: SweepDir) -> None:
    runs = [add_run(sweep, "resnet_small"), add_run(sweep, "resnet_small", train_images=1000)]
    name_runs(sweep, runs)
    assert list(load_runs([sweep]).runs["train_images"]) == [None, 1000]


def test_options_of_a_network_are_readable(sweep: SweepDir) -> None:
    options = {"stem": "cifar", "combine": "sum"}
    name_runs(sweep, [add_run(sweep, "bam_resnet_small", model_options=options)])
    assert only_row(sweep)["model_options"] == "combine=sum stem=cifar"


def test_each_option_of_a_network_has_a_column_with_the_value_that_the_run_has(
    sweep: SweepDir,
) -> None:
    runs = [
        add_run(sweep, "resnet_small", model_options={"attention": "se"}),
        add_run(sweep, "resnet_small"),
        add_run(sweep, "timm/resnet10t", model_options={"drop_rate": 0.5}),
    ]
    name_runs(sweep, runs)
    frame = load_runs([sweep]).runs
    assert list(frame["model_options.attention"])[:2] == ["se", "none"]
    assert frame["model_options.attention"].isna()[2]
    assert frame["model_options.drop_rate"][2] == 0.5


def test_an_edited_configuration_is_reported_by_name_and_left_out(sweep: SweepDir) -> None:
    good, edited = add_run(sweep, "resnet_small"), add_run(sweep, "sresnet_small")
    name_runs(sweep, [good, edited])
    damage(edited)
    loaded = load_runs([sweep])
    assert list(loaded.runs["run_id"]) == [good.run_id]
    assert set(loaded.epochs["run_id"]) == {good.run_id}
    [problem] = loaded.problems
    assert problem.startswith(f"{edited.run_id} is left out: ")
    assert "edited" in problem


def test_damaged_records_are_reported_and_left_out(sweep: SweepDir) -> None:
    damaged = [add_run(sweep, "resnet_small", seed=seed) for seed in range(4)]
    name_runs(sweep, damaged)
    lacking, short, gone, unmeasured = damaged
    result = json.loads((lacking.path / "result.json").read_text())
    del result["wall_s"]
    (lacking.path / "result.json").write_text(json.dumps(result))
    metrics = short.path / "metrics.jsonl"
    edit(metrics, lambda text: "".join(text.splitlines(keepends=True)[:2]))
    (gone.path / "config.json").unlink()
    edit(unmeasured.path / "metrics.jsonl", lambda text: text.replace('"step"', '"stop"'))
    loaded = load_runs([sweep])
    assert loaded.runs.empty
    about_lacking, about_short, about_gone, about_unmeasured = loaded.problems
    assert lacking.run_id in about_lacking
    assert "wall_s" in about_lacking
    assert f"metrics of 2 of {EPOCHS} epochs" in about_short
    assert str(gone.path / "config.json") in about_gone
    assert "'step'" in about_unmeasured


def test_a_missing_epoch_in_the_middle_is_reported(sweep: SweepDir) -> None:
    holes = [
        add_run(sweep, "resnet_small"),
        add_run(sweep, "sresnet_small", epochs_done=EPOCHS - 1),
    ]
    name_runs(sweep, holes)
    for run in holes:
        edit(run.path / "metrics.jsonl", lambda text: without_line(text, 1))
    assert load_runs([sweep]).problems == tuple(
        f"{run.run_id} is left out: its metrics lack epoch 2" for run in holes
    )


def without_line(text: str, number: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:number], *lines[number + 1 :]])


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("result.json", "{", "[{"),
        ("result.json", '"best_epoch": 3', '"best_epoch": "third"'),
        ("result.json", '"wall_s": 6.0', '"wall_s": []'),
        ("attempts/1.json", "{", ""),
        ("attempts/1.json", '"attempt"', '"attmept"'),
        ("config.json", "{", "[{"),
        ("metrics.jsonl", '"epoch":2', '"epoch":"two"'),
        ("metrics.jsonl", '"epoch":2', '"epoch":[2]'),
        ("metrics.jsonl", '"step":20', '"step":null'),
        ("metrics.jsonl", '"test_top5":99.0', '"test_top5":"99 %"'),
    ],
)
def test_one_damaged_file_leaves_out_one_run(
    sweep: SweepDir, file: str, before: str, after: str
) -> None:
    good, damaged = add_run(sweep, "resnet_small"), add_run(sweep, "sresnet_small")
    name_runs(sweep, [good, damaged])
    edit(damaged.path / file, lambda text: text.replace(before, after))
    loaded = load_runs([sweep])
    assert list(loaded.runs["run_id"]) == [good.run_id]
    [problem] = loaded.problems
    assert problem.startswith(f"{damaged.run_id} is left out: ")


def test_a_damaged_sweep_is_left_out_of_several_and_alone_an_error(tmp_path: Path) -> None:
    good, damaged = SweepDir(tmp_path / "good"), SweepDir(tmp_path / "damaged")
    for sweep in (good, damaged):
        name_runs(sweep, [add_run(sweep, "resnet_small")])
    (damaged.path / "matrices" / "1.runs.json").write_text("{")
    loaded = load_runs([damaged, good])
    assert list(loaded.runs["sweep"]) == ["good"]
    [problem] = loaded.problems
    assert problem.startswith("sweep damaged is left out: ")
    assert "1.runs.json" in problem
    with pytest.raises(InputError, match=r"1\.runs\.json"):
        load_runs([damaged])


def test_a_torn_last_line_of_the_metrics_is_no_problem(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=2)
    name_runs(sweep, [run])
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"attempt": 1, "epo')
    loaded = load_runs([sweep])
    assert loaded.problems == ()
    assert len(loaded.epochs) == 2


def test_runs_that_the_newest_matrix_no_longer_names_are_left_out(sweep: SweepDir) -> None:
    old, new = add_run(sweep, "resnet_small"), add_run(sweep, "resnet_small", epochs=EPOCHS + 1)
    begun = add_run(sweep, "resnet_small", seed=1, epochs_done=2)
    name_runs(sweep, [old, begun], "the first matrix")
    name_runs(sweep, [new], "the second matrix")
    loaded = load_runs([sweep])
    assert list(loaded.runs["run_id"]) == [new.run_id]
    assert set(loaded.epochs["run_id"]) <= {new.run_id}
    assert loaded.problems == (
        "1 finished run that the matrix of `demo` no longer names is left out; "
        "--all-versions includes them",
    )
    everything = load_runs([sweep], all_versions=True)
    assert list(everything.runs["run_id"]) == [new.run_id, old.run_id]
    assert everything.problems == ()


def test_an_empty_sweep_gives_empty_tables_with_all_columns(sweep: SweepDir) -> None:
    name_runs(sweep, [])
    empty = load_runs([sweep])
    assert empty.problems == ()
    name_runs(sweep, [add_run(sweep, "resnet_small")], "another matrix")
    full = load_runs([sweep])
    assert len(empty.runs) == len(empty.epochs) == 0
    assert list(empty.runs.columns) == list(full.runs.columns)
    assert list(empty.epochs.columns) == list(full.epochs.columns)


def test_sweeps_of_one_name_are_told_apart_and_one_sweep_is_read_once(tmp_path: Path) -> None:
    first, second = SweepDir(tmp_path / "a" / "demo"), SweepDir(tmp_path / "b" / "demo")
    for sweep in (first, second):
        name_runs(sweep, [add_run(sweep, "resnet_small")])
    assert list(load_runs([first, second]).runs["sweep"]) == [str(first.path), str(second.path)]
    assert list(load_runs([first, first]).runs["sweep"]) == ["demo"]


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)


# ------------------------------------------------------------------------------- where runs stand


def begun(sweep: SweepDir, seed: int = 0) -> RunDir:
    run = add_run(sweep, "resnet_small", epochs_done=0, seed=seed)
    name_runs(sweep, [*sweep.runs()], f"a matrix with seed {seed}")
    return run


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (Cause.CODE_ERROR, "failed"),
        (Cause.STUCK_AT_CHANCE, "failed"),
        (Cause.OUT_OF_MEMORY, "failed"),
        (Cause.CANCELLED, "cancelled"),
        (Cause.PREEMPTED, "unfinished"),
        (Cause.DATA_MISSING, "unfinished"),
    ],
)
def test_the_last_attempt_tells_where_an_unfinished_run_stands(
    sweep: SweepDir, cause: Cause, state: str
) -> None:
    run = begun(sweep)
    add_slurm_attempt(run, 2, 1, cause=cause, message="its last word")
    row = only_row(sweep)
    assert (row["state"], row["cause"], row["message"]) == (state, cause, "its last word")
    assert row["stuck_at_chance"] is (cause == Cause.STUCK_AT_CHANCE)
    run.write_attempt(make_attempt(3, "resnet_small"))
    row = only_row(sweep)
    assert (row["state"], row["cause"], row["message"]) == ("unfinished", "", "")


def test_a_run_is_cancelled_until_it_is_released(sweep: SweepDir) -> None:
    run = begun(sweep)
    untouched = add_run(sweep, "resnet_small", epochs_done=None, seed=1)
    name_runs(sweep, [run, untouched], "both")
    for one in (run, untouched):
        one.observe("cancelled")
    assert list(load_runs([sweep]).runs["state"]) == ["cancelled", "cancelled"]
    for one in (run, untouched):
        one.observe("released")
    assert list(load_runs([sweep]).runs["state"]) == ["unfinished", "planned"]


def test_code_torch_device_and_precision_are_those_of_all_attempts(sweep: SweepDir) -> None:
    run = begun(sweep)
    assert list(only_row(sweep)[["code", "torch", "device", "precision_used"]]) == [""] * 4
    add_slurm_attempt(run, 1, 0)
    add_slurm_attempt(run, 2, 1)
    add_slurm_attempt(
        run, 3, 2, code="new", precision="bf16", environment=make_environment("A100", "2.11.0")
    )
    assert list(only_row(sweep)[["code", "torch", "device", "precision_used"]]) == [
        *("c0de new", "2.10.0 2.11.0", "Tesla V100; A100", "fp16 bf16")
    ]


def test_a_run_waits_whose_last_job_has_neither_begun_nor_ended(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=0, attempts=0)
    name_runs(sweep, [run])

    def waits_since() -> float:
        return only_row(sweep)["queued_unix_s"]

    assert np.isnan(waits_since())
    add_submission(sweep, [run])
    assert waits_since() == STARTED_UNIX_S - 1800
    run.observe("cancelled")
    assert np.isnan(waits_since())
    run.observe("released")
    add_slurm_attempt(run, 1, 0, cause="preempted")
    assert np.isnan(waits_since()), "it has begun"
    again = {"submitted_unix_s": STARTED_UNIX_S + 9000}
    add_submission(sweep, [run], token="t1", refused="no such partition", job_id=None, **again)
    add_submission(sweep, [run], token="t2", job_id="78", **again)
    assert waits_since() == STARTED_UNIX_S + 9000
    run.observe("ended", token="t2", word="CANCELLED")
    assert np.isnan(waits_since())


def test_a_finished_run_that_learnt_nothing_is_marked(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small")
    name_runs(sweep, [run])
    assert not only_row(sweep)["stuck_at_chance"]
    edit(run.path / "result.json", lambda text: text.replace("{", '{"stuck_at_chance": true,'))
    assert only_row(sweep)["stuck_at_chance"]


# ------------------------------------------------------------------------------- attempts


def test_an_attempt_on_this_machine_waits_in_no_queue_and_knows_who_shares_its_gpu(
    sweep: SweepDir,
) -> None:
    run = add_run(sweep, "resnet_small")
    name_runs(sweep, [run])
    (attempt,) = run.attempts()
    assert attempt["executor"] == "local"
    for host, sharing in ((attempt["host"], 3), ("elsewhere", 2)):
        facts = {"executor": "local", "host": host, "runs_per_gpu": sharing, "job_id": None}
        submitted_unix_s = attempt["started_unix_s"] - 1
        add_submission(sweep, [run], token=host, submitted_unix_s=submitted_unix_s, **facts)
    attempts = load_runs([sweep]).attempts
    assert list(attempts["runs_per_gpu"]) == [3]
    assert attempts["queued_unix_s"].isna().all()


def test_there_is_a_row_per_attempt_with_its_wait_in_the_queue(sweep: SweepDir) -> None:
    run = begun(sweep)
    add_slurm_attempt(run, 1, 0)
    add_slurm_attempt(run, 2, 1, ended_unix_s=STARTED_UNIX_S + 9000.0)
    add_slurm_attempt(run, 3, 0, job_id="78_4", cause="finished")
    add_submission(sweep, [run])
    later_s = STARTED_UNIX_S + 10_000
    later = {"token": "t1", "job_id": "78", "submitted_unix_s": later_s, "runs_per_job": 4}
    add_submission(sweep, [run] * 18, **later)
    attempts = load_runs([sweep]).attempts
    assert list(attempts["attempt"]) == [1, 2, 3]
    assert list(attempts["run_id"]) == [run.run_id] * 3
    assert list(attempts["queued_unix_s"]) == [
        STARTED_UNIX_S - 1800,
        STARTED_UNIX_S + 3600,
        later_s,
    ]
    assert list(attempts["runs_per_gpu"]) == [1, 1, 2], "the last job has what is left"
    assert list(attempts["device"]) == ["Tesla V100"] * 3
    assert attempts["last_step"].dtype == float


def test_the_wait_is_unknown_here_and_after_a_start_of_which_nothing_is_known(
    sweep: SweepDir,
) -> None:
    run = begun(sweep)
    add_slurm_attempt(run, 2, 3)
    attempts = load_runs([sweep]).attempts
    assert list(attempts["executor"]) == ["local", "slurm"]
    assert attempts["queued_unix_s"].isna().all()


def test_the_last_sign_of_an_attempt_is_its_end_or_its_last_record_or_its_start(
    sweep: SweepDir,
) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=2)
    name_runs(sweep, [run])
    add_slurm_attempt(run, 2, 1)
    run.write_attempt(make_attempt(3, "resnet_small", started_unix_s=STARTED_UNIX_S + 9000))
    attempts = load_runs([sweep]).attempts
    ended, signs = attempts["ended_unix_s"], attempts["last_sign_unix_s"] - STARTED_UNIX_S
    assert list(ended.isna()) == [True, False, True]
    assert list(signs) == [2, 7200 + 3600, 9000]


def test_what_slurm_said_of_a_killed_attempt_is_known(sweep: SweepDir) -> None:
    run = begun(sweep)
    run.explain(1, Cause.NODE_FAILURE, "SLURM says NODE_FAIL", "gpu3", STARTED_UNIX_S + 60)
    [(_, attempt)] = load_runs([sweep]).attempts.iterrows()
    assert (attempt["cause"], attempt["node"]) == ("node_failure", "gpu3")
    assert attempt["ended_unix_s"] == attempt["last_sign_unix_s"] == STARTED_UNIX_S + 60


def test_a_damaged_submission_costs_only_the_times_of_waiting(sweep: SweepDir) -> None:
    run = begun(sweep)
    add_slurm_attempt(run, 1, 0)
    add_submission(sweep, [run])
    [path] = sweep.submissions()
    path.write_text("{")
    loaded = load_runs([sweep])
    assert loaded.attempts["queued_unix_s"].isna().all()
    [problem] = loaded.problems
    assert problem.startswith("how long the runs of `demo` have waited is not known: ")
    assert path.name in problem


# ------------------------------------------------------------------------------- imported runs


def test_an_imported_run_is_finished_and_what_nobody_knows_of_it_is_missing(
    sweep: SweepDir,
) -> None:
    add_imported(sweep, final=75.5)
    row = only_row(sweep)
    assert (row["origin"], row["state"], row["model"]) == ("imported", "finished", "resnet50")
    assert (row["dataset"], row["best_test_top1"], row["final_test_top1"]) == (
        *("cifar100", 75.5, 75.5),
    )
    assert (row["epochs_done"], row["best_epoch"], row["attempts"]) == (EPOCHS, EPOCHS, 0)
    unknown = ["seed", "lr", "epochs", "precision", "model_options", "params", "final_test_top5"]
    assert row[unknown].isna().all()
    epochs = load_runs([sweep]).epochs
    assert list(epochs["attempt"]) == [0] * EPOCHS
    assert epochs[["seed", "step", "lr", "train_loss", "time_unix_s"]].isna().all(axis=None)


def test_imported_runs_stand_beside_our_own_after_those_of_the_matrix(sweep: SweepDir) -> None:
    run = add_run(sweep, "sresnet_small", seed=3)
    imported = add_imported(sweep, "a-run", seed=1, options={"lr": 0.05}, epochs=[2, 4])
    name_runs(sweep, [run])
    loaded = load_runs([sweep])
    assert list(loaded.runs["run_id"]) == [run.run_id, imported.run_id]
    assert list(loaded.runs["lr"]) == [0.1, 0.05]
    assert list(loaded.runs["seed"]) == [3, 1]
    of_it = loaded.epochs[loaded.epochs["run_id"] == imported.run_id]
    assert list(of_it["epoch"]) == [2, 4]
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"seed"', '"sed"', "seed"),
        ('"options": {', '"options": {"lrr": 1,', "did you mean 'lr'"),
        ("{", "", "imported.json"),
    ],
)
def test_a_damaged_import_is_reported_by_name_and_left_out(
    sweep: SweepDir, before: str, after: str, said: str
) -> None:
    damaged, good = add_imported(sweep, "damaged"), add_imported(sweep, "good")
    edit(damaged.path / "imported.json", lambda text: text.replace(before, after, 1))
    loaded = load_runs([sweep])
    assert list(loaded.runs["run_id"]) == [good.run_id]
    [problem] = loaded.problems
    assert problem.startswith("damaged is left out: ")
    assert said in problem


# ------------------------------------------------------------------------------- the call


def test_sweeps_are_given_by_name_by_path_or_as_such_one_or_several(
    half_finished: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = half_finished.path.parent
    several = [[half_finished], ["demo"], [str(half_finished.path)], [half_finished.path]]
    for given in [*several, *(one for [one] in several)]:
        assert len(load_runs(given, runs=runs).runs) == 5
    monkeypatch.chdir(runs.parent)
    assert len(load_runs("demo").runs) == 5
    with pytest.raises(InputError, match="did you mean 'demo'"):
        load_runs("dmeo")


def test_the_types_of_the_columns_do_not_depend_on_what_is_loaded(
    half_finished: SweepDir, tmp_path: Path
) -> None:
    empty = SweepDir(tmp_path / "empty")
    name_runs(empty, [])
    add_imported(half_finished)
    for sweep in (half_finished, empty):
        loaded = load_runs(sweep)
        epochs = loaded.epochs.dtypes
        assert list(epochs[["sweep", "run_id", "model"]]) == ["category"] * 3
        assert (epochs["attempt"], epochs["epoch"], epochs["seed"]) == (int, int, "Int64")
        assert set(epochs.drop(["sweep", "run_id", "model", "seed", "attempt", "epoch"])) == {
            np.dtype(float)
        }
        assert loaded.runs["stuck_at_chance"].dtype == bool
        assert loaded.attempts["started_unix_s"].dtype == float


def test_a_run_that_cannot_be_opened_is_reported_and_left_out(half_finished: SweepDir) -> None:
    run = half_finished.runs()[0]
    (run.path / "metrics.jsonl").unlink()
    (run.path / "metrics.jsonl").mkdir()
    loaded = load_runs(half_finished)
    assert run.run_id not in set(loaded.runs["run_id"])
    [problem] = loaded.problems
    assert str(run.path / "metrics.jsonl") in problem


def test_a_run_that_is_written_meanwhile_is_read_up_to_some_epoch(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=0, epochs=300)
    name_runs(sweep, [run])
    lines = b"".join(orjson.dumps(make_metrics(epoch, 50.0)) + b"\n" for epoch in range(1, 301))

    def write() -> None:
        with open(run.metrics, "ab", buffering=0) as file:
            for begin in range(0, len(lines), 97):
                file.write(lines[begin : begin + 97])

    writer = threading.Thread(target=write)
    writer.start()
    seen = [0]
    while seen[-1] < 300:
        loaded = load_runs(sweep)
        assert loaded.problems == ()
        assert list(loaded.epochs["epoch"]) == list(range(1, len(loaded.epochs) + 1))
        seen.append(len(loaded.epochs))
    writer.join()
    assert seen == sorted(seen)


def test_a_run_directory_that_is_read_stays_as_it_was(half_finished: SweepDir) -> None:
    def content() -> dict[Path, bytes]:
        files = half_finished.path.rglob("*")
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = content()
    load_runs([half_finished])
    assert content() == before
