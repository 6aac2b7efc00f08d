"""The optimizer, the average of the weights, and the learning rate as a function of the step.

The rate is computed, not stepped, so there is no schedule to save and none to forget on resume.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from jobs.config import RunConfig


def make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    parameters = parameter_groups(model, config)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def fill_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Begin with a momentum of zeros, for training with a scaled loss.

    The first steps often overflow and are skipped. torch's fused SGD makes its buffers in such a
    step but leaves them as the memory was, and uses what stands there in the next.
    """
    for group in optimizer.param_groups:
        if group.get("momentum"):
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def parameter_groups(model: nn.Module, config: RunConfig) -> list[dict[str, Any]]:
    """All parameters in one group, or those that are not to decay in a second one."""
    if config.decay == "all":
        return [{"params": list(model.parameters())}]
    # timm's networks name what they want spared.
    spared = set(getattr(model, "no_weight_decay", set)())
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[name not in spared and is_weight(name, parameter)].append(parameter)
    weights, others = groups[True], groups[False]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


def is_weight(name: str, parameter: nn.Parameter) -> bool:
    """Whether it multiplies features: no bias, scale of a norm or embedding of positions.

    A lambda layer's embedding has the shape of a convolution, and is told by its name.
    """
    return parameter.ndim > 1 and not name.endswith("embedding")


class AveragedWeights:
    """A network that follows another: an exponential moving average of its weights and buffers.

    Those of batch norm are averaged too, so that they fit the weights. torch's AveragedModel does
    the same, but at each step it asks the GPU whether this is the first, and waits for the answer.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._blend = get_ema_multi_avg_fn(decay)
        averages, values = self.model.state_dict(), model.state_dict()  # these share their memory
        numbers = [name for name, average in averages.items() if average.is_floating_point()]
        counts = [name for name in averages if name not in numbers]  # batch norm's, of steps
        self._averages, self._values = _pick(averages, numbers), _pick(values, numbers)
        self._copies, self._originals = _pick(averages, counts), _pick(values, counts)

    def update(self) -> None:
        self._blend(self._averages, self._values, 0)  # of torch's averages, only others count
        if self._copies:
            torch._foreach_copy_(self._copies, self._originals)


def _pick(tensors: dict[str, Tensor], names: list[str]) -> list[Tensor]:
    return [tensors[name] for name in names]


def learning_rate(config: RunConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of the step that comes after `step` steps.

    It rises linearly over the warm-up, to reach `lr` with the warm-up's last step, and then
    follows the schedule: a half cosine over the rest of the training; half cosines of growing
    length, one after the other (SGDR, arXiv 1608.03983); or drops every so many epochs, or at
    named ones. Epochs of drops count from the beginning of the training.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "step":
        drops = step // steps_per_epoch // config.lr_step_epochs
        return config.lr * config.lr_step_factor**drops
    if config.schedule == "multistep":
        drops = sum(step >= epoch * steps_per_epoch for epoch in config.lr_milestones_epochs)
        return config.lr * config.lr_step_factor**drops
    length = config.epochs * steps_per_epoch - warmup
    position = step - warmup
    if config.schedule == "restarts":
        length = config.restart_epochs * steps_per_epoch
        while position >= length:
            position -= length
            length *= config.restart_factor
    cosine = 0.5 * (1 + math.cos(math.pi * position / length))
    return config.lr_min + (config.lr - config.lr_min) * cosine


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
