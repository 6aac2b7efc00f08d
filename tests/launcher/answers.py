"""A squeue and a sacct that answer what the real ones cannot be made to say."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.errors import ExecutionError
from jobs.processes import this_process
from jobs.sweep_dir import SweepDir
from launcher import slurm
from launcher.slurm import Task


class Slurm:
    """Answers in place of squeue and sacct, and counts the questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue: list[Task] = []
        self.accounting: list[Task] | ExecutionError | None = []
        self.asked: list[str] = []
        monkeypatch.setattr(slurm, "asking_squeue", self.asking_squeue)
        monkeypatch.setattr(slurm, "sacct", self.sacct)
        monkeypatch.setattr(slurm, "ask_config", lambda: slurm.Config("lab", 1001))

    @contextlib.contextmanager
    def asking_squeue(self, names: list[str]) -> Iterator[Callable[[], list[Task]]]:
        self.asked.append("squeue")
        yield lambda: [task for task in self.queue if task.name in names]

    def sacct(self, names: list[str], since_unix_s: float) -> list[Task] | None:
        self.asked.append("sacct")
        if isinstance(self.accounting, ExecutionError):
            raise self.accounting
        if self.accounting is None:
            return None
        return [task for task in self.accounting if task.name in names]


def add_submission(sweep: SweepDir, **facts: Any) -> dict[str, Any]:
    record = {
        "token": "t0",
        "executor": "slurm",
        "name": "tiny-t0",
        "cluster": "lab",
        "runs": sweep.named_runs(),
        "user": getpass.getuser(),
        "submitted_unix_s": 1000.0,
        **this_process(),
        "start_ticks": 1,  # a launcher that is gone
        **facts,
    }
    sweep.write_submission(record)
    return record


def record_of(sweep: SweepDir) -> dict[str, Any]:
    (record,) = sweep.submissions().values()
    return record
