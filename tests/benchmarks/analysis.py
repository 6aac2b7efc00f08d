"""What it costs to make a table of many runs, each way in a process of its own.

    python -m tests.benchmarks.analysis
    python -m tests.benchmarks.analysis --only large
    python -m tests.benchmarks.analysis --runs 200 --repeats 3

table  1,000 runs of 300 epochs to a table, which is load_runs and stats.summarise: cold, over
       orjson's bare parse of the same bytes; over the customary way (json.loads of each line, a
       frame of each run, pandas.concat, groupby), in time and in peak memory; and with what an
       earlier look has kept, over cold.
large  The same with ten times as many runs: the time and the peak memory of the whole process.

A process imports what it needs, then measures. Time is that of the processor, because on a shared
machine others are waited for; all ways use one thread, and the first turn, which does not count,
has brought the files into memory. Memory is the peak of the resident set above what it was after
the imports. A ratio is ours / other, or other / ours where it says `faster`: the median over the
repeats, with their range in brackets; the sides take turns. The aims stand beside the figures and
are asserted nowhere. All of it takes some minutes and, for a while, 2 GB of disk.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import orjson

from analysis.cache import FOLDER
from jobs.config import make_config
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import make_attempt, make_environment, make_metrics, make_result
from tests.benchmarks.launcher import middle_and_range, print_row, ratios

EPOCHS = 300
DIFFERENT_RUNS = 100
MODELS = ["resnet18", "resnet34", "resnet50", "bam_resnet50", "sresnet50"]


def write_sweep(folder: Path, runs: int) -> SweepDir:
    """Finished runs, as the launcher and the jobs write them, their numbers of a hundred kinds."""
    sweep = SweepDir(folder)
    with patch("os.fsync"):  # which is about a loss of power, and takes most of the time
        run_ids = [_write_run(sweep, number) for number in range(runs)]
        sweep.add_matrix("a matrix", run_ids)
    return sweep


def _write_run(sweep: SweepDir, number: int) -> str:
    model, seed = MODELS[number % len(MODELS)], number // len(MODELS)
    config = make_config({"model": model, "dataset": "cifar100", "epochs": EPOCHS, "seed": seed})
    run = sweep.run(config.run_id)
    run.write_config(config)
    end = {"environment": make_environment(), "cause": "finished", "ended_unix_s": 1.7e9 + 9000}
    run.write_attempt(make_attempt(1, model, **end))
    top1, lines = _metrics(number % DIFFERENT_RUNS)
    run.metrics.write_bytes(lines)
    run.write_result(make_result(run, config, top1, 1))
    return run.run_id


@functools.cache
def _metrics(number: int) -> tuple[list[float], bytes]:
    """The accuracies of a run, and its records."""
    top1 = [70 + (number * 37 + epoch * 101) % 9973 / 997 for epoch in range(EPOCHS)]
    records = [
        make_metrics(
            epoch,
            value,
            train_loss=2 / (epoch + value),
            test_loss=3 / (epoch + value),
            epoch_s=30 + value / 97,
            throughput_img_s=1600 + value / 97,
            data_wait_share=value / 997,
        )
        for epoch, value in enumerate(top1, 1)
    ]
    lines = (orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
    return top1, b"".join(lines)


# ------------------------------------------------------------------------------- what is measured


def bare_parse(sweep: Path) -> None:
    for path in sweep.glob("*/metrics.jsonl"):
        for line in path.read_bytes().splitlines():
            orjson.loads(line)


def customary(sweep: Path) -> None:
    import pandas as pd

    frames = []
    for path in sorted(sweep.glob("*/metrics.jsonl")):
        with open(path) as file:
            frame = pd.DataFrame([json.loads(line) for line in file])
        options = json.loads((path.parent / "config.json").read_text())["config"]
        about = {name: options[name] for name in ("model", "seed")}
        frames.append(frame.assign(sweep=sweep.name, run_id=path.parent.name, **about))
    epochs = pd.concat(frames, ignore_index=True)
    runs = epochs.groupby(["model", "run_id"])["test_top1"].agg(["max", "last"])
    runs.groupby("model").agg(["mean", "std"])


def to_table(sweep: Path) -> None:
    from analysis import stats
    from analysis.load import load_runs

    loaded = load_runs(sweep)
    stats.summarise(loaded.runs, loaded.epochs)


WAYS: dict[str, Callable[[Path], None]] = {
    "bare_parse": bare_parse,
    "customary": customary,
    "to_table": to_table,
}


def measure_here(way: str, sweep: Path) -> None:
    """Print how long a way takes, and what memory it needs."""
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401

    import analysis.load
    import analysis.stats  # noqa: F401

    before_mb = _peak_mb()
    began_s = time.process_time()
    WAYS[way](sweep)
    took_s = time.process_time() - began_s
    print(json.dumps({"time_s": took_s, "peak_mb": _peak_mb(), "grew_mb": _peak_mb() - before_mb}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


# ------------------------------------------------------------------------------- side by side


def measure(way: str, sweep: SweepDir) -> dict[str, float]:
    command = [sys.executable, "-m", __spec__.name, "--measure", way, str(sweep.path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def in_turns(sweep: SweepDir, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Each way, and ours `cold` and `warm`, turn by turn."""
    found: dict[str, list[dict[str, float]]] = {}
    for turn in range(repeats + 1):
        forget(sweep)
        measured = {
            "cold": measure("to_table", sweep),
            "warm": measure("to_table", sweep),
            "bare_parse": measure("bare_parse", sweep),
            "customary": measure("customary", sweep),
        }
        for way, its in measured.items() if turn else ():
            found.setdefault(way, []).append(its)
    return found


def forget(sweep: SweepDir) -> None:
    shutil.rmtree(sweep.path.parent / FOLDER, ignore_errors=True)


def report_table(given: argparse.Namespace, folder: Path) -> None:
    sweep = write_sweep(folder / "table", given.runs)
    found = in_turns(sweep, given.repeats)

    def column(way: str, what: str) -> list[float]:
        return [measured[what] for measured in found[way]]

    cold_s, warm_s = column("cold", "time_s"), column("warm", "time_s")
    cold_mb, customary_mb = column("cold", "grew_mb"), column("customary", "grew_mb")
    over_parse = ratios(cold_s, column("bare_parse", "time_s"))
    faster = ratios(column("customary", "time_s"), cold_s)
    memory = ratios(cold_mb, customary_mb)
    print_row(f"{given.runs} runs x {EPOCHS} epochs, cold", middle_and_range(cold_s, " s"))
    print_row("over orjson's bare parse", middle_and_range(over_parse), "aim <= 4")
    print_row("faster than the customary way", middle_and_range(faster), "aim >= 3")
    print_row("peak memory, cold", middle_and_range(cold_mb, " MB"))
    print_row("over that of the customary way", middle_and_range(memory), "aim <= 0.5")
    print_row("warm", middle_and_range(warm_s, " s"))
    print_row("over cold", middle_and_range(ratios(warm_s, cold_s)), "aim <= 0.3")


def report_large(given: argparse.Namespace, folder: Path) -> None:
    sweep = write_sweep(folder / "large", 10 * given.runs)
    for what in ("cold", "warm"):
        measured = measure("to_table", sweep)
        print_row(
            f"{10 * given.runs} runs x {EPOCHS} epochs, {what}", f"{measured['time_s']:.1f} s"
        )
        print_row("peak memory of the process", f"{measured['peak_mb']:,.0f} MB", "aim < 2,048 MB")


PARTS = {"table": report_table, "large": report_large}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement")
    parser.add_argument("--runs", type=int, default=1000, help="of the smaller sweep")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "SWEEP"), help="one way, here")
    given = parser.parse_args(arguments)
    if given.repeats < 1 or given.runs < 1:
        parser.error("--runs and --repeats must be 1 or more")
    if given.measure:
        way, sweep = given.measure
        measure_here(way, Path(sweep))
        return
    print(
        f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}, {given.repeats} repeats."
    )
    for part in given.only:
        print(part)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](given, Path(folder))


if __name__ == "__main__":
    main()
