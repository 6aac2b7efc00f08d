"""The command line: `analysis table`, `plot`, `report`, `import` and `export`."""

from __future__ import annotations

from typing import NoReturn

import typer

from analysis.commands import export, import_, plot, report, table
from jobs.errors import run_app

app = typer.Typer(
    help="Tables and figures from what the runs of a sweep have written, finished or not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (table.table, plot.plot, report.report, export.export):
    app.command()(command)
app.add_typer(import_.app, name="import")


def main() -> NoReturn:
    run_app(app, "analysis")
