"""All sweeps of a folder at a glance, from the files alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from jobs.run_dir import SweepDir
from launcher.plan import State
from launcher.status import format_duration, status_of_sweeps


@dataclass(frozen=True)
class SweepSummary:
    """A row of `launcher list`."""

    sweep: str
    runs: int
    states: dict[str, int]
    changed_unix_s: float


def summarise_sweeps(sweeps: Sequence[SweepDir]) -> list[SweepSummary]:
    """What the sweeps hold; the one that changed last comes first. SLURM is not asked."""
    found = [
        SweepSummary(
            sweep.name,
            len(statuses),
            dict(Counter(str(status.state) for status in statuses)),
            sweep.changed_unix_s(),
        )
        for sweep, statuses in zip(sweeps, status_of_sweeps(sweeps, ask_slurm=False), strict=True)
    ]
    return sorted(found, key=lambda summary: summary.changed_unix_s, reverse=True)


def sweeps_table(summaries: Sequence[SweepSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("sweep", overflow="fold")
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("changed", justify="right", no_wrap=True)
    table.add_column("states, as the files say")
    for summary in summaries:
        age = format_duration(max(0.0, time.time() - summary.changed_unix_s))
        states = (f"{state} {summary.states[state]}" for state in State if state in summary.states)
        table.add_row(summary.sweep, str(summary.runs), f"{age} ago", ", ".join(states))
    return table
