"""SimAM: a scale for every single value, from how far it stands out of its channel; no parameters.

Paper       SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks,
            ICML 2021, PMLR 139:11863-11874; not on arXiv.
Provenance  Written for this project after the formula of the authors' released code
            (ZjjConan/SimAM, networks/ and README).
Deviations  The authors put it right after the 3x3 convolution of a bottleneck (in a basic block:
            after the second), before the batch norm; here it stands where all modules stand, at the
            end of the residual branch. A map of 1x1, where the released code divides zero by zero,
            is scaled by sigmoid(1/2), as every constant map is.
How sure    The formula is that of the released code, whose variance divides by H*W - 1; the text of
            the paper was not at hand. The authors' default regulariser is 1e-4; their ImageNet
            networks were trained with 0.1.
"""

from __future__ import annotations

from torch import Tensor, nn


class SimAM(nn.Module):
    """Scale every value by sigmoid((x - mean)^2 / (4 (variance + regulariser)) + 1/2).

    (B, C, H, W) -> (B, C, H, W); mean and variance are those of one channel of one image, so that
    the scale is at least 0.62 and nearly 1 for values that stand out. Source: PMLR 139, equation 5;
    `regulariser` is its lambda. It has no parameters, so that `channels` changes nothing.
    """

    def __init__(self, channels: int, regulariser: float = 1e-4) -> None:
        super().__init__()
        self.regulariser = regulariser

    def forward(self, x: Tensor) -> Tensor:
        positions = x.shape[2] * x.shape[3]
        squares = (x - x.mean(dim=(2, 3), keepdim=True)).square()  # (B, C, H, W)
        # A mean and a correction, not a sum: in half precision the sum of a map could overflow.
        correction = positions / max(positions - 1, 1)
        variance = squares.mean(dim=(2, 3), keepdim=True) * correction  # (B, C, 1, 1)
        return x * (squares / (4 * (variance + self.regulariser)) + 0.5).sigmoid()
