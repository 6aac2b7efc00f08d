"""SResNet: a one-channel spatial attention module in every block of a pre-activation ResNet.

Paper       None. The network of a comparison of 2019 on CIFAR-100 (University of North Texas,
            Autonomous Vehicle REU): SResNet50 is Xu Ma's (ma-xu/ResidualAttention,
            models/s_resnet.py, July 2019; S is for spatial), "with skips" and "with dilation" are
            Andrew Sansom's (qthequartermasterman/Experimental-Neural-Networks,
            models/spatial_net.py; blog post of 2019-07-23). Backbone: arXiv 1603.05027.
Provenance  Written for this project after both repositories. The diagram in the blog leaves out
            the stride and the upsampling; both repositories have them, and so do we.
Deviations  The mask is resized to the size of its input instead of by the factor 2, so that odd
            sizes work too; for even sizes it is the same. The recorded runs "with skips" and
            "with dilation" were trained with 1000 outputs on the 100 classes, by an oversight;
            here num_classes is what the caller says.
How sure    Parameter counts and MACs equal those of the original code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_models.resnet import convolution


class SpatialAttention(nn.Module):
    """Scale every position by a mask in (0, 1), computed from the mean over channels.

    (B, C, H, W) -> (B, C, H, W), with 46 parameters for any C, or 49 with `skips`, which lead past
    the convolutions of the mask, not past the module. `steepness` scales the mask before its
    sigmoid: 5 makes the original's "squishmoid". Source: the repositories named above.
    """

    def __init__(
        self, channels: int, skips: bool = False, dilation: int = 1, steepness: float = 1
    ) -> None:
        super().__init__()
        self.steepness = steepness
        self.conv1 = convolution(1, 1, 5, dilation=dilation, bias=True)
        self.conv2 = convolution(1, 1, 3, stride=2, dilation=dilation, bias=True)
        self.conv3 = convolution(1, 1, 3, dilation=dilation, bias=True)
        self.merge = convolution(3, 1, 1) if skips else None

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)  # (B, 1, H, W)
        local = F.relu(self.conv1(mean))
        coarse = F.relu(self.conv2(local))  # (B, 1, ceil(H/2), ceil(W/2))
        mask = self.conv3(F.interpolate(coarse, size=x.shape[-2:], mode="nearest"))  # (B, 1, H, W)
        if self.merge is not None:
            mask = self.merge(torch.cat([mask, mean, local], dim=1))
        return x * (self.steepness * mask).sigmoid()  # (B, C, H, W)
