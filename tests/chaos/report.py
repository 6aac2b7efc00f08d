"""What a person needs to see when the judge complains."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from jobs.run_dir import RunDir
from jobs.sweep_dir import sweep_of
from tests.chaos.lab import Lab
from tests.chaos.storm import ASKED_FOR, Log

LAST_LINES = 60
OF_INTEREST = (
    *("attempt", "job_id", "restart", "pid", "started_unix_s", "ended_unix_s"),
    *("first_step", "last_step", "cause", "message"),
)


def count_attempts(lab: Lab) -> Counter[str]:
    """How often an attempt ended in which way, in both sweeps."""
    return Counter(attempt["cause"] for run in lab.runs() for attempt in run.history())


def count_calls(lab: Lab) -> Counter[str]:
    """How often a fault of one of SLURM's programs met somebody."""
    return Counter({what: count for what, count in lab.calls().items() if " " in what})


def count_commands(lab: Lab) -> Counter[str]:
    """How often people called the launcher, without the names of sweeps."""
    return Counter(
        " ".join(word for word in command.words if word == command.words[0] or word in ASKED_FOR)
        for command in lab.commands
    )


def describe_counts(title: str, counts: Counter[str]) -> str:
    """Such as `attempts 512: preempted 211, ...`, the most frequent first."""
    return f"{title} {counts.total()}: " + ", ".join(f"{k} {n}" for k, n in counts.most_common())


def describe_failure(lab: Lab, log: Log, complaints: Sequence[str]) -> str:
    """The complaints, the last faults, the records of the runs concerned, and SLURM's log."""
    lines = ["", "COMPLAINTS", *complaints, "", "WHAT HAPPENED LAST", *log.lines[-LAST_LINES:]]
    for run in lab.runs():
        name = f"{sweep_of(run).name}/{run.run_id}"
        if run.read_result() is None or any(name in text for text in complaints):
            lines += ["", f"RECORDS OF {name}", *_records(run), *_controller_lines(lab, run)]
    return "\n".join(lines)


def _records(run: RunDir) -> Iterator[str]:
    for attempt in run.history():
        yield f"  { ({key: value for key, value in attempt.items() if key in OF_INTEREST}) }"
    for event in run.observed():
        yield f"  {event}"


def _controller_lines(lab: Lab, run: RunDir) -> list[str]:
    ids = "|".join({attempt["job_id"] for attempt in run.attempts()}) or "-"
    text = (lab.cluster.directory / "log" / "slurmctld.log").read_text(errors="replace")
    ours = re.compile(rf"JobId=({ids})\b(?!_)")
    return [f"  {line}" for line in text.splitlines() if ours.search(line)][-LAST_LINES:]
