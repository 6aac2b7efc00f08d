"""The options that several commands take, and the sweeps that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.sweep_dir import SweepDir

Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="folder of all sweeps")]
Sweeps = Annotated[
    list[str] | None,
    typer.Argument(metavar="SWEEP ...", help="names under --runs, or paths; all if none is given"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="local runs at a time, where one on several GPUs counts as several [default: as the "
        "matrix or profile says, else one per GPU, or one for two CPUs]",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="EXPR",
        help="runs for which this is true, of their options and of state, epoch, top1, attempts "
        "and cause",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and change nothing")]
RetryFailed = Annotated[
    bool,
    typer.Option("--failed", help="retry also what failed in a way that would come again"),
]
Cancelled = Annotated[bool, typer.Option("--cancelled", help="release what was cancelled, too")]
ShowAll = Annotated[bool, typer.Option("--all", help="list every run of the plan, not only 20")]


def find_sweeps(
    names: Sequence[str] | None, runs: Path, *, started_by_hand: bool = True, imported: bool = False
) -> list[SweepDir]:
    """The named sweeps, or all; `started_by_hand` counts runs in that belong to no matrix, and
    `imported` sweeps of which no run is trained here."""
    from jobs.sweep_dir import all_sweeps

    if names:
        return [find_own_sweep(name, runs) for name in names]
    found = [
        sweep
        for sweep in all_sweeps(runs)
        if (started_by_hand or sweep.newest_matrix()) and (imported or sweep.is_own())
    ]
    if not found:
        raise InputError(
            f"there is no sweep in {runs}; submit a matrix first, or give the folder with --runs"
        )
    return found


def find_own_sweep(name: str, runs: Path) -> SweepDir:
    from jobs.sweep_dir import find_sweep

    sweep = find_sweep(name, runs)
    if not sweep.is_own():
        raise InputError(
            f"the runs of {sweep.name} were imported, and none is trained here; "
            f"`analysis table {sweep.name}` compares them"
        )
    return sweep
