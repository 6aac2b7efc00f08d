"""What the launcher saw of a run and was told of it: the meaning of the events in its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.run_records import Attempt

Event = Mapping[str, Any]


def is_cancelled(events: Iterable[Event]) -> bool:
    """Whether the run was cancelled, and not released since.

    That SLURM cancelled a job counts once, however often and however late it is written down.
    """
    cancelled = False
    told: set[str] = set()
    for event in events:
        if event["event"] == "released":
            cancelled = False
        elif event["event"] == "cancelled" and event.get("token") not in told:
            cancelled = True
            told.update(filter(None, [event.get("token")]))
    return cancelled


def released_unix_s(events: Iterable[Event]) -> float:
    """When a person last said that a cancelled run is to go on; 0 if nobody ever did."""
    times = [event["time_unix_s"] for event in events if event["event"] == "released"]
    return max(times, default=0.0)


def ends(events: Iterable[Event], token: str | None = None) -> list[Event]:
    """How SLURM ended the run's jobs, or the one of a submission, the last end last."""
    return [
        event for event in events if event["event"] == "ended" and token in (None, event["token"])
    ]


def explain(attempts: Sequence[Attempt], events: Iterable[Event]) -> None:
    """Put into attempts that were killed what was found out of why; of others, they know best."""
    silent = {attempt["attempt"]: attempt for attempt in attempts if "cause" not in attempt}
    for event in events:
        if event["event"] == "explained" and event["attempt"] in silent:
            attempt = silent[event["attempt"]]
            attempt["cause"], attempt["message"] = event["cause"], event["message"]
            attempt["node"] = event["nodes"] or attempt.get("node", "")
            if (ended_s := event.get("ended_unix_s")) is not None:
                attempt["ended_unix_s"] = ended_s
