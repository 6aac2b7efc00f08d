"""Small sweeps on disk, written through the run directory's own writers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig, make_config
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Environment, EpochMetrics, Imported, Result
from jobs.sweep_dir import SweepDir

EPOCHS = 4
STARTED_UNIX_S = 1.7e9
PARAMS = {"resnet_small": 175_258, "sresnet_small": 1_234_567}
MACS = {"resnet_small": 26_000_000, "sresnet_small": 1_300_000_000}

MakeRun = Callable[..., RunDir]


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return SweepDir(tmp_path / "runs" / "demo")


@pytest.fixture
def half_finished(sweep: SweepDir) -> SweepDir:
    """The plain network has two of two runs; the other one of three, one begun, one not."""
    runs = [
        add_run(sweep, "resnet_small", seed=0, final=70.0),
        add_run(sweep, "resnet_small", seed=1, final=72.0),
        add_run(sweep, "sresnet_small", seed=0, final=80.5, attempts=2),
        add_run(sweep, "sresnet_small", seed=1, epochs_done=2),
        add_run(sweep, "sresnet_small", seed=2, epochs_done=None),
    ]
    name_runs(sweep, runs)
    return sweep


@pytest.fixture
def empty_sweep(sweep: SweepDir) -> SweepDir:
    """A matrix that names no run."""
    name_runs(sweep, [])
    return sweep


def name_runs(sweep: SweepDir, runs: Iterable[RunDir], text: str = "a matrix") -> None:
    sweep.add_matrix(text, [run.run_id for run in runs])


def add_run(
    sweep: SweepDir,
    model: str,
    *,
    final: float = 50.0,
    epochs_done: int | None = EPOCHS,
    attempts: int = 1,
    **options: Any,
) -> RunDir:
    """A run that ends at `final` percent, one point below its best epoch, the one before.

    `epochs_done` below its epochs leaves it unfinished; None leaves it untouched.
    """
    config = make_config({"model": model, "dataset": "digits", "epochs": EPOCHS, **options})
    run = sweep.run(config.run_id)
    run.write_config(config)
    if epochs_done is None:
        return run
    for number in range(1, attempts + 1):
        run.write_attempt(make_attempt(number, model))
    test_top1 = [final + 1 - abs(epoch - (config.epochs - 2)) for epoch in range(config.epochs)]
    for epoch in range(1, epochs_done + 1):
        run.append_metrics(make_metrics(epoch, test_top1[epoch - 1]))
    if epochs_done == config.epochs:
        run.write_result(make_result(run, config, test_top1, attempts))
    return run


def make_attempt(number: int, model: str, **changed: Any) -> Attempt:
    """As one begins; `changed` are facts beside, of its end for example, or in place of these."""
    attempt = Attempt(
        attempt=number,
        started_unix_s=STARTED_UNIX_S,
        executor="local",
        job_id="1",
        restart=number - 1,
        host="node1",
        pid=1,
        user="ada",
        code="",
        params=PARAMS.get(model, 1_000_000),
        macs=MACS.get(model, 1_000_000),
        steps_per_epoch=10,
        first_step=0,
    )
    return Attempt(**{**attempt, **changed})


def make_environment(device: str = "cpu", torch: str = "2.10.0", gpus: int = 1) -> Environment:
    return Environment(
        gpus=gpus,
        device=device,
        threads=1,
        cpu_capability="AVX2",
        versions={"python": "3.11.2", "torch": torch},
    )


def add_slurm_attempt(run: RunDir, number: int, restart: int, **changed: Any) -> None:
    """An attempt of job 77, on a V100, that is an hour long and begins two hours after the last."""
    started_s = STARTED_UNIX_S + 7200 * (number - 1)
    facts = {
        "executor": "slurm",
        "job_id": "77_0",
        "restart": restart,
        "node": "gpu7",
        "code": "c0de",
        "precision": "fp16",
        "environment": make_environment("Tesla V100"),
        "started_unix_s": started_s,
        "ended_unix_s": started_s + 3600,
        "cause": "preempted",
        "message": "saved at step 20",
        "last_step": 20,
    }
    run.write_attempt(make_attempt(number, run.read_config().model, **{**facts, **changed}))


def add_submission(sweep: SweepDir, runs: Iterable[RunDir], **changed: Any) -> None:
    """To SLURM, as job 77, half an hour before the first attempt begins."""
    facts = {
        "token": "t0",
        "executor": "slurm",
        "name": f"{sweep.name}-t0",
        "runs": [run.run_id for run in runs],
        "runs_per_job": 1,
        "job_id": "77",
        "user": "ada",
        "submitted_unix_s": STARTED_UNIX_S - 1800,
        **this_process(),
    }
    sweep.write_submission({**facts, **changed})


def add_imported(
    sweep: SweepDir,
    name: str = "resnet50-import",
    *,
    final: float = 75.0,
    epochs: Iterable[int] = range(1, EPOCHS + 1),
    **changed: Any,
) -> RunDir:
    """A run of a ResNet-50 on CIFAR-100 of which only losses and accuracies are known.

    It ends at `final` percent, its best epoch; `changed` are facts in place of these.
    """
    told = Imported(
        format="tsv",
        files=[{"name": f"{name}_test.txt", "sha256": "0" * 64}],
        model="resnet50",
        seed=None,
        options={"dataset": "cifar100"},
        notes=["no record says which seed it has"],
        imported_unix_s=STARTED_UNIX_S,
    )
    numbers = [*epochs]
    run = sweep.run(name)
    run.write_imported(
        Imported(**{**told, **changed}),
        [
            {"epoch": n, "test_loss": 1.0, "test_top1": final + n - numbers[-1], "train_top1": 90.0}
            for n in numbers
        ],
    )
    return run


def damage(run: RunDir) -> None:
    """Edit its configuration: it is reported by name, and left out."""
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"lr": 0.1', '"lr": 0.2'))


def make_metrics(epoch: int, test_top1: float, **changed: Any) -> EpochMetrics:
    record = EpochMetrics(
        attempt=1,
        epoch=epoch,
        step=10 * epoch,
        lr=0.1,
        train_loss=2 * math.exp(1 - epoch),
        train_top1=test_top1 + 5,
        test_loss=3 * math.exp(1 - epoch),
        test_top1=test_top1,
        test_top5=99.0,
        epoch_s=1.5,
        eval_s=0.2,
        throughput_img_s=1000.0,
        data_wait_share=0.25,
        peak_mem_mb=500.0,
        time_unix_s=STARTED_UNIX_S + epoch,
    )
    return EpochMetrics(**{**record, **changed})


def make_result(run: RunDir, config: RunConfig, test_top1: list[float], attempts: int) -> Result:
    best = max(test_top1)
    return Result(
        run_id=run.run_id,
        best_test_top1=best,
        best_epoch=test_top1.index(best) + 1,
        final_test_top1=test_top1[-1],
        final_test_top5=99.0,
        params=PARAMS.get(config.model, 1_000_000),
        macs=MACS.get(config.model, 1_000_000),
        wall_s=6.0,
        attempts=attempts,
        weights_sha256="0" * 64,
        time_unix_s=1.7e9,
    )
