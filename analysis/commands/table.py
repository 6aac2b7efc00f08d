"""`analysis table`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.options import (
    AllVersions,
    By,
    Only,
    RunsFolder,
    Sweeps,
    check_last,
    load,
    warn,
)
from jobs.errors import ExecutionError
from jobs.sweep_dir import find_sweep


class Format(StrEnum):
    terminal = "terminal"
    md = "md"
    csv = "csv"
    latex = "latex"
    html = "html"


# Told here too, because --help loads no pandas.
COLUMN_NAMES = (
    "runs, seeds, best, final, last, train, gap, params, macs, epoch_s, images_s, gpu_h, "
    "gpu_h_useful, gpu_h_lost, queue_first, queue_total, restarts, attempts, published"
)
_BY_ENDING = {".csv": Format.csv, ".tex": Format.latex, ".html": Format.html}


def table(
    sweeps: Sweeps,
    by: By = "model",
    metric: Annotated[
        str,
        typer.Option(
            help="test_top1, test_top5, test_loss, train_top1, train_loss, or an error in percent: "
            "test_err1, test_err5, train_err1."
        ),
    ] = "test_top1",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="ROW", help="Test the other rows' differences to this one, over shared seeds."
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Show the mean of the last N epochs too."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help=f"As in runs,final,gpu_h. Valid: all, or {COLUMN_NAMES}."
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Put what the sources print beside ours.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="If anything else differs, an error instead of a table."),
    ] = False,
    format: Annotated[
        Format | None,
        typer.Option(help="Default: terminal on a terminal, as a file's name ends, else md."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file.")
    ] = None,
    only: Only = None,
    all_versions: AllVersions = False,
    runs_folder: RunsFolder = Path("runs"),
) -> None:
    """Compare networks: best and final metric as mean ± standard deviation over seeds.

    Only finished runs count. Below: what is missing, and what besides the rows' names differs.

    [bold]Examples[/bold]

      analysis table demo

      analysis table attention --baseline resnet50 --last 10

      analysis table attention more_seeds --metric test_err1 --format latex -o table.tex

      analysis table learning_rates --by model,lr --columns runs,final,gap,gpu_h

      analysis table attention --only 'model != resnet18 and lr == 0.1' --published
    """
    found = [find_sweep(name, runs_folder) for name in sweeps]
    from rich.console import Console

    from analysis import costs, fairness, significance, stats
    from analysis import published as of_sources
    from analysis.tables import columns as main
    from analysis.tables import comparison, html, latex, lines, markdown, raw, terminal

    loaded = load(found, by, all_versions, only, tell_fairness=False)
    check_last(last, loaded)
    summary = stats.summarise(loaded.runs, loaded.epochs, by, metric, last)
    spent = costs.costs(loaded.runs, loaded.epochs, loaded.attempts)
    summary = summary.merge(costs.by_group(loaded.runs, spent, by), on="group")
    below = [
        *lines.empty_lines(loaded.runs),
        *lines.missing_lines(stats.missing(loaded.runs, by)),
        *lines.stuck_lines(loaded.runs),
    ]
    if published:
        printed = of_sources.beside(loaded.runs, by, metric)
        summary, citations = of_sources.add_to(summary, printed)
        below += citations
    chosen = main.choose(columns, summary)
    # What is asked for by its name is wanted, however wide the table becomes.
    optional = main.OPTIONAL if columns in (None, main.ALL) else ()
    shown = [main.table(summary, by, metric, chosen, last, optional)]
    compared = None
    if baseline is not None:
        compared = significance.compare(loaded.runs, loaded.epochs, by, metric, baseline)
        shown.append(comparison.table(compared, baseline, by, metric))
        below = comparison.lines(compared) + below
    notes = fairness.notes(loaded.runs, by)
    if strict and notes:
        raise ExecutionError("\n  ".join(["no table, because the comparison is not fair:", *notes]))
    warnings = [f"warning: {note}" for note in notes]
    chosen_format = format or _default_format(output)
    if chosen_format is Format.terminal and output is None:
        console = Console()
        console.print(terminal.to_terminal(shown, below, console.width), crop=False)
    else:
        match chosen_format:
            case Format.terminal:
                width = Console().width
                text = terminal.to_text(terminal.to_terminal(shown, below, width), width)
            case Format.csv:
                asked = None if columns is None else chosen
                text = raw.to_csv(summary, by, metric, asked, compared, last)
                # The numbers stand alone in the file; what they lack is said here.
                warn(below)
            case Format.md:
                text = markdown.to_markdown(shown, below + warnings)
            case Format.latex:
                text = latex.to_latex(shown, below + warnings)
                warnings = latex.left_out(shown) + warnings
            case Format.html:
                text = html.to_html(shown, below + warnings)
        _write(text, output)
    sys.stdout.flush()  # the warnings come below the table
    warn(warnings)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    print(output)


def _default_format(output: Path | None) -> Format:
    if output is None and sys.stdout.isatty():
        return Format.terminal
    return _BY_ENDING.get(output.suffix, Format.md) if output is not None else Format.md
