"""The plan: for each run, what to do and why. It is a value, and `--dry-run` prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True)
class Standing:
    """What the plan needs to know of a run."""

    run_id: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Policy:
    """What is to happen to runs that nobody is working on, beyond going on with them."""

    release_cancelled: bool = False


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
        case State.STOPPED:
            verb, reason = Verb.CONTINUE, run.detail
        case State.FAILED:
            verb, reason = Verb.RETRY, run.detail
        case State.CANCELLED if policy.release_cancelled:
            verb, reason = Verb.CONTINUE, "was cancelled"
        case State.CANCELLED:
            verb, reason = Verb.LEAVE, "cancelled; `resume` leaves it without --cancelled"
        case _:
            verb = Verb.LEAVE
            reason = f"{run.state}: {run.detail}" if run.detail else str(run.state)
    return Action(run.run_id, verb, reason, run.state)


def summarise(actions: Iterable[Action]) -> str:
    """Such as `6 runs: start 4, leave 2`."""
    counts = Counter(action.verb for action in actions)
    parts = [f"{verb} {counts[verb]}" for verb in Verb if counts[verb]]
    total = counts.total()
    return f"{total} run{'' if total == 1 else 's'}: {', '.join(parts) or 'nothing to do'}"
