"""What a task of a SLURM array runs, and how it leaves when it is told to.

The run is found by the task's index in the submission's record, so all tasks of an array share one
pickle, which is on disk before SLURM accepts the array: whatever happens to the launcher then, the
tasks have all that they need.

On a stop the run saves at the next step boundary, and only then SLURM is asked what it thinks of
the job. RUNNING means that the job is to go on, so it is requeued. Anything else means that SLURM
has decided already: to requeue the job itself, or that it was cancelled and must stay so. Either
way the process leaves at once; waiting to be killed would only delay whoever preempts it. The same
answer tells why the job was stopped, which then stands in the attempt's record.

Where several runs share a GPU, each is a task of the job and a stranger to the others. Only when
the last of them has saved, the job is requeued, because that ends them all.
"""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from submitit.helpers import DelayedSubmission

import jobs
from jobs.causes import SLURM_CAUSES, Cause, describe_idle, idle_attempts, is_given_up
from jobs.distributed import ALONE, join_tasks
from jobs.errors import ExecutionError
from jobs.lease import LeaseHolder
from jobs.processes import environment_to_ask_slurm
from jobs.run_dir import RunDir
from jobs.run_records import Attempt
from jobs.sweep_dir import SweepDir, read_submission
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

# A run that shares its job looks so often whether it alone was cancelled.
LOOK_EVERY_S = 10.0

# Whoever saves last requeues the job; the others give it so long before they do.
LAST_ONE_S = 1.0

# The clocks of the node and of the controller may differ by so much.
CLOCK_SKEW_S = 5.0


class StopOrCancel(StopOnSignal):
    """A stop flag that is also set once a run is cancelled whose job goes on for other runs."""

    def __init__(self) -> None:
        super().__init__()
        self._run: RunDir | None = None
        self._is_cancelled = False
        self._looked_s = time.monotonic()

    def end_with(self, run: RunDir) -> None:
        """Which run's cancellation it looks for."""
        self._run = run

    @property
    def is_set(self) -> bool:
        if self._run is not None and time.monotonic() - self._looked_s > LOOK_EVERY_S:
            with contextlib.suppress(OSError):  # a network file system may not answer now
                self._is_cancelled = self._run.is_cancelled()
            self._looked_s = time.monotonic()
        return super().is_set or self._is_cancelled


class ArrayJob:
    """One task of a submission: the run that stands at its job's place in the record."""

    def __init__(self, submission: Path | str) -> None:
        self.submission = str(submission)

    def __call__(self) -> str:
        stop = StopOrCancel()
        stop.install(*STOP_SIGNALS)
        path = Path(self.submission)
        record = read_submission(path)
        stop.pilot_steps = record.get("pilot_steps")
        sweep = SweepDir(path.parents[1])
        check_code(sweep.code_folder(record["code"]))
        runs = [sweep.run(run_id) for run_id in runs_of_this_job(record)]
        shares_job = record.get("runs_per_job", 1) > 1
        rank = int(os.environ["SLURM_PROCID"]) if shares_job else 0
        if rank >= len(runs):
            return "not needed"
        run = runs.pop(rank)
        if shares_job:
            stop.end_with(run)
        _remove_stale_results()
        tasks = ALONE if shares_job else join_tasks()
        outcome = attempt_run(run, stop, partial(is_gone, sweep), tasks)
        if outcome == "given_up":
            print("the run failed in this job; `launcher resume --failed` starts it again")
        if outcome == "stopped":
            if not tasks.leads:
                os._exit(0)  # the first task leaves for all
            if shares_job and run.is_cancelled():
                return _note_cancelled(run)
            if not stop.is_pilot_done:
                leave(run, record["profile"]["signal_delay_s"], runs)
        return outcome

    def checkpoint(self) -> DelayedSubmission:
        """What submitit would requeue. The state is in the run directory, so it is the same job."""
        return DelayedSubmission(ArrayJob(self.submission))


def runs_of_this_job(record: Mapping[str, Any]) -> list[str]:
    """The run of a job of a submission, or the runs that share its GPU."""
    size = record.get("runs_per_job", 1)
    first = size * int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    return record["runs"][first : first + size]


def check_code(frozen: Path) -> None:
    """ExecutionError unless the code that runs is the copy that was frozen at submission."""
    imported = Path(jobs.__path__[0]).resolve().parent
    if imported != frozen.resolve():
        raise ExecutionError(
            f"this job was to run the code in {frozen}, but imported {imported}; "
            "something in the job's environment comes before PYTHONPATH"
        )


def leave(run: RunDir, warning_s: float, others: Sequence[RunDir] = ()) -> None:
    """End this process in the way that lets the run go on; returns only if the job is to end.

    That is when it cannot be requeued: then `needs_resume` stands in the run directory, and
    `launcher resume` submits the run again. And when the run makes no progress, however often it
    is started. The job was to be warned `warning_s` before its time limit, and `others` are the
    runs that share it: it is requeued when they have saved, or half of that time is over.
    """
    # The tools asked below are children of this job, and TERM is sent to them as well.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    job_id, _ = job_identity("slurm")
    of_this_job = [attempt for attempt in run.history() if attempt["job_id"] == job_id]
    attempt = of_this_job[-1]
    waited = False
    deadline_s = time.monotonic() + ASK_FOR_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        facts = ask_job(job_id, left_s)
        # What was told first, before another run that shares the job could end it, is kept.
        if facts is not None and attempt["cause"] == Cause.STOPPED:
            attempt["cause"] = why_stopped(facts, attempt, warning_s)
        # That SLURM knows nothing of a job that runs decides nothing.
        if facts is not None and facts.state not in ("RUNNING", ""):
            _write(run, attempt)
            _leave_now(f"SLURM says {facts.state}")
        if is_given_up(idle := idle_attempts(of_this_job)):
            attempt["cause"], attempt["message"] = Cause.NO_PROGRESS, describe_idle(idle)
            _write(run, attempt)
            print(f"not requeued: {attempt['message']}", flush=True)
            return
        if not waited and _are_at_work(others, attempt):
            waited = True
            _write(run, attempt)
            _wait_for(others, attempt, warning_s / 2)
            deadline_s = time.monotonic() + ASK_FOR_S
            continue
        if facts is not None and _requeue(job_id, deadline_s - time.monotonic()):
            _write(run, attempt)
            _leave_now("requeued")
        time.sleep(ASK_EVERY_S)
    _write(run, attempt)
    run.needs_resume.touch()
    print("`launcher resume` will submit this run again", flush=True)


def _are_at_work(runs: Sequence[RunDir], attempt: Attempt) -> bool:
    """Whether a run is being trained or saved in the same start of the job as this attempt."""
    this_start = (attempt["job_id"], attempt["restart"])
    holders = (run.holder() for run in runs)
    return any((holder["job_id"], holder["restart"]) == this_start for holder in holders if holder)


def _wait_for(others: Sequence[RunDir], attempt: Attempt, longest_s: float) -> None:
    """Wait until the other runs have saved and the last one has had the time to requeue the job.

    If SLURM ends the job meanwhile, nothing is lost.
    """
    print("saved; waiting for the other runs of this job", flush=True)
    deadline_s = time.monotonic() + longest_s
    while _are_at_work(others, attempt) and time.monotonic() < deadline_s:
        time.sleep(ASK_EVERY_S)
    time.sleep(LAST_ONE_S)


def _note_cancelled(run: RunDir) -> str:
    """Complete the record of a run that shares its job; without a signal, that job goes on."""
    attempt = run.attempts()[-1]
    attempt["cause"] = Cause.CANCELLED
    attempt["message"] = attempt.get("message") or "the other runs of its job go on"
    _write(run, attempt)
    return "cancelled"


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


def is_gone(sweep: SweepDir, holder: LeaseHolder) -> bool | None:
    """Whether a lease's holder has ended as far as SLURM knows; None if that cannot be told.

    SLURM runs a job once at a time, so an earlier start of this job is over. Another job of the
    same person is over when SLURM does not run it; of others' jobs a site may show nothing.
    """
    if holder["cluster"] != cluster_name("slurm"):
        return None
    job_id, restart = job_identity("slurm")
    if holder["job_id"] == job_id:
        # At an equal count, a cluster has begun anew and counts its jobs from 1 again.
        return True if holder["restart"] < restart else None
    named = ask_state_and_name(holder["job_id"])
    if named is None:
        return None
    word, name = named
    if word and (names := _names_of_jobs(sweep, holder["job_id"])) and name not in names:
        return None  # a cluster that has begun anew has given the id to something else
    if word == "":
        return True if holder["user"] == getpass.getuser() else None
    return word not in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")


def _names_of_jobs(sweep: SweepDir, job_id: str) -> set[str]:
    """What a job of this id was called when it was submitted."""
    of_array = job_id.partition("_")[0]
    records = sweep.submissions().values()
    return {record["name"] for record in records if record.get("job_id") == of_array}


def ask_state_and_name(job_id: str) -> tuple[str, str] | None:
    """SLURM's word for a job's state and the job's name, empty if SLURM has forgotten it.

    None if it does not answer.
    """
    said = _ask_squeue(ASK_FOR_S, job_id, "-o", "%T|%j")
    if said is None:
        return None
    state, _, name = said.partition("\n")[0].partition("|")
    return state, name


def ask_job(job_id: str, timeout_s: float) -> JobFacts | None:
    """What SLURM says of a job; None if it does not answer."""
    columns = "State:30,PreemptTime:30,EndTime:30,RestartCnt:30,Reason:60"
    said = _ask_squeue(timeout_s, job_id, "-O", columns)
    if said is None:
        return None
    state, preempted, ends, restarts, reason = [*said.split(None, 4), *5 * [""]][:5]
    return JobFacts(
        state,
        _number(preempted, 0.0),
        _number(ends, math.inf),
        int(_number(restarts, 0)),
        reason.strip(),
    )


def _ask_squeue(timeout_s: float, job_id: str, *columns: str) -> str | None:
    """What squeue says of a job: nothing if SLURM has forgotten it; None if it does not answer."""
    done = _ask(timeout_s, "squeue", "-h", "-j", job_id, *columns)
    if done is None or (done.returncode != 0 and "Invalid job id" not in done.stderr):
        return None
    return done.stdout


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
    environment = environment_to_ask_slurm()
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
