"""How looking prints: consoles, JSON, and what the files say where SLURM does not answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from rich.console import Console

from jobs.errors import ExecutionError
from jobs.sweep_dir import SweepDir
from launcher.run_status import RunStatus
from launcher.status import status_of_sweeps

PLAIN_WIDTH = 160


def make_console() -> Console:
    """For tables: as wide as the terminal, and wide enough for names where there is none."""
    plain = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PLAIN_WIDTH if plain else None)


def status_or_files(
    sweeps: Sequence[SweepDir], *, remembers: bool = False
) -> list[list[RunStatus]]:
    """Where every run stands; when SLURM does not answer, a warning and what the files say."""
    try:
        return status_of_sweeps(sweeps, remembers=remembers)
    except ExecutionError as error:
        print(f"warning: {error}; this is what the files say", file=sys.stderr)
        return status_of_sweeps(sweeps, ask_slurm=False, remembers=remembers)


def print_json(sweeps: Sequence[SweepDir], statuses: Sequence[Sequence[RunStatus]]) -> None:
    """Print where every run stands, as one JSON list.

    The names are those of RunStatus, which are added to and never renamed.
    """
    print_records(
        [
            {"sweep": sweep.name, **asdict(status)}
            for sweep, of_sweep in zip(sweeps, statuses, strict=True)
            for status in of_sweep
        ]
    )


def print_records(records: Sequence[Mapping[str, Any]]) -> None:
    """Print one JSON list."""
    sys.stdout.write(orjson.dumps(records, option=orjson.OPT_INDENT_2).decode() + "\n")
