"""What slices are worth: how much sooner a run starts on a busy cluster, and what they cost.

    python -m tests.benchmarks.slices              both, about a quarter of an hour
    python -m tests.benchmarks.slices --busy --seed 3
    python -m tests.benchmarks.slices --idle --minutes 12 --slice 5m

Two private clusters (tests/slurm_cluster) stand side by side, with the same load at the same time:
on one, a run asks for all of its time at once, on the other for slices. Both runs are trained.

busy   From the submission to the first step of training. The request is that of the published
       trainings that this project began with: 4 GPUs for 500 h. Every node is taken by a job that
       ends long before its limit, as most do. Larger jobs wait before ours, with time limits of
       hours: SLURM reserves nodes for the first of them, and a job that may still run then would
       delay it. That one of 500 h does, and a slice does not.
idle   From the submission to the end of a whole training, on clusters that nobody else uses. A
       slice ends when SLURM warns, that is `signal_delay_s` and up to a minute before its limit;
       then the run waits for its turn again, and starts up. So the share that slices cost is

           (requeue + start-up) / (slice - signal_delay_s - 30 s)

The load is drawn with the seed; seconds stand for minutes of a real cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from tests.slurm_cluster import SlurmCluster, available, wait_for

TOP = Path(__file__).parents[2]
WHOLE = {"time": "500:00:00"}
SLICED = {"time": "500:00:00", "slice": "10m"}
PATIENCE_S = 3600
MATRIX = {
    "model": "resnet_small",
    "dataset": "synthetic",
    "train_images": 512,
    "test_images": 64,
    "batch_size": 32,
    "threads": 1,
    "progress_every_s": 1,
    "when_stuck": "go_on",
}


class Site:
    """A private cluster with a folder from which runs are submitted to it."""

    def __init__(self, cluster: SlurmCluster, folder: Path, resources: dict[str, str]) -> None:
        self.cluster, self.folder, self.resources = cluster, folder, resources
        profile = {
            "executor": "slurm",
            "partition": "low",
            "gres": "gpu:v100:4",
            "mem": "500M",
            "signal_delay_s": 30,
        }
        text = json.dumps({"default": "lab", "profiles": {"lab": profile | resources}})
        folder.mkdir()
        (folder / "cluster.yaml").write_text(text)

    def submit(self, name: str, epochs: int, *words: str) -> RunDir:
        """One run, in a sweep of its own."""
        matrix = {"name": name, "base": MATRIX | {"epochs": epochs}}
        (self.folder / f"{name}.yaml").write_text(json.dumps(matrix))
        command = [sys.executable, "-m", "launcher", "submit", f"{name}.yaml", *words]
        environment = self.cluster.env | {"PYTHONPATH": str(TOP)}
        subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, check=True
        )
        return SweepDir(self.folder / "runs" / name).runs()[0]


# ------------------------------------------------------------------------------- the load


def add_load(cluster: SlurmCluster, seed: int) -> None:
    """Jobs of others: one on each node, and larger ones that wait, all with limits of hours."""
    draw = random.Random(seed)
    for node in cluster.node_states():
        seconds, limit_h = draw.randint(20, 90), draw.randint(4, 24)
        occupy(cluster, seconds, limit_h, "-w", node)
    wait_for(lambda: len(jobs(cluster, "RUNNING")) == 4, 60, "the load to run")
    for nodes in (4, draw.randint(2, 4), draw.randint(2, 4)):
        occupy(cluster, draw.randint(60, 120), draw.randint(4, 24), "-N", str(nodes))


def occupy(cluster: SlurmCluster, seconds: int, limit_h: int, *where: str) -> None:
    limit = f"--time={limit_h}:00:00"
    cluster.sbatch(f"sleep {seconds}", "-p", "low", "--gres=gpu:v100:4", limit, *where)


def jobs(cluster: SlurmCluster, state: str) -> list[str]:
    return cluster.run("squeue", "-h", "-t", state, "-o", "%i").split()


# ------------------------------------------------------------------------------- the two figures


def seconds_until_each(runs: Sequence[RunDir], is_so: str, began_s: Sequence[float]) -> list[float]:
    """How long each run takes to get there, since its submission began."""
    reached = {"first step": _has_trained, "end": RunDir.is_finished}[is_so]
    took_s: dict[int, float] = {}

    def look() -> bool:
        for place, run in enumerate(runs):
            if place not in took_s and reached(run):
                took_s[place] = time.monotonic() - began_s[place]
        return len(took_s) == len(runs)

    wait_for(look, PATIENCE_S, f"the {is_so} of every run")
    return [took_s[place] for place in range(len(runs))]


def _has_trained(run: RunDir) -> bool:
    progress = run.read_progress()
    return progress is not None and progress["step"] > 0


def measure_busy(sites: Sequence[Site], seed: int) -> None:
    for site in sites:
        add_load(site.cluster, seed)
    runs, began_s = [], []
    for site in sites:
        began_s.append(time.monotonic())
        runs.append(site.submit(f"busy-{seed}", 100_000))
    whole_s, sliced_s = seconds_until_each(runs, "first step", began_s)
    for site in sites:
        site.cluster.reset()
    print(
        f"busy, seed {seed}: first step after {whole_s:.0f} s with {sites[0].resources}, "
        f"{sliced_s:.0f} s with {sites[1].resources}: {whole_s / sliced_s:.1f} times sooner "
        f"  aim >= 5",
        flush=True,
    )


def measure_idle(sites: Sequence[Site], minutes: float) -> None:
    epochs = round(60 * minutes / seconds_of_an_epoch(sites))
    runs, began_s = [], []
    for site in sites:
        began_s.append(time.monotonic())
        runs.append(site.submit("idle", epochs))
    whole_s, sliced_s = seconds_until_each(runs, "end", began_s)
    attempts = runs[1].attempts()
    # One that was told to stop while it began has measured nothing.
    starts = [attempt["measured"]["startup_s"] for attempt in attempts if "measured" in attempt]
    print(
        f"idle: {epochs} epochs took {whole_s:.0f} s with {sites[0].resources}, {sliced_s:.0f} s "
        f"with {sites[1].resources}, in {len(attempts)} jobs that started up in "
        f"{', '.join(f'{start_s:.0f}' for start_s in starts)} s: "
        f"{sliced_s / whole_s:.3f} times the time  aim <= 1.1",
        flush=True,
    )


def seconds_of_an_epoch(sites: Sequence[Site]) -> float:
    """With as many trainings at a time as are to come: measured by two pilots."""
    with ThreadPoolExecutor() as at_once:
        runs = list(at_once.map(lambda site: site.submit("pilot", 1000, "--pilot"), sites))
    attempts = [run.attempts()[-1] for run in runs]
    return max(a["measured"]["step_s"] * a["steps_per_epoch"] for a in attempts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", action="store_true", help="only this")
    parser.add_argument("--idle", action="store_true", help="only this")
    parser.add_argument("--seed", type=int, default=0, help="of the load; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=12, help="of training, idle: %(default)s")
    parser.add_argument("--slice", default="5m", help="idle; default: %(default)s")
    given = parser.parse_args(arguments)
    both = given.busy == given.idle
    if missing := available():
        print(f"slices: skipped, since there is no private SLURM: {missing}")
        return
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        clusters = [at_end.enter_context(SlurmCluster()) for _ in range(2)]
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}", flush=True)
        if given.busy or both:
            requests = (WHOLE, SLICED)
            sites = [
                Site(cluster, folder / f"busy-{place}", resources)
                for place, (cluster, resources) in enumerate(zip(clusters, requests, strict=True))
            ]
            measure_busy(sites, given.seed)
        if given.idle or both:
            requests = ({"time": "10:00:00"}, {"time": "10:00:00", "slice": given.slice})
            sites = [
                Site(cluster, folder / f"idle-{place}", resources)
                for place, (cluster, resources) in enumerate(zip(clusters, requests, strict=True))
            ]
            measure_idle(sites, given.minutes)


if __name__ == "__main__":
    main()
