"""Small sweeps on disk, written through the run directory's own writers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig, make_config
from jobs.run_dir import Attempt, EpochMetrics, Result, RunDir, SweepDir

EPOCHS = 4
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


def make_attempt(number: int, model: str) -> Attempt:
    return Attempt(
        attempt=number,
        started_unix_s=1.7e9,
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
        time_unix_s=1.7e9 + epoch,
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
