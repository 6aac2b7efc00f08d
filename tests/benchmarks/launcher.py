"""What the launcher costs beside the least that could be had, each in a process of its own.

    python -m tests.benchmarks.launcher
    python -m tests.benchmarks.launcher --only plan --runs 1000 --repeats 15

plan   Reading a matrix of 10,000 runs and comparing it with an empty folder, as `launcher submit`
       does before it prints anything: the whole process, over `python -c "import pydantic"`.
help   `launcher --help` over the `--help` of a typer app with one command and one argument.

A ratio is ours / other: the median over the repeats, with their range in brackets. The sides take
turns, so that the noise of a shared machine meets both; the first turn warms up and does not count.
The aims stand beside the figures and are asserted nowhere. All of it takes a few seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.shell import persons_environment

MATRIX = """\
name: large
base: {dataset: digits, epochs: 12, batch_size: 64, flip: false}
axes:
  model: [resnet18, resnet34, resnet50, preact_resnet18, preact_resnet50]
  model_options.attention: [none, se, eca, cbam, simam, coordinate, bam, spatial]
  lr: [0.01, 0.02, 0.05, 0.1, 0.2]
  weight_decay: [1e-4, 2e-4, 5e-4, 1e-3, 2e-3]
seeds: SEEDS
"""
COMBINATIONS = 5 * 8 * 5 * 5

PLAN = """\
import sys
from pathlib import Path
from launcher.matrix import read_matrix
from launcher.submit import plan_submission
submission = plan_submission(read_matrix(Path(sys.argv[1])), Path(sys.argv[2]))
assert len(submission.actions) == int(sys.argv[3])
"""

ONE_COMMAND = """\
import typer
app = typer.Typer()

@app.command()
def greet(name: str) -> None:
    '''Say hello.'''

app()
"""


def print_row(what: str, figure: str, aim: str = "") -> None:
    print(f"  {what:<58} {figure:>24}   {aim}".rstrip(), flush=True)


def middle_and_range(numbers: Sequence[float], unit: str = "") -> str:
    low, high = min(numbers), max(numbers)
    return f"{statistics.median(numbers):.2f}{unit} ({low:.2f}-{high:.2f})"


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, others, strict=True)]


def times_s(commands: Sequence[Sequence[str]], repeats: int) -> list[list[float]]:
    """How long each command takes, turn by turn."""
    times: list[list[float]] = [[] for _ in commands]
    for turn in range(repeats + 1):
        for command, its_times in zip(commands, times, strict=True):
            began_s = time.perf_counter()
            subprocess.run(
                [sys.executable, *command],
                env=persons_environment(),
                stdout=subprocess.DEVNULL,
                check=True,
            )
            if turn:
                its_times.append(time.perf_counter() - began_s)
    return times


def report_plan(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        matrix = Path(folder) / "large.yaml"
        matrix.write_text(MATRIX.replace("SEEDS", str(given.runs // COMBINATIONS)))
        ours = ["-c", PLAN, str(matrix), f"{folder}/runs", str(given.runs)]
        mine, others = times_s([ours, ["-c", "import pydantic"]], given.repeats)
    print_row(
        f"expanding and planning {given.runs} runs", middle_and_range(mine, " s"), "aim < 1.5 s"
    )
    ratios = [one / other for one, other in zip(mine, others, strict=True)]
    print_row('over python -c "import pydantic"', middle_and_range(ratios), "aim <= 10")


def report_help(given: argparse.Namespace) -> None:
    ours, other = ["-m", "launcher", "--help"], ["-c", ONE_COMMAND, "--help"]
    mine, others = times_s([ours, other], given.repeats)
    print_row("launcher --help", middle_and_range(mine, " s"))
    what = "over the help of a typer app of one command"
    print_row(what, middle_and_range(ratios(mine, others)), "aim <= 1.3")


PARTS = {"plan": report_plan, "help": report_help}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=9, help="of each measurement")
    parser.add_argument(
        "--runs", type=int, default=10_000, help=f"of the matrix, a multiple of {COMBINATIONS}"
    )
    given = parser.parse_args(arguments)
    if given.repeats < 1 or given.runs < 1 or given.runs % COMBINATIONS:
        parser.error(f"--runs must be a multiple of {COMBINATIONS}, and --repeats 1 or more")
    print(
        f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}, {given.repeats} repeats."
    )
    for part in given.only:
        print(part)
        PARTS[part](given)


if __name__ == "__main__":
    main()
