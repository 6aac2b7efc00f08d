"""Cancelling: the files say that a run is not to go on, then whoever works on it is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from jobs.errors import ExecutionError
from jobs.lease import LeaseHolder
from jobs.processes import this_host
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from launcher.plan import State
from launcher.run_status import RunStatus, run_status
from launcher.status import sweep_status

if TYPE_CHECKING:
    from launcher.slurm import Task

WAIT_S = 60.0
POLL_S = 0.1


def cancel_sweep(
    sweep: SweepDir, report: Callable[[str], None], only: Sequence[RunStatus] | None = None
) -> None:
    """Cancel every unfinished run, and wait until those that run on this host have saved.

    With `only`, those of its runs. Raises ExecutionError if one that runs could not be told, or
    did not listen.
    """
    statuses = sweep_status(sweep, ask_slurm=False) if only is None else only
    cancelled = [
        status for status in statuses if status.state not in (State.FINISHED, State.CANCELLED)
    ]
    for status in cancelled:
        # Written before the signal, so that no queue starts the run again.
        sweep.run(status.run_id).observe("cancelled")
    chosen = None if only is None else {status.run_id for status in only}
    if sweep.is_on_slurm() and (sharing := _cancel_jobs(sweep, chosen)):
        report(
            f"{', '.join(sharing)}: the job goes on for other runs, and sees within a minute that "
            "this is over"
        )
    problems: list[str] = []
    runs = [run for run in sweep.runs() if chosen is None or run.run_id in chosen]
    held = [(run, holder) for run in runs if (holder := run.holder()) is not None]
    stopping = [run for run, holder in held if _stop(run, holder, problems)]
    _wait(stopping, problems)
    running = sum(status.state is State.RUNNING for status in cancelled)
    plural = "" if len(cancelled) == 1 else "s"
    of_them = f", {running} of them running" if cancelled else ": all are finished or cancelled"
    report(f"{sweep.name}: cancelled {len(cancelled)} run{plural}{of_them}")
    if problems:
        raise ExecutionError("; ".join(problems))


def _cancel_jobs(sweep: SweepDir, run_ids: Collection[str] | None) -> list[str]:
    """Those that work on these runs; without, also jobs that newer ones have replaced.

    A job that goes on for other runs is left: there, a run sees by itself that it was cancelled.
    Returns the runs of such jobs.
    """
    from launcher import slurm
    from launcher.tasks import open_tasks, tasks_of_runs

    sharing: list[str] = []
    if run_ids is None:
        ids = {task.id for task in open_tasks(sweep)}
    else:
        found = {run: task for run, task in tasks_of_runs([sweep]).items() if not task.is_over}
        needed = {task.id for run, task in found.items() if _is_needed(run, task)}
        chosen = {run.run_id: task.id for run, task in found.items() if run.run_id in run_ids}
        ids = set(chosen.values()) - needed
        sharing = [run_id for run_id, task_id in chosen.items() if task_id in needed]
    if ids:
        slurm.scancel(sorted(ids))
    return sharing


def _is_needed(run: RunDir, task: Task) -> bool:
    """Whether the run is not over in this job, which others may share."""
    state = run_status(run, queued=(), task=task).state
    return not run.is_cancelled() and (state.is_under_way or state is State.HELD)


def _stop(run: RunDir, holder: LeaseHolder, problems: list[str]) -> bool:
    """Ask a process of this host to save and end; False if that is not for us to do."""
    if holder["cluster"] not in ("local", "foreground"):
        return False  # SLURM was told
    if holder["host"] != this_host():
        problems.append(f"{run.run_id} runs on {holder['host']}: cancel it there as well")
        return False
    try:
        os.kill(holder["pid"], signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError:
        problems.append(f"{run.run_id} belongs to {holder['user']}, who alone can stop it")
        return False
    return True


def _wait(runs: list[RunDir], problems: list[str]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while runs := [run for run in runs if run.holder() is not None]:
        if time.monotonic() > deadline_s:
            names = ", ".join(run.run_id for run in runs)
            problems.append(f"{names} did not stop within {WAIT_S:.0f} s")
            return
        time.sleep(POLL_S)
