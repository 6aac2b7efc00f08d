"""The bounded queue, with real processes and real signals."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from launcher import local
from launcher.local import LocalQueue, Worker, local_gpus, make_workers
from launcher.matrix import read_matrix
from launcher.plan import State
from launcher.run_status import run_status
from launcher.status import sweep_status
from launcher.submit import plan_submission
from tests.launcher.conftest import add_attempt
from tests.launcher.probe import Probe, environments, heard


def queue_of(sweep: SweepDir, workers: int = 2, gpus: int = 1) -> tuple[LocalQueue, list[str]]:
    said: list[str] = []
    of_each = dict.fromkeys(sweep.named_runs(), gpus)
    queue = LocalQueue(sweep, of_each, [Worker() for _ in range(workers)], said.append)
    return queue, said


def endless(matrix: Path, runs: Path, seeds: int = 1) -> SweepDir:
    """Runs that do not end by themselves within a test."""
    asked = read_matrix(matrix, ["epochs=100000", f"seeds={seeds}", "model=resnet_small"])
    submission = plan_submission(asked, runs)
    submission.write()
    return submission.sweep


def when(condition: Callable[[], bool], action: Callable[[], object]) -> threading.Thread:
    """Do something once, as soon as something is so, beside the queue in the main thread."""

    def wait() -> None:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            if condition():
                action()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def is_training(run: RunDir) -> bool:
    return run.holder() is not None and run.read_progress() is not None


def test_every_run_is_trained_to_the_end_by_its_own_process(sweep: SweepDir) -> None:
    queue, said = queue_of(sweep)
    queue.work()
    assert {status.state for status in sweep_status(sweep)} == {State.FINISHED}
    pids = {run.attempts()[0]["pid"] for run in sweep.runs()}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert sum("finished: test top-1" in line for line in said) == 2
    assert [record["executor"] for record in sweep.submissions().values()] == ["local"]
    assert "ended_unix_s" in next(iter(sweep.submissions().values()))


def test_no_more_runs_at_once_than_there_are_workers(sweep: SweepDir) -> None:
    queue, _ = queue_of(sweep, workers=1)
    most = 0

    def look() -> None:
        nonlocal most
        held = sum(run.holder() is not None for run in sweep.runs())
        most = max(most, held)

    queue.refresh = look
    queue.work()
    assert most == 1


def test_waiting_runs_are_queued_for_whoever_looks(sweep: SweepDir) -> None:
    queue, _ = queue_of(sweep, workers=1)
    seen: set[State] = set()
    queue.refresh = lambda: seen.update(status.state for status in sweep_status(sweep))
    queue.work()
    assert State.QUEUED in seen


def test_a_preempted_run_goes_back_into_the_queue_and_finishes(sweep: SweepDir) -> None:
    run = sweep.run(sweep.named_runs()[0])
    config = run.read_config()
    assert config.epochs == 2
    queue, said = queue_of(sweep, workers=1)
    when(
        lambda: run.holder() is not None and bool(run.attempts()),
        lambda: os.kill(run.attempts()[0]["pid"], signal.SIGUSR2),
    )
    queue.work()
    assert {status.state for status in sweep_status(sweep)} == {State.FINISHED}
    assert [attempt["cause"] for attempt in run.attempts()] == ["stopped", "finished"]
    assert any("was preempted (SIGUSR2 " in line for line in said)


def test_a_run_that_is_stopped_without_ever_getting_on_is_given_up(sweep: SweepDir) -> None:
    run = sweep.run(sweep.named_runs()[0])
    queue, _ = queue_of(sweep)
    add_attempt(run, cause="stopped", first_step=0, last_step=5)
    for _ in range(2):
        add_attempt(run, cause="stopped", first_step=5, last_step=5)
        assert queue._goes_on(run)
    add_attempt(run, cause="stopped")  # told to stop before it had begun
    assert not queue._goes_on(run)
    add_attempt(run, cause="stopped", first_step=5, last_step=6)
    assert queue._goes_on(run)


def test_a_run_killed_outright_is_left_to_the_person_and_can_go_on(
    matrix: Path, tmp_path: Path
) -> None:
    sweep = endless(matrix, tmp_path / "runs")
    run = sweep.runs()[0]
    queue, said = queue_of(sweep)
    when(lambda: is_training(run), lambda: os.kill(run.attempts()[0]["pid"], signal.SIGKILL))
    queue.work()
    status = run_status(run, set())
    assert status.state is State.STOPPED
    assert "killed" in status.detail
    assert "stopped: killed" in said[-1]


def test_ctrl_c_lets_the_runs_save_and_keeps_the_rest_for_later(
    matrix: Path, tmp_path: Path
) -> None:
    sweep = endless(matrix, tmp_path / "runs", seeds=2)
    first = sweep.run(sweep.named_runs()[0])
    queue, said = queue_of(sweep, workers=1)
    handler = signal.getsignal(signal.SIGINT)
    when(lambda: is_training(first), lambda: os.kill(os.getpid(), signal.SIGINT))
    queue.work()
    assert queue.stopping
    assert [status.state for status in sweep_status(sweep)] == [State.STOPPED, State.PLANNED]
    assert first.attempts()[0]["cause"] == "stopped"
    assert first.checkpoint.exists()
    assert signal.getsignal(signal.SIGINT) is handler
    assert "stopping: the runs save first; once more ends them at once" in said


def test_a_second_ctrl_c_ends_the_runs_at_once(matrix: Path, tmp_path: Path) -> None:
    sweep = endless(matrix, tmp_path / "runs")
    run = sweep.runs()[0]
    queue, _ = queue_of(sweep)

    def twice() -> None:
        # Deaf to TERM, so that the first Ctrl-C cannot end it.
        os.kill(run.attempts()[0]["pid"], signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    when(lambda: is_training(run), twice)
    queue.work()
    assert "cause" not in run.attempts()[0]
    assert run_status(run, set()).state is State.STOPPED


def test_a_run_that_was_cancelled_meanwhile_is_not_started(sweep: SweepDir) -> None:
    second = sweep.run(sweep.named_runs()[1])
    queue, said = queue_of(sweep, workers=1)
    second.observe("cancelled")
    queue.work()
    assert second.attempts() == []
    assert f"{second.run_id} is cancelled by now and was left alone" in said


def test_a_failed_run_does_not_touch_the_others(sweep: SweepDir) -> None:
    first = sweep.run(sweep.named_runs()[0])
    path = first.path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 9'))
    queue, said = queue_of(sweep)
    queue.work()
    states = [status.state for status in sweep_status(sweep)]
    assert states == [State.FAILED, State.FINISHED]
    assert any("failed" in line and "was edited" in line for line in said)


def test_a_run_that_failed_is_told_as_failed_while_the_queue_goes_on(
    matrix: Path, tmp_path: Path
) -> None:
    submission = plan_submission(read_matrix(matrix, ["train_images=1000"]), tmp_path / "runs")
    submission.write()
    queue, _ = queue_of(submission.sweep, workers=1)
    seen: list[tuple[State, ...]] = []
    queue.refresh = lambda: seen.append(
        tuple(status.state for status in sweep_status(submission.sweep))
    )
    queue.work()
    assert (State.FAILED, State.RUNNING) in seen
    assert (State.QUEUED, State.FAILED) not in seen


def test_a_disk_that_is_full_does_not_end_a_queue_that_trains(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = (sweep.run(run_id) for run_id in sweep.named_runs())
    (first.path / "config.json").write_text("{}")  # it fails
    write = SweepDir.write_submission

    def refuse_changes(self: SweepDir, record: Any, path: Path | None = None) -> Path:
        if path is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, record)

    monkeypatch.setattr(SweepDir, "write_submission", refuse_changes)
    queue, _ = queue_of(sweep, workers=2)
    queue.work()
    states = [status.state for status in sweep_status(sweep)]
    assert states == [State.FAILED, State.FINISHED]


def test_what_submitit_stores_is_private(sweep: SweepDir) -> None:
    queue, _ = queue_of(sweep)
    queue.work()
    for folder in (sweep.path / "slurm").iterdir():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# ---- runs on several GPUs, with a job that only looks and listens


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "TrainJob", Probe)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def stop(queue: LocalQueue) -> None:
    queue.stopping = True


def test_every_task_of_a_run_knows_its_place_and_hears_a_stop(matrix: Path, probes: None) -> None:
    sweep = endless(matrix, Path("runs"))
    run = sweep.runs()[0]
    queue, _ = queue_of(sweep, gpus=2)
    queue.workers = [Worker(gpu=5), Worker(gpu=5), Worker(gpu=2)]
    when(lambda: len(environments(run.path)) == 2, lambda: stop(queue))
    queue.work()
    for rank, task in enumerate(environments(run.path)):
        assert task["SUBMITIT_LOCAL_GLOBALID"] == task["SUBMITIT_LOCAL_LOCALID"] == str(rank)
        assert task["SUBMITIT_LOCAL_NTASKS"] == "2"
        assert task["CUDA_VISIBLE_DEVICES"] == "5,2", "not twice the same"
    assert heard(run.path) == ["SIGTERM", "SIGTERM"]
    assert [record["runs_per_gpu"] for record in sweep.submissions().values()] == [1]


def test_a_run_on_several_gpus_waits_for_its_workers_and_is_not_overtaken(
    matrix: Path, probes: None
) -> None:
    sweep = endless(matrix, Path("runs"), seeds=3)
    runs = [sweep.run(run_id) for run_id in sweep.named_runs()]
    queue, _ = queue_of(sweep, workers=3)
    queue.gpus = dict(zip(sweep.named_runs(), (1, 3, 2), strict=True))
    begun: list[RunDir] = []

    def stop_each_once_it_is_complete() -> None:
        for run, gpus in zip(runs, (1, 3, 2), strict=True):
            tasks = environments(run.path)
            if run not in begun and len(tasks) == gpus:
                begun.append(run)
                for task in tasks:
                    os.kill(int(task["pid"]), signal.SIGUSR2)

    queue.refresh = stop_each_once_it_is_complete
    queue.work()
    assert begun == runs
    assert [len(heard(run.path)) for run in runs] == [1, 3, 2]


def test_a_task_that_dies_does_not_leave_the_others_waiting(
    matrix: Path, probes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LOST_TASK_S", 0.5)
    sweep = endless(matrix, Path("runs"))
    run = sweep.runs()[0]
    queue, said = queue_of(sweep, gpus=2)
    when(
        lambda: len(environments(run.path)) == 2,
        lambda: os.kill(int(environments(run.path)[1]["pid"]), signal.SIGKILL),
    )
    queue.work()
    assert heard(run.path) == []
    assert sum("has lost a task: the others must end" in line for line in said) == 1


def test_a_task_may_end_long_before_the_others(
    matrix: Path, probes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LOST_TASK_S", 0.0)
    sweep = endless(matrix, Path("runs"))
    run = sweep.runs()[0]
    queue, said = queue_of(sweep, gpus=2)

    def one_after_the_other() -> None:
        for task in environments(run.path):
            os.kill(int(task["pid"]), signal.SIGUSR2)
            time.sleep(1)

    when(lambda: len(environments(run.path)) == 2, one_after_the_other)
    queue.work()
    assert heard(run.path) == ["SIGUSR2", "SIGUSR2"]
    assert not any("lost" in line for line in said)


# ---- workers


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [worker.gpu for worker in make_workers(None)] == [2, 5]
    assert [worker.gpu for worker in make_workers(3)] == [2, 5, 2]
    assert [worker.gpu for worker in make_workers(None, runs_per_gpu=2)] == [2, 5, 2, 5]
    assert [worker.gpu for worker in make_workers(1, runs_per_gpu=2)] == [2]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [worker.gpu for worker in make_workers(2)] == [None, None]


@pytest.mark.parametrize(
    ("gpus", "runs", "sharing"),
    [([], 9, 1), ([0, 1], 9, 1), ([0, 1, 0, 1], 9, 2), ([0, 1, 0, 1], 2, 1), ([0, 0, 0], 2, 2)],
)
def test_it_is_recorded_how_many_runs_share_a_gpu(
    sweep: SweepDir, gpus: list[int], runs: int, sharing: int
) -> None:
    workers = [Worker(gpu) for gpu in gpus] or [Worker()]
    asked = {f"r{number}": 1 for number in range(runs)}
    queue = LocalQueue(sweep, asked, workers, print, stopping=True)  # it starts nothing
    queue.work()
    (record,) = sweep.submissions().values()
    assert record["runs_per_gpu"] == sharing


def test_gpus_that_have_no_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5ebe9f43")
    with pytest.raises(InputError, match="needs GPU numbers"):
        local_gpus()


def test_the_driver_is_asked_where_nothing_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for the driver's tool, which this machine may not have."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0; echo 1\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert local_gpus() == [0, 1]


def test_at_least_one_worker_is_needed() -> None:
    with pytest.raises(InputError, match="at least one"):
        make_workers(0)


def test_a_run_that_could_never_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with pytest.raises(InputError, match=r"gpus 4 are more than this machine has \(2, 5\)"):
        make_workers(4, largest=4)
    with pytest.raises(InputError, match="give --workers 2 or more"):
        make_workers(1, largest=2)
    assert len(make_workers(None, largest=2)) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(make_workers(None, largest=64)) == 64, "a process for each"
