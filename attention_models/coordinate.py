"""Coordinate attention: a scale for every row and one for every column, in every channel.

Paper       Coordinate Attention for Efficient Mobile Network Design, arXiv 2103.02907.
Provenance  Written for this project after the authors' released code (houqb/CoordAttention,
            coordatt.py and mbv2_ca.py, with its initialisation) and timm's sizes for ResNets.
Deviations  The authors have it in mobile networks only, with hidden width C/32 and biases. In a
            ResNet we follow timm: no biases, and C/24 hidden channels to the nearest multiple of 8,
            which gives a ResNet-50 about the parameters that SE gives it. The authors' module is
            CoordinateAttention(C, reduction=32, biases=True), for C up to 256 and multiples of 256.
            The hidden width is never below 8, theirs and ours.
How sure    Equals timm's module number for number, with its parameter count and MACs, and in the
            other form the authors' layers and formula.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_models.resnet import convolution

HIDDEN_MULTIPLE = 8


class CoordinateAttention(nn.Module):
    """Scale every value by two factors in (0, 1), its row's and its column's, channel by channel.

    (B, C, H, W) -> (B, C, H, W). Rows and columns share the layers that squeeze their means, and
    its batch norm. Source: arXiv 2103.02907, figure 2c. ResNet-50: 28,083,464 parameters on
    ImageNet.
    """

    def __init__(self, channels: int, reduction: int = 24, biases: bool = False) -> None:
        super().__init__()
        nearest = (channels // reduction + HIDDEN_MULTIPLE // 2) // HIDDEN_MULTIPLE
        hidden = max(nearest, 1) * HIDDEN_MULTIPLE
        self.squeeze = nn.Sequential(
            convolution(channels, hidden, 1, bias=biases),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
        )
        self.row_gate = nn.Sequential(convolution(hidden, channels, 1, bias=biases), nn.Sigmoid())
        self.column_gate = nn.Sequential(
            convolution(hidden, channels, 1, bias=biases), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(dim=3, keepdim=True)  # (B, C, H, 1)
        columns = x.mean(dim=2, keepdim=True).transpose(2, 3)  # (B, C, W, 1)
        both = self.squeeze(torch.cat([rows, columns], dim=2))  # (B, hidden, H + W, 1)
        rows, columns = both.split([x.shape[2], x.shape[3]], dim=2)
        column_gate = self.column_gate(columns).transpose(2, 3)  # (B, C, 1, W)
        return x * self.row_gate(rows) * column_gate  # (B, C, H, W)
