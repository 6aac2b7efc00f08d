"""What it costs to submit 1,000 runs, beside submitit's bare `map_array` of as many.

    python -m tests.benchmarks.submission
    python -m tests.benchmarks.submission --runs 100 --repeats 15

sbatch and the others are programs that answer at once, so that only the client's time is measured.
submitit writes a pickle for each task and renames it. The launcher, for runs that are planned on
disk, looks where each of them stands, freezes the code and submits; that is `submitting`. Before
that it reads the matrix and plans the runs, a folder and a configuration for each. `whole process`
is beside a process that imports submitit and calls `map_array`.

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

from tests.benchmarks.shell import persons_environment

PROGRAMS = {
    "sbatch": "echo called >>sbatch.calls; echo Submitted batch job 77",
    "srun": "exit 1",
    "squeue": "",
    "sacct": "",
    "scontrol": "echo ClusterName = lab; echo MaxArraySize = 1001",
}
CLUSTER = "default: v100\nprofiles: {v100: {executor: slurm, time: 24h}}\n"

OURS = """\
import sys, time
from pathlib import Path
import launcher.arrays, launcher.freeze
from launcher.cluster import read_cluster
from launcher.matrix import read_matrix
from launcher.submit import gpus_to_start, plan_submission, submit_to_slurm
began_s = time.perf_counter()
profile = read_cluster().profile(None, "slurm")
submission = plan_submission(read_matrix(Path("runs.yaml")), Path(sys.argv[2]))
gpus = gpus_to_start(submission.actions, submission.matrix.runs)
submission.write()
planned_s = time.perf_counter()
list(submit_to_slurm(submission.sweep, submission.actions, profile, gpus))
submitted_s = time.perf_counter()
print(submitted_s - planned_s, submitted_s - began_s)
"""
THEIRS = """\
import sys, time
import submitit
began_s = time.perf_counter()
executor = submitit.SlurmExecutor(sys.argv[2])
executor.update_parameters(time=1440)
executor.map_array(str, range(int(sys.argv[1])))
took_s = time.perf_counter() - began_s
print(took_s, took_s)
"""


def measure(code: str, runs: int, folder: Path, turn: int) -> list[float]:
    """Seconds of submitting, of that with the planning before, and of the whole process."""
    environment = persons_environment(PATH=f"{folder}/bin:{os.environ['PATH']}")
    words = [sys.executable, "-c", code, str(runs), f"{folder}/{len(code)}-{turn}"]
    began_s = time.perf_counter()
    said = subprocess.check_output(words, env=environment, cwd=folder, text=True)
    return [*map(float, said.split()), time.perf_counter() - began_s]


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
    for place, what in enumerate(("submitting", "planning and submitting", "whole process")):
        mine, others = [times[place] for times in ours[1:]], [times[place] for times in theirs[1:]]
        print_row(what, mine, " s")
        print_row("submitit's map_array", others, " s")
        print_row("ratio", [one / other for one, other in zip(mine, others, strict=True)])


if __name__ == "__main__":
    main()
