"""`analysis plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.options import AllVersions, By, Only, RunsFolder, Sweeps, load, warn
from jobs.errors import ExecutionError
from jobs.sweep_dir import find_sweep


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
    from analysis import figures, stats
    from analysis.metrics import METRICS, check_metric
    from analysis.tables import lines as said

    check_metric(metric, figures.PLOTTED)
    loaded = load(found, by, all_versions, only)
    metrics = [metric, metric.replace("test", "train")]
    lines = stats.curves(
        loaded.runs, loaded.epochs, by, [name for name in metrics if name in METRICS]
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
    warn(said.cut_lines(stats.cut_curves(loaded.runs, by)))
    warn(said.missing_lines(stats.missing(loaded.runs, by)))
    for path in written:
        print(path)
