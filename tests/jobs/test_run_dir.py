from __future__ import annotations

from pathlib import Path

import pytest

from jobs.causes import Cause
from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.run_records import Imported
from jobs.sweep_dir import SweepDir, find_sweep, sweep_of


def test_a_run_is_known_by_its_folder(run: RunDir) -> None:
    again = RunDir(f"{run.path}/")
    assert (again, again.run_id, again.path) == (run, run.run_id, run.path)
    assert {run: 1}[again] == 1


def test_planning_a_run_again_changes_nothing(run: RunDir) -> None:
    before = (run.path / "config.json").read_bytes()
    run.write_config(run.read_config())
    assert (run.path / "config.json").read_bytes() == before


def test_planning_again_takes_over_what_cannot_change_the_result(run: RunDir) -> None:
    changed = run.read_config().model_copy(update={"data_dir": Path("/moved"), "keep": "best"})
    run.write_config(changed)
    assert run.read_config() == changed
    assert run.read_config().run_id == run.run_id


def test_an_edited_configuration_names_its_file(run: RunDir) -> None:
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 4'))
    with pytest.raises(InputError, match=r"config\.json: its configuration was edited"):
        run.read_config()


def test_a_damaged_configuration_names_its_file_once(run: RunDir) -> None:
    path = run.path / "config.json"
    path.write_text("{")
    with pytest.raises(InputError, match=rf"^{path} is damaged: "):
        run.read_config()


def test_the_last_record_of_an_epoch_counts(run: RunDir) -> None:
    for epoch, step in [(1, 10), (2, 20), (3, 29), (2, 21), (3, 30)]:
        run.append_metrics({"epoch": epoch, "step": step})  # type: ignore[typeddict-item]
    assert [record["step"] for record in run.read_metrics()] == [10, 21, 30]


def test_what_the_launcher_learnt_of_a_killed_attempt_completes_its_history(run: RunDir) -> None:
    for number, end in enumerate([{}, {"cause": "stopped"}, {}, {}], start=1):
        attempt = {"attempt": number, "started_unix_s": 1.0, "pid": 1, **end}
        run.write_attempt(attempt)  # type: ignore[typeddict-item]
    run.explain(1, Cause.NODE_FAILURE, "SLURM says NODE_FAIL", "n3", ended_unix_s=9.0)
    run.explain(2, Cause.CANCELLED, "too late: it has spoken itself")
    assert [attempt.get("cause") for attempt in run.history()] == [
        "node_failure", "stopped", None, None,
    ]  # fmt: skip
    first, *_, last = run.history()
    assert (first["node"], first["ended_unix_s"]) == ("n3", 9.0)
    assert "ended_unix_s" not in last
    assert "cause" not in run.attempts()[0], "the job's own record stays as it is"


def test_what_a_killed_writer_left_is_removed(run: RunDir) -> None:
    (run.path / ".checkpoint.next.pt.123.tmp").write_bytes(b"half")
    run.remove_leftovers()
    assert not list(run.path.glob(".*.tmp"))


@pytest.mark.parametrize("name", ["result.json", "progress.json", "lease", "attempts/1.json"])
@pytest.mark.parametrize("content", ["{}", "[]", "{", "3"])
def test_a_damaged_record_is_told_by_the_name_of_its_file(
    name: str, content: str, run: RunDir
) -> None:
    path = run.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        {
            "result.json": run.read_result,
            "progress.json": run.read_progress,
            "lease": run.lease,
            "attempts/1.json": run.attempts,
        }[name]()


def test_asked_late_for_the_best_weights_a_run_keeps_its_final_ones(run: RunDir) -> None:
    run.checkpoint.touch()
    run.drop_checkpoints("best")
    assert run.checkpoint.exists()


IMPORTED = Imported(
    format="tsv",
    files=[{"name": "log.txt", "sha256": "0" * 64}],
    model="resnet50",
    seed=None,
    options={"dataset": "cifar100"},
    notes=[],
    imported_unix_s=1.0,
)


def test_an_imported_run_is_no_run_of_the_launcher_and_makes_a_sweep(tmp_path: Path) -> None:
    run = SweepDir(tmp_path / "runs" / "others").run("plain")
    run.write_imported(IMPORTED, [{"epoch": 1, "test_top1": 75.0}])
    sweep = find_sweep("others", tmp_path / "runs")
    assert (sweep.runs(), sweep.named_runs(), sweep.is_own()) == ([], [], False)
    assert [run.run_id for run in sweep.imported_runs()] == ["plain"]
    assert run.read_imported() == IMPORTED
    assert run.read_metrics() == [{"epoch": 1, "test_top1": 75.0}]
    run.write_imported(IMPORTED, [])
    assert run.read_metrics() == [], "imported again"


def test_a_run_that_is_trained_here_is_not_written_over_by_an_import(run: RunDir) -> None:
    with pytest.raises(InputError, match="choose another name"):
        run.write_imported(IMPORTED, [])
    assert sweep_of(run).is_own()
