from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir

# Three epochs of seconds on a network with all kinds of state: weights, buffers, momentum.
TINY = {
    "model": "resnet_small",
    "dataset": "synthetic",
    "train_images": 90,
    "test_images": 50,
    "epochs": 3,
    "batch_size": 32,
    "lr": 0.05,
    "warmup_epochs": 0.5,
    "crop_padding_px": 1,
    "threads": 1,
}


def plan_run(folder: Path, **changes: Any) -> RunDir:
    """A planned run of the tiny training, in a sweep of its own."""
    config = RunConfig(**(TINY | changes))
    run = SweepDir(folder).run(config.run_id)
    run.write_config(config)
    return run


@pytest.fixture(autouse=True)
def _signal_handlers_stay() -> Iterator[None]:
    """What a training sets in this process is undone."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return plan_run(tmp_path / "sweep")
