"""`analysis report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.options import AllVersions, By, Only, RunsFolder, Sweeps, check_last, load
from jobs.sweep_dir import find_sweep


def report(
    sweeps: Sweeps,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file to write (default: report.html in the sweep's folder, "
            "or here if there are several).",
        ),
    ] = None,
    by: By = "model",
    metric: Annotated[str, typer.Option(help="What is compared, as for a table.")] = "test_top1",
    baseline: Annotated[
        str | None,
        typer.Option(help="The row that the others are compared with, and the black line."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Show the mean of the last N epochs too."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Put what the sources print beside ours.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Default: the names of the sweeps.")] = None,
    only: Only = None,
    all_versions: AllVersions = False,
    runs_folder: RunsFolder = Path("runs"),
) -> None:
    """Put everything that is known of some sweeps into one HTML file, to look at and to send.

    Tables that can be sorted, figures that say their values, what differs besides what is compared,
    what failed and why, and every run with its configuration and code. The file needs nothing else.

    [bold]Examples[/bold]

      analysis report demo

      analysis report attention more_seeds --baseline preact_resnet50 -o report.html

      analysis report learning_rates --by model,lr --metric test_loss
    """
    found = [find_sweep(name, runs_folder) for name in sweeps]
    from analysis.report.contents import make_page
    from analysis.report.page import to_html

    loaded = load(found, by, all_versions, only)
    check_last(last, loaded)
    page = make_page(
        loaded,
        title=title or ", ".join(sweep.name for sweep in found),
        folders=[sweep.path.resolve() for sweep in found],
        by=by,
        metric=metric,
        baseline=baseline,
        last=last,
        with_published=published,
    )
    path = output or (found[0].path if len(found) == 1 else Path()) / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_html(page), encoding="utf-8")
    print(path)
