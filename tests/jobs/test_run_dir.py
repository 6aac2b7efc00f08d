from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.causes import Cause
from jobs.checkpoint import save_checkpoint
from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.run_dir import (
    STALE_AFTER_S,
    Imported,
    LeaseHeldError,
    LeaseLostError,
    Progress,
    RunDir,
    SweepDir,
    check_name,
    find_sweep,
)


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


# ---- lease


def test_a_run_has_one_holder_at_a_time(run: RunDir) -> None:
    holder = run.take_lease("local", "1", 0)
    with pytest.raises(LeaseHeldError, match="is being trained by process"):
        run.take_lease("local", "2", 0)
    run.release_lease(holder)
    run.release_lease(run.take_lease("local", "2", 0))
    assert run.holder() is None


def test_a_dead_process_loses_its_lease(run: RunDir) -> None:
    code = f"from jobs.run_dir import RunDir; RunDir({str(run.path)!r}).take_lease('local', '1', 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert run.lease() is not None
    assert run.holder() is None
    assert run.take_lease("local", "2", 0)["job_id"] == "2"


def test_a_process_that_is_seen_to_run_keeps_its_lease_whatever_the_scheduler_says(
    run: RunDir,
) -> None:
    """A controller that crashed may think that a job has ended which goes on."""
    run.take_lease("lab", "20", 2)
    with pytest.raises(LeaseHeldError, match=r"\(job 20\)"):
        run.take_lease("lab", "34", 0, lambda held: True)


def test_who_was_taken_over_writes_nothing_more(run: RunDir) -> None:
    """On another host SLURM's word is all that there is; what it has lost may still run there."""
    ours, elsewhere = run.take_lease("lab", "20", 2), RunDir(run.path)
    (run.path / "lease").write_text(json.dumps(ours | {"host": "n4"}))
    elsewhere.take_lease("lab", "34", 0, lambda held: True)
    writes: list[Callable[[], None]] = [
        lambda: run.write_progress({}),  # type: ignore[typeddict-item]
        lambda: run.append_metrics({}),  # type: ignore[typeddict-item]
        lambda: run.write_result({}),  # type: ignore[typeddict-item]
        lambda: save_checkpoint(run, {}),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError, match=r"job 34 on .* has taken the run over"):
            write()
    assert {path.name for path in run.path.iterdir()} == {"config.json", "lease"}
    run.release_lease(ours)
    assert elsewhere.holder() is not None
    save_checkpoint(elsewhere, {})


def test_a_holder_on_another_host_is_alive_while_its_heartbeat_is_fresh(run: RunDir) -> None:
    holder = RunDir(run.path).take_lease("local", "1", 0) | {"host": "elsewhere"}
    lease = run.path / "lease"
    lease.write_text(json.dumps(holder))
    assert run.holder() is not None
    lease.write_text(json.dumps(holder | {"time_unix_s": time.time() - 2 * STALE_AFTER_S}))
    assert run.holder() is None
    run.write_progress(
        Progress(
            attempt=1, epoch=0, epochs=1, step=0, steps=1, eta_s=None, test_top1=None,
            time_unix_s=time.time(),
        )
    )  # fmt: skip
    assert run.holder() is not None


def test_of_many_that_try_at_once_one_gets_the_lease(run: RunDir) -> None:
    """Real processes, and a dead holder's lease in the way, so that the take-over is raced too."""
    stale = run.take_lease("local", "old", 0) | {"boot_id": "another"}
    (run.path / "lease").write_text(json.dumps(stale))
    code = (
        "import sys, time; from jobs.run_dir import RunDir, LeaseHeldError\n"
        f"run = RunDir({str(run.path)!r}); sys.stdin.readline()\n"
        "try: run.take_lease('local', '1', 0); print('mine', flush=True)\n"
        "except LeaseHeldError: print('held', flush=True)\n"
        "time.sleep(2)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    time.sleep(1)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in processes]
    assert sorted(said) == ["held"] * 5 + ["mine"]


# ---- sweeps


def test_two_that_add_a_matrix_at_once_both_keep_their_version(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    threads = [
        threading.Thread(target=sweep.add_matrix, args=(f"text {n}", [f"run {n}"]))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = {path.read_text() for path in (sweep.path / "matrices").glob("*.yaml")}
    assert kept == {f"text {n}" for n in range(20)}
    newest = sweep.newest_matrix()
    assert newest is not None
    assert sweep.named_runs() == [newest[1].replace("text", "run")]


def test_lost_names_of_a_matrix_are_told_and_not_taken_for_none(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    sweep.add_matrix("a", ["x"])
    (sweep.path / "matrices" / "1.runs.json").write_text("{")
    with pytest.raises(InputError, match=r"1\.runs\.json"):
        sweep.named_runs()


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


def test_every_version_of_a_matrix_is_kept_once(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    assert [sweep.add_matrix(text, ids) for text, ids in [("a", ["x"]), ("a", ["x"])]] == [1, 1]
    assert sweep.add_matrix("b", ["x", "y"]) == 2
    assert sweep.newest_matrix() == (2, "b")
    assert sweep.named_runs() == ["x", "y"]


def test_without_a_matrix_every_run_is_named(run: RunDir) -> None:
    assert run.sweep.named_runs() == [run.run_id]


def test_a_sweep_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    SweepDir(tmp_path / "runs" / "demo").add_matrix("a", [])
    assert find_sweep("demo", tmp_path / "runs").name == "demo"
    assert find_sweep(str(tmp_path / "runs" / "demo"), Path("nowhere")).name == "demo"
    with pytest.raises(InputError, match="did you mean 'demo'"):
        find_sweep("dem", tmp_path / "runs")


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
    assert run.sweep.is_own()


def test_the_folder_of_pickles_is_private_and_refused_when_it_is_not(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    folder = sweep.job_folder("abc")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o770)
    with pytest.raises(InputError, match="chmod go-w"):
        sweep.job_folder("abc")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a" * 65, "a\n", 3, None])
def test_a_name_that_is_no_safe_folder_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="is not valid"):
        check_name("sweep", name)


def test_runs_are_the_folders_that_hold_a_configuration(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    sweep.add_matrix("a", [])
    sweep.job_folder("x")
    config = RunConfig(model="resnet18")
    sweep.run(config.run_id).write_config(config)
    assert [run.run_id for run in sweep.runs()] == [config.run_id]
