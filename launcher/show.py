"""What the launcher prints: the plan, the table of runs, and a sweep while it is trained here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import orjson
from rich.console import Console
from rich.live import Live

from jobs.errors import ExecutionError
from jobs.run_dir import SweepDir
from launcher.cluster import Profile
from launcher.labels import short_id
from launcher.local import LocalQueue, Worker
from launcher.plan import Action, State, summarise
from launcher.status import RunStatus, status_of_sweeps, status_table, sweep_status
from launcher.submit import check_data

SHOWN_ROWS = 20
REFRESH_S = 1.0
PLAIN_WIDTH = 160


def show_plan(
    sweep: SweepDir,
    actions: Sequence[Action],
    labels: Mapping[str, str],
    profile: Profile,
    *,
    show_all: bool,
) -> None:
    """Print what is going to be done with each run, and why."""
    where = "on SLURM" if profile.executor == "slurm" else "on this machine"
    print(f"{sweep.path}  {summarise(actions)} {where}")
    shown = actions if show_all else actions[:SHOWN_ROWS]
    width = max((len(labels[action.run_id]) for action in shown), default=0)
    for action in shown:
        name = f"{labels[action.run_id]:<{width}}  {short_id(action.run_id)}"
        print(f"  {action.verb:<8}  {name}  {action.reason}")
    if len(shown) < len(actions):
        print(f"  and {len(actions) - len(shown)} more; --all lists them")


def status_or_files(sweeps: Sequence[SweepDir]) -> list[list[RunStatus]]:
    """Where every run stands; when SLURM does not answer, a warning and what the files say."""
    try:
        return status_of_sweeps(sweeps)
    except ExecutionError as error:
        print(f"warning: {error}; this is what the files say", file=sys.stderr)
        return status_of_sweeps(sweeps, ask_slurm=False)


def print_json(sweeps: Sequence[SweepDir], statuses: Sequence[Sequence[RunStatus]]) -> None:
    """Print where every run stands, as one JSON list."""
    rows = [
        {"sweep": sweep.name, **asdict(status)}
        for sweep, of_sweep in zip(sweeps, statuses, strict=True)
        for status in of_sweep
    ]
    sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")


def train_here(sweep: SweepDir, run_ids: Sequence[str], workers: list[Worker]) -> bool:
    """Train with a live table in a terminal and plain lines elsewhere; whether all finished."""
    check_data(sweep, run_ids)
    labels = {status.run_id: status.label for status in sweep_status(sweep)}
    console = make_console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown_s = 0.0

        def refresh() -> None:
            nonlocal shown_s
            if console.is_terminal and time.monotonic() - shown_s > REFRESH_S:
                shown_s = time.monotonic()
                rows = max(3, min(SHOWN_ROWS, console.height - 6))
                table = status_table(sweep.name, sweep_status(sweep), limit=rows)
                live.update(table, refresh=True)

        def report(line: str) -> None:
            console.print(f"{time.strftime('%H:%M:%S')}  {line}", highlight=False, soft_wrap=True)

        queue = LocalQueue(sweep, run_ids, workers, report, refresh, labels)
        queue.work()
    statuses = sweep_status(sweep)
    console.print(status_table(sweep.name, statuses, limit=SHOWN_ROWS))
    if queue.stopping:
        print(f"stopped; `launcher resume {sweep.name}` goes on from here")
        raise KeyboardInterrupt
    settled = (State.FINISHED, State.CANCELLED)
    return all(status.state in settled for status in statuses if status.run_id in set(run_ids))


def make_console() -> Console:
    """For tables: as wide as the terminal, and wide enough for names where there is none."""
    plain = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PLAIN_WIDTH if plain else None)
