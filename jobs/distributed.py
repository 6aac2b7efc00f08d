"""The tasks of one job that train one network together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tasks:
    """Which of a job's tasks this process is."""

    rank: int = 0
    world: int = 1


ALONE = Tasks()
