"""ECA, efficient channel attention: a scale for every channel, from its neighbouring channels.

Paper       ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks,
            arXiv 1910.03151.
Provenance  Written for this project after the paper's formulas and the authors' released code
            (BangguWu/ECANet, models/eca_module.py).
Deviations  None from the paper. The released networks do not compute the kernel but are given one
            for each stage, which is not always the one of the paper's formula: 3, 5, 5, 7 in
            ResNet-50 and 3, 3, 5, 7 in ResNet-101 and 152, where the formula has 5, 5, 5, 7.
How sure    Equals timm's module number for number, with its kernels, parameter count and MACs. The
            initialisation is torch's own, as in the released code. The paper's formulas: from
            accounts of it that agree, not from its own text.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


def kernel_size(channels: int) -> int:
    """The odd number nearest to (log2(channels) + 1) / 2, the larger of two; arXiv 1910.03151."""
    return int((math.log2(channels) + 1) / 2) | 1


class ECA(nn.Module):
    """Scale every channel by a factor in (0, 1): (B, C, H, W) -> (B, C, H, W).

    Source: arXiv 1910.03151, figure 2. ResNet-50: 25,557,118 parameters on ImageNet.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel = kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3))  # (B, C)
        gate = self.conv(mean[:, None]).sigmoid()  # (B, 1, C): the channels are the positions
        return x * gate[:, 0, :, None, None]  # (B, C, H, W)
