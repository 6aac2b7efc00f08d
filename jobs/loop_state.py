"""The state of a training that changes from step to step: saved, restored, and shared out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from jobs.distributed import Tasks
from jobs.seeds import derive_seed


@dataclass
class LoopState:
    """All that the loop changes, but for weights, optimizer and random generators.

    Saved and restored under these names. An epoch is trained from `batch` to its end, then
    evaluated from `eval_batch` to the end, then recorded. Of several tasks each has its own sums.
    """

    epoch: int = 0  # finished epochs
    batch: int = 0  # finished training batches of this epoch
    eval_batch: int = 0  # finished test batches of this epoch
    step: int = 0  # optimizer steps in all
    checked_step: int = 0  # until there the loss is known to be finite
    train_sums: list[float] = field(default_factory=lambda: [0.0] * 3)  # loss, top-1, images
    test_sums: list[float] = field(default_factory=lambda: [0.0] * 4)  # loss, top-1, top-5, images
    epoch_s: float = 0.0  # spent training this epoch
    wait_s: float = 0.0  # of these, spent until the images were there
    eval_s: float = 0.0  # spent evaluating it
    wall_s: float = 0.0  # spent in the loop, over all attempts
    best_test_top1: float = -1.0
    best_epoch: int = 0
    final_test_top1: float = 0.0
    final_test_top5: float = 0.0
    chance_epochs: int = 0  # in a row and up to now, with accuracies that guessing reaches


def save_generators(device: torch.device) -> dict[str, Any]:
    """The states of torch's global generators: what is drawn in the network, as for dropout."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def restore_generators(
    of_tasks: list[dict[str, Any]], tasks: Tasks, device: torch.device, seed: int, step: int
) -> None:
    """Go on with this task's generators; if there were more or fewer tasks, with new ones."""
    if len(of_tasks) != tasks.world:
        torch.manual_seed(derive_seed(seed, f"task {tasks.rank} of {tasks.world}", step))
        return
    generators = of_tasks[tasks.rank]["generators"]
    torch.set_rng_state(generators["cpu"])
    if generators["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(generators["cuda"], device)


def take_up_loop(of_tasks: list[dict[str, Any]], tasks: Tasks) -> LoopState:
    """This task's state; if there were more or fewer tasks, the first one has all sums."""
    if len(of_tasks) == tasks.world:
        return LoopState(**of_tasks[tasks.rank]["loop"])
    states = [LoopState(**task["loop"]) for task in of_tasks]
    loop = states[0]
    for name in ("train_sums", "test_sums"):
        total = [sum(column) for column in zip(*(getattr(s, name) for s in states), strict=True)]
        setattr(loop, name, total if tasks.leads else [0.0] * len(total))
    return loop
