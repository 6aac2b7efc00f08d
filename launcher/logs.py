"""Finding a run by a part of its name, and printing what it said and how its attempts ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

from rich.table import Table
from rich.text import Text

from jobs.causes import Cause
from jobs.errors import InputError
from jobs.run_dir import Attempt, RunDir, all_sweeps
from launcher.status import format_duration, sweep_status

FOLLOW_S = 0.3
MATCHES_SHOWN = 10


def find_run(name: str, runs: Path, only: str | None = None) -> RunDir:
    """The run that is meant: a path, a run's name, or a unique part of one, also SWEEP/PART.

    Among several, the expression `only` may select one.
    """
    if not name and not only:
        raise InputError("which run? Give a part of its name, or --only 'seed == 0 and ...'")
    for path in (runs / name, Path(name)):
        if name and RunDir(path).is_planned():
            return RunDir(path)
    sweep_name, slash, part = name.rpartition("/")
    found = [
        run
        for sweep in all_sweeps(runs)
        if not slash or sweep.name == sweep_name
        for run in sweep.runs()
        if part in run.run_id
    ]
    found = [run for run in found if run.run_id == part] or found
    if not found:
        raise InputError(f"no run in {runs} is called {name!r}; `launcher status` lists them")
    if only:
        found = _only(only, found)
    if len(found) == 1:
        return found[0]
    shown = "".join(f"\n  {run.path.parent.name}/{run.run_id}" for run in found[:MATCHES_SHOWN])
    more = f"\n  and {len(found) - MATCHES_SHOWN} more" if len(found) > MATCHES_SHOWN else ""
    what = f"{name!r} is a part of several runs' names"
    if only:
        what = f"--only {only!r} selects several runs"
    raise InputError(f"{what}; say which:{shown}{more}")


def _only(only: str, runs: list[RunDir]) -> list[RunDir]:
    from launcher.selected import Selected
    from launcher.show import status_or_files

    sweeps = list({run.path.parent: run.sweep for run in runs}.values())
    candidates = {run.path for run in runs}
    among = [
        [status for status in statuses if sweep.path / status.run_id in candidates]
        for sweep, statuses in zip(sweeps, status_or_files(sweeps), strict=True)
    ]
    chosen = zip(sweeps, Selected(only)(sweeps, among), strict=True)
    return [sweep.run(status.run_id) for sweep, statuses in chosen for status in statuses]


def print_log(run: RunDir, attempt: int | None, *, follow: bool) -> None:
    """Print the log of one attempt, by default the last.

    With `follow` it goes on while the run does, over preemptions, from attempt to attempt.
    """
    logs = run.logs()
    if attempt is not None and attempt not in logs:
        known = ", ".join(map(str, logs)) or "none"
        raise InputError(f"{run.run_id} has no attempt {attempt}. Valid: {known}")
    if follow:
        _follow(run, attempt or max(logs, default=1))
    elif not logs:
        raise InputError(_why_silent(run))
    else:
        print(logs[attempt or max(logs)].read_text(errors="replace"), end="")


def attempts_table(run: RunDir) -> Table:
    """A row for each attempt: when, where, from which step to which, and why it ended."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("", "began", "lasted", "host", "GPU", "steps", "cause", ""):
        table.add_column(name, overflow="fold", justify="right" if name == "lasted" else "left")
    history = run.history()
    holder = run.holder()
    for attempt in history:
        goes_on = attempt is history[-1] and holder is not None
        table.add_row(*map(Text, _row(attempt, "running" if goes_on else Cause.UNKNOWN)))
    return table


def _row(attempt: Attempt, otherwise: str) -> tuple[str, ...]:
    began = time.localtime(attempt["started_unix_s"])
    ended_s = attempt.get("ended_unix_s")
    gpu = attempt["environment"]["device"] if "environment" in attempt else ""
    ids = attempt.get("gpu_ids")
    return (
        str(attempt["attempt"]),
        time.strftime("%Y-%m-%d %H:%M", began),
        "" if ended_s is None else format_duration(ended_s - attempt["started_unix_s"]),
        attempt.get("node") or attempt["host"],
        f"{gpu} ({ids})" if gpu and ids else gpu or ids or "",
        f"{attempt['first_step']}-{attempt.get('last_step', '?')}"
        if "first_step" in attempt
        else "",
        attempt.get("cause", otherwise),
        attempt.get("message", ""),
    )


def _follow(run: RunDir, number: int) -> None:
    while True:
        under_way = _is_under_way(run)
        if number in (logs := run.logs()):
            with open(logs[number], errors="replace") as log:
                _follow_attempt(run, log, number)
            number += 1
        elif under_way:
            time.sleep(FOLLOW_S)
        else:
            return


def _follow_attempt(run: RunDir, log: IO[str], number: int) -> None:
    """Print one attempt's log as it grows, until the attempt is over."""
    while True:
        over = run.next_attempt() - 1 > number or run.holder() is None
        if text := log.read():
            print(text, end="", flush=True)
        elif over:
            return
        else:
            time.sleep(FOLLOW_S)


def _is_under_way(run: RunDir) -> bool:
    states = {status.run_id: status.state for status in sweep_status(run.sweep)}
    return states[run.run_id].is_under_way


def _why_silent(run: RunDir) -> str:
    """Nothing was said by the run itself; its job may have said why."""
    said = f"{run.run_id} has said nothing yet"
    for record in reversed(run.sweep.submissions().values()):
        if run.run_id in record["runs"]:
            return f"{said}; what its job printed is in {run.sweep.job_output(record)}"
    return f"{said}: it has not been started"
