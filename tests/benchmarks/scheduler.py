"""What the launcher asks of the scheduler, and how long it takes beside the scheduler's own time.

    python -m tests.benchmarks.scheduler
    python -m tests.benchmarks.scheduler --runs 1000 --repeats 3

A sweep of 10,000 runs is made on disk, as submissions, trainings and results leave it, in job
arrays of a thousand, and each command is run as a person does, in a process of its own. The SLURM
is that of tests/fake_slurm, which counts its calls.

status, all terminal      Every run is finished.
status, half pending      The other half waits in the queue.
... in a terminal         The same, as a person sees it: in a terminal, which shows forty runs.
submit, nothing to do     The matrix again, when every run is finished.

`commands` are the scheduler's programs that were started. `beyond` is the time of the whole
process, from its start to its end, without the time that the same commands take when they are run
alone: a median over the repeats, with their range in brackets. `CPU` is the same of the time that
the CPUs worked for it, which on a machine that others use is the better figure. The first look at
a sweep reads all of its runs, which `first look` shows; the later ones read what has changed since.
The aims stand beside the figures; tests assert the number of commands, and nobody the times. How
fast the machine is just then, `import pydantic` tells: with 0.06 s it is a quick one that is quiet.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from jobs.files import SETTLED_AFTER_S
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, EpochMetrics, Progress, Result
from jobs.sweep_dir import SweepDir
from launcher.matrix import read_matrix
from launcher.submit import plan_submission
from tests.benchmarks.shell import persons_environment
from tests.fake_slurm import FakeSlurm

TOP = Path(__file__).parents[2]
ARRAY = 1000
EPOCHS = 30
MATRIX = """\
base: {{model: resnet18, dataset: cifar100, epochs: {epochs}}}
axes:
  lr: [0.01, 0.02, 0.05, 0.1, 0.2]
  weight_decay: [0.0001, 0.0005]
seeds: {seeds}
"""
CLUSTER = {"default": "lab", "profiles": {"lab": {"executor": "slurm", "time": "10:00"}}}


class Seconds(NamedTuple):
    wall: float
    cpu: float

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def print_row(what: str, commands: int, aim: str, beyond: Sequence[Seconds]) -> None:
    wall_s, cpu_s = ([getattr(times, name) for times in beyond] for name in ("wall", "cpu"))
    middle, low, high = statistics.median(wall_s), min(wall_s), max(wall_s)
    figures = f"{commands} commands, {middle:.2f} s beyond ({low:.2f}-{high:.2f})"
    print(f"  {what:<24} {figures}, CPU {statistics.median(cpu_s):.2f} s   aim {aim}", flush=True)


# ------------------------------------------------------------------------------- the sweep


def make_sweep(folder: Path, count: int, fake: FakeSlurm) -> SweepDir:
    """A sweep whose runs were submitted, with one attempt each, and are in the middle of it."""
    matrix = folder / "sweep.yaml"
    matrix.write_text(MATRIX.format(epochs=EPOCHS, seeds=count // 10))
    (folder / "cluster.yaml").write_text(json.dumps(CLUSTER))
    # A disk's patience is not what is measured.
    with mock.patch("os.fsync"):
        submission = plan_submission(read_matrix(matrix), folder / "runs")
        submission.write()
        sweep = submission.sweep
        run_ids = sweep.named_runs()
        for start in range(0, len(run_ids), ARRAY):
            submit(sweep, run_ids[start : start + ARRAY], fake)
        train_halves(sweep)
    return sweep


def submit(sweep: SweepDir, run_ids: Sequence[str], fake: FakeSlurm) -> None:
    """One array, and its record; the tasks wait."""
    number = len(sweep.submissions())
    token = f"{number:08x}"
    name = f"{sweep.name}-{token}"
    sweep.write_submission(
        {
            "token": token,
            "executor": "slurm",
            "name": name,
            "cluster": "fake",
            "runs": list(run_ids),
            "profile": {"executor": "slurm", "time": "10:00"},
            "code": "0" * 12,
            "user": getpass.getuser(),
            "submitted_unix_s": time.time() - 1000 + number,
            "job_id": fake.submit(name, f"0-{len(run_ids) - 1}%256"),
            **this_process(),
        }
    )


def train_halves(sweep: SweepDir) -> None:
    """Each run has had one attempt at it, and waits for the next."""
    for record in sweep.submissions().values():
        for place, run_id in enumerate(record["runs"]):
            train_half(sweep.run(run_id), f"{record['job_id']}_{place}")


def train_half(run: RunDir, job_id: str) -> None:
    attempt = Attempt(
        attempt=1,
        started_unix_s=time.time() - 900,
        executor="slurm",
        job_id=job_id,
        restart=0,
        host="n1",
        pid=1,
        user=getpass.getuser(),
        code="0" * 12,
        steps_per_epoch=390,
        first_step=0,
        ended_unix_s=time.time() - 100,
        cause="stopped",
        message="SIGUSR2 after step 5850",
        last_step=5850,
    )
    run.write_attempt(attempt)
    for epoch in range(1, EPOCHS // 2 + 1):
        run.append_metrics(
            EpochMetrics(
                attempt=1, epoch=epoch, step=390 * epoch, lr=0.1, train_loss=1.0,
                train_top1=50.0, test_loss=1.0, test_top1=50.0, test_top5=80.0, epoch_s=10.0,
                eval_s=1.0, throughput_img_s=5000.0, peak_mem_mb=1000.0, time_unix_s=time.time(),
            )
        )  # fmt: skip
    run.write_progress(
        Progress(
            attempt=1, epoch=EPOCHS // 2, epochs=EPOCHS, step=5850, steps=11700, eta_s=100.0,
            test_top1=50.0, time_unix_s=time.time() - 100,
        )
    )  # fmt: skip


def finish(runs: Sequence[RunDir], fake: FakeSlurm) -> None:
    with mock.patch("os.fsync"):
        for run in runs:
            run.write_result(
                Result(
                    run_id=run.run_id, best_test_top1=70.0, best_epoch=EPOCHS,
                    final_test_top1=70.0, final_test_top5=90.0, params=10**7, macs=10**9,
                    wall_s=1000.0, attempts=1, weights_sha256="0" * 64, time_unix_s=time.time(),
                )
            )  # fmt: skip
    fake.forget({run.attempts()[-1]["job_id"] for run in runs})


# ------------------------------------------------------------------------------- the commands


class Shell:
    """A person's shell in the folder, on the fake cluster."""

    def __init__(self, folder: Path, fake: FakeSlurm) -> None:
        self._folder, self._fake = folder, fake
        path = f"{fake.bin}:{os.environ['PATH']}"
        self._environment = persons_environment(PATH=path, PYTHONPATH=str(TOP))

    def time(self, *words: str, stdout: int = subprocess.DEVNULL) -> Seconds:
        """How long a command takes, with the commands that it runs; it must succeed."""
        start = Seconds(time.perf_counter(), _cpu_of_children_s())
        subprocess.run(words, cwd=self._folder, env=self._environment, stdout=stdout, check=True)
        return Seconds(time.perf_counter(), _cpu_of_children_s()) - start

    def measure(
        self, what: str, aim: str, repeats: int, *words: str, stdout: int = subprocess.DEVNULL
    ) -> None:
        """Run a launcher's command, and after it the scheduler's commands that it ran."""
        beyond = []
        for _ in range(repeats):
            self._fake.calls()
            whole = self.time(sys.executable, "-m", "launcher", *words, stdout=stdout)
            calls = self._fake.calls()
            for call in calls:
                whole -= self.time(*call)
            beyond.append(whole)
        print_row(what, len(calls), aim, beyond)


@contextlib.contextmanager
def terminal() -> Iterator[int]:
    """A terminal to write to, at which nobody looks."""
    seen, written = os.openpty()
    threading.Thread(target=_drain, args=[seen], daemon=True).start()
    yield written
    os.close(written)


def _drain(terminal: int) -> None:
    with contextlib.suppress(OSError):  # its other side is closed
        while os.read(terminal, 2**16):
            pass
    os.close(terminal)


def _cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_status(shell: Shell, what: str, commands: str, repeats: int) -> None:
    time.sleep(SETTLED_AFTER_S)
    shell.measure(f"first look, {what}", commands, 1, "status")
    shell.measure(f"status, {what}", f"{commands}, < 1 s", repeats, "status")
    with terminal() as stdout:
        shell.measure("... in a terminal", f"{commands}, < 1 s", repeats, "status", stdout=stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    given = parser.parse_args(arguments)
    if given.runs < 20 or given.repeats < 1:
        parser.error("--runs: 20 or more, in tens; --repeats: 1 or more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fake = FakeSlurm(folder / "slurm")
        sweep = make_sweep(folder, given.runs, fake)
        runs = sweep.runs()
        shell = Shell(folder, fake)
        yardstick = [shell.time(sys.executable, "-c", "import pydantic") for _ in range(6)][1:]
        pydantic_s = statistics.median(times.wall for times in yardstick)
        print(f"{len(runs)} runs in arrays of {ARRAY}; `import pydantic` takes {pydantic_s:.2f} s")
        finish(runs[::2], fake)
        measure_status(shell, "half pending", "<= 2 commands", given.repeats)
        finish(runs[1::2], fake)
        measure_status(shell, "all terminal", "0 commands", given.repeats)
        words = ("submit", "sweep.yaml")
        shell.measure("submit, nothing to do", "0 commands", given.repeats, *words)


if __name__ == "__main__":
    main()
