"""How an attempt at a run ended: one vocabulary for the job, the launcher and the analysis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class Cause(StrEnum):
    """The word for it in an attempt's record. Words are added, and none is ever renamed."""

    FINISHED = "finished"

    # Told to stop, and saved; or killed with this as SLURM's word for it.
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    STOPPED = "stopped"  # by whom is not known: a signal, or a requeue by hand

    # Ended without saving.
    INTERRUPTED = "interrupted"  # by a second Ctrl-C
    NODE_FAILURE = "node_failure"
    TASK_LOST = "task_lost"  # of a job of several tasks, another one ended or hung
    UNKNOWN = "unknown"  # killed, and nobody knows why
    NOT_BEGUN = "not_begun"  # of no attempt: its job ended by itself before there was one

    # Would end in the same way again.
    OUT_OF_MEMORY = "out_of_memory"
    CODE_ERROR = "code_error"
    INPUT_ERROR = "input_error"
    DEVICE_UNFIT = "device_unfit"
    LOSS_NOT_FINITE = "loss_not_finite"
    STUCK_AT_CHANCE = "stuck_at_chance"
    NO_PROGRESS = "no_progress"  # restarted again and again without a step

    # Would not, once that is mended.
    DATA_MISSING = "data_missing"
    STORAGE_FAILED = "storage_failed"  # a full disk or quota, or a file system that does not answer
    GPU_FAILED = "gpu_failed"  # as the job sees it; to SLURM the node may be well

    __hash__ = str.__hash__  # as that of its text, which it is equal to, and faster than Enum's

    @classmethod
    def _missing_(cls, word: object) -> Cause:
        """A word of a later version."""
        return cls.UNKNOWN


# A run that ended so is not started again by itself: a person decides.
NOT_RETRIED = frozenset(
    {
        Cause.OUT_OF_MEMORY,
        Cause.CODE_ERROR,
        Cause.INPUT_ERROR,
        Cause.DEVICE_UNFIT,
        Cause.LOSS_NOT_FINITE,
        Cause.STUCK_AT_CHANCE,
        Cause.NO_PROGRESS,
    }
)

# The run has ended alone: where runs share a job, it goes on for the others.
ENDED_ALONE = NOT_RETRIED | {
    Cause.DATA_MISSING,
    Cause.STORAGE_FAILED,
    Cause.GPU_FAILED,
    Cause.CANCELLED,
}

# So many attempts in a row may end so without a step of progress. A job cannot tell the failure of
# a node, which is not its fault, from other kills, so these have more.
IDLE_LIMITS: Mapping[Cause, int] = {
    Cause.STOPPED: 3,
    Cause.PREEMPTED: 3,
    Cause.TIME_LIMIT: 3,
    Cause.TASK_LOST: 3,
    Cause.NOT_BEGUN: 3,
    Cause.DATA_MISSING: 3,
    Cause.STORAGE_FAILED: 3,
    Cause.GPU_FAILED: 3,
    Cause.NODE_FAILURE: 5,
    Cause.UNKNOWN: 5,
}

# An attempt that ended so has saved what it reached.
SAVED = (Cause.TIME_LIMIT, Cause.PREEMPTED, Cause.STOPPED)

# SLURM's words for how a job ended, where they tell why; REQUEUED only says by whom.
SLURM_CAUSES: Mapping[str, Cause] = {
    "TIMEOUT": Cause.TIME_LIMIT,
    "DEADLINE": Cause.TIME_LIMIT,
    "PREEMPTED": Cause.PREEMPTED,
    "CANCELLED": Cause.CANCELLED,
    "NODE_FAIL": Cause.NODE_FAILURE,
    "BOOT_FAIL": Cause.NODE_FAILURE,
    "LAUNCH_FAILED": Cause.NODE_FAILURE,
    "RECONFIG_FAIL": Cause.NODE_FAILURE,
    "OUT_OF_MEMORY": Cause.OUT_OF_MEMORY,
    "REQUEUED": Cause.STOPPED,
    "REQUEUE_HOLD": Cause.STOPPED,
    "SPECIAL_EXIT": Cause.STOPPED,
}


def idle_attempts(attempts: Sequence[Mapping[str, Any]]) -> list[Cause]:
    """The causes of the ended attempts, newest first, since the last one that made progress.

    What a killed attempt had saved, or one that failed, shows in where the next one began; until
    then it counts neither way. One that ended in a way that no limit is for begins the count anew.
    """
    idle = []
    next_began: tuple[int, int] | None = None
    for attempt in reversed(attempts):
        cause = Cause(attempt.get("cause", Cause.UNKNOWN))
        began = _place(attempt, "first")
        reached = (_place(attempt, "last") if cause in SAVED else None) or next_began
        if cause not in IDLE_LIMITS or (began and reached and reached > began):
            break
        if began is None or reached is not None:
            idle.append(cause)
        next_began = began or next_began
    return idle


def _place(attempt: Mapping[str, Any], which: str) -> tuple[int, int] | None:
    """Where it began or ended: the step, and the finished batches of an evaluation after that."""
    step = attempt.get(f"{which}_step")
    return None if step is None else (step, attempt.get(f"{which}_eval_batch", 0))


def is_given_up(idle: Sequence[Cause], limits: Mapping[Cause, int] = IDLE_LIMITS) -> bool:
    """Whether so many idle attempts are enough, each cause counted by itself."""
    counts = Counter(idle)
    return any(counts[cause] >= limit for cause, limit in limits.items())


def describe_idle(idle: Sequence[Cause]) -> str:
    """Such as `no step of progress in 3 attempts: stopped 1, preempted 2`."""
    counts = ", ".join(f"{cause} {count}" for cause, count in Counter(reversed(idle)).items())
    return f"no step of progress in {len(idle)} attempts: {counts}"
