"""BAM, the bottleneck attention module, after stages 1, 2 and 3 of a ResNet.

Paper       BAM: Bottleneck Attention Module, arXiv 1807.06514.
Provenance  Written for this project after the authors' released code (Jongchan/attention-module,
            MODELS/bam.py and model_resnet.py), layer for layer. bam_preact_*: after the BAM of the
            2019 comparison (see sresnet.py), which has no batch norm in its channel gate.
Deviations  The paper and its released code differ. The code multiplies the two gates before the
            sigmoid (combine="product", the default: its published weights are of this form); the
            paper adds them (combine="sum") and ends both gates in a batch norm that the code does
            not have. Here "sum" changes nothing but how the gates meet, so that both forms have
            the same parameters and differ in one thing. The hidden width is C/16 but never below
            4, which is what C = 64 has; only the *_small networks are wider by that. The linear
            layer that classifies is initialised as in resnet.py.
How sure    Layers and parameter counts equal those of the released code. The paper's formulas: from
            two accounts of it that agree, not from its own text.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor, nn

from attention_models import UnknownNameError
from attention_models.resnet import (
    ResNet,
    Stem,
    convolution,
    preact_resnet50,
    preact_resnet_small,
    resnet18,
    resnet50,
    resnet101,
    resnet_small,
)

Combine = Literal["product", "sum"]

REDUCTION = 16
MIN_HIDDEN = 4
DILATION = 4


def _linear(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.bias)
    return layer


class BAM(nn.Module):
    """Scale every value by one to two: x * (1 + sigmoid(channel gate, spatial gate)).

    (B, C, H, W) -> (B, C, H, W). Source: arXiv 1807.06514, figure 2, and the released code. With
    `channel_batch_norm` it needs at least two images in training.
    """

    def __init__(
        self, channels: int, combine: Combine = "product", channel_batch_norm: bool = True
    ) -> None:
        super().__init__()
        if combine not in ("product", "sum"):
            raise UnknownNameError("way to combine the gates", combine, ("product", "sum"))
        self.combine = combine
        hidden = max(channels // REDUCTION, MIN_HIDDEN)
        self.channel_gate = nn.Sequential(
            _linear(channels, hidden),
            nn.BatchNorm1d(hidden) if channel_batch_norm else nn.Identity(),
            nn.ReLU(),
            _linear(hidden, channels),
        )
        self.spatial_gate = nn.Sequential(
            convolution(channels, hidden, 1, bias=True),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            convolution(hidden, hidden, 3, dilation=DILATION, bias=True),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            convolution(hidden, hidden, 3, dilation=DILATION, bias=True),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            convolution(hidden, 1, 1, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        channel = self.channel_gate(x.mean(dim=(2, 3)))[:, :, None, None]  # (B, C, 1, 1)
        spatial = self.spatial_gate(x)  # (B, 1, H, W)
        gate = channel * spatial if self.combine == "product" else channel + spatial  # (B, C, H, W)
        return x * (1 + gate.sigmoid())


def bam_resnet18(num_classes: int, stem: Stem, combine: Combine) -> ResNet:
    """ResNet-18 with BAM: 11,196,953 parameters on CIFAR-10. arXiv 1807.06514."""
    return resnet18(num_classes, stem, between_stages=partial(BAM, combine=combine))


def bam_resnet50(num_classes: int, stem: Stem, combine: Combine) -> ResNet:
    """ResNet-50 with BAM: 25,915,099 parameters on ImageNet. arXiv 1807.06514."""
    return resnet50(num_classes, stem, between_stages=partial(BAM, combine=combine))


def bam_resnet101(num_classes: int, stem: Stem, combine: Combine) -> ResNet:
    """ResNet-101 with BAM: 44,907,227 parameters on ImageNet. arXiv 1807.06514."""
    return resnet101(num_classes, stem, between_stages=partial(BAM, combine=combine))


def bam_resnet_small(num_classes: int, stem: Stem, combine: Combine) -> ResNet:
    """resnet_small with BAM, for tests and the demo; from no paper."""
    return resnet_small(num_classes, stem, between_stages=partial(BAM, combine=combine))


def bam_preact_resnet50(num_classes: int, stem: Stem, combine: Combine) -> ResNet:
    """Pre-activation ResNet-50 with BAM, as in the 2019 comparison: 24,051,319 on CIFAR-100."""
    bam = partial(BAM, combine=combine, channel_batch_norm=False)
    return preact_resnet50(num_classes, stem, between_stages=bam)


def bam_preact_resnet_small(num_classes: int, stem: Stem, combine: Combine) -> ResNet:
    """preact_resnet_small with the BAM of bam_preact_resnet50; from no paper."""
    bam = partial(BAM, combine=combine, channel_batch_norm=False)
    return preact_resnet_small(num_classes, stem, between_stages=bam)
