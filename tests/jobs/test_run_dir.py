from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.run_dir import (
    STALE_AFTER_S,
    LeaseHeldError,
    RunDir,
    SweepDir,
    append_record,
    check_name,
    find_sweep,
    is_running,
    read_records,
    this_process,
    write_atomic,
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


@given(st.integers(0, 60))
def test_a_torn_last_line_loses_that_line_only(cut: int) -> None:
    path = Path("metrics.jsonl")
    path.unlink(missing_ok=True)
    for number in range(3):
        append_record(path, {"epoch": number, "loss": 0.123456})
    whole = path.read_bytes()
    kept = whole[: len(whole) - cut]
    path.write_bytes(kept)
    append_record(path, {"epoch": 9})
    complete = [json.loads(line) for line in kept.splitlines() if line.endswith(b"}")]
    assert list(read_records(path)) == [*complete, {"epoch": 9}]


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.json"]


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


def test_a_holder_on_another_host_is_alive_while_its_heartbeat_is_fresh(run: RunDir) -> None:
    holder = run.take_lease("local", "1", 0) | {"host": "elsewhere"}
    lease = run.path / "lease"
    lease.write_text(json.dumps(holder))
    assert run.holder() is not None
    lease.write_text(json.dumps(holder | {"time_unix_s": time.time() - 2 * STALE_AFTER_S}))
    assert run.holder() is None
    run.write_progress({"time_unix_s": time.time()})  # type: ignore[typeddict-item]
    assert run.holder() is not None


def test_of_many_that_try_at_once_one_gets_the_lease(run: RunDir) -> None:
    """Real processes, and a dead holder's lease in the way, so that the take-over is raced too."""
    stale = run.take_lease("local", "old", 0) | {"pid": 2**22 + 1}
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


def test_a_lease_whose_taker_was_killed_at_once_does_not_hold_for_ever(run: RunDir) -> None:
    lease = run.path / "lease"
    lease.touch()
    with pytest.raises(LeaseHeldError, match="just taken"):
        run.take_lease("local", "1", 0)
    os.utime(lease, (0, 0))
    assert run.take_lease("local", "1", 0) == run.holder()


def test_a_process_with_a_reused_id_is_not_the_same_process() -> None:
    me = this_process()
    assert is_running(me)
    assert not is_running({**me, "pid_started_unix_s": me["pid_started_unix_s"] - 100})


# ---- sweeps


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
