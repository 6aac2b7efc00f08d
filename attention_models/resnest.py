"""ResNeSt: a ResNet-D whose 3x3 convolutions are weighted sums of several splits.

Paper       ResNeSt: Split-Attention Networks, arXiv 2004.08955.
Provenance  Written for this project. Layers, parameter names and initial spread are those of timm's
            resnest.py, which follows the authors' released code, so that the published weights load
            into the ImageNet form. "d" in a name is a deep stem of width 32, "e" one of width 64;
            "4s2x40d" is radix 4, cardinality 2 and base width 40.
            DropBlock stands where the released code for MXNet has it, with squares of 3 as there:
            in stages 3 and 4, after all three convolutions of a block.
Deviations  From the released recipe: dropout before the classifier and DropBlock are off unless
            they are asked for (the recipe has 0.2 in 200e and 269e, and 0.1 in all networks); its
            DropBlock has a new rate once per epoch. From timm: no drop path (its own
            acts on the shortcut, and only where the shape changes), and biases of the attention
            start at zero. As in both, the last batch norm of a block starts with scale zero ("last
            gamma"): at first every block is its shortcut. The CIFAR form is ours: the same stem at
            stride 1 and no max pooling, so that weights keep their names and shapes.
How sure    With the same weights, logits and gradients equal timm's up to rounding; so do names,
            parameters and MACs (the authors print 5.39 GMACs for 50d, this is 5.37). The paper's
            own text was not at hand. For the CIFAR form no published result exists to compare with.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from attention_models import UnknownNameError
from attention_models.drop import DropBlock
from attention_models.resnet import WIDTHS, Stem, convolution, stage

REDUCTION = 4
MIN_HIDDEN = 32
DROP_BLOCK_PX = 3


class Variant(NamedTuple):
    """What sets one ResNeSt apart from the others."""

    depths: tuple[int, int, int, int]
    stem_width: int = 32
    radix: int = 2
    cardinality: int = 1
    base_width: int = 64  # channels of a cardinal group in the first stage
    pool_first: bool = False  # pooling stands before the split attention, not after it


VARIANTS = {
    "14d": Variant((1, 1, 1, 1)),
    "26d": Variant((2, 2, 2, 2)),
    "50d": Variant((3, 4, 6, 3)),
    "101e": Variant((3, 4, 23, 3), stem_width=64),
    "200e": Variant((3, 24, 36, 3), stem_width=64),
    "269e": Variant((3, 30, 48, 8), stem_width=64),
    "50d_1s4x24d": Variant((3, 4, 6, 3), radix=1, cardinality=4, base_width=24, pool_first=True),
    "50d_4s2x40d": Variant((3, 4, 6, 3), radix=4, cardinality=2, base_width=40, pool_first=True),
}


class SplitAttention(nn.Module):
    """A 3x3 convolution into `radix` splits, and their weighted sum: (B, C, H, W) -> same shape.

    Source: arXiv 2004.08955. What all splits hold in the mean decides how they are weighted, in
    each of `cardinality` groups of channels by itself. The weights of a channel sum to one; a
    single split is weighted with a sigmoid. Needs at least two images in training.
    """

    def __init__(self, channels: int, radix: int, cardinality: int) -> None:
        super().__init__()
        self.radix, self.cardinality = radix, cardinality
        hidden = max(channels * radix // REDUCTION, MIN_HIDDEN)
        self.conv = convolution(channels, channels * radix, 3, groups=cardinality * radix)
        self.bn0 = nn.BatchNorm2d(channels * radix)
        self.fc1 = convolution(channels, hidden, 1, groups=cardinality, bias=True)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.fc2 = convolution(hidden, channels * radix, 1, groups=cardinality, bias=True)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn0(self.conv(x)))  # (B, radix C, H, W), split by split
        # Positions first and the division last: nothing but x is large then, and the gradient of a
        # sum, unlike that of a mean, is not written out in the size of x.
        total = x.sum(dim=(2, 3), keepdim=True).unflatten(1, (self.radix, -1)).sum(dim=1)
        mean = total / (x.shape[2] * x.shape[3])  # (B, C, 1, 1)
        weights = self.fc2(self.relu(self.bn1(self.fc1(mean))))  # (B, radix C, 1, 1)
        if self.radix == 1:
            return x * weights.sigmoid()
        # The channels of fc2 go group by group, (group, split, channel), those of x split by split.
        weights = weights.unflatten(1, (self.cardinality, self.radix, -1)).softmax(dim=2)
        weights = weights.transpose(1, 2).flatten(1, 3)  # (B, radix C, 1, 1), split by split
        weights = weights.to(x.dtype)  # autocast on a GPU has made them float32
        splits = zip(x.chunk(self.radix, dim=1), weights.chunk(self.radix, dim=1), strict=True)
        split, weight = next(splits)
        x = split * weight  # (B, C, H, W)
        for split, weight in splits:
            x = x.addcmul_(split, weight)
        return x


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of a block that changes the shape, pooled where it shrinks; None elsewhere."""
    if stride == 1 and in_channels == out_channels:
        return None
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(
        nn.Identity() if stride == 1 else pool,
        convolution(in_channels, out_channels, 1),
        nn.BatchNorm2d(out_channels),
    )


class ResNeStBottleneck(nn.Module):
    """1x1, split attention, 1x1 and a shortcut: (B, in, H, W) -> (B, 4 width, H/stride, W/stride).

    Source: arXiv 2004.08955. Average pooling changes the size, in the shortcut too; odd sizes are
    rounded up. `drop_block` is the probability of DropBlock after each convolution.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        variant: Variant,
        drop_block: float,
    ) -> None:
        super().__init__()
        channels = width * variant.base_width // WIDTHS[0] * variant.cardinality
        out_channels = width * self.expansion
        pool = nn.Identity() if stride == 1 else nn.AvgPool2d(3, stride, padding=1)
        self.conv1 = convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.drop1, self.drop2, self.drop3 = (
            DropBlock(drop_block, DROP_BLOCK_PX) if drop_block else nn.Identity() for _ in range(3)
        )
        self.pool_first = pool if variant.pool_first else nn.Identity()
        self.conv2 = SplitAttention(channels, variant.radix, variant.cardinality)
        self.pool_last = nn.Identity() if variant.pool_first else pool
        self.conv3 = convolution(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn3.weight)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu(self.drop1(self.bn1(self.conv1(x))))  # (B, channels, H, W)
        branch = self.pool_first(branch)  # H/stride, W/stride here or two lines on
        branch = self.drop2(self.conv2(branch))
        branch = self.pool_last(branch)  # (B, channels, H/stride, W/stride)
        branch = self.drop3(self.bn3(self.conv3(branch)))  # (B, 4 width, H/stride, W/stride)
        shortcut = x if self.downsample is None else self.downsample(x)  # late, to save memory
        return self.relu(branch.add_(shortcut))


class ResNeSt(nn.Module):
    """A deep stem and four stages: (B, 3, H, W) -> logits (B, num_classes), any H and W."""

    def __init__(
        self,
        variant: Variant,
        num_classes: int,
        stem: Stem,
        dropout: float = 0.0,
        drop_block: float = 0.0,
    ) -> None:
        super().__init__()
        if stem not in ("cifar", "imagenet"):
            raise UnknownNameError("stem", stem, ("cifar", "imagenet"))
        on_imagenet = stem == "imagenet"
        channels = [width * ResNeStBottleneck.expansion for width in WIDTHS]

        def layer(index: int, in_channels: int, stride: int) -> nn.Sequential:
            dropped = drop_block if index >= 2 else 0.0  # in stages 3 and 4
            make = partial(ResNeStBottleneck, variant=variant, drop_block=dropped)
            depth = variant.depths[index]
            return stage(make, depth, in_channels, channels[index], WIDTHS[index], stride)

        self.conv1 = nn.Sequential(
            convolution(3, variant.stem_width, 3, stride=2 if on_imagenet else 1),
            nn.BatchNorm2d(variant.stem_width),
            nn.ReLU(inplace=True),
            convolution(variant.stem_width, variant.stem_width, 3),
            nn.BatchNorm2d(variant.stem_width),
            nn.ReLU(inplace=True),
            convolution(variant.stem_width, 2 * variant.stem_width, 3),
        )
        self.bn1 = nn.BatchNorm2d(2 * variant.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if on_imagenet else nn.Identity()
        self.layer1 = layer(0, 2 * variant.stem_width, stride=1)
        self.layer2 = layer(1, channels[0], stride=2)
        self.layer3 = layer(2, channels[1], stride=2)
        self.layer4 = layer(3, channels[2], stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 2 stem_width, H, W); ImageNet form: H/2, W/2
        x = self.maxpool(x)  # ImageNet form: H/4, W/4, written H, W from here
        x = self.layer1(x)  # (B, 256, H, W)
        x = self.layer2(x)  # (B, 512, H/2, W/2)
        x = self.layer3(x)  # (B, 1024, H/4, W/4)
        x = self.layer4(x)  # (B, 2048, H/8, W/8)
        x = x.mean(dim=(2, 3))  # (B, 2048)
        return self.fc(self.dropout(x))  # (B, num_classes)


def resnest(
    num_classes: int, variant: str, stem: Stem, dropout: float = 0.0, drop_block: float = 0.0
) -> ResNeSt:
    """The ResNeSt of that name: "50d" has 27,483,240 parameters on ImageNet. arXiv 2004.08955."""
    if variant not in VARIANTS:
        raise UnknownNameError("variant of ResNeSt", variant, VARIANTS)
    return ResNeSt(VARIANTS[variant], num_classes, stem, dropout, drop_block)
