"""Finding a run by a part of its name, and printing what it said."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

from attention_models import UnknownNameError
from jobs.errors import InputError
from jobs.run_dir import RunDir, all_sweeps

FOLLOW_S = 0.2
AMBIGUOUS_SHOWN = 10


def find_run(name: str, runs: Path) -> RunDir:
    """The run that is meant: a path, `SWEEP/RUN`, a run's name, or a unique part of one."""
    for path in (runs / name, Path(name)):
        if RunDir(path).is_planned():
            return RunDir(path)
    known = {
        f"{sweep.name}/{run.run_id}": run for sweep in all_sweeps(runs) for run in sweep.runs()
    }
    exact = [run for key, run in known.items() if run.run_id == name]
    found = exact or [run for key, run in known.items() if name in key]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{UnknownNameError('run', name, known)} (looked in {runs})")
    matches = "".join(f"\n  {key}" for key, run in known.items() if run in found)
    raise InputError(f"{name!r} is a part of several runs' names; say which:{matches}")


def print_log(run: RunDir, attempt: int | None, *, follow: bool) -> None:
    """Print the log of one attempt, the last by default; go on with the next if it follows."""
    logs = run.logs()
    if not logs and not follow:
        raise InputError(f"{run.run_id} has said nothing yet: it has not been started")
    if attempt is not None and attempt not in logs:
        known = ", ".join(map(str, logs)) or "none"
        raise InputError(f"{run.run_id} has no attempt {attempt}. Valid: {known}")
    number = attempt or max(logs, default=1)
    if not follow:
        print(logs[number].read_text(errors="replace"), end="")
        return
    while True:
        at_rest = run.holder() is None
        if number in (logs := run.logs()):
            with open(logs[number], errors="replace") as log:
                _follow(run, log)
            number += 1
        elif at_rest:
            return
        else:
            time.sleep(FOLLOW_S)


def _follow(run: RunDir, log: IO[str]) -> None:
    """Print a log as it grows, until nobody writes it any more."""
    while True:
        at_rest = run.holder() is None
        if text := log.read():
            print(text, end="", flush=True)
        elif at_rest:
            return
        else:
            time.sleep(FOLLOW_S)
