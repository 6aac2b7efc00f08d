"""A sweep while it is trained on this machine: a live table, or a line for each change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.live import Live

from jobs.sweep_dir import SweepDir
from launcher.plan import State
from launcher.printing import make_console
from launcher.status import sweep_status
from launcher.table import SweepTable

if TYPE_CHECKING:
    from launcher.local import Worker

SHOWN_ROWS = 20
REFRESH_S = 1.0


def train_here(sweep: SweepDir, gpus: Mapping[str, int], workers: list[Worker]) -> bool:
    """Train runs, each on so many GPUs, with a live table in a terminal and plain lines elsewhere.

    Says whether all finished.
    """
    from launcher.local import LocalQueue  # with submitit, which looking need not load
    from launcher.submit import check_data

    check_data(sweep, list(gpus))
    labels = {status.run_id: status.label for status in sweep_status(sweep)}
    console = make_console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown_s = 0.0

        def refresh() -> None:
            nonlocal shown_s
            if console.is_terminal and time.monotonic() - shown_s > REFRESH_S:
                shown_s = time.monotonic()
                rows = max(3, min(SHOWN_ROWS, console.height - 6))
                table = SweepTable(sweep.name, sweep_status(sweep), limit=rows)
                live.update(table, refresh=True)

        def report(line: str) -> None:
            # Without markup: a message of torch may hold what looks like some.
            line = f"{time.strftime('%H:%M:%S')}  {line}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)

        queue = LocalQueue(sweep, gpus, workers, report, refresh, labels)
        queue.work()
    statuses = sweep_status(sweep)
    console.print(SweepTable(sweep.name, statuses, limit=SHOWN_ROWS))
    if queue.stopping:
        print(f"stopped; `launcher resume {sweep.name}` goes on from here")
        raise KeyboardInterrupt
    settled = (State.FINISHED, State.CANCELLED)
    return all(status.state in settled for status in statuses if status.run_id in gpus)
