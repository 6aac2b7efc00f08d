"""What the commands have in common: their options, and how sweeps are found and loaded for them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.errors import InputError
from jobs.sweep_dir import SweepDir

# pandas and matplotlib are imported where they are used, so that --help answers at once.
if TYPE_CHECKING:
    from analysis.load import Runs

Sweeps = Annotated[
    list[str],
    typer.Argument(metavar="SWEEP", help="Names of sweeps under --runs, or their paths."),
]
By = Annotated[
    str,
    typer.Option(help="Options that make a row or a line, such as model, lr or model,dataset."),
]
AllVersions = Annotated[
    bool,
    typer.Option(
        "--all-versions", help="Include finished runs that the newest matrix no longer names."
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR", help="Runs for which this is true, such as 'lr > 0.1 and seed < 2'."
    ),
]
RunsFolder = Annotated[Path, typer.Option("--runs", help="The folder that holds the sweeps.")]


def load(
    sweeps: list[SweepDir],
    by: str,
    all_versions: bool,
    only: str | None,
    *,
    tell_fairness: bool = True,
) -> Runs:
    """The sweeps' runs; what is wrong with them, or with comparing them, is said on stderr."""
    from analysis import fairness
    from analysis.load import load_runs

    loaded = load_runs(sweeps, all_versions=all_versions, only=only)
    warn(loaded.problems)
    if tell_fairness:
        warn(f"warning: {note}" for note in fairness.notes(loaded.runs, by))
    return loaded


def check_last(last: int | None, loaded: Runs) -> None:
    longest = loaded.runs["epochs_done"].max()
    if last is not None and last > longest:
        raise InputError(f"--last {last}: the longest run has recorded {longest} epochs")


def warn(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
