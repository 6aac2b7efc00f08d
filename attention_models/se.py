"""SE, squeeze-and-excitation: a scale for every channel, computed from the means of all channels.

Paper       Squeeze-and-Excitation Networks, arXiv 1709.01507.
Provenance  Written for this project after the paper's formula and the layers of the authors'
            released network (hujie-frank/SENet, models/SE-ResNet-50.prototxt): two 1x1
            convolutions with biases on the mean over positions.
Deviations  The hidden width is C/16 but never below 4, which is what C = 64 has; only the *_small
            networks are wider by that.
How sure    Layers and hidden widths equal those of the released ResNet-50. Equals timm's module
            number for number, with its parameter count and MACs. The initialisation is that of the
            network's other convolutions (see resnet.py); the released files do not say theirs.
"""

from __future__ import annotations

from torch import Tensor, nn

from attention_models.resnet import convolution

MIN_HIDDEN = 4


class SE(nn.Module):
    """Scale every channel by a factor in (0, 1): (B, C, H, W) -> (B, C, H, W).

    Source: arXiv 1709.01507, figure 3. ResNet-50: 28,088,024 parameters on ImageNet.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, MIN_HIDDEN)
        self.gate = nn.Sequential(
            convolution(channels, hidden, 1, bias=True),
            nn.ReLU(),
            convolution(hidden, channels, 1, bias=True),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.gate(mean)  # (B, C, H, W)
