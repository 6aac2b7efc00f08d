"""`analysis plot`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.options import AllVersions, By, Only, RunsFolder, Sweeps, load, warn
from jobs.errors import ExecutionError
from jobs.sweep_dir import find_sweep


class Figure(StrEnum):
    curves = "curves"
    size = "size"
    seeds = "seeds"
    lr = "lr"
    timeline = "timeline"
    all = "all"


class X(StrEnum):
    epoch = "epoch"
    step = "step"
    gpu_hours = "gpu_hours"


class Width(StrEnum):
    column = "column"
    page = "page"
    slide = "slide"


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
    figure: Annotated[
        list[Figure] | None,
        typer.Option(help="Once for each wanted; by default all that there are data for."),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="test_top1, test_top5, test_err1, test_loss ...")
    ] = "test_top1",
    x: Annotated[X, typer.Option(help="What curves are drawn over.")] = X.epoch,
    by: By = "model",
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network to draw in black.")
    ] = None,
    width: Annotated[
        Width, typer.Option(help="For a column (3.5 in) or a page (7.2 in) of a paper, or a slide.")
    ] = Width.page,
    formats: Annotated[
        str, typer.Option("--format", help="png, svg, pdf, or several with commas.")
    ] = "png,svg",
    only: Only = None,
    all_versions: AllVersions = False,
    runs_folder: RunsFolder = Path("runs"),
) -> None:
    """Draw what the runs have come to. Beside each figure are its numbers as CSV.

    curves: the metric over the training, mean and deviation over seeds, the end from near.
    size: final metric against parameters and multiply-accumulates.
    seeds: final metric of each run.
    lr: learning rates, and where runs were restarted.
    timeline: when runs waited and trained, and how their attempts ended.

    A network has the same colour and mark in every figure, whatever else is drawn.

    [bold]Examples[/bold]

      analysis plot demo

      analysis plot attention --baseline preact_resnet50 --width column --format pdf

      analysis plot attention --figure curves --x gpu_hours --metric test_err1

      analysis plot learning_rates --by lr --figure seeds -o docs/figures
    """
    found = [find_sweep(name, runs_folder) for name in sweeps]
    from analysis import curves, stats
    from analysis.figures import catalogue, files, style
    from analysis.tables import lines as said

    wanted_formats = files.formats_of(formats)
    loaded = load(found, by, all_versions, only)
    wish = catalogue.Wish(by, metric, x, baseline, style.Width(width))
    if figure is None or Figure.all in figure:
        drawn, absent = catalogue.draw_all(loaded, wish)
        if not drawn:
            raise ExecutionError("nothing to draw yet: no run has finished an epoch")
        warn(absent)
    else:
        drawn = [catalogue.draw(name, loaded, wish) for name in dict.fromkeys(figure)]
    default_folder = found[0].path / "figures" if len(found) == 1 else Path("figures")
    warn(line for one in drawn for line in one.left_out)
    written = files.write(drawn, output or default_folder, wanted_formats)
    warn(said.cut_lines(curves.cut_curves(loaded.runs, by)))
    warn(said.missing_lines(stats.missing(loaded.runs, by)))
    for path in written:
        print(path)
