"""Where one run stands: told from its files, and from what SLURM says of its job."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs import events
from jobs.causes import ENDED_ALONE, NOT_RETRIED, Cause, idle_attempts
from jobs.errors import InputError
from jobs.lease import STALE_AFTER_S, LeaseHolder
from jobs.look import tell_once
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Progress, Result
from launcher.durations import format_duration
from launcher.endings import (
    causes_of,
    failed_nodes,
    jobs_before_it_began,
    where_it_rests,
    written_end,
)
from launcher.fitting import short_id
from launcher.plan import Standing, State
from launcher.reasons import explain_reason

if TYPE_CHECKING:
    from launcher.slurm import Task

ONLY_FINISHED = {str(Cause.FINISHED): 1}
STUCK = "stuck at chance: its top-1 is no better than guessing"

# A run on a slow file system may need long to import torch, stage its data and compile.
BEGIN_WITHIN_S = 1800.0
HEARTBEATS_MISSED = 10

# SLURM's estimate behind jobs without a time limit is centuries away.
FAR_S = 365 * 86400.0

# Of a task, when it has not begun and is going to, or as soon as somebody releases it.
WAITING = (State.QUEUED, State.HELD)

# Of a job that runs for SLURM, though the run may not.
NOT_TRAINING = {
    "CONFIGURING": "its node is being made ready",
    "COMPLETING": "it is leaving its node",
    "SUSPENDED": "SLURM has suspended it",
    "STOPPED": "SLURM has stopped it, and keeps its node",
}


@dataclass
class RunStatus(Standing):
    """A row of `launcher status`, and an object of `launcher status --json`.

    The host is where it is trained now. Node, GPU and job are those of the last attempt, or of the
    job that runs; of a finished run nobody asks for them. `reason` is SLURM's own word for why it
    waits, and `detail` a sentence. A suspect one runs, and gives no sign of life.
    """

    label: str = ""
    named: bool = True
    gpus: int = 1
    attempts: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)  # how many attempts ended so
    failed_nodes: tuple[str, ...] = ()  # for each attempt or job that one failed, or did not suit
    epoch: int = 0
    epochs: int = 0
    done: float = 0.0
    test_top1: float | None = None
    eta_s: float | None = None
    wall_s: float | None = None  # of a finished run: all of its training
    host: str = ""
    node: str = ""
    gpu: str = ""
    job_id: str = ""
    reason: str = ""
    expected_start_unix_s: float | None = None
    suspect: bool = False


# By their words, which JSON has.
STATES = {state: state for state in State}
CAUSES = {cause: cause for cause in Cause}

# Kept beside the fields of a run at rest: the job in which it has ended alone, when, and whether
# that is for good.
LEFT_JOB = "left_job"

# What is not kept of the fields; but the state is.
USUAL = vars(RunStatus("", State.PLANNED)) | {"state": None, LEFT_JOB: None}


def run_status(
    run: RunDir,
    queued: Container[str],
    task: Task | None = None,
    label: str = "",
    *,
    named: bool = True,
) -> RunStatus:
    """Where the run stands; `queued` are those that a launching process is going to start."""
    try:
        facts = _facts(run, task, is_queued=run.run_id in queued)
    except InputError as error:
        size = _size(intact_options(run) or {"epochs": 0})
        facts = size | {"state": State.FAILED, "detail": str(error), "damaged": True}
    return RunStatus(run.run_id, label=label, named=named, **facts)


def _facts(run: RunDir, task: Task | None, *, is_queued: bool) -> dict[str, Any]:
    """The fields of its status. The order of the questions is the order of trust.

    Most of many runs are finished, or nobody works on them: of these all is told by what they were
    when they came to rest, which is told once, and by the queue that they wait in.
    """
    ended = task if task is not None and task.is_over else None
    waits = task is not None and task.state in WAITING
    holder = None if waits or run.is_finished() else _holder(run, ended)
    if holder is not None:
        return _at_work(run, task, holder)
    rest, left = _rest(run, ended)
    if rest["state"] is State.FINISHED:
        return rest
    is_cancelled = rest["state"] is State.CANCELLED and events.is_cancelled(run.observed())
    has_left = task is not None and (is_cancelled or _has_left(task, left))
    if has_left and run.holder() is None:
        # Others may still need the job; for this run it has ended.
        ended, rest = task, _rest(run, task)[0]
    if task is None or task is ended:
        starts = is_queued and not is_cancelled
        return rest | {"state": State.QUEUED, "detail": ""} if starts else rest
    return rest | _waiting(task) if waits else _at_work(run, task, holder)


def _has_left(task: Task, left: Sequence[Any] | None) -> bool:
    """Whether the run has ended alone in this job, and will not go on there.

    When the job is started again for others, the run tries what may be mended by then.
    """
    job_id, ended_s, for_good = left or ("", 0.0, False)
    has_restarted = task.state in WAITING or ended_s < task.expected_unix_s < math.inf
    return job_id == task.id and (for_good or not has_restarted)


def _holder(run: RunDir, ended: Task | None) -> LeaseHolder | None:
    """Who works on it. The lease of a job that SLURM has ended is a dead one."""
    holder = run.holder()
    if holder is None:
        return None
    if ended is not None:
        job_id = ended.id
    elif seen := run.observed():
        job_id = written_end(run.history(seen), seen)[1]
    else:
        return holder
    return None if job_id and holder["job_id"] == job_id else holder


def _rest(run: RunDir, ended: Task | None) -> tuple[dict[str, Any], Sequence[Any] | None]:
    """The fields when nobody works on the run, and the job, if there is one, that it has left.

    SLURM shows how its last job has `ended`, or nothing of it.
    """
    name = f"at rest after {ended.id} {ended.word}" if ended is not None else "at rest"
    kept = tell_once(run, name, functools.partial(_at_rest, ended=ended))
    fields = {**kept, "state": STATES[kept["state"]]}
    if "cause" in kept:
        fields["cause"] = CAUSES[kept["cause"]]
    if "idle" in kept:
        fields["idle"] = tuple(CAUSES[cause] for cause in kept["idle"])
    if "failed_nodes" in kept:
        fields["failed_nodes"] = tuple(kept["failed_nodes"])
    return fields, fields.pop(LEFT_JOB, None)


def _at_rest(run: RunDir, ended: Task | None) -> dict[str, Any]:
    """The same as JSON has it, without what is as usual."""
    options, result = run.read_options(), run.read_result()
    facts = _size(options)
    if result is not None:
        facts |= _finished(run, result, facts["epochs"])
    else:
        facts |= _unfinished(run, ended)
    return {name: value for name, value in facts.items() if value != USUAL[name]}


def _size(options: Mapping[str, Any]) -> dict[str, Any]:
    from jobs.config import option_of  # with pydantic: to look at runs at rest, nothing needs it

    return {name: option_of(options, name) for name in ("gpus", "epochs")}


def _waiting(task: Task) -> dict[str, Any]:
    """What is another thing of a run at rest while SLURM lets it wait: why, and until when."""
    is_planned = task.expected_unix_s < time.time() + FAR_S
    return {
        "state": task.state,
        "detail": explain_reason(task.reason),
        "job_id": task.id,
        "reason": task.reason,
        "expected_start_unix_s": task.expected_unix_s if is_planned else None,
    }


def _finished(run: RunDir, result: Result, epochs: int) -> dict[str, Any]:
    return {
        "state": State.FINISHED,
        "cause": Cause.FINISHED,
        "attempts": result["attempts"],
        # Of most runs the only attempt is the one that finished it.
        "causes": _count(causes_of(run.history())) if result["attempts"] > 1 else ONLY_FINISHED,
        "epoch": epochs,
        "done": 1.0,
        "test_top1": result["final_test_top1"],
        "wall_s": result["wall_s"],
        "detail": STUCK if result.get("stuck_at_chance") else "",
    }


def _unfinished(run: RunDir, ended: Task | None) -> dict[str, Any]:
    seen = run.observed()
    history = run.history(seen)
    state, detail = where_it_rests(history, seen, ended)
    if state is State.STOPPED and run.is_left_behind():
        detail += "; it could not be requeued"
    facts = _so_far(history, seen, run.read_progress())
    if facts["cause"] in ENDED_ALONE:
        last = history[-1]
        ended_s = last.get("ended_unix_s", last["started_unix_s"])
        facts[LEFT_JOB] = [last["job_id"], ended_s, facts["cause"] in NOT_RETRIED]
    if ended is not None:
        facts["job_id"] = ended.id
    unbegun = jobs_before_it_began(history, seen, ended)
    return facts | {
        "state": state,
        "detail": detail,
        "cause": unbegun[0] if unbegun else facts["cause"],
        "idle": (*unbegun, *idle_attempts(history)),
    }


def _at_work(run: RunDir, task: Task | None, holder: LeaseHolder | None) -> dict[str, Any]:
    """The fields when somebody holds its lease, or SLURM has begun a job for it."""
    from jobs.config import option_of

    seen, progress, options = run.observed(), run.read_progress(), run.read_options()
    history = run.history(seen)
    facts = _size(options) | _so_far(history, seen, progress)
    is_current = progress is not None and progress["attempt"] == len(history)
    current = progress if is_current else None
    is_stuck = current is not None and current.get("stuck_at_chance")
    facts |= {
        "state": State.RUNNING,
        "detail": STUCK if is_stuck else NOT_TRAINING.get(task.word, "") if task else "",
        "idle": tuple(idle_attempts(history[:-1])),
        "eta_s": current["eta_s"] if current else None,
        "host": holder["host"] if holder is not None else "",
    }
    if task is not None and not task.is_over:
        facts |= {"job_id": task.id, "node": task.node or facts["node"]}
    # A job that is suspended, or leaves its node, is silent for good reason.
    if task is None or task.word == "RUNNING":
        silent_s = time.time() - _last_sign_unix_s(history, progress, holder, task)
        facts |= _suspected(run, facts, silent_s, option_of(options, "progress_every_s"), task)
    return facts


def _so_far(
    history: Sequence[Attempt], seen: Sequence[events.Event], progress: Progress | None
) -> dict[str, Any]:
    """What the attempts tell, the jobs that ended before, and the progress that was made."""
    causes = causes_of(history)
    last: Mapping[str, Any] = history[-1] if history else {}
    facts = {
        "cause": causes[-1] if "cause" in last else None,
        "code": last.get("code", ""),
        "attempts": len(history),
        "causes": _count(causes),
        "failed_nodes": failed_nodes(history, seen),
        "node": last.get("node") or last.get("host", ""),
        "gpu": last.get("environment", {}).get("device", ""),
        "job_id": last["job_id"] if last.get("executor") == "slurm" else "",
    }
    if progress is not None:
        facts |= {
            "epoch": progress["epoch"],
            "done": progress["step"] / progress["steps"],
            "test_top1": progress["test_top1"],
        }
    return facts


def _last_sign_unix_s(
    history: Sequence[Attempt],
    progress: Progress | None,
    holder: LeaseHolder | None,
    task: Task | None,
) -> float:
    times = [
        history[-1]["started_unix_s"] if history else None,
        progress["time_unix_s"] if progress else None,
        holder["time_unix_s"] if holder else None,
        task.expected_unix_s if task and task.expected_unix_s < math.inf else None,
    ]
    return max((time_s for time_s in times if time_s is not None), default=time.time())


def _suspected(
    run: RunDir,
    facts: Mapping[str, Any],
    silent_s: float,
    progress_every_s: float,
    task: Task | None,
) -> dict[str, Any]:
    """What is to be said of a run that is silent for longer than it should be."""
    is_training = facts["eta_s"] is not None
    heartbeats_s = max(HEARTBEATS_MISSED * progress_every_s, STALE_AFTER_S)
    if silent_s <= (heartbeats_s if is_training else BEGIN_WITHIN_S):
        return {}
    what = "no sign of life" if is_training else "it has not begun to train"
    where = f" on {facts['node']}" if facts["node"] else ""
    again = f"; `scontrol requeue {task.id}` starts it again" if task else ""
    detail = (
        f"{what} for {format_duration(silent_s)}{where}: "
        f"`launcher logs {short_id(run.run_id)}` shows its last words{again}"
    )
    return {"detail": detail, "suspect": True}


def intact_options(run: RunDir) -> Mapping[str, Any] | None:
    try:
        return run.read_options()
    except InputError:
        return None


def _count(causes: Sequence[Cause]) -> dict[str, int]:
    return {str(cause): causes.count(cause) for cause in causes}
