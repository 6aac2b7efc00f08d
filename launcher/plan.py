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


def plan(standings: Iterable[Standing], policy: Policy) -> list[Action]:
    """One action for each run, in their order."""
    return [_decide(standing, policy) for standing in standings]


def _decide(run: Standing, policy: Policy) -> Action:
    match run.state:
        case State.PLANNED:
            return Action(run.run_id, Verb.START, "not started yet")
        case State.HELD:
            return Action(run.run_id, Verb.RELEASE, run.detail)
        case State.STOPPED:
            return Action(run.run_id, Verb.CONTINUE, run.detail)
        case State.FAILED:
            return Action(run.run_id, Verb.RETRY, run.detail)
        case State.CANCELLED if policy.release_cancelled:
            return Action(run.run_id, Verb.CONTINUE, "was cancelled")
        case State.CANCELLED:
            return Action(
                run.run_id, Verb.LEAVE, "cancelled; `resume` leaves it without --cancelled"
            )
        case _:
            reason = f"{run.state}: {run.detail}" if run.detail else str(run.state)
            return Action(run.run_id, Verb.LEAVE, reason)


def summarise(actions: Iterable[Action]) -> str:
    """Such as `6 runs: start 4, leave 2`."""
    counts = Counter(action.verb for action in actions)
    parts = [f"{verb} {counts[verb]}" for verb in Verb if counts[verb]]
    total = counts.total()
    return f"{total} run{'' if total == 1 else 's'}: {', '.join(parts) or 'nothing to do'}"
