from __future__ import annotations

import getpass
import json
import os
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.errors import InputError, run_command
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Attempt
from jobs.sweep_dir import SweepDir, all_sweeps
from launcher import slurm
from launcher.cli import app
from launcher.matrix import Matrix, read_matrix
from launcher.plan import State
from launcher.run_status import run_status
from launcher.submit import plan_submission
from tests.fake_slurm import FakeSlurm

# Two networks of which one run takes about a second, after the import of torch.
MATRIX = """\
name: tiny
base:
  dataset: synthetic
  epochs: 2
  train_images: 64
  test_images: 32
  batch_size: 32
  threads: 1
  progress_every_s: 0
axes:
  model: [resnet_small, sresnet_small]
"""


CLUSTER = {
    "default": "lab",
    "profiles": {"lab": {"executor": "slurm", "time": "10:00", "signal_delay_s": 30}},
}


def add_attempt(run: RunDir, **end: Any) -> None:
    number = run.next_attempt()
    start = Attempt(
        attempt=number, started_unix_s=1.0, executor="local", job_id="1", restart=0,
        host="here", pid=1, user="me", code="",
    )  # fmt: skip
    run.write_attempt({**start, **end})  # type: ignore[typeddict-item]


def state_of(run: RunDir) -> tuple[State, str]:
    """Where a run stands, and what is said of it, when SLURM knows nothing of it."""
    status = run_status(run, queued=set())
    return status.state, status.detail


def submit_by_hand(sweep: SweepDir, fake: FakeSlurm) -> str:
    """The id of an array with all runs of a sweep, as a launcher that is gone has submitted it."""
    name = f"{sweep.name}-t1"
    run_ids = sweep.named_runs()
    job_id = fake.submit(name, f"0-{len(run_ids) - 1}")
    facts = {"token": "t1", "executor": "slurm", "name": name, "cluster": "fake", "runs": run_ids}
    times = {"submitted_unix_s": time.time() - 100, "job_id": job_id, "user": getpass.getuser()}
    sweep.write_submission({**facts, **times, **this_process()})
    return job_id


class Desk:
    """A person's folder with a matrix, and the launcher in this process."""

    def __init__(self, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
        self.fake = fake
        self._capsys = capsys
        self.sweep = SweepDir(Path("runs/sweep"))
        Path("cluster.yaml").write_text(json.dumps(CLUSTER))

    def launcher(self, *words: str, status: int | None = 0) -> str:
        """What a command said, on stdout and then on stderr; status None is any."""
        slurm.ask_config.cache_clear()  # each process asks once
        with pytest.raises(SystemExit) as left:
            run_command(lambda: app(list(words), prog_name="launcher"))
        said = self._capsys.readouterr()
        assert status in (None, left.value.code), said.out + said.err
        return said.out + said.err

    def submit(self, runs: int = 2, status: int | None = 0) -> str:
        text = f"base: {{model: resnet_small, dataset: digits}}\nseeds: {runs}\n"
        Path("sweep.yaml").write_text(text)
        return self.launcher("submit", "sweep.yaml", status=status)

    def rows(self) -> list[dict[str, Any]]:
        return json.loads(self.launcher("status", "--json"))

    def states(self) -> list[str]:
        return [row["state"] for row in self.rows()]

    def jobs(self) -> list[str]:
        """The ids of the jobs that SLURM was given."""
        return list(dict.fromkeys(task["job_id"] for task in self.fake.tasks()))

    def age(self, by_s: float) -> None:
        """Let it be a while since the submissions, whose launchers are gone by now."""
        for path, record in self.sweep.submissions().items():
            submitted_unix_s = record["submitted_unix_s"] - by_s
            gone = {"submitted_unix_s": submitted_unix_s, "start_ticks": 1}
            self.sweep.write_submission(record | gone, path)


@pytest.fixture(autouse=True)
def _no_run_outlives_its_test(tmp_path: Path) -> Iterator[None]:
    yield
    for sweep in all_sweeps(tmp_path / "runs"):
        for holder in filter(None, (run.holder() for run in sweep.runs())):
            if holder["pid"] != psutil.Process().pid:
                psutil.Process(holder["pid"]).kill()


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(MATRIX)
    return path


@pytest.fixture
def sweep(matrix: Path, tmp_path: Path) -> SweepDir:
    """The matrix planned on disk, and nothing started."""
    submission = plan_submission(read_matrix(matrix), tmp_path / "runs")
    submission.write()
    return submission.sweep


@pytest.fixture
def run(sweep: SweepDir) -> RunDir:
    return sweep.runs()[0]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{fake.bin}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def desk(fake: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    yield Desk(fake, capsys)
    slurm.ask_config.cache_clear()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Matrix]:
    """Reads a matrix from its text, with what `--set` gives."""

    def read(text: str, *overrides: str) -> Matrix:
        path = tmp_path / "m.yaml"
        path.write_text(textwrap.dedent(text))
        return read_matrix(path, overrides)

    return read


@pytest.fixture
def complaints(read: Callable[..., Matrix], tmp_path: Path) -> Callable[..., list[str]]:
    """The lines of the error that reading a matrix ends in."""

    def complaints(text: str, *overrides: str) -> list[str]:
        with pytest.raises(InputError) as caught:
            read(text, *overrides)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return complaints
