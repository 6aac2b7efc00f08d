from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import RunConfig
from jobs.optim import learning_rate, make_optimizer, set_learning_rate

STEPS_PER_EPOCH = 10


def rates(**options: Any) -> list[float]:
    config = RunConfig(model="resnet18", **options)
    return [
        learning_rate(config, step, STEPS_PER_EPOCH)
        for step in range(config.epochs * STEPS_PER_EPOCH)
    ]


def test_the_cosine_schedule_is_that_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    reference = []
    for _ in range(50):
        reference.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates(epochs=5, lr=0.1) == pytest.approx(reference)


@pytest.mark.parametrize("factor", [1, 2])
def test_the_schedule_with_restarts_is_that_of_torch(factor: int) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=20, T_mult=factor, eta_min=1e-5
    )
    reference = []
    for _ in range(80):
        reference.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    found = rates(
        schedule="restarts",
        epochs=8,
        lr=0.1,
        lr_min=1e-5,
        restart_epochs=2,
        restart_factor=factor,
    )
    assert found == pytest.approx(reference)


def test_a_cosine_ends_at_the_lowest_rate() -> None:
    found = rates(epochs=5, lr=0.1, lr_min=0.01)
    assert found[0] == 0.1
    assert found == sorted(found, reverse=True)
    assert 0.01 < found[-1] < 0.0105


def test_the_step_schedule_drops_at_the_named_epochs() -> None:
    found = rates(schedule="step", epochs=7, lr=1, lr_step_epochs=3, lr_step_factor=0.1)
    assert found[:30] == [1] * 30
    assert found[30:60] == pytest.approx([0.1] * 30)
    assert found[60:] == pytest.approx([0.01] * 10)


@given(st.floats(0.1, 4), st.sampled_from(["cosine", "restarts", "step"]))
def test_the_warm_up_rises_to_the_peak_and_never_above(warmup: float, schedule: str) -> None:
    found = rates(epochs=5, lr=0.5, warmup_epochs=warmup, schedule=schedule)
    steps = round(warmup * STEPS_PER_EPOCH)
    assert found[:steps] == sorted(found[:steps])
    assert max(found) == pytest.approx(0.5)
    assert found[steps - 1] == pytest.approx(0.5)
    assert all(rate > 0 for rate in found)


def test_a_warm_up_longer_than_the_training_only_rises() -> None:
    found = rates(epochs=2, warmup_epochs=3, lr=0.3)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.2)


def test_the_optimizer_takes_over_the_options() -> None:
    config = RunConfig(model="resnet18", lr=0.2, momentum=0.8, nesterov=True, weight_decay=0.01)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), config)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.2, 0.8, True)
    assert group["weight_decay"] == 0.01
    set_learning_rate(optimizer, 0.05)
    assert group["lr"] == 0.05
