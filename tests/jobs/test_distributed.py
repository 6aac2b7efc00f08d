"""Tasks are real processes here, on gloo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from attention_models import create_model
from jobs.checkpoint import load_checkpoint
from jobs.data.augment import Normaliser
from jobs.data.datasets import load_dataset
from jobs.distributed import ALONE, PORTS, choose_port
from jobs.run_dir import RunDir
from tests.jobs.conftest import plan_run
from tests.jobs.test_train import outcome

# A slow machine takes its time; a task that hangs ends before the test's own limit.
HANGS_AFTER_S = 240

# One task of a job as submitit starts it, with a network without batch norm.
TASK = """
import sys
import time
import torch
from torch import nn
import jobs.train
from attention_models.count import Counts

def make(name, classes, size):
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
        nn.Linear(8 * (size // 4) ** 2, classes),
    )
    return plain

class Failing(nn.Flatten):
    def forward(self, x):
        if torch.distributed.get_rank() == 1:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 TB")
        return super().forward(x)

def make_failing(name, classes, size):
    return nn.Sequential(Failing(), nn.Linear(3 * size * size, classes))

if sys.argv[2] == "plain":
    jobs.train.create_model = make
if sys.argv[2] == "failing":
    jobs.train.create_model = make_failing
    jobs.train.count = lambda model, size: Counts(1, 1)
from jobs.train_job import TrainJob
print(TrainJob(sys.argv[1])())
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_tasks(run: RunDir, world: int, network: str = "plain") -> list[subprocess.Popen[str]]:
    port = free_port()
    tasks = []
    for rank in range(world):
        env = os.environ | {
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_JOB_ID": "77",
            "SUBMITIT_LOCAL_NTASKS": str(world),
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_GLOBALID": str(rank),
            "SUBMITIT_LOCAL_LOCALID": str(rank),
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", TASK, str(run.path), network]
        tasks.append(
            subprocess.Popen(
                command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    return tasks


def train_on(run: RunDir, world: int, network: str = "plain") -> str:
    """The outcome, as the first task says it."""
    tasks = start_tasks(run, world, network)
    said = [task.communicate(timeout=HANGS_AFTER_S)[0] for task in tasks]
    assert all(task.returncode == 0 for task in tasks), "\n".join(said)
    return said[0].splitlines()[-1]


OPTIONS: dict[str, Any] = {
    "batch_size": 32,
    "accumulate_steps": 2,
    "clip_norm": 0.5,
    "epochs": 2,
    "mixup_alpha": 1.0,
    "cutmix_alpha": 1.0,
    "crop_padding_px": 1,
    # The last batch has three images: on four tasks some have none.
    "train_images": 67,
    "test_images": 50,
}


def weights_and_metrics(run: RunDir) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    state = load_checkpoint(run, print)
    assert state is not None
    names = ("train_loss", "train_top1", "test_loss", "test_top1")
    return state["model"], [
        {name: record[name] for name in names}  # type: ignore[literal-required]
        for record in run.read_metrics()
    ]


def test_any_number_of_tasks_trains_the_same_network(tmp_path: Path) -> None:
    results = []
    for world in (1, 2, 4):
        run = plan_run(tmp_path / str(world), gpus=world, **OPTIONS)
        assert train_on(run, world) == "finished"
        results.append(weights_and_metrics(run))
        assert run.attempts()[0]["environment"]["gpus"] == world
    for weights, metrics in results[1:]:
        torch.testing.assert_close(weights, results[0][0], rtol=1e-4, atol=1e-5)
        assert metrics == [pytest.approx(record, rel=1e-4) for record in results[0][1]]


def wait_for_step(run: RunDir, step: int) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        progress = run.read_progress()
        if progress is not None and progress["step"] >= step:
            return
        time.sleep(0.01)
    raise AssertionError("the training did not come so far")


LONG = OPTIONS | {"epochs": 150, "progress_every_s": 0, "when_stuck": "go_on"}


def stop_one_of(run: RunDir, world: int, rank: int, step: int, sign: signal.Signals) -> list[str]:
    """Signal one task once the training has come so far; what each of them said."""
    tasks = start_tasks(run, world)
    wait_for_step(run, step)
    tasks[rank].send_signal(sign)
    return [task.communicate(timeout=HANGS_AFTER_S)[0] for task in tasks]


def test_a_stop_that_one_task_hears_stops_all_after_the_same_step_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    whole, stopped = (plan_run(tmp_path / name, gpus=2, **LONG) for name in ("a", "b"))
    train_on(whole, 2)
    for rank, step in ((1, 20), (0, 70)):
        said = stop_one_of(stopped, 2, rank, step, signal.SIGUSR2)
        assert all(text.splitlines()[-1] == "stopped" for text in said)
    first, second = stopped.attempts()
    assert second["first_step"] == first["last_step"] >= 20
    assert train_on(stopped, 2) == "finished"
    assert outcome(stopped) == outcome(whole)


def test_the_checkpoint_of_four_tasks_resumes_on_two(tmp_path: Path) -> None:
    """With bn sync the number of tasks is no part of a run's identity; there is no batch norm."""
    alone = plan_run(tmp_path / "alone", bn="sync", **LONG)
    train_on(alone, 1)
    moved = plan_run(tmp_path / "moved", bn="sync", gpus=4, **LONG)
    stop_one_of(moved, 4, 2, 30, signal.SIGTERM)
    assert plan_run(tmp_path / "moved", bn="sync", gpus=2, **LONG).path == moved.path
    assert train_on(moved, 2) == "finished"
    assert [attempt["environment"]["gpus"] for attempt in moved.attempts()] == [4, 2]
    assert "gpus was 4 and is 2" in moved.log(2).read_text()
    results = [weights_and_metrics(run) for run in (alone, moved)]
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-3, atol=1e-4)
    assert results[1][1] == [pytest.approx(record, rel=1e-2) for record in results[0][1]]


def test_a_task_that_is_killed_ends_all_and_the_run_goes_on_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    run = plan_run(tmp_path / "killed", gpus=2, checkpoint_every_s=0, **LONG)
    said = stop_one_of(run, 2, 1, 20, signal.SIGKILL)
    assert "Error" in said[0]
    attempt = run.attempts()[0]
    assert attempt["cause"] == "task_lost"
    assert attempt["message"].startswith("another task of the job has ended, or hangs: ")
    again = plan_run(tmp_path / "killed", gpus=2, **LONG)  # without so many checkpoints
    assert train_on(again, 2) == "finished"
    assert again.attempts()[1]["first_step"] >= 20


def test_why_another_task_failed_stands_in_the_record(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "failing", gpus=2, **LONG)
    tasks = start_tasks(run, 2, network="failing")
    said = [task.communicate(timeout=HANGS_AFTER_S)[0] for task in tasks]
    assert "not enough memory" in said[1]
    attempt = run.attempts()[0]
    assert attempt["cause"] == "out_of_memory"
    assert (
        f"task 1 on {socket.gethostname()}: batch_size 32 in 2 parts on 2 GPUs, "
        in (attempt["message"])
    )


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_tasks_of_a_run_that_needs_no_training_all_leave(state: str, tmp_path: Path) -> None:
    run = plan_run(tmp_path / state, gpus=2, **OPTIONS)
    if state == "finished":
        train_on(run, 2)
    else:
        run.observe("cancelled")
    tasks = start_tasks(run, 2)
    said = [task.communicate(timeout=HANGS_AFTER_S)[0].splitlines()[-1] for task in tasks]
    assert said == [state, "dismissed"]


def test_batch_norm_is_of_each_task_and_what_is_evaluated_is_that_of_the_first(
    tmp_path: Path,
) -> None:
    run = plan_run(tmp_path / "norm", gpus=2, ema_decay=0.5, **OPTIONS)
    assert train_on(run, 2, network="resnet") == "finished"
    state = load_checkpoint(run, print)
    assert state is not None
    model = create_model("resnet_small", 10, 8)
    model.load_state_dict(state["average"])
    model.eval()
    data = load_dataset(run.read_config())
    with torch.inference_mode():
        logits = model(Normaliser(data, torch.device("cpu"))(data.test.pixels))
    loss = torch.nn.functional.cross_entropy(logits, data.test.labels).item()
    assert run.read_metrics()[-1]["test_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 3}, "gpus: 3, but this job has 2 tasks"),
        ({"gpus": 2, "bn": "sync"}, "bn sync needs GPUs, and torch finds none here"),
    ],
)
def test_what_the_tasks_cannot_do_is_told(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    run = plan_run(tmp_path / "wrong", **OPTIONS | options)
    for task in start_tasks(run, 2, network="resnet"):
        task.communicate(timeout=HANGS_AFTER_S)
    assert message in run.attempts()[0]["message"]


def test_alone_there_is_nobody_to_ask() -> None:
    numbers = torch.tensor([1.0, 2.0])
    assert ALONE.leads
    assert ALONE.agree(2) == 2
    assert ALONE.share("x") == "x"
    assert ALONE.gather("x") == ["x"]
    assert ALONE.sum(numbers) == [1.0, 2.0]
    assert ALONE.call("x") == "x"
    assert ALONE.hear_failure() is None


def test_tasks_of_a_job_that_was_started_again_do_not_meet_those_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They may still be ending while the new ones begin, and hold the old port."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    ports = []
    for restart in ("0", "1", "1", "2"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
        ports.append(choose_port())
    assert ports[1] == ports[2], "all tasks of a start choose the same"
    assert len(set(ports)) == 3
    assert all(port in PORTS for port in ports)
