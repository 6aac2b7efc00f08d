"""What a training is watched for: a loss that is no number, and a network that learns nothing.

Neither changes a result. A run that is stopped for it has none, and one that goes on has the same
as if nobody had looked; so how to look is no part of a run's identity.
"""

from __future__ import annotations

import math

from torch import Tensor

from jobs.config import RunConfig
from jobs.errors import NonFiniteLossError

# Reading the loss waits for the GPU to finish what it was given, so it is not done at every step.
CHECK_EVERY_STEPS = 100

# Guessing scatters around the chance level; what is so many standard deviations above it is no
# guessing, however many epochs are looked at. Nor is half as much again as chance: in a set of some
# dozen images the scatter is so wide that slow learning hides in it.
SCATTER = 4.0
LARGEST_MARGIN = 0.5
STUCK_EPOCHS = 10


def check_loss(
    loss_sum: float, config: RunConfig, *, since: int, step: int, lr: float, precision: str
) -> None:
    """NonFiniteLossError if the sum of the losses is not finite, after `step` steps.

    It was finite after `since` steps.
    """
    if math.isfinite(loss_sum):
        return
    first = since + 1
    where = f"in step {step}" if first >= step else f"somewhere in steps {first} to {step}"
    raise NonFiniteLossError(
        f"the training loss became {loss_sum} {where}; look at lr ({config.lr:g} at its peak, "
        f"{lr:g} in step {step}), warmup_epochs ({config.warmup_epochs:g}), clip_norm "
        f"({config.clip_norm:g}{'' if config.clip_norm else ', which is none'}) and precision "
        f"({precision}). Checkpoints are from before it"
    )


def best_by_chance(labels: Tensor) -> float:
    """The highest top-1, in percent, that always naming the most frequent label may reach."""
    share = labels.bincount().max().item() / len(labels)
    margin = SCATTER * math.sqrt(share * (1 - share) / len(labels))
    return 100 * (share + min(margin, LARGEST_MARGIN * share))


def is_stuck(config: RunConfig, chance_epochs: int) -> bool:
    """Whether so many epochs in a row, in which nothing was learnt, are enough to say so."""
    return chance_epochs >= max(STUCK_EPOCHS, math.ceil(config.stuck_after * config.epochs))
