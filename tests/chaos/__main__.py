"""The long form: rounds of chaos for so many minutes, and what came of it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.judge import train_undisturbed
from tests.chaos.lab import Lab, Size
from tests.chaos.report import describe_failure
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
    counts: Counter[str] = Counter()
    number, rounds = 1, 0
    undisturbed = train_undisturbed(Size(), folder / "undisturbed")
    end_s = time.monotonic() + 60 * minutes
    with SlurmCluster() as cluster:
        while time.monotonic() < end_s:
            rounds += 1
            log(f"round {rounds}")
            lab = Lab(cluster, folder / str(rounds), Size())
            storm = Storm(lab, seed, log, number)
            complaints = storm.rage(ROUND_S, undisturbed)
            counts += storm.counts
            counts += Counter({what: n for what, n in lab.calls().items() if " " in what})
            number = storm.number
            if complaints:
                print(describe_failure(lab, log, complaints))
                shutil.copy(cluster.directory / "log" / "slurmctld.log", lab.folder)
                print(f"seed {seed}, round {rounds}; everything is in {lab.folder}")
                return 1
            shutil.rmtree(lab.folder)
    shutil.rmtree(folder)
    print(f"seed {seed}: {rounds} rounds, {counts.total()} faults, and all is well")
    for name, count in counts.most_common():
        print(f"{count:6}  {name}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of storm [default: 30]")
    parser.add_argument("--seed", default=f"{time.time_ns() % 10**6}", help="[default: a new one]")
    sys.exit(main(**vars(parser.parse_args())))
