"""A squeue and a sacct that answer what the real ones cannot be made to say."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from jobs.processes import this_process
from jobs.sweep_dir import SweepDir
from launcher import slurm
from launcher.slurm import Task


class Slurm:
    """Answers in place of squeue and sacct, and counts the questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue: list[Task] = []
        self.accounting: list[Task] = []
        self.asked: list[str] = []
        monkeypatch.setattr(slurm, "squeue", self.squeue)
        monkeypatch.setattr(slurm, "sacct", self.sacct)
        monkeypatch.setattr(slurm, "ask_config", lambda: slurm.Config("lab", 1001))

    def squeue(self, names: list[str], since_unix_s: float) -> list[Task]:
        self.asked.append("squeue")
        return [task for task in self.queue if task.name in names]

    def sacct(self, names: list[str], since_unix_s: float) -> list[Task]:
        self.asked.append("sacct")
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
