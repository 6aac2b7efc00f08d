"""One attempt in a real process, stopped by real signals."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.causes import IDLE_LIMITS, Cause
from jobs.config import RunConfig
from jobs.errors import (
    DeviceError,
    ExecutionError,
    InputError,
    NonFiniteLossError,
    NoProgressError,
)
from jobs.lease import LeaseHeldError
from jobs.run_dir import RunDir
from jobs.train_job import StopOnSignal, TrainJob, attempt_run, describe_error, job_identity
from tests.jobs.conftest import TINY, plan_run
from tests.jobs.test_train import outcome

# Long enough to be hit by a signal: 40 epochs of 4 training and 2 test batches, about two seconds.
LONG = {"epochs": 40, "train_images": 128, "checkpoint_every_s": 0.05, "progress_every_s": 0.05}


def start(run: RunDir) -> subprocess.Popen[bytes]:
    code = f"from jobs.train_job import TrainJob; TrainJob({str(run.path)!r})()"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)


def wait_until_training(run: RunDir, attempt: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline_s:
        progress = run.read_progress()
        if progress is not None and progress["attempt"] == attempt:
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = plan_run(tmp_path_factory.mktemp("undisturbed"), **LONG)
    assert start(run).wait() == 0
    return run


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL])
def test_a_signalled_run_goes_on_and_ends_the_same_to_the_bit(
    number: signal.Signals, undisturbed: RunDir, tmp_path: Path
) -> None:
    """Signalled again and again at random moments; killed outright it loses less than a save."""
    run = plan_run(tmp_path / "sweep", **LONG)
    chance = random.Random(number)
    signalled = 0
    for _ in range(3):
        attempt, process = run.next_attempt(), start(run)
        wait_until_training(run, attempt, process)
        time.sleep(chance.uniform(0, 0.3))
        signalled += process.poll() is None
        process.send_signal(number)
        status = process.wait(timeout=60)
        assert status == (-number if number is signal.SIGKILL and status else 0)
    if run.read_result() is None:
        assert start(run).wait() == 0
    assert signalled
    assert outcome(run) == outcome(undisturbed)
    ends = [attempt.get("cause") for attempt in run.attempts()]
    assert ends[-1] == "finished"
    assert set(ends[:-1]) == {None if number is signal.SIGKILL else "stopped"}
    if number is not signal.SIGKILL:
        # Nothing is trained twice: each attempt begins at the step where the one before ended.
        for before, after in zip(run.attempts(), run.attempts()[1:], strict=False):
            assert after["first_step"] == before["last_step"]
            assert before["message"] == f"{number.name} after step {before['last_step']}"


def test_a_signal_that_comes_before_the_handler_waits_for_it(tmp_path: Path) -> None:
    """Blocked by whoever starts the job, as the launcher does it."""
    run = plan_run(tmp_path / "sweep", **LONG)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        process = start(run)
        process.send_signal(signal.SIGUSR2)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert process.wait(timeout=60) == 0
    assert run.attempts()[0]["cause"] == "stopped"
    assert run.attempts()[0]["message"] == "SIGUSR2 at the start"


def test_a_pilot_ends_after_its_steps_is_measured_and_loses_nothing(
    undisturbed: RunDir, tmp_path: Path
) -> None:
    run = plan_run(tmp_path / "sweep", **LONG)
    for _ in range(2):
        assert attempt_run(run, StopOnSignal(pilot_steps=30)) == "stopped"
    first, second = run.attempts()
    assert (first["last_step"], second["first_step"], second["last_step"]) == (30, 30, 60)
    assert (first["cause"], first["message"]) == (
        "stopped",
        "pilot: measured, and saved after step 30",
    )
    assert (first["measured"]["steps"], first["measured"]["eval_steps"]) == (25, 2)
    assert first["measured"]["eval_s"] is not None
    assert first["measured"]["startup_s"] > first["measured"]["step_s"] > 0
    assert start(run).wait() == 0
    assert outcome(run) == outcome(undisturbed)
    assert run.attempts()[-1]["measured"]["steps"] == 160 - 60 - 5


def test_a_finished_run_is_not_trained_again(undisturbed: RunDir) -> None:
    before = undisturbed.read_result()
    assert attempt_run(undisturbed, StopOnSignal()) == "finished"
    assert undisturbed.read_result() == before
    assert len(undisturbed.attempts()) == 1


def test_a_run_that_another_process_trains_is_left_to_it(run: RunDir) -> None:
    holder = run.take_lease("local", "1", 0)
    with pytest.raises(LeaseHeldError):
        attempt_run(run, StopOnSignal())
    assert run.attempts() == []
    run.release_lease(holder)


def test_missing_data_is_the_cause_and_gives_the_run_free(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "sweep", dataset="cifar100", data_dir=tmp_path)
    with pytest.raises(InputError):
        attempt_run(run, StopOnSignal())
    attempt = run.attempts()[0]
    assert attempt["cause"] == "data_missing"
    assert "the files of cifar100 are not in" in attempt["message"]
    assert run.holder() is None


def test_a_device_that_does_not_do_is_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("jobs.device.DEVICES", tmp_path / "missing")
    run = plan_run(tmp_path / "sweep", precision="fp16")
    with pytest.raises(DeviceError):
        attempt_run(run, StopOnSignal())
    attempt = run.attempts()[0]
    assert attempt["cause"] == "device_unfit"
    assert attempt["message"].startswith("precision fp16 needs a GPU")


def test_an_error_in_the_code_is_the_cause_and_its_trace_is_in_the_log(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*anything: object) -> bool:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("jobs.train.train", broken)
    with pytest.raises(ZeroDivisionError):
        attempt_run(run, StopOnSignal())
    attempt = run.attempts()[0]
    assert attempt["cause"] == "code_error"
    assert attempt["message"] == "ZeroDivisionError: a mistake"
    assert "in broken" in run.log(1).read_text()


def test_memory_that_runs_out_is_told_apart_from_other_errors(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*anything: object) -> bool:
        raise torch.cuda.OutOfMemoryError("2 GiB")

    monkeypatch.setattr("jobs.train.train", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        attempt_run(run, StopOnSignal())
    assert run.attempts()[0]["cause"] == "out_of_memory"
    assert run.attempts()[0]["message"] == "batch_size 32, OutOfMemoryError: 2 GiB"


def test_memory_that_runs_out_on_the_cpu_is_told_by_torchs_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    run = plan_run(tmp_path / "sweep", accumulate_steps=2)
    monkeypatch.setattr("jobs.train.train", lambda *_: torch.empty(2**60))
    with pytest.raises(RuntimeError):
        attempt_run(run, StopOnSignal())
    assert run.attempts()[0]["cause"] == "out_of_memory"
    assert run.attempts()[0]["message"].startswith("batch_size 32 in 2 parts, RuntimeError: ")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded", "checkpoint.pt"),
        OSError(errno.ESTALE, "Stale file handle"),
        OSError(errno.ETIMEDOUT, "Connection timed out"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        ExecutionError(f"rose/0.png cannot be read: {os.strerror(errno.EIO)}"),
    ],
    ids=str,
)
def test_a_disk_that_is_full_or_does_not_answer_is_no_error_of_the_code(error: Exception) -> None:
    message = f"{type(error).__name__}: {error}"
    assert describe_error(error, RunConfig(**TINY)) == (Cause.STORAGE_FAILED, message)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("uncorrectable ECC error encountered", Cause.GPU_FAILED),
        ("CUDA-capable device(s) is/are busy or unavailable", Cause.GPU_FAILED),
        ("no CUDA-capable device is detected", Cause.GPU_FAILED),
        ("an illegal memory access was encountered", Cause.CODE_ERROR),
        ("unspecified launch failure", Cause.CODE_ERROR),
    ],
)
def test_a_broken_gpu_is_no_error_of_the_code_and_keeps_its_words(words: str, cause: Cause) -> None:
    error = RuntimeError(f"CUDA error: {words}")
    assert describe_error(error, RunConfig(**TINY)) == (cause, f"RuntimeError: CUDA error: {words}")


def test_a_quota_that_is_used_up_when_the_run_is_to_stop_is_the_cause(
    tmp_path: Path, undisturbed: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved before stays, and the next attempt goes on from there."""
    from jobs import checkpoint

    def refuse(*anything: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    run = plan_run(tmp_path / "sweep", **LONG)
    attempt_run(run, StopOnSignal(pilot_steps=30))
    with monkeypatch.context() as full:
        full.setattr(checkpoint, "write_atomic", refuse)
        with pytest.raises(OSError, match="Disk quota exceeded"):
            attempt_run(run, StopOnSignal(pilot_steps=30))
    assert attempt_run(run, StopOnSignal()) == "finished"
    assert [attempt["cause"] for attempt in run.attempts()] == [
        *("stopped", "storage_failed", "finished")
    ]
    assert run.attempts()[1]["message"].endswith("Disk quota exceeded")
    assert run.attempts()[2]["first_step"] == 30
    assert outcome(run) == outcome(undisturbed)


def test_a_loss_that_is_no_number_is_the_cause(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "sweep", lr=1e38, warmup_epochs=0)
    with pytest.raises(NonFiniteLossError):
        attempt_run(run, StopOnSignal())
    assert run.attempts()[0]["cause"] == "loss_not_finite"


def test_the_log_says_what_the_attempt_did(undisturbed: RunDir) -> None:
    log = undisturbed.log(1).read_text()
    assert "resnet_small (78,002 parameters) on synthetic (128 + 50 images of 8 px), seed 0" in log
    assert "epoch 40/40" in log
    assert log.rstrip().endswith("finished")


def test_an_edited_configuration_is_not_trained(run: RunDir) -> None:
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 1'))
    with pytest.raises(InputError, match="was edited"):
        TrainJob(run.path)()
    assert run.attempts() == []


# ---- a job that SLURM starts again


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the tenth start of job 12, on node n3."""
    values = {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "9"}
    values |= {"SLURMD_NODENAME": "n3", "SLURM_JOB_GPUS": "2,3"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def add_starts(run: RunDir, *ends: dict[str, Any], job_id: str = "12") -> None:
    for restart, end in enumerate(ends):
        start = {"started_unix_s": 1.0, "pid": 1, "job_id": job_id, "restart": restart}
        run.write_attempt({"attempt": run.next_attempt(), **start, **end})  # type: ignore[typeddict-item]


def test_a_run_that_failed_is_not_tried_again_by_the_same_job(
    run: RunDir, restarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node may fail later, under another run of that job."""
    add_starts(run, {"cause": "code_error"})
    assert attempt_run(run, StopOnSignal()) == "given_up"
    assert len(run.attempts()) == 1
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert attempt_run(run, StopOnSignal()) == "finished"
    attempt = run.attempts()[1]
    assert (attempt["node"], attempt["gpu_ids"]) == ("n3", "2,3")


def test_a_job_that_is_killed_again_and_again_before_a_step_gives_up(
    run: RunDir, restarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_starts(run, *IDLE_LIMITS[Cause.UNKNOWN] * [{}])
    with pytest.raises(NoProgressError):
        attempt_run(run, StopOnSignal())
    assert run.attempts()[-1]["cause"] == "no_progress"
    assert run.attempts()[-1]["message"] == "no step of progress in 5 attempts: unknown 5"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "10")
    assert attempt_run(run, StopOnSignal()) == "given_up"


def test_another_job_begins_the_count_of_idle_starts_anew(run: RunDir, restarted: None) -> None:
    add_starts(run, *9 * [{}], job_id="11")
    add_starts(run, *2 * [{"cause": "stopped"}])
    assert attempt_run(run, StopOnSignal()) == "finished"


def test_the_job_is_known_by_the_schedulers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_JOB_ID": "12",
        "SLURM_ARRAY_JOB_ID": "10",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_RESTART_COUNT": "3",
    }.items():
        monkeypatch.setenv(name, value)
    assert job_identity("slurm") == ("10_2", 3)
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    assert job_identity("slurm") == ("12", 3)
    assert job_identity("foreground") == (str(os.getpid()), 0)


def test_what_submitit_would_requeue_is_the_same_job(run: RunDir) -> None:
    again = TrainJob(run.path).checkpoint()
    assert again.function.path == str(run.path)
