"""`python -m jobs.train MODEL [key=value ...]`: one training by hand, for debugging."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from attention_models import list_models
from jobs.config import RunConfig, make_config
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from jobs.train_job import STOP_SIGNALS, StopOnSignal, attempt_run

if TYPE_CHECKING:
    from jobs.train import Display

FOREGROUND_SWEEP = Path("runs/foreground")

# Of the help: where descriptions begin, and its width.
COLUMN, WIDTH = 32, 100

# Headings of the help, by the first option below each.
SECTIONS = {
    "model_options": "Network and data",
    "epochs": "Steps",
    "optimizer": "Optimizer",
    "schedule": "Learning rate",
    "loading": "Images",
    "init_from": "Weights to begin with",
    "precision": "Arithmetic",
    "data_dir": "What cannot change a result, and is no part of a run's identity",
}


def main(arguments: list[str]) -> None:
    """`python -m jobs.train MODEL [key=value ...]`: one training in the foreground."""
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(usage())
        return
    values = {"data_dir": "data"} | parse_arguments(arguments)
    # The run may go on in another folder.
    config = make_config(values | {"data_dir": os.path.abspath(str(values["data_dir"]))})
    if config.gpus > 1:
        raise InputError(
            f"gpus: {config.gpus}, but this command trains on one; `launcher submit` starts a task "
            "for each"
        )
    run = SweepDir(FOREGROUND_SWEEP).run(config.run_id)
    run.write_config(config)
    if run.read_result() is not None:
        print(f"trained already; to train it again, remove {run.path}")
    stop = StopOnSignal()
    stop.install(*STOP_SIGNALS, signal.SIGINT)
    with progress_bar() as display:
        outcome = attempt_run(run, stop, display=display)
    if outcome == "finished":
        result = run.read_result()
        assert result is not None, "a finished run has a result"
        print(
            f"finished: best test top-1 {result['best_test_top1']:.2f} % in epoch "
            f"{result['best_epoch']}, final {result['final_test_top1']:.2f} %, in {run.path}"
        )
    else:
        print("stopped and saved; the same command goes on from there")
        raise KeyboardInterrupt


@contextlib.contextmanager
def progress_bar() -> Iterator[Display]:
    """Shows how far an epoch is, below the lines of the log; nothing where there is no terminal."""
    if not sys.stdout.isatty():
        yield lambda what, done, batches: None
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, transient=True) as bar:
        task = bar.add_task("")
        shown = ""

        def display(what: str, done: int, batches: int) -> None:
            nonlocal shown
            if what != shown:
                bar.reset(task, description=what, total=batches)
                shown = what
            bar.update(task, completed=done)

        yield display


def parse_arguments(arguments: list[str]) -> dict[str, Any]:
    """MODEL and `key=value`, where a value is JSON or a bare word."""
    values: dict[str, Any] = {"model": arguments[0]}
    options: dict[str, Any] = {}
    for argument in arguments[1:]:
        key, equals, text = argument.partition("=")
        if not equals:
            raise InputError(
                f"{argument!r} is not of the form key=value; "
                "`python -m jobs.train --help` lists the options"
            )
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = text
        name = key.removeprefix("model_options.")
        target = values if name == key else options
        if name in target:
            raise InputError(f"{key} is given twice; keep one")
        target[name] = value
    return values | ({"model_options": options} if options else {})


def usage() -> str:
    lines = [
        "usage: python -m jobs.train MODEL [key=value ...]",
        "       python -m jobs.train resnet_small dataset=digits epochs=5 flip=false",
        "",
        f"Trains one network here, in {FOREGROUND_SWEEP}/. Ctrl-C saves; the same command goes on.",
        "",
        *textwrap.wrap(f"networks: {', '.join(list_models())}", WIDTH, subsequent_indent="  "),
        "Options, with their defaults:",
    ]
    for name, option in RunConfig.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"{SECTIONS[name]}:"]
        if not option.is_required():
            default = option.get_default(call_default_factory=True)
            said = name if default is None else f"{name}={_as_written(default)}"
            lines += _in_columns(said, option.description or "")
    return "\n".join(lines)


def _as_written(value: Any) -> str:
    """A default as it may be given on the command line."""
    return str(value) if isinstance(value, str | Path) else orjson.dumps(value).decode()


def _in_columns(option: str, description: str) -> list[str]:
    """One option of the help; a long one has a line of its own."""
    text = textwrap.wrap(description, WIDTH - COLUMN)
    first = f"  {option:<{COLUMN - 2}}"
    head = [first + text.pop(0)] if len(first) == COLUMN else [first]
    return head + [" " * COLUMN + line for line in text]
