"""All sweeps of a folder at a glance, from the files alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from jobs.sweep_dir import SweepDir
from launcher.durations import format_duration
from launcher.plan import State
from launcher.selected import Selected
from launcher.status import status_of_sweeps

IMPORTED = "imported"


@dataclass(frozen=True)
class SweepSummary:
    """A row of `launcher list`. Runs of other programs are in the state `imported`."""

    sweep: str
    runs: int
    states: dict[str, int]
    changed_unix_s: float


def summarise_sweeps(sweeps: Sequence[SweepDir], only: str | None = None) -> list[SweepSummary]:
    """What the sweeps hold; the one that changed last comes first. SLURM is not asked.

    With `only`, the runs that it selects, which no imported one can be, and the sweeps that have
    some.
    """
    found = []
    all_statuses = status_of_sweeps(sweeps, ask_slurm=False, remembers=True)
    for sweep, statuses in zip(sweeps, Selected(only)(sweeps, all_statuses), strict=True):
        states = [str(status.state) for status in statuses]
        if only is None:
            states += [IMPORTED for _ in sweep.imported_runs()]
        elif not states:
            continue
        summary = SweepSummary(
            sweep.name, len(states), dict(Counter(states)), sweep.changed_unix_s()
        )
        found.append(summary)
    return sorted(found, key=lambda summary: summary.changed_unix_s, reverse=True)


def sweeps_table(summaries: Sequence[SweepSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("sweep", overflow="fold")
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("changed", justify="right", no_wrap=True)
    table.add_column("states, as the files say")
    for summary in summaries:
        age = format_duration(max(0.0, time.time() - summary.changed_unix_s))
        shown = [*State, IMPORTED]
        states = (f"{state} {summary.states[state]}" for state in shown if state in summary.states)
        table.add_row(summary.sweep, str(summary.runs), f"{age} ago", ", ".join(states))
    return table
