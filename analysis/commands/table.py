"""`analysis table`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.options import AllVersions, By, Only, RunsFolder, Sweeps, load, warn
from jobs.sweep_dir import find_sweep


class Format(StrEnum):
    terminal = "terminal"
    md = "md"
    csv = "csv"


def table(
    sweeps: Sweeps,
    by: By = "model",
    metric: Annotated[
        str, typer.Option(help="test_top1, test_top5, test_loss, train_top1 or train_loss.")
    ] = "test_top1",
    format: Annotated[
        Format | None,
        typer.Option(help="Default: terminal on a terminal, csv for a .csv file, else md."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file.")
    ] = None,
    only: Only = None,
    all_versions: AllVersions = False,
    runs_folder: RunsFolder = Path("runs"),
) -> None:
    """Compare networks: best and final metric as mean ± standard deviation over seeds.

    Only finished runs count; the others are listed below the table.

    [bold]Examples[/bold]

      analysis table demo

      analysis table attention more_seeds --format csv -o results.csv

      analysis table learning_rates --by model,lr --metric test_loss

      analysis table attention --only 'model != resnet18 and lr == 0.1'
    """
    found = [find_sweep(name, runs_folder) for name in sweeps]
    from rich.console import Console

    from analysis import stats, tables

    loaded = load(found, by, all_versions, only)
    summary = stats.summarise(loaded.runs, loaded.epochs, by, metric)
    absent = stats.missing(loaded.runs, by)
    match format or _default_format(output):
        case Format.terminal:
            console = Console()
            shown = tables.to_terminal(summary, absent, by, metric, console.width)
            if output is None:
                console.print(shown, crop=False)
                return
            text = tables.to_text(shown, console.width)
        case Format.md:
            text = tables.to_markdown(summary, absent, by, metric)
        case Format.csv:
            text = tables.to_csv(summary, by, metric)
            # The numbers stand alone in the file; what they lack is said here.
            warn(tables.missing_lines(absent))
    if output is None:
        print(text, end="")
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
        print(output)


def _default_format(output: Path | None) -> Format:
    if output is None and sys.stdout.isatty():
        return Format.terminal
    return Format.csv if output is not None and output.suffix == ".csv" else Format.md
