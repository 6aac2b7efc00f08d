"""The optimizer, and the learning rate as a function of the step.

The rate is computed, not stepped, so there is no schedule to save and none to forget on resume.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from jobs.config import RunConfig


def make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(config: RunConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of the step that comes after `step` steps.

    It rises linearly over the warm-up, to reach `lr` with the warm-up's last step, and then
    follows the schedule: a half cosine over the rest of the training; half cosines of growing
    length, one after the other (SGDR, arXiv 1608.03983); or drops at fixed epochs.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "step":
        drops = step // steps_per_epoch // config.lr_step_epochs
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
