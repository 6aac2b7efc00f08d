"""How a run ended that nobody works on now: told from its attempts, and from SLURM's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs import events
from jobs.causes import SLURM_CAUSES, Cause
from jobs.events import Event
from jobs.run_records import Attempt
from launcher.plan import State

if TYPE_CHECKING:
    from launcher.slurm import Task

GOES_ON = "; goes on from its last checkpoint"
NOUNS = {Cause.PREEMPTED: "preemption"}


def where_it_rests(
    history: Sequence[Attempt], seen: Sequence[Event], ended: Task | None
) -> tuple[State, str]:
    """The state of a run without a result, and what is to be said of it.

    SLURM shows how its last job has `ended`; else what was written down of that tells.
    """
    word, job_id = (ended.word, ended.id) if ended is not None else written_end(history, seen)
    if events.is_cancelled(seen):
        return State.CANCELLED, ""
    if word and (not history or history[-1].get("job_id") != job_id):
        return _how_slurm_ended_it(word)
    if history:
        return _how_it_ended(history, events.released_unix_s(seen))
    return State.PLANNED, ""


def written_end(history: Sequence[Attempt], seen: Sequence[Event]) -> tuple[str, str]:
    """SLURM's word for how the last job ended, and the job, if nothing came after it."""
    ends = events.ends(seen)
    if not ends or (history and history[-1]["started_unix_s"] > ends[-1]["time_unix_s"]):
        return "", ""
    return ends[-1]["word"], ends[-1]["job_id"]


def jobs_before_it_began(
    history: Sequence[Attempt], seen: Sequence[Event], ended: Task | None
) -> list[Cause]:
    """How SLURM's jobs ended that made no attempt, newest first, since the last attempt began.

    That the newest job, `ended`, is lost is written down when there is another. A person who
    releases a cancelled run begins the count anew.
    """
    last_job, since_s = "", events.released_unix_s(seen)
    if history:
        last_job, since_s = history[-1]["job_id"], max(since_s, history[-1]["started_unix_s"])
    words = {
        event["token"]: event["word"]
        for event in events.ends(seen)
        if event["time_unix_s"] > since_s and event["job_id"] != last_job
    }
    if ended is not None and ended.word == "UNKNOWN" and ended.id != last_job:
        words[ended.name] = ended.word
    return [
        SLURM_CAUSES.get(word, Cause.UNKNOWN if word == "UNKNOWN" else Cause.NOT_BEGUN)
        for word in reversed(words.values())
    ]


def causes_of(history: Sequence[Attempt]) -> list[Cause]:
    """How the attempts ended that have."""
    return [Cause(attempt["cause"]) for attempt in history if "cause" in attempt]


def failed_nodes(history: Sequence[Attempt], seen: Sequence[Event]) -> tuple[str, ...]:
    """By attempt, and by job that ended before there was one.

    Of a job on several nodes, SLURM does not say which one has failed.
    """
    bad = (Cause.NODE_FAILURE, Cause.GPU_FAILED, Cause.DEVICE_UNFIT)
    nodes = [a.get("node", "") for a in history if a.get("cause") in bad]
    begun = {attempt["job_id"] for attempt in history}
    before = {  # squeue and the accounting may both have told of one job
        end["token"]: end["nodes"]
        for end in events.ends(seen)
        if SLURM_CAUSES.get(end["word"]) in bad and end["job_id"] not in begun
    }
    nodes += before.values()
    return tuple(node for node in nodes if re.fullmatch(r"[\w.-]+", node))


def _how_it_ended(history: Sequence[Attempt], released_unix_s: float) -> tuple[State, str]:
    """What is known of a run's last attempt, when nobody works on the run now."""
    last = history[-1]
    cause, message = Cause(last.get("cause", Cause.UNKNOWN)), last.get("message", "")
    is_released = last.get("ended_unix_s", last["started_unix_s"]) < released_unix_s
    match cause:
        case Cause.UNKNOWN if message.endswith("COMPLETED"):
            return State.STOPPED, f"{message}, but there is no result{GOES_ON}"
        case Cause.UNKNOWN:
            return State.STOPPED, f"killed{f' ({message})' if message else ''}{GOES_ON}"
        case Cause.FINISHED:
            return State.STOPPED, f"its result is missing{GOES_ON}"
        case Cause.STOPPED | Cause.INTERRUPTED:
            return State.STOPPED, message or cause
        case Cause.CANCELLED:
            return State.STOPPED if is_released else State.CANCELLED, message or cause
        case Cause.TIME_LIMIT | Cause.PREEMPTED:
            return State.STOPPED, f"{_nth(history, cause)}: {message}"
        case Cause.NODE_FAILURE:
            return State.STOPPED, f"{_nth(history, cause)} on {last.get('node', '?')}{GOES_ON}"
        case _:
            return State.FAILED, f"{cause}: {message}"


def _how_slurm_ended_it(word: str) -> tuple[State, str]:
    """The same when the run's last job had ended before the run began."""
    if word == "OUT_OF_MEMORY":
        said = "out_of_memory: SLURM killed its job before the run began; give it more `mem`"
        return State.FAILED, said
    if word in ("FAILED", "COMPLETED", "LAUNCH_FAILED"):
        return State.FAILED, "its job ended before the run began; `launcher logs` shows its output"
    if word == "UNKNOWN":
        return State.STOPPED, "SLURM has forgotten its job, in which the run did not begin"
    return State.STOPPED, f"its job ended ({word}) before the run began"


def _nth(history: Sequence[Attempt], cause: Cause) -> str:
    """Such as `node failure`, `2nd node failure`."""
    number = causes_of(history).count(cause)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 * (number % 100 not in (11, 12, 13)), "th")
    word = NOUNS.get(cause, cause.replace("_", " "))
    return f"{number}{ending} {word}" if number > 1 else word
