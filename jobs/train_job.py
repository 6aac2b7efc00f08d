"""What a job runs: one attempt at a run, from taking the lease to saying how it ended.

Submitting loads this module and nothing heavier; torch is imported in the job, after the signal
handlers stand, so that a stop in those seconds is not lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from submitit.helpers import DelayedSubmission

from jobs.causes import NOT_RETRIED, Cause, describe_idle, idle_attempts, is_given_up
from jobs.config import RunConfig
from jobs.distributed import ALONE, Tasks, join_tasks
from jobs.errors import DeviceError, InputError, MissingDataError, NoProgressError, TrainingError
from jobs.lease import LeaseHolder
from jobs.run_dir import RunDir
from jobs.run_records import Attempt
from jobs.source_code import code_version

if TYPE_CHECKING:
    from jobs.train import Display

# How torch says it in errors that have no type of their own: on the CPU, and in CUDA's libraries.
OUT_OF_MEMORY_WORDS = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")

# How torch says that a task that it waits for is not there any more, or does not answer.
LOST_TASK_WORDS = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError"),
    "Timed out waiting",
)

# How a disk, its quota or a network file system fails, whatever the code does.
STORAGE_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EREMOTEIO),
        *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
    }
)

# The same where it is told on in other errors: by torch, and by what reads images.
STORAGE_WORDS = (
    "PytorchStreamWriter failed writing file",
    *map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)),
)

# How CUDA says that a GPU is broken. What an error of the code may also do to it is not among them.
BROKEN_GPU_WORDS = (
    *("uncorrectable ECC error", "uncorrectable NVLink error", "hardware stack error"),
    *("busy or unavailable", "no CUDA-capable device"),
)

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class StopOnSignal:
    """A flag that the stop signals set. The handler does nothing else: the loop looks at it.

    That of a pilot, which is to do `pilot_steps` steps, is also set once they are done.
    """

    def __init__(self, pilot_steps: int | None = None) -> None:
        self.signal: signal.Signals | None = None
        self.pilot_steps = pilot_steps
        self._attempt: Attempt | None = None

    @property
    def is_set(self) -> bool:
        return self.signal is not None or self.is_pilot_done

    @property
    def is_pilot_done(self) -> bool:
        if self.pilot_steps is None or self._attempt is None:
            return False
        done = self._attempt.get("last_step", 0) - self._attempt.get("first_step", 0)
        return done >= self.pilot_steps

    def count_steps_of(self, attempt: Attempt) -> None:
        """The trainer fills them in before it asks whether to stop."""
        self._attempt = attempt

    def install(self, *signals: signal.Signals) -> None:
        for number in signals:
            signal.signal(number, self._on_signal)
        # Whoever starts a job may block them, so that one that comes too early waits until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if self.signal is signal.SIGINT:
            # A second Ctrl-C ends the process at once.
            signal.signal(signal.SIGINT, signal.default_int_handler)


class TrainJob:
    """One attempt at the run in `path`, or a pilot of so many steps; nothing else is pickled."""

    def __init__(self, path: Path | str, pilot_steps: int | None = None) -> None:
        self.path = str(path)
        self.pilot_steps = pilot_steps

    def __call__(self) -> str:
        """Train until finished or stopped, and say which.

        Raises whatever ended the attempt otherwise, after writing it down as its cause.
        """
        stop = StopOnSignal(self.pilot_steps)
        stop.install(*STOP_SIGNALS)
        return attempt_run(RunDir(self.path), stop, tasks=join_tasks())

    def checkpoint(self) -> DelayedSubmission:
        """What submitit would requeue. The state is in the run directory, so it is the same job."""
        return DelayedSubmission(TrainJob(self.path, self.pilot_steps))


def attempt_run(
    run: RunDir,
    stop: StopOnSignal,
    is_gone: Callable[[LeaseHolder], bool | None] = lambda held: None,
    tasks: Tasks = ALONE,
    display: Display = lambda what, done, batches: None,
) -> str:
    """One attempt: `finished` or `stopped`.

    Or `cancelled` if the run was cancelled meanwhile, and `given_up` if it failed in this job and
    SLURM started the job again.

    Raises LeaseHeldError while another job works on the run, and whatever ended the attempt. Of
    several tasks the first one decides and keeps the records, and the others train with it.
    """
    if not tasks.leads:
        return _train_along(run, stop, tasks)
    config = run.read_config()
    executor = os.environ.get("SUBMITIT_EXECUTOR", "foreground")
    job_id, restart = job_identity(executor)
    with contextlib.ExitStack() as at_end:
        at_end.callback(tasks.dismiss)
        lease = run.take_lease(cluster_name(executor), job_id, restart, is_gone)
        at_end.callback(run.release_lease, lease)
        # Looked at again: much can have happened between the submission and now.
        if run.read_result() is not None:
            return "finished"
        if run.is_cancelled():
            return "cancelled"
        if failed_in_this_job(run, job_id, restart):
            return "given_up"
        run.remove_leftovers()
        run.needs_resume.unlink(missing_ok=True)
        number = run.next_attempt()
        attempt = Attempt(
            attempt=number,
            started_unix_s=time.time(),
            executor=executor,
            job_id=job_id,
            restart=restart,
            host=lease["host"],
            pid=lease["pid"],
            user=lease["user"],
            code=code_version(),
        )
        add_place(attempt)
        stop.count_steps_of(attempt)
        run.write_attempt(attempt)
        with open(run.log(number), "a", buffering=1) as log:
            return _end_well_or_badly(run, config, attempt, stop, log, tasks, display)


def _end_well_or_badly(
    run: RunDir,
    config: RunConfig,
    attempt: Attempt,
    stop: StopOnSignal,
    log: IO[str],
    tasks: Tasks,
    display: Display,
) -> str:
    """Train, and write how it ended into the attempt's record."""
    say = make_say(log)
    cause, message = Cause.CODE_ERROR, ""
    try:
        from jobs.train import train

        check_number_of_tasks(config, tasks)
        check_progress(run, attempt["job_id"], attempt["restart"])
        finished = False
        if not stop.is_set:
            tasks.call((config, attempt))
            finished = train(run, config, attempt, stop, say, tasks, display)
        cause = Cause.FINISHED if finished else Cause.STOPPED
        if stop.is_pilot_done and not finished:
            message = f"pilot: measured, and saved after step {attempt['last_step']}"
        elif stop.signal is not None and not finished:
            when = (
                f"after step {attempt['last_step']}" if "last_step" in attempt else "at the start"
            )
            message = f"{stop.signal.name} {when}"
    except (InputError, TrainingError) as error:
        cause, message = describe_error(error, config)
        raise
    except Exception as error:
        cause, message = tasks.hear_failure() or describe_error(error, config)
        with contextlib.suppress(OSError):
            log.write(traceback.format_exc())
        raise
    except KeyboardInterrupt:
        cause, message = Cause.INTERRUPTED, "ended without saving"
        raise
    finally:
        attempt["ended_unix_s"] = time.time()
        attempt["cause"], attempt["message"] = cause, message
        run.write_attempt(attempt)
        say(f"{cause}: {message}" if message else cause)
    return cause


def _train_along(run: RunDir, stop: StopOnSignal, tasks: Tasks) -> str:
    """What the tasks do that do not lead: train when they are called, and write nothing."""
    called = tasks.call(None)
    if called is None:
        return "dismissed"
    config, attempt = called
    try:
        from jobs.train import train

        finished = train(run, config, attempt, stop, lambda text: None, tasks)
    except Exception as error:
        tasks.tell_failure(*describe_error(error, config))
        raise
    return "finished" if finished else "stopped"


def check_number_of_tasks(config: RunConfig, tasks: Tasks) -> None:
    """DeviceError unless the job has as many tasks as the run asks for, where that matters."""
    if config.gpus != tasks.world and config.bn == "local":
        raise DeviceError(
            f"gpus: {config.gpus}, but this job has {tasks.world} task"
            f"{'' if tasks.world == 1 else 's'}; `launcher submit` starts one for each GPU"
        )


def failed_in_this_job(run: RunDir, job_id: str, restart: int) -> bool:
    """Whether the run ended in this job in a way that trying again would not mend.

    SLURM may start the job again, for other runs in it, or because its node failed later.
    """
    earlier = earlier_starts(run, job_id, restart)
    return bool(earlier) and earlier[-1].get("cause") in NOT_RETRIED


def check_progress(run: RunDir, job_id: str, restart: int) -> None:
    """NoProgressError if this job was started again and again without a step of progress.

    A new job of the same run begins the count anew: somebody has asked for it.
    """
    if is_given_up(idle := idle_attempts(earlier_starts(run, job_id, restart))):
        raise NoProgressError(describe_idle(idle))


def earlier_starts(run: RunDir, job_id: str, restart: int) -> list[Attempt]:
    """The attempts of earlier starts of a job; none outside of SLURM, which alone restarts jobs."""
    return [
        attempt
        for attempt in run.history()
        if attempt["job_id"] == job_id and attempt["restart"] < restart
    ]


def describe_error(error: Exception, config: RunConfig) -> tuple[Cause, str]:
    """The cause and the message that an error that ended a training has in its record."""
    if isinstance(error, TrainingError):
        return error.cause, str(error)
    if isinstance(error, InputError):
        missing = isinstance(error, MissingDataError)
        return Cause.DATA_MISSING if missing else Cause.INPUT_ERROR, str(error)
    message = f"{type(error).__name__}: {error}"
    lost = isinstance(error, RuntimeError) and any(words in message for words in LOST_TASK_WORDS)
    if config.gpus > 1 and lost:
        return Cause.TASK_LOST, f"another task of the job has ended, or hangs: {message}"
    if isinstance(error, RuntimeError) and any(words in message for words in BROKEN_GPU_WORDS):
        return Cause.GPU_FAILED, message.partition("\n")[0]  # not CUDA's advice below it
    if is_storage_failure(error):
        return Cause.STORAGE_FAILED, message
    if not is_out_of_memory(error):
        return Cause.CODE_ERROR, message
    parts = f" in {config.accumulate_steps} parts" if config.accumulate_steps > 1 else ""
    gpus = f" on {config.gpus} GPUs" if config.gpus > 1 else ""
    return Cause.OUT_OF_MEMORY, f"batch_size {config.batch_size}{parts}{gpus}, {message}"


def is_out_of_memory(error: Exception) -> bool:
    """Python's error, or one of torch's: told by name and words, as torch may not be loaded."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in OUT_OF_MEMORY_WORDS)
    )


def is_storage_failure(error: Exception) -> bool:
    """The system's error, or one that repeats its words."""
    return getattr(error, "errno", None) in STORAGE_ERRORS or any(
        words in str(error) for words in STORAGE_WORDS
    )


def make_say(log: IO[str]) -> Callable[[str], None]:
    """A function that writes a line, with its time, to the attempt's log and to the output."""

    def say(text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}"
        # A full disk or a closed terminal is no reason to stop training.
        for output in (log, sys.stdout):
            with contextlib.suppress(OSError):
                print(line, file=output, flush=True)

    return say


def job_identity(executor: str) -> tuple[str, int]:
    """The job's id and its restart count, as the scheduler tells them."""
    if executor == "slurm":
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        own = (
            f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
        )
        return own, int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    return os.environ.get("SUBMITIT_LOCAL_JOB_ID", str(os.getpid())), 0


def add_place(attempt: Attempt) -> None:
    """The node and the GPUs, where SLURM or whoever chose the GPUs names them."""
    if node := os.environ.get("SLURMD_NODENAME"):
        attempt["node"] = node
    if gpu_ids := os.environ.get("SLURM_JOB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES"):
        attempt["gpu_ids"] = gpu_ids


def cluster_name(executor: str) -> str:
    """The cluster that a lease is tied to; outside of SLURM, the executor."""
    return os.environ.get("SLURM_CLUSTER_NAME", executor) if executor == "slurm" else executor
