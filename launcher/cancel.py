"""Cancelling: the files say that a run is not to go on, then those that run are asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from jobs.run_dir import RunDir, SweepDir, this_host
from launcher.plan import State
from launcher.status import RunStatus, sweep_status

WAIT_S = 60.0


def cancel_sweep(sweep: SweepDir, report: Callable[[str], None]) -> None:
    """Cancel every unfinished run, and wait until the running ones of this host have saved."""
    cancelled = [
        status
        for status in sweep_status(sweep)
        if status.state not in (State.FINISHED, State.CANCELLED)
    ]
    for status in cancelled:
        # Written before the signal, so that no queue starts the run again.
        sweep.run(status.run_id).observe("cancelled")
    running = [status for status in cancelled if status.state is State.RUNNING]
    for status in running:
        _stop(sweep.run(status.run_id), status, report)
    _wait([sweep.run(status.run_id) for status in running if status.host == this_host()], report)
    report(f"{sweep.name}: cancelled {len(cancelled)} runs, {len(running)} of them running")


def _stop(run: RunDir, status: RunStatus, report: Callable[[str], None]) -> None:
    holder = run.holder()
    if holder is None:
        return  # it ended in the meantime
    if holder["host"] != this_host():
        report(f"{run.run_id} runs on {holder['host']}: cancel it there as well")
        return
    try:
        os.kill(holder["pid"], signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        report(f"{run.run_id} belongs to {holder['user']}, who alone can stop it")


def _wait(runs: list[RunDir], report: Callable[[str], None]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while runs := [run for run in runs if run.holder() is not None]:
        if time.monotonic() > deadline_s:
            report(f"{', '.join(run.run_id for run in runs)} did not stop within {WAIT_S:.0f} s")
            return
        time.sleep(0.1)
