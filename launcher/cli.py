"""The command line of the launcher. Imports wait until a command needs them: help is fast."""

from __future__ import annotations

import atexit
import gc
from typing import NoReturn

import typer

from jobs.errors import run_app
from launcher.commands import changing, looking

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn an experiment matrix into runs, and keep them going until all are finished.",
)

# In the order of `launcher --help`.
app.command()(changing.submit)
app.command()(changing.resume)
app.command()(looking.status)
app.command()(changing.cancel)
app.command("list")(looking.list_command)
app.command()(looking.doctor)
app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)(looking.models)
app.command()(looking.logs)


def main() -> NoReturn:
    # Of thousands of runs, all objects are in use until the end. To look through them for what is
    # not, whenever there are some more and once at the end, takes a fifth of a command's time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    run_app(app, "launcher")
