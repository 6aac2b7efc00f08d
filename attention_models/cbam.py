"""CBAM, the convolutional block attention module: a gate for channels, then one for positions.

Paper       CBAM: Convolutional Block Attention Module, arXiv 1807.06521.
Provenance  Written for this project after the authors' released code (Jongchan/attention-module,
            MODELS/cbam.py and model_resnet.py), layer for layer, with its initialisation: biases
            are zero, and so is the scale of the batch norm, so that the gate for positions starts
            at one half everywhere and its convolution learns from the second step on.
Deviations  None from the released code, which has a batch norm in the gate for positions. The
            hidden width is C/16 but never below 4, which is what C = 64 has; only the *_small
            networks are wider by that. A maximum that stands in several places shares its gradient
            among them; the released code gives it to one of them.
How sure    Layers, parameter counts and MACs equal those of the released code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_models.resnet import convolution

MIN_HIDDEN = 4


class CBAM(nn.Module):
    """Scale every value by two factors in (0, 1), its channel's and then its position's.

    (B, C, H, W) -> (B, C, H, W). Source: arXiv 1807.06521, figures 1 and 2, and the released code.
    Training on maps of 1x1 needs at least two images. ResNet-50: 28,089,624 parameters on ImageNet.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, MIN_HIDDEN)
        squeeze, excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        nn.init.zeros_(squeeze.bias)
        nn.init.zeros_(excite.bias)
        self.channel_mlp = nn.Sequential(squeeze, nn.ReLU(), excite)
        norm = nn.BatchNorm2d(1, momentum=0.01)
        nn.init.zeros_(norm.weight)
        self.spatial_gate = nn.Sequential(convolution(2, 1, kernel), norm, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        channel = self.channel_mlp(x.mean(dim=(2, 3))) + self.channel_mlp(x.amax(dim=(2, 3)))
        x = x * channel.sigmoid()[:, :, None, None]  # (B, C, H, W)
        pooled = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
        return x * self.spatial_gate(pooled)  # the gate: (B, 2, H, W) -> (B, 1, H, W)
