"""The long form: rounds of chaos for so many minutes, and what came of it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.chaos.judge import train_undisturbed
from tests.chaos.lab import Lab, Size
from tests.chaos.report import (
    count_attempts,
    count_calls,
    count_commands,
    describe_counts,
    describe_failure,
)
from tests.chaos.storm import Log, Storm
from tests.slurm_cluster import SlurmCluster, available

ROUND_S = 150.0


def main(minutes: float, seed: str) -> int:
    if reason := available():
        print(f"No private SLURM cluster can be had here: {reason}", file=sys.stderr)
        return 1
    print(f"seed {seed}", flush=True)
    log = Log(lambda line: print(line, flush=True))
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    number, rounds = 1, 0
    undisturbed = train_undisturbed(Size(), folder / "undisturbed")
    end_s = time.monotonic() + 60 * minutes
    with SlurmCluster() as cluster:
        while time.monotonic() < end_s:
            rounds += 1
            log(f"round {rounds}")
            lab = Lab(cluster, folder / str(rounds), Size())
            storm = Storm(lab, seed, log, number)
            if complaints := storm.rage(ROUND_S, undisturbed):
                print(describe_failure(lab, log, complaints))
                shutil.copy(cluster.directory / "log" / "slurmctld.log", lab.folder)
                print(f"seed {seed}, round {rounds}; everything is in {lab.folder}")
                return 1
            number = storm.number
            totals["faults"] += storm.counts
            totals["programs that failed"] += count_calls(lab)
            totals["attempts"] += count_attempts(lab)
            totals["commands"] += count_commands(lab)
            shutil.rmtree(lab.folder)
    shutil.rmtree(folder)
    print(f"seed {seed}: all is well after {rounds} rounds of {len(undisturbed)} runs, twice each")
    for title, counts in totals.items():
        print(describe_counts(title, counts))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of storm [default: 30]")
    parser.add_argument("--seed", default=f"{time.time_ns() % 10**6}", help="[default: a new one]")
    sys.exit(main(**vars(parser.parse_args())))
