from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import load_runs
from jobs.errors import InputError
from jobs.run_dir import SweepDir
from tests.analysis.conftest import EPOCHS, add_run, make_attempt, make_metrics, name_runs


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
    edit(edited.path / "config.json", lambda text: text.replace('"lr": 0.1', '"lr": 0.2'))
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


def test_a_run_directory_that_is_read_stays_as_it_was(half_finished: SweepDir) -> None:
    def content() -> dict[Path, bytes]:
        files = half_finished.path.rglob("*")
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = content()
    load_runs([half_finished])
    assert content() == before
