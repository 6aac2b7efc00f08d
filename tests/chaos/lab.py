"""A folder with sweeps of small trainings, and the commands of those who look after them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jobs.lease import LeaseHolder
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from tests.slurm_cluster import SlurmCluster

PROJECT = Path(__file__).parents[2]
COMMAND_TIMEOUT_S = 240.0
SLURM_TIMEOUT_S = 10.0  # a command that waits for a node that is down is given up

# The sweeps hold the same runs, and ask for them in different ways: a partition that gives a time
# of grace to who is preempted, one that does not, and several runs on one GPU.
PROFILES: dict[str, dict[str, Any]] = {
    "patient": {"partition": "low"},
    "abrupt": {"partition": "low0"},
    "packed": {"partition": "low0", "runs_per_gpu": 2},
}

BASE: dict[str, Any] = {
    "dataset": "synthetic",
    "train_images": 64,
    "test_images": 32,
    "batch_size": 32,
    "mixup_alpha": 0.2,  # draws random numbers in every step
    "threads": 1,
    "progress_every_s": 0.2,
    "checkpoint_every_s": 1,
    "when_stuck": "go_on",  # of so few images, hardly anything is learnt
}

# A program of SLURM as the launcher and the jobs find it. A file that is named like the program
# says what is wrong with it: `down`, it cannot reach the controller; `lost`, what was asked
# happens and the answer never comes; `fatal`, the same, and who asked is killed.
PROGRAM = """\
#!/bin/sh
fault=$(cat {faults}/{name} 2>/dev/null)
echo "{name} $fault" >>{calls}
case $fault in
    down)
        echo '{name}: error: Unable to contact slurm controller (connect failure)' >&2
        exit 1 ;;
    lost)
        {real} "$@" >/dev/null 2>&1
        echo '{name}: error: {lost}' >&2
        exit 1 ;;
    fatal)
        {real} "$@" >/dev/null 2>&1
        kill -9 $PPID ;;
    *)
        exec {real} "$@" ;;
esac
"""
LOST = "Socket timed out on send/recv operation"
LOST_BATCH = f"Batch job submission failed: {LOST}"
PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")


@dataclass(frozen=True)
class Size:
    """How much is trained: every model with every seed, in each of the sweeps."""

    sweeps: Sequence[str] = tuple(PROFILES)
    models: Sequence[str] = ("resnet_small", "sresnet_small")
    seeds: int = 2
    epochs: int = 400
    most_gpus: int = 2  # of the first run; the others take one
    at_once: int = 2  # jobs of each sweep

    def matrix(self, name: str) -> str:
        return json.dumps(
            {
                "name": name,
                "base": {**BASE, "epochs": self.epochs},
                "axes": {"model": list(self.models)},
                "seeds": self.seeds,
                "include": [{"model": self.models[0], "seed": 0, "gpus": self.most_gpus}],
            }
        )


@dataclass(frozen=True)
class Mend:
    """What ends a fault, when its time has come."""

    due_s: float  # of the monotonic clock
    what: str
    do: Callable[[], None]


@dataclass(frozen=True)
class Command:
    """A command of the launcher that somebody typed."""

    words: Sequence[str]
    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    def wait(self) -> tuple[int, str]:
        """Its status and all that it said; subprocess.TimeoutExpired if it hangs."""
        status = self.process.wait(COMMAND_TIMEOUT_S)
        return status, self.output.read_text() + self.errors.read_text()


class Lab:
    """The sweeps in their folder, on a cluster that is about to be broken."""

    def __init__(self, cluster: SlurmCluster, folder: Path, size: Size) -> None:
        self.cluster, self.folder, self.size = cluster, folder, size
        self.sweeps = [SweepDir(folder / "runs" / name) for name in size.sweeps]
        self._calls = folder / "calls"
        self._faults = folder / "faults"
        self.commands: list[Command] = []
        self.mends: list[Mend] = []
        self._lock = threading.Lock()
        for name in ("bin", "commands", "faults"):
            (folder / name).mkdir(parents=True)
        self.environment = cluster.env | {
            "PATH": f"{folder / 'bin'}:{cluster.env['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "150",
        }
        self._write_files()

    def _write_files(self) -> None:
        for name in PROGRAMS:
            real = shutil.which(name, path=self.cluster.env["PATH"])
            lost = LOST_BATCH if name == "sbatch" else LOST
            places = {"faults": self._faults, "calls": self._calls}
            text = PROGRAM.format(name=name, real=real, lost=lost, **places)
            program = self.folder / "bin" / name
            program.write_text(text)
            program.chmod(0o755)
        profiles = {}
        for name in self.size.sweeps:
            (self.folder / f"{name}.yaml").write_text(self.size.matrix(name))
            profiles[name] = {
                "executor": "slurm",
                **PROFILES[name],
                "gres": "gpu:v100:1",
                "gpus_per_node": 4,
                "mem": "200M",
                "time": "2:00:00",
                "signal_delay_s": 30,
                "array_parallelism": self.size.at_once,
            }
        (self.folder / "cluster.yaml").write_text(json.dumps({"profiles": profiles}))

    # ---- what is wrong with SLURM's programs

    def spoil(self, programs: Sequence[str], how: str) -> None:
        for name in programs:
            (self._faults / name).write_text(how)

    def mend(self, programs: Sequence[str]) -> None:
        for name in programs:
            (self._faults / name).unlink(missing_ok=True)

    def calls(self) -> Counter[str]:
        """How often each of SLURM's programs was called, and with which fault, as in `sbatch lost`.

        By the launcher or by a job.
        """
        return Counter(line.strip() for line in self._calls.read_text().splitlines())

    def later(self, seconds: float, what: str, mend: Callable[[], None]) -> None:
        """Leave to the storm what it has to mend after some time, even if it ends before."""
        self.mends.append(Mend(time.monotonic() + seconds, what, mend))

    # ---- commands of people

    def start(self, *words: str) -> Command:
        """A launcher's command. It is remembered, whether anybody waits for it or not."""
        return self._start("-m", "launcher", *words)

    def _start(self, how: str, what: str, *words: str) -> Command:
        with self._lock:
            name = self.folder / "commands" / f"{len(self.commands) + 1}"
            output, errors = name.with_suffix(".out"), name.with_suffix(".err")
            with output.open("wb") as out, errors.open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, how, what, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=self.environment,
                    cwd=self.folder,
                )
            self.commands.append(command := Command(words, process, output, errors))
        return command

    def resume_much_later(self) -> Command:
        """`launcher resume` when so much time has passed that SLURM will not learn any more."""
        later = "from launcher import cli, killed; killed.ACCOUNTING_LAG_S = 0; cli.main()"
        return self._start("-c", later, "resume")

    def submit(self, sweep: SweepDir) -> Command:
        return self.start("submit", f"{sweep.name}.yaml", "--profile", sweep.name)

    # ---- what runs

    def runs(self) -> list[RunDir]:
        return [sweep.run(run_id) for sweep in self.sweeps for run_id in sweep.named_runs()]

    def trainers(self) -> list[tuple[RunDir, LeaseHolder]]:
        """The runs that are being trained, and by whom."""
        return [(run, holder) for run in self.runs() if (holder := run.holder())]

    def slurm(self, *words: str) -> str:
        """What one of SLURM's commands says; SlurmClusterError if it does not answer soon."""
        return self.cluster.run(*words, timeout=SLURM_TIMEOUT_S)

    def jobs(self, *states: str) -> dict[str, str]:
        """The ids of the sweeps' jobs, and their nodes: of those in these states, or of all.

        Those that complete have ended for us, however long SLURM takes to tidy up after them.
        """
        which = ["-t", ",".join(states)] if states else []
        words = ["squeue", "-h", "-r", "-p", "low,low0", *which, "-o", "%i|%T|%N"]
        rows = (line.split("|") for line in self.slurm(*words).splitlines())
        return {job_id: node for job_id, state, node in rows if state != "COMPLETING"}

    def processes(self) -> list[psutil.Process]:
        """Every process of a job or of a command, also of those that should be gone."""
        mark = f"{self.folder / 'bin'}:"
        return [process for process in psutil.process_iter() if _has_path(process, mark)]


def background(work: Callable[[], None]) -> Future[None]:
    """Begin to work in a thread; the result, also an error, is asked for when it is to end."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def _has_path(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("PATH", "").startswith(mark)
    except psutil.Error:
        return False
