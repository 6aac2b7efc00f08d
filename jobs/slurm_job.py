"""What a task of a SLURM array runs, and how it leaves when it is told to.

The run is found by the task's index in the submission's record, so all tasks of an array share one
pickle, which is on disk before SLURM accepts the array: whatever happens to the launcher then, the
tasks have all that they need.

On a stop the run saves at the next step boundary, and only then SLURM is asked what it thinks of
the job. RUNNING means that the job is to go on, so it is requeued. Anything else means that SLURM
has decided already: to requeue the job itself, or that it was cancelled and must stay so. Either
way the process leaves at once; waiting to be killed would only delay whoever preempts it. The same
answer tells why the job was stopped, which then stands in the attempt's record.
"""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from submitit.helpers import DelayedSubmission

import jobs
from jobs.causes import SLURM_CAUSES, Cause, describe_idle, idle_attempts, is_given_up
from jobs.distributed import join_tasks
from jobs.errors import ExecutionError
from jobs.run_dir import Attempt, LeaseHolder, RunDir, SweepDir, read_submission
from jobs.train_job import (
    STOP_SIGNALS,
    StopOnSignal,
    attempt_run,
    cluster_name,
    job_identity,
)

# Asking must end before SLURM's patience does, which on some sites is a few seconds.
ASK_FOR_S = 3.0
ASK_EVERY_S = 0.2

# SLURM warns of the time limit up to a minute earlier than it was asked to.
EARLY_WARNING_S = 60.0

# The clocks of the node and of the controller may differ by so much.
CLOCK_SKEW_S = 5.0


class ArrayJob:
    """One task of a submission: the run that stands at the task's index in its record."""

    def __init__(self, submission: Path | str) -> None:
        self.submission = str(submission)

    def __call__(self) -> str:
        stop = StopOnSignal()
        stop.install(*STOP_SIGNALS)
        path = Path(self.submission)
        record = read_submission(path)
        stop.pilot_steps = record.get("pilot_steps")
        sweep = SweepDir(path.parents[1])
        check_code(sweep.code_folder(record["code"]))
        run = sweep.run(record["runs"][int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))])
        _remove_stale_results()
        tasks = join_tasks()
        outcome = attempt_run(run, stop, is_gone, tasks)
        if outcome == "given_up":
            print("the run failed in this job; `launcher resume --failed` starts it again")
        if outcome == "stopped":
            if not tasks.leads:
                os._exit(0)  # the first task leaves for all
            if not stop.is_pilot_done:
                leave(run, record["profile"]["signal_delay_s"])
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


def leave(run: RunDir, warning_s: float) -> None:
    """End this process in the way that lets the run go on; returns only if the job is to end.

    That is when it cannot be requeued: then `needs_resume` stands in the run directory, and
    `launcher resume` submits the run again. And when the run makes no progress, however often it
    is started. The job was to be warned `warning_s` before its time limit.
    """
    # The tools asked below are children of this job, and TERM is sent to them as well.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    job_id, _ = job_identity("slurm")
    of_this_job = [attempt for attempt in run.history() if attempt["job_id"] == job_id]
    attempt = of_this_job[-1]
    deadline_s = time.monotonic() + ASK_FOR_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        facts = ask_job(job_id, left_s)
        if facts is not None:
            attempt["cause"] = why_stopped(facts, attempt, warning_s)
        if facts is not None and facts.state != "RUNNING":
            _write(run, attempt)
            _leave_now(f"SLURM says {facts.state}")
        if is_given_up(idle := idle_attempts(of_this_job)):
            attempt["cause"], attempt["message"] = Cause.NO_PROGRESS, describe_idle(idle)
            _write(run, attempt)
            print(f"not requeued: {attempt['message']}", flush=True)
            return
        if facts is not None and _requeue(job_id, deadline_s - time.monotonic()):
            _write(run, attempt)
            _leave_now("requeued")
        time.sleep(ASK_EVERY_S)
    _write(run, attempt)
    run.needs_resume.touch()
    print("`launcher resume` will submit this run again", flush=True)


def _leave_now(said: str) -> NoReturn:
    print(f"{said}: leaving", flush=True)
    os._exit(0)


def _write(run: RunDir, attempt: Attempt) -> None:
    """Complete the attempt's record, which without this only says that the run was stopped."""
    with contextlib.suppress(OSError):
        run.write_attempt(attempt)


@dataclass(frozen=True)
class JobFacts:
    """What SLURM says of a job. Its state is empty if it was forgotten, as other words may be."""

    state: str
    preempted_unix_s: float = 0.0
    ends_unix_s: float = math.inf  # or ended
    restarts: int = 0
    reason: str = ""


def why_stopped(facts: JobFacts, attempt: Attempt, warning_s: float) -> Cause:
    """Why SLURM told this attempt to stop, as far as it says so.

    A job that ends has no reason if it was cancelled, and restarts that this attempt knows nothing
    of if it was requeued.
    """
    if facts.preempted_unix_s > attempt["started_unix_s"] - CLOCK_SKEW_S:
        return Cause.PREEMPTED  # and not before an earlier attempt
    if facts.state in SLURM_CAUSES:
        return SLURM_CAUSES[facts.state]
    warned = facts.ends_unix_s - time.time() < warning_s + EARLY_WARNING_S
    if facts.reason == "TimeLimit" or (facts.state == "RUNNING" and warned):
        return Cause.TIME_LIMIT
    ends = facts.state == "COMPLETING" and facts.reason in ("", "None")
    return Cause.CANCELLED if ends and facts.restarts <= attempt["restart"] else Cause.STOPPED


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


def job_state(job_id: str) -> str | None:
    """SLURM's word for a job's state, empty if it has forgotten it, None if it does not answer."""
    facts = ask_job(job_id, ASK_FOR_S)
    return None if facts is None else facts.state


def ask_job(job_id: str, timeout_s: float) -> JobFacts | None:
    """What SLURM says of a job; None if it does not answer."""
    columns = "State:30,PreemptTime:30,EndTime:30,RestartCnt:30,Reason:60"
    done = _ask(timeout_s, "squeue", "-h", "-j", job_id, "-O", columns)
    if done is None or (done.returncode != 0 and "Invalid job id" not in done.stderr):
        return None
    state, preempted, ends, restarts, reason = [*done.stdout.split(None, 4), *5 * [""]][:5]
    return JobFacts(
        state,
        _number(preempted, 0.0),
        _number(ends, math.inf),
        int(_number(restarts, 0)),
        reason.strip(),
    )


def _number(text: str, otherwise: float) -> float:
    """A number, or what stands for one that SLURM does not know, such as N/A."""
    return float(text) if text.isdigit() else otherwise


def _requeue(job_id: str, timeout_s: float) -> bool:
    done = _ask(timeout_s, "scontrol", "requeue", job_id)
    return done is not None and done.returncode == 0


def _ask(timeout_s: float, *words: str) -> subprocess.CompletedProcess[str] | None:
    """What one of SLURM's tools says; None if it is not there or does not answer in time."""
    if timeout_s <= 0:
        return None
    environment = os.environ | {"SLURM_TIME_FORMAT": "%s"}
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
        )
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
