"""The command line: `analysis table` and `analysis plot`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from jobs.errors import ExecutionError, run_app
from jobs.run_dir import SweepDir, find_sweep

# pandas and matplotlib are imported where they are used, so that --help answers at once.
if TYPE_CHECKING:
    from analysis.load import Runs

app = typer.Typer(
    help="Tables and figures from what the runs of a sweep have written, finished or not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class Format(StrEnum):
    terminal = "terminal"
    md = "md"
    csv = "csv"


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


@app.command()
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

    loaded = _load(found, by, all_versions, only)
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
            _warn(tables.missing_lines(absent))
    if output is None:
        print(text, end="")
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
        print(output)


@app.command()
def plot(
    sweeps: Sweeps,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write to (default: figures/ in the sweep's folder, "
            "or here if there are several).",
        ),
    ] = None,
    by: By = "model",
    metric: Annotated[str, typer.Option(help="test_top1, test_top5 or test_loss.")] = "test_top1",
    baseline: Annotated[
        str | None, typer.Option(help="The line to draw in black (default: the first).")
    ] = None,
    only: Only = None,
    all_versions: AllVersions = False,
    runs_folder: RunsFolder = Path("runs"),
) -> None:
    """Draw test and training accuracy over the epochs, and the last quarter once more from near.

    Writes PNG and SVG, and the drawn numbers as CSV.

    [bold]Examples[/bold]

      analysis plot demo

      analysis plot attention --baseline preact_resnet50 -o docs/figures

      analysis plot learning_rates --by lr --metric test_loss
    """
    found = [find_sweep(name, runs_folder) for name in sweeps]
    from analysis import figures, stats, tables

    stats.check_metric(metric, figures.PLOTTED)
    loaded = _load(found, by, all_versions, only)
    metrics = [metric, metric.replace("test", "train")]
    lines = stats.curves(
        loaded.runs, loaded.epochs, by, [name for name in metrics if name in stats.METRICS]
    )
    if lines.empty:
        raise ExecutionError("nothing to draw yet: no run has finished an epoch")
    default_folder = found[0].path / "figures" if len(found) == 1 else Path("figures")
    about = [*loaded.runs["sweep"].unique(), *loaded.runs["dataset"].unique()]
    written = figures.plot_accuracy(
        lines,
        output or default_folder,
        metric=metric,
        baseline=baseline,
        about=", ".join(about if by == "model" else [*about, f"by {by}"]),
        suffix="" if by == "model" else "_by_" + by.replace(",", "_"),
    )
    _warn(tables.cut_lines(stats.cut_curves(loaded.runs, by)))
    _warn(tables.missing_lines(stats.missing(loaded.runs, by)))
    for path in written:
        print(path)


def _load(sweeps: list[SweepDir], by: str, all_versions: bool, only: str | None) -> Runs:
    """The sweeps' runs; what is wrong with them, or with this grouping, is said on stderr."""
    from analysis import stats
    from analysis.load import load_runs

    loaded = load_runs(sweeps, all_versions=all_versions, only=only)
    _warn(loaded.problems)
    if mixed := stats.mixed_options(loaded.runs, by):
        _warn(
            [
                f"runs that differ in {' and '.join(mixed)} are averaged together; "
                f"to tell them apart: --by {','.join([by, *mixed])}"
            ]
        )
    return loaded


def _default_format(output: Path | None) -> Format:
    if output is None and sys.stdout.isatty():
        return Format.terminal
    return Format.csv if output is not None and output.suffix == ".csv" else Format.md


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def main() -> NoReturn:
    run_app(app, "analysis")
