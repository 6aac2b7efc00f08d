"""Parameters and multiply-accumulates of a network, counted without computing anything.

Counted are the products of convolutions and matrix products, as torch's own FLOP counter sees
them (it counts a multiply-accumulate as two operations). Additions, activations, normalisation,
pooling and resizing are not counted; most published tables leave them out too.
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from attention_models import OptionValue, create_model


class Counts(NamedTuple):
    """What a network costs: its parameters, and the multiply-accumulates for one image."""

    params: int
    macs: int


def count(module: nn.Module, input_size: int) -> Counts:
    """Count `module` for one RGB image of `input_size` x `input_size` pixels.

    The module may be on any device, including "meta", and is left as it was; no random number is
    drawn. What runs are stand-ins for its tensors on the meta device, which have shapes but no
    values.
    """
    state = chain(module.named_parameters(), module.named_buffers())
    stand_ins = {name: torch.empty_like(tensor, device="meta") for name, tensor in state}
    image = torch.empty(1, 3, input_size, input_size, device="meta")
    # Flag by flag: a caller may have frozen the batch norm of a network in training.
    training = {part: part.training for part in module.modules()}
    try:
        module.eval()  # batch norm refuses a single image in training
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(module, stand_ins, image)
    finally:
        for part, flag in training.items():
            part.training = flag
    params = sum(parameter.numel() for parameter in module.parameters())
    return Counts(params, counter.get_total_flops() // 2)


def count_by_name(name: str, num_classes: int, input_size: int, **options: OptionValue) -> Counts:
    """Count a network of the registry, built without memory for its weights."""
    with torch.device("meta"):
        model = create_model(name, num_classes, input_size, **options)
    return count(model, input_size)
