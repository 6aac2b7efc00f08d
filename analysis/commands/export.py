"""`analysis export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.options import AllVersions, Only, RunsFolder, Sweeps, warn
from jobs.errors import ExecutionError
from jobs.sweep_dir import find_sweep


class Format(StrEnum):
    csv = "csv"
    parquet = "parquet"
    tensorboard = "tensorboard"


def export(
    sweeps: Sweeps,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    format: Annotated[Format, typer.Option(help="csv, parquet or tensorboard.")] = Format.csv,
    only: Only = None,
    all_versions: AllVersions = False,
    runs_folder: RunsFolder = Path("runs"),
) -> None:
    """Write runs, epochs and attempts for other tools.

    csv and parquet: runs, epochs and attempts, a file each. Accuracies are
    in percent, times in seconds; what is not known is empty.

    tensorboard: a folder of event files for each run.

    [bold]Examples[/bold]

      analysis export demo -o exported

      analysis export demo more_seeds --format parquet -o exported

      analysis export demo --format tensorboard -o events --only 'seed == 0'
    """
    found = [find_sweep(name, runs_folder) for name in sweeps]
    from analysis import export as exporting
    from analysis.load import load_runs

    loaded = load_runs(found, all_versions=all_versions, only=only)
    warn(loaded.problems)
    write = {
        Format.csv: exporting.to_csv,
        Format.parquet: exporting.to_parquet,
        Format.tensorboard: exporting.to_tensorboard,
    }[format]
    written = write(loaded, output)
    if not written:
        raise ExecutionError("nothing to export yet: no run has finished an epoch")
    for path in written:
        print(path)
