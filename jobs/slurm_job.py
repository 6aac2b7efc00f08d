"""What a task of a SLURM array runs, and how it leaves when it is told to.

The run is found by the task's index in the submission's record, so all tasks of an array share one
pickle, which is on disk before SLURM accepts the array: whatever happens to the launcher then, the
tasks have all that they need.

On a stop the run saves at the next step boundary, and only then SLURM is asked what it thinks of
the job. RUNNING means that the job is to go on, so it is requeued. Anything else means that SLURM
has decided already: to requeue the job itself, or that it was cancelled and must stay so. Either
way the process leaves at once; waiting to be killed would only delay whoever preempts it.
"""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import time
from pathlib import Path

from submitit.helpers import DelayedSubmission

import jobs
from jobs.distributed import join_tasks
from jobs.errors import ExecutionError
from jobs.run_dir import LeaseHolder, RunDir, SweepDir, read_submission
from jobs.train_job import (
    IDLE_STOPS,
    STOP_SIGNALS,
    StopOnSignal,
    attempt_run,
    cluster_name,
    job_identity,
)

# Asking must end before SLURM's patience does, which on some sites is a few seconds.
ASK_FOR_S = 3.0
ASK_EVERY_S = 0.2


class ArrayJob:
    """One task of a submission: the run that stands at the task's index in its record."""

    def __init__(self, submission: Path | str) -> None:
        self.submission = str(submission)

    def __call__(self) -> str:
        stop = StopOnSignal()
        stop.install(*STOP_SIGNALS)
        path = Path(self.submission)
        record = read_submission(path)
        sweep = SweepDir(path.parents[1])
        check_code(sweep.code_folder(record["code"]))
        run = sweep.run(record["runs"][int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))])
        _remove_stale_results()
        tasks = join_tasks()
        outcome = attempt_run(run, stop, is_gone, tasks)
        if outcome == "stopped":
            if not tasks.leads:
                os._exit(0)  # the first task leaves for all
            leave(run)
        return outcome

    def checkpoint(self) -> DelayedSubmission:
        """What submitit would requeue. The state is in the run directory, so it is the same job."""
        return DelayedSubmission(ArrayJob(self.submission))


def check_code(frozen: Path) -> None:
    """ExecutionError unless the code that runs is the copy that was frozen at submission."""
    imported = Path(jobs.__path__[0]).resolve().parent
    if imported != frozen.resolve():
        raise ExecutionError(
            f"this job was to run the code in {frozen}, but imported {imported}; "
            "something in the job's environment comes before PYTHONPATH"
        )


def leave(run: RunDir) -> None:
    """End this process in the way that lets the run go on; returns only if it cannot be requeued.

    Then `needs_resume` stands in the run directory, and `launcher resume` submits the run again.
    """
    # The tools asked below are children of this job, and TERM is sent to them as well.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    job_id, _ = job_identity("slurm")
    deadline_s = time.monotonic() + ASK_FOR_S
    may_requeue = run.idle_stops() < IDLE_STOPS
    while (left_s := deadline_s - time.monotonic()) > 0:
        word = job_state(job_id, left_s)
        if word is not None and word != "RUNNING":
            print(f"SLURM says {word}: leaving", flush=True)
            os._exit(0)
        if not may_requeue:
            print(f"stopped {IDLE_STOPS} times without a step: not requeued", flush=True)
            break
        if word == "RUNNING" and _requeue(job_id, deadline_s - time.monotonic()):
            print("requeued: leaving", flush=True)
            os._exit(0)
        time.sleep(ASK_EVERY_S)
    run.needs_resume.touch()
    print("`launcher resume` will submit this run again", flush=True)


def is_gone(holder: LeaseHolder) -> bool | None:
    """Whether a lease's holder has provably ended; None if that cannot be told.

    SLURM runs a job once at a time, so an earlier start of this job is over. Another job of the
    same person is over when SLURM does not run it; of others' jobs a site may show nothing.
    """
    if holder["cluster"] != cluster_name("slurm"):
        return None
    job_id, restart = job_identity("slurm")
    if holder["job_id"] == job_id:
        # At an equal count, a cluster has begun anew and counts its jobs from 1 again.
        return True if holder["restart"] < restart else None
    word = job_state(holder["job_id"])
    if word is None:
        return None
    if word == "":
        return True if holder["user"] == getpass.getuser() else None
    return word not in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")


def job_state(job_id: str, timeout_s: float = ASK_FOR_S) -> str | None:
    """SLURM's word for a job's state, empty if it has forgotten it, None if it does not answer."""
    done = _ask(timeout_s, "squeue", "-h", "-j", job_id, "-o", "%T")
    if done is None or (done.returncode != 0 and "Invalid job id" not in done.stderr):
        return None
    return done.stdout.strip()


def _requeue(job_id: str, timeout_s: float) -> bool:
    done = _ask(timeout_s, "scontrol", "requeue", job_id)
    return done is not None and done.returncode == 0


def _ask(timeout_s: float, *words: str) -> subprocess.CompletedProcess[str] | None:
    """What one of SLURM's tools says; None if it is not there or does not answer in time."""
    if timeout_s <= 0:
        return None
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _remove_stale_results() -> None:
    """Remove what submitit left when it was killed while writing a result: it would refuse to.

    Only what this task left: another one may just be writing.
    """
    job_id, _ = job_identity("slurm")
    rank = os.environ.get("SLURM_PROCID", "0")
    folder = os.environ.get("SUBMITIT_FOLDER")
    if folder:
        for path in Path(folder).glob(f"{job_id}_{rank}_*.save_tmp"):
            path.unlink(missing_ok=True)
