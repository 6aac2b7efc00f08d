"""The plan: for each run, what to do and why. It is a value, and `--dry-run` prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jobs.causes import IDLE_LIMITS, NOT_RETRIED, Cause, describe_idle, is_given_up


class State(StrEnum):
    """Where a run stands, in the order in which a person cares."""

    RUNNING = "running"
    QUEUED = "queued"
    HELD = "held"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PLANNED = "planned"
    FINISHED = "finished"

    __hash__ = str.__hash__  # as that of its text, which it is equal to, and faster than Enum's

    @property
    def is_under_way(self) -> bool:
        """Whether the run is being trained, or will be without anybody's doing."""
        return self in (State.RUNNING, State.QUEUED)


class Verb(StrEnum):
    START = "start"
    CONTINUE = "continue"
    RETRY = "retry"
    RELEASE = "release"
    LEAVE = "leave"


# What makes an attempt at a run; a job that is released has one already.
STARTING = frozenset({Verb.START, Verb.CONTINUE, Verb.RETRY})


@dataclass  # not frozen: of ten thousand, that takes a twentieth of a second
class Standing:
    """What the plan needs to know of a run.

    The cause and the code are those of its last attempt; `idle` are the causes of those that ended
    since the last progress, newest first. A job that ended before the run began counts as one. Of a
    damaged one, the detail says what cannot be read.
    """

    run_id: str
    state: State
    detail: str = ""
    cause: Cause | None = None
    idle: tuple[Cause, ...] = ()
    code: str = ""
    damaged: bool = False


# A resumed sweep has the profile that it was submitted with.
MEND_PROFILE = "correct the profile in cluster.yaml, and `launcher submit --failed` starts it so"

# A person who stops a run before it begins may start it again as often.
BUDGETS: dict[Cause, int] = {
    cause: limit for cause, limit in IDLE_LIMITS.items() if cause is not Cause.STOPPED
}


@dataclass(frozen=True)
class Policy:
    """What is to happen to runs that nobody is working on, beyond going on with them.

    `budgets` says how many attempts in a row may end in a way without progress. An error in the
    code is tried again with other `code` than it was made with, if that is known.
    """

    release_cancelled: bool = False
    retry_failed: bool = False
    budgets: Mapping[Cause, int] = field(default_factory=BUDGETS.copy)
    code: str = ""


@dataclass(frozen=True)
class Action:
    run_id: str
    verb: Verb
    reason: str
    state: State = State.PLANNED


def plan(standings: Iterable[Standing], policy: Policy) -> list[Action]:
    """One action for each run, in their order."""
    return [_decide(standing, policy) for standing in standings]


def _decide(run: Standing, policy: Policy) -> Action:
    match run.state:
        case State.PLANNED:
            verb, reason = Verb.START, "not started yet"
        case State.HELD:
            verb, reason = Verb.RELEASE, run.detail
        case _ if run.damaged:
            verb, reason = Verb.LEAVE, run.detail
        case State.STOPPED | State.FAILED:
            verb, reason = _go_on(run, policy)
        case State.CANCELLED if policy.release_cancelled:
            verb, reason = Verb.CONTINUE, "was cancelled"
        case State.CANCELLED:
            verb, reason = Verb.LEAVE, "cancelled; left without --cancelled"
        case _:
            verb = Verb.LEAVE
            reason = f"{run.state}: {run.detail}" if run.detail else str(run.state)
    return Action(run.run_id, verb, reason, run.state)


def _go_on(run: Standing, policy: Policy) -> tuple[Verb, str]:
    """What to do with a run that is not finished, and that nobody works on."""
    again = Verb.CONTINUE if run.state is State.STOPPED else Verb.RETRY
    if policy.retry_failed:
        return again, run.detail
    if run.cause is Cause.CODE_ERROR and policy.code and not _is_same_code(run.code, policy.code):
        return again, f"{run.detail}; the code is another one now"
    if run.cause is Cause.CODE_ERROR:
        other = "other code (on SLURM: `submit`, or `resume --update-code`)"
        return Verb.LEAVE, f"{run.detail}; left without --failed or {other}"
    if run.cause in NOT_RETRIED:
        return Verb.LEAVE, f"{run.detail}; left without --failed"
    if is_given_up(run.idle, policy.budgets):
        if run.cause is Cause.NOT_BEGUN:
            jobs = run.idle.count(Cause.NOT_BEGUN)
            return Verb.LEAVE, f"{run.detail}; {jobs} jobs have ended so: {MEND_PROFILE}"
        return Verb.LEAVE, f"{run.detail}; {describe_idle(run.idle)}; left without --failed"
    return again, run.detail


def _is_same_code(one: str, other: str) -> bool:
    """A colleague's copy of the same code is frozen as `<hash>-<user>`."""
    return one.partition("-")[0] == other.partition("-")[0]


def summarise(actions: Iterable[Action]) -> str:
    """Such as `6 runs: start 4, leave 2`."""
    counts = Counter(action.verb for action in actions)
    parts = [f"{verb} {counts[verb]}" for verb in Verb if counts[verb]]
    total = counts.total()
    return f"{total} run{'' if total == 1 else 's'}: {', '.join(parts) or 'nothing to do'}"
