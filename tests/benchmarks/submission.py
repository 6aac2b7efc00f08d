"""What it costs to submit 1,000 runs, beside submitit's bare `map_array` of as many.

    python -m tests.benchmarks.submission
    python -m tests.benchmarks.submission --runs 100 --repeats 15

sbatch and the others are programs that answer at once, so that only the client's time is measured.
submitit writes a pickle for each task and renames it. The launcher reads the matrix, plans every
run on disk, freezes the code, and submits; it is timed from `read_matrix` on, and once more as a
whole process, beside a process that imports submitit and calls `map_array`.

A ratio is ours / submitit's: the median over the repeats, with their range in brackets. The sides
take turns, so that the noise of a shared machine meets both; the first turn warms up.
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

PROGRAMS = {
    "sbatch": "echo called >>sbatch.calls; echo Submitted batch job 77",
    "srun": "exit 1",
    "squeue": "",
    "sacct": "",
    "scontrol": "echo ClusterName = lab; echo MaxArraySize = 1001",
}
CLUSTER = "default: v100\nprofiles: {v100: {executor: slurm, time: 24h}}\n"

TIMED = """\
import sys, time
runs, folder = int(sys.argv[1]), sys.argv[2]
{imports}
began_s = time.perf_counter()
{work}
print(time.perf_counter() - began_s)
"""
OURS = TIMED.format(
    imports="""\
import contextlib, io
from pathlib import Path
import launcher.arrays, launcher.freeze, launcher.show
from launcher.cli import app
""",
    work="""\
with contextlib.redirect_stdout(io.StringIO()):
    app(["submit", "runs.yaml", "--runs", folder], standalone_mode=False)
""",
)
THEIRS = TIMED.format(
    imports="import submitit",
    work="""\
executor = submitit.SlurmExecutor(folder)
executor.update_parameters(time=1440)
executor.map_array(str, range(runs))
""",
)


def measure(code: str, runs: int, folder: Path, turn: int) -> tuple[float, float]:
    """Seconds of the work alone, and of the whole process."""
    environment = os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    words = [sys.executable, "-c", code, str(runs), f"{folder}/{len(code)}-{turn}"]
    began_s = time.perf_counter()
    said = subprocess.check_output(words, env=environment, cwd=folder, text=True)
    return float(said), time.perf_counter() - began_s


def prepare(folder: Path, runs: int) -> None:
    (folder / "bin").mkdir()
    for name, script in PROGRAMS.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    (folder / "cluster.yaml").write_text(CLUSTER)
    matrix = f"base: {{model: resnet18, dataset: synthetic}}\nseeds: {runs}\n"
    (folder / "runs.yaml").write_text(matrix)


def print_row(what: str, numbers: Sequence[float], unit: str = "") -> None:
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    print(f"  {what:<44} {middle:8.3f}{unit} ({low:.3f}-{high:.3f})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args(arguments)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given.runs)
        for turn in range(given.repeats + 1):
            ours.append(measure(OURS, given.runs, folder, turn))
            calls = folder / "sbatch.calls"
            sbatch_calls = len(calls.read_text().splitlines())
            theirs.append(measure(THEIRS, given.runs, folder, turn))
            calls.unlink()
    print(f"submitting {given.runs} runs, {sbatch_calls} sbatch, {given.repeats} repeats")
    for place, what in enumerate(("work alone", "whole process")):
        mine, others = [t[place] for t in ours[1:]], [t[place] for t in theirs[1:]]
        print_row(f"launcher submit, {what}", mine, " s")
        print_row(f"submitit's map_array, {what}", others, " s")
        print_row("ratio", [one / other for one, other in zip(mine, others, strict=True)])


if __name__ == "__main__":
    main()
