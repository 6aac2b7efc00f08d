"""Attempts that were killed: why, as SLURM tells it, since they had no last word themselves."""

from __future__ import annotations

import contextlib
import getpass
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.causes import SLURM_CAUSES, Cause
from jobs.errors import InputError
from jobs.look import tell_once
from jobs.run_dir import RunDir
from jobs.run_records import Attempt
from jobs.sweep_dir import SweepDir, submission_of
from launcher.slurm import Task

# What the accounting does not know of an attempt after so long, it will not learn any more.
ACCOUNTING_LAG_S = 600.0

# SLURM tells whole seconds, and the clocks of a node and of the controller are not quite the same.
CLOCKS_APART_S = 5.0


@dataclass(frozen=True)
class Silent:
    """An attempt on SLURM without a cause; the last one of a run may still be at work."""

    run: RunDir
    attempt: Attempt
    is_last: bool
    seen_unix_s: float
    record: Mapping[str, Any]  # of its job's submission
    index: int

    @property
    def key(self) -> tuple[str, int]:
        return self.record["name"], self.index


def silent_attempts(sweep: SweepDir) -> list[Silent]:
    """The attempts of a sweep's runs on SLURM of which nobody knows how they ended, if they did."""
    found: list[Silent] = []
    for run_id, records in sweep.submissions_of_runs().items():
        run = sweep.run(run_id)
        try:
            silent = tell_once(run, "silent", _silent)
        except InputError:
            continue  # the run's own status tells what is damaged
        for attempt, is_last, seen_unix_s in silent:
            index = attempt["job_id"].partition("_")[2]
            if (record := submission_of(attempt, records)) is not None:
                found.append(Silent(run, attempt, is_last, seen_unix_s, record, int(index or 0)))
    return found


def _silent(run: RunDir) -> list[tuple[Attempt, bool, float]]:
    """The attempts of a run of which that holds, whether each is the last, and its last sign."""
    result = run.read_result()
    if result is not None and result["attempts"] == 1:
        return []
    history, found = run.history(), []
    for place, attempt in enumerate(history):
        if "cause" not in attempt and attempt["executor"] == "slurm":
            is_last = place == len(history) - 1
            seen_s = _last_sign(run, attempt) if is_last else history[place + 1]["started_unix_s"]
            found.append((attempt, is_last, seen_s))
    return found


def _last_sign(run: RunDir, attempt: Attempt) -> float:
    progress = run.read_progress()
    if progress is not None and progress["attempt"] == attempt["attempt"]:
        return progress["time_unix_s"]
    return attempt["started_unix_s"]


def explain(killed: Sequence[Silent], told: Iterable[Task], *, is_final: bool) -> None:
    """Write down why attempts were killed, so that nobody has to ask again.

    `told` are all starts of their jobs that SLURM knows. Where it does not know one, that is
    written down as well, once the accounting had its time, or at once if the answer `is_final`.
    """
    starts = defaultdict(list)
    for task in sorted(told, key=lambda task: task.started_unix_s):
        starts[task.name, task.index].append(task)
    for silent in killed:
        ended = _how_it_ended(silent, starts[silent.key])
        ended_s = None
        if ended is not None:
            cause = SLURM_CAUSES.get(ended.word, Cause.UNKNOWN)
            message, nodes = f"SLURM says {ended.word}", ended.reason if ended.has_begun else ""
            ended_s = ended.ended_unix_s if ended.has_ended else None
        elif _would_be_known(silent, is_final=is_final):
            cause, message, nodes = Cause.UNKNOWN, "SLURM does not know why", ""
        else:
            continue
        # A sweep that belongs to a colleague can be looked at without being written.
        with contextlib.suppress(PermissionError):
            silent.run.explain(silent.attempt["attempt"], cause, message, nodes, ended_s)


def _how_it_ended(silent: Silent, starts: Sequence[Task]) -> Task | None:
    """The start of the job that the attempt was part of, if SLURM knows that it is over.

    The accounting has one record for each, but for those that a crashed controller forgot, so that
    their number does not tell; squeue only knows the last start.
    """
    recorded = [task for task in starts if task.has_begun and _holds(task, silent)]
    if recorded:
        return recorded[-1] if recorded[-1].has_ended else None
    shown = [task for task in starts if not task.has_begun and task.is_over]
    return shown[-1] if shown and silent.is_last else None


def _holds(task: Task, silent: Silent) -> bool:
    """Whether the attempt began, and the next one did not, while the job's start went on."""
    began_s, next_s = silent.attempt["started_unix_s"], math.inf
    if not silent.is_last:
        next_s = silent.seen_unix_s
    return (
        task.started_unix_s <= began_s + CLOCKS_APART_S
        and began_s - CLOCKS_APART_S <= task.ended_unix_s <= next_s + CLOCKS_APART_S
    )


def _would_be_known(silent: Silent, *, is_final: bool) -> bool:
    """Whether SLURM would have told us by now: only of our own jobs it must."""
    if silent.record["user"] != getpass.getuser():
        return False
    return is_final or time.time() - silent.seen_unix_s > ACCOUNTING_LAG_S
