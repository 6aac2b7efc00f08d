"""Residual Attention Networks: modules whose soft mask comes from a small hourglass of units.

Paper       Residual Attention Network for Image Classification, arXiv 1704.06904.
Provenance  Written for this project after the network files that the authors published
            (fwang91/residual-attention-network, four *-deploy.prototxt) and the Interp layer of
            the Caffe that they were trained with: bilinear, corners aligned, its second input
            giving nothing but the size. AttentionNeXt has the unit of ResNeXt, arXiv 1611.05431.
Deviations  The pooling before the classifier is over all positions, which is what the published
            7x7 does at 224 pixels, so that any size works. The "cifar" stem of the ImageNet
            networks is ours: a 3x3 convolution, batch norm and ReLU, and no pooling. Linear layers
            start as torch has it; the published files do not say how.
How sure    ImageNet: layers, parameters and MACs equal those of the published files, in which
            Attention-92 is larger than the paper says (52.5 M parameters, not 51.3 M); no trained
            weights exist to compare with. CIFAR: A FIT, NOT THE AUTHORS' NETWORK. The paper tells
            the depth, two units at each stage beside the modules, and rounded parameter counts;
            widths and masks are unpublished. Ours has the widths of pre-activation ResNet-164 (16,
            then 64, 128, 256) and the masks of the ImageNet networks; on CIFAR-10 that makes 1.84,
            5.08 and 8.75 M parameters where the paper has 1.9, 5.1 and 8.6 M. No natural structure
            that we tried meets all three; the next best one pools two times instead of three in
            stage 1 (1.81, 5.00 and 8.61 M). Networks in circulation as "CIFAR Attention-92" with
            12 M parameters and more are wider and cannot be compared with the paper's 1.9 M.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import interpolate

from attention_models import UnknownNameError
from attention_models.resnet import Bottleneck, PreActBottleneck, Stem, convolution

GROUPS = 32

# How often the masks of stages 1, 2 and 3 pool. In every stage this ends at the same size: at 7x7
# of 224 pixels, and at 4x4 of CIFAR's 32.
LEVELS = (3, 2, 1)

# The paper's (p, t, r): units before and again after the two branches, in the trunk, and after
# each pooling of the mask.
UnitCounts = tuple[int, int, int]


class ResNeXtUnit(Bottleneck):
    """A bottleneck of half the width in 32 groups: (B, in, H, W) -> (B, 2 width, H/stride, ...).

    Source: arXiv 1611.05431, figure 3c.
    """

    expansion = 2

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__(in_channels, width, stride)
        self.conv2 = convolution(width, width, 3, stride, groups=GROUPS)


Unit = type[PreActBottleneck] | type[ResNeXtUnit]


def _units(unit: Unit, channels: int, count: int) -> nn.Sequential:
    width = channels // unit.expansion
    return nn.Sequential(*(unit(channels, width, 1) for _ in range(count)))


def _normalise_first(unit: Unit, channels: int) -> list[nn.Module]:
    """What stands before a layer that reads the sum that a pre-activation unit ends in."""
    return [nn.BatchNorm2d(channels), nn.ReLU()] if unit.pre_activation else []


class Hourglass(nn.Module):
    """Pool, look at the smaller map, and come back to the size of x: (B, C, H, W) -> the same.

    Source: the mask branches of the published files. What lies between the first pooling and the
    last interpolation is again an hourglass, with a unit on the path that goes around it.
    """

    def __init__(self, unit: Unit, channels: int, levels: int, units_down: int) -> None:
        super().__init__()
        make = partial(_units, unit, channels)
        # Caffe's pooling: no padding, and a window that juts out at the end counts.
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.down = make(units_down)
        self.skip = make(1 if levels > 1 else 0)
        self.inner = Hourglass(unit, channels, levels - 1, units_down) if levels > 1 else None
        self.up = make(1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        x = self.down(self.pool(x))  # (B, C, H/2, W/2)
        if self.inner is not None:
            x = self.skip(x) + self.inner(x)
        return interpolate(self.up(x), size, mode="bilinear", align_corners=True)  # (B, C, H, W)


class AttentionModule(nn.Module):
    """Units, then trunk * (1 + mask), then units again: (B, C, H, W) -> the same.

    Source: arXiv 1704.06904, figure 2. The mask has a value for each channel and position.
    """

    def __init__(self, unit: Unit, channels: int, levels: int, units: UnitCounts) -> None:
        super().__init__()
        p, t, r = units
        self.before = _units(unit, channels, p)
        self.trunk = _units(unit, channels, t)
        self.mask = nn.Sequential(
            Hourglass(unit, channels, levels, r),
            *_normalise_first(unit, channels),
            convolution(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            convolution(channels, channels, 1),
            nn.Sigmoid(),
        )
        self.after = _units(unit, channels, p)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        # trunk * (1 + mask) would keep one more map for the backward pass.
        return self.after(trunk * self.mask(x) + trunk)


class Stage(NamedTuple):
    """One unit that changes the shape, then modules, then further units."""

    channels: int
    modules: int
    levels: int
    units_after: int


class ResidualAttentionNetwork(nn.Module):
    """Stages of one kind of unit, most with modules: (B, 3, H, W) -> logits (B, num_classes).

    H and W are at least 32 with the ImageNet stem and 8 with the CIFAR stem.
    """

    def __init__(
        self,
        unit: Unit,
        stem_channels: int,
        stages: Sequence[Stage],
        units: UnitCounts,
        num_classes: int,
        stem: Stem,
    ) -> None:
        super().__init__()
        if stem not in ("cifar", "imagenet"):
            raise UnknownNameError("stem", stem, ("cifar", "imagenet"))
        on_imagenet = stem == "imagenet"
        self.stem = nn.Sequential(
            convolution(3, stem_channels, 7, stride=2)
            if on_imagenet
            else convolution(3, stem_channels, 3),
            nn.BatchNorm2d(stem_channels),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True) if on_imagenet else nn.Identity(),
        )
        self.stages = nn.Sequential()
        in_channels = stem_channels
        for index, (channels, modules, levels, units_after) in enumerate(stages):
            stride = 1 if index == 0 else 2
            self.stages.append(
                nn.Sequential(
                    unit(in_channels, channels // unit.expansion, stride),
                    *(AttentionModule(unit, channels, levels, units) for _ in range(modules)),
                    *_units(unit, channels, units_after),
                )
            )
            in_channels = channels
        self.last = nn.Sequential(*_normalise_first(unit, in_channels))
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (B, stem_channels, H, W); ImageNet form: H/4, W/4, H and W from here
        x = self.stages(x)  # (B, C, H/8, W/8), C of the last of four stages; of three: H/4, W/4
        x = self.last(x).mean(dim=(2, 3))  # (B, C)
        return self.fc(x)  # (B, num_classes)


def _imagenet(
    unit: Unit, num_classes: int, stem: Stem, modules: tuple[int, int, int]
) -> ResidualAttentionNetwork:
    stages = [
        Stage(channels, count, levels, units_after=0)
        for channels, count, levels in zip((256, 512, 1024), modules, LEVELS, strict=True)
    ]
    stages.append(Stage(2048, modules=0, levels=0, units_after=2))
    return ResidualAttentionNetwork(unit, 64, stages, (1, 2, 1), num_classes, stem)


def residual_attention(
    num_classes: int, stem: Stem, modules: tuple[int, int, int]
) -> ResidualAttentionNetwork:
    """Attention-56 with modules (1, 1, 1) in its stages: 31,810,728 parameters on ImageNet.

    Attention-92 with (1, 2, 3): 52,466,344. arXiv 1704.06904.
    """
    return _imagenet(PreActBottleneck, num_classes, stem, modules)


def attention_next(
    num_classes: int, stem: Stem, modules: tuple[int, int, int]
) -> ResidualAttentionNetwork:
    """AttentionNeXt-56 with modules (1, 1, 1) in its stages: 31,318,824 parameters on ImageNet.

    AttentionNeXt-92 with (1, 2, 3): 52,102,952. arXiv 1704.06904.
    """
    return _imagenet(ResNeXtUnit, num_classes, stem, modules)


def residual_attention_cifar(
    num_classes: int, modules: int, units: UnitCounts
) -> ResidualAttentionNetwork:
    """Attention-92, -236 and -452 for CIFAR, a fit: see the top of this file.

    `modules` in each stage and `units` are 2 and (1, 2, 1), 6 and (1, 2, 1), 6 and (2, 4, 3):
    1,841,274, 5,084,794 and 8,745,850 parameters on CIFAR-10.
    """
    stages = [
        Stage(channels, modules, levels, units_after=1)
        for channels, levels in zip((64, 128, 256), LEVELS, strict=True)
    ]
    return ResidualAttentionNetwork(PreActBottleneck, 16, stages, units, num_classes, "cifar")
