from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_models import create_model
from jobs.config import RunConfig
from jobs.optim import (
    AveragedWeights,
    fill_momentum,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)

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


def test_the_multistep_schedule_is_that_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[20, 30], gamma=0.2)
    reference = []
    for _ in range(50):
        reference.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    found = rates(
        schedule="multistep", epochs=5, lr=0.1, lr_milestones_epochs=[2, 3], lr_step_factor=0.2
    )
    assert found == pytest.approx(reference)


@given(st.floats(0.1, 1.9), st.sampled_from(["cosine", "restarts", "step", "multistep"]))
def test_the_warm_up_rises_to_the_peak_and_never_above(warmup: float, schedule: str) -> None:
    found = rates(
        epochs=5, lr=0.5, warmup_epochs=warmup, schedule=schedule, lr_milestones_epochs=[2, 4]
    )
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


def test_adamw_is_that_of_torch_with_the_runs_rate_and_decay() -> None:
    config = RunConfig(model="resnet18", optimizer="adamw", lr=1e-3, weight_decay=0.05)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), config)
    assert type(optimizer) is torch.optim.AdamW
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-3, 0.05, (0.9, 0.999))


def test_the_decay_of_weights_spares_biases_norms_and_embeddings_of_positions() -> None:
    config = RunConfig(model="lambda_resnet18", decay="weights", weight_decay=0.01)
    model = create_model("lambda_resnet18", 10, 8, k=2, m=3)
    decays = {
        id(parameter): group["weight_decay"]
        for group in make_optimizer(model, config).param_groups
        for parameter in group["params"]
    }
    found = {name: decays[id(parameter)] for name, parameter in model.named_parameters()}
    kinds = {
        type(module).__name__: module
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    assert {"Conv2d", "BatchNorm2d", "Linear", "LambdaConv"} <= kinds.keys()
    assert {decays[id(kinds[name].weight)] for name in ("Conv2d", "Linear")} == {0.01}
    assert decays[id(kinds["Linear"].bias)] == decays[id(kinds["BatchNorm2d"].weight)] == 0
    assert {decay for name, decay in found.items() if name.endswith("embedding")} == {0}


def test_a_first_step_that_overflows_leaves_no_rubbish_in_the_momentum() -> None:
    model = torch.nn.Linear(2, 2)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, RunConfig(model="resnet18", lr=1, weight_decay=0))
    fill_momentum(optimizer)
    scaler = torch.amp.GradScaler("cpu")
    for gradient in (float("inf"), 1.0):
        scaler.scale(model(torch.zeros(1, 2)).sum()).backward()
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient) * scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert torch.equal(model.weight, before - 1)
    assert scaler.get_scale() == 2**15


def test_what_a_network_wants_spared_does_not_decay() -> None:
    class Spares(torch.nn.Linear):
        def no_weight_decay(self) -> set[str]:
            return {"weight"}

    config = RunConfig(model="resnet18", decay="weights")
    weights, others = make_optimizer(Spares(2, 2), config).param_groups
    assert (len(weights["params"]), len(others["params"])) == (0, 2)


def test_the_average_is_that_of_torch_with_the_buffers() -> None:
    model = create_model("resnet_small", 10, 8)
    ours = AveragedWeights(model, 0.9)
    theirs = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    theirs.update_parameters(model)  # torch's first update is a copy; ours begins as one
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.update()
        theirs.update_parameters(model)
    whole = model.state_dict()
    for name, tensor in theirs.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(ours.model.state_dict()[name], tensor, msg=name)
        else:  # torch averages counts of steps as well, and rounds
            assert torch.equal(ours.model.state_dict()[name], whole[name]), name
