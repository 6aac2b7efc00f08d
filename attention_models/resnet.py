"""ResNet and pre-activation ResNet: the backbones that the attention modules are put into.

Papers      Deep Residual Learning for Image Recognition, arXiv 1512.03385 (ResNet);
            Identity Mappings in Deep Residual Networks, arXiv 1603.05027 (pre-activation).
Provenance  Written for this project. Post-activation: layers, parameter names and initialisation
            of torchvision's resnet.py, so that its weights load into the ImageNet form.
            Pre-activation: the network of the 2019 comparison (see sresnet.py), which follows
            kuangliu's pytorch-cifar: nothing between the first convolution and the first block,
            and nothing between the last block and the pooling.
Deviations  The stride of a bottleneck is on its 3x3 convolution (torchvision's "v1.5"); the paper
            has it on the first 1x1. The pre-activation paper ends in batch norm and ReLU; the
            network of the comparison does not, and neither does ours. The ImageNet form of a
            pre-activation network is ours: the usual 7x7 convolution and max pooling, without
            batch norm and ReLU. The *_small networks are ours, for tests and the demo.
How sure    Post-activation equals torchvision number for number. Pre-activation: parameter counts
            and MACs equal those of the original code; no trained weights exist to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypedDict, Unpack

from torch import Tensor, nn

from attention_models import UnknownNameError

Stem = Literal["cifar", "imagenet"]

# Makes a module that keeps the shape of (B, channels, H, W), given the channels. The default,
# nn.Identity, takes any argument and leaves no trace in the state dict. The shortcut is added to
# what the module returns in place: torch refuses that if its last step needs its result again for
# the backward pass, as a sigmoid does.
ModuleFactory = Callable[[int], nn.Module]

WIDTHS = (64, 128, 256, 512)
SMALL_WIDTHS = (8, 16, 32, 64)


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
    groups: int = 1,
) -> nn.Conv2d:
    """A 2d convolution of odd kernel that keeps the size at stride 1, initialised as in ResNet.

    Weights are drawn from N(0, 2 / (kernel**2 * out_channels)), biases are zero. It initialises
    here and not in a loop over the finished network, because such a loop would also overwrite what
    an attention module has chosen for itself.
    """
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=bias
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of a post-activation block that changes the shape; None where x does."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
    )


def _bare_projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of a pre-activation block that changes the shape; None where x does."""
    if stride == 1 and in_channels == out_channels:
        return None
    return convolution(in_channels, out_channels, 1, stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, in, H, W) -> (B, width, H/stride, W/stride).

    Source: arXiv 1512.03385, figure 5 left. `attention` makes a module for the end of the residual
    branch, before the shortcut is added.
    """

    expansion = 1
    pre_activation = False

    def __init__(
        self, in_channels: int, width: int, stride: int, attention: ModuleFactory = nn.Identity
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(width)
        self.downsample = _projection(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv1(x)  # (B, width, H/stride, W/stride)
        branch = self.relu(self.bn1(branch))
        branch = self.conv2(branch)
        branch = self.attention(self.bn2(branch))
        branch += x if self.downsample is None else self.downsample(x)
        return self.relu(branch)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: (B, in, H, W) -> (B, 4 width, H/stride, ...).

    Source: arXiv 1512.03385, figure 5 right; `attention` as in BasicBlock.
    """

    expansion = 4
    pre_activation = False

    def __init__(
        self, in_channels: int, width: int, stride: int, attention: ModuleFactory = nn.Identity
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(out_channels)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        # Name by name, so that in evaluation every map is released as soon as the next is there.
        branch = self.conv1(x)  # (B, width, H, W)
        branch = self.relu(self.bn1(branch))
        branch = self.conv2(branch)  # (B, width, H/stride, W/stride)
        branch = self.relu(self.bn2(branch))
        branch = self.conv3(branch)  # (B, 4 width, H/stride, W/stride)
        branch = self.attention(self.bn3(branch))
        branch += x if self.downsample is None else self.downsample(x)
        return self.relu(branch)


class PreActBasicBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU; shapes as in BasicBlock.

    Source: arXiv 1603.05027, figure 4e. Where the shape changes, the shortcut is a 1x1 convolution
    of the pre-activated input, without batch norm, as in kuangliu's code.
    """

    expansion = 1
    pre_activation = True

    def __init__(
        self, in_channels: int, width: int, stride: int, attention: ModuleFactory = nn.Identity
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(width)
        self.downsample = _bare_projection(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        branch = self.conv1(activated)  # (B, width, H/stride, W/stride)
        branch = self.attention(self.conv2(self.relu(self.bn2(branch))))
        branch += x if self.downsample is None else self.downsample(activated)
        return branch


class PreActBottleneck(nn.Module):
    """A bottleneck with batch norm and ReLU before each convolution; shapes as in Bottleneck.

    Source and shortcut as in PreActBasicBlock.
    """

    expansion = 4
    pre_activation = True

    def __init__(
        self, in_channels: int, width: int, stride: int, attention: ModuleFactory = nn.Identity
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = convolution(in_channels, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, out_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(out_channels)
        self.downsample = _bare_projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        branch = self.conv1(activated)  # (B, width, H, W)
        branch = self.conv2(self.relu(self.bn2(branch)))  # (B, width, H/stride, W/stride)
        branch = self.conv3(self.relu(self.bn3(branch)))
        branch = self.attention(branch)  # (B, 4 width, H/stride, W/stride)
        branch += x if self.downsample is None else self.downsample(activated)
        return branch


Block = type[BasicBlock] | type[Bottleneck] | type[PreActBasicBlock] | type[PreActBottleneck]


def stage(
    block: Callable[[int, int, int], nn.Module],
    depth: int,
    in_channels: int,
    out_channels: int,
    width: int,
    stride: int,
) -> nn.Sequential:
    """`depth` blocks, made with (in_channels, width, stride); the first changes the shape."""
    first = block(in_channels, width, stride)
    return nn.Sequential(first, *(block(out_channels, width, 1) for _ in range(depth - 1)))


class ResNet(nn.Module):
    """Four stages of one kind of block: (B, 3, H, W) -> logits (B, num_classes), any H and W.

    `attention` makes the module in every block, `between_stages` those after stages 1, 2 and 3;
    both are given the number of channels there. `dropout` acts before the classifier.
    """

    def __init__(
        self,
        block: Block,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        stem: Stem,
        attention: ModuleFactory = nn.Identity,
        between_stages: ModuleFactory = nn.Identity,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if stem not in ("cifar", "imagenet"):
            raise UnknownNameError("stem", stem, ("cifar", "imagenet"))
        on_imagenet = stem == "imagenet"
        channels = [width * block.expansion for width in widths]

        def layer(index: int, in_channels: int, stride: int) -> nn.Sequential:
            make = partial(block, attention=attention)
            return stage(make, depths[index], in_channels, channels[index], widths[index], stride)

        self.conv1 = (
            convolution(3, widths[0], 7, stride=2) if on_imagenet else convolution(3, widths[0], 3)
        )
        # A pre-activation block begins with its own batch norm and ReLU.
        self.bn1 = nn.Identity() if block.pre_activation else nn.BatchNorm2d(widths[0])
        self.relu = nn.Identity() if block.pre_activation else nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if on_imagenet else nn.Identity()
        self.layer1 = layer(0, widths[0], stride=1)
        self.after1 = between_stages(channels[0])
        self.layer2 = layer(1, channels[0], stride=2)
        self.after2 = between_stages(channels[1])
        self.layer3 = layer(2, channels[1], stride=2)
        self.after3 = between_stages(channels[2])
        self.layer4 = layer(3, channels[2], stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[3], num_classes)
        if block.pre_activation:
            nn.init.normal_(self.fc.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (B, widths[0], H, W); ImageNet form: H/2, W/2
        x = self.maxpool(x)  # ImageNet form: H/4, W/4, written H, W from here
        x = self.after1(self.layer1(x))  # (B, channels[0], H, W)
        x = self.after2(self.layer2(x))  # (B, channels[1], H/2, W/2)
        x = self.after3(self.layer3(x))  # (B, channels[2], H/4, W/4)
        x = self.layer4(x)  # (B, channels[3], H/8, W/8)
        x = x.mean(dim=(2, 3))  # (B, channels[3])
        return self.fc(self.dropout(x))  # (B, num_classes)


class Parts(TypedDict, total=False):
    """What a network below may have besides its layers; see ResNet."""

    attention: ModuleFactory
    between_stages: ModuleFactory
    dropout: float


def resnet18(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """ResNet-18: 11,173,962 parameters on CIFAR-10, 11,689,512 on ImageNet. arXiv 1512.03385."""
    return ResNet(BasicBlock, (2, 2, 2, 2), WIDTHS, num_classes, stem, **parts)


def resnet34(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """ResNet-34: 21,282,122 parameters on CIFAR-10, 21,797,672 on ImageNet. arXiv 1512.03385."""
    return ResNet(BasicBlock, (3, 4, 6, 3), WIDTHS, num_classes, stem, **parts)


def resnet50(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """ResNet-50: 23,520,842 parameters on CIFAR-10, 25,557,032 on ImageNet. arXiv 1512.03385."""
    return ResNet(Bottleneck, (3, 4, 6, 3), WIDTHS, num_classes, stem, **parts)


def resnet101(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """ResNet-101: 42,512,970 parameters on CIFAR-10, 44,549,160 on ImageNet. arXiv 1512.03385."""
    return ResNet(Bottleneck, (3, 4, 23, 3), WIDTHS, num_classes, stem, **parts)


def resnet152(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """ResNet-152: 60,192,808 parameters on ImageNet. arXiv 1512.03385."""
    return ResNet(Bottleneck, (3, 8, 36, 3), WIDTHS, num_classes, stem, **parts)


def preact_resnet18(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """Pre-activation ResNet-18: 11,171,146 parameters on CIFAR-10. arXiv 1603.05027."""
    return ResNet(PreActBasicBlock, (2, 2, 2, 2), WIDTHS, num_classes, stem, **parts)


def preact_resnet50(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """Pre-activation ResNet-50: 23,509,066 parameters on CIFAR-10. arXiv 1603.05027."""
    return ResNet(PreActBottleneck, (3, 4, 6, 3), WIDTHS, num_classes, stem, **parts)


def resnet_small(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """One narrow BasicBlock per stage: 78,002 parameters for 10 classes. From no paper."""
    return ResNet(BasicBlock, (1, 1, 1, 1), SMALL_WIDTHS, num_classes, stem, **parts)


def preact_resnet_small(num_classes: int, stem: Stem, **parts: Unpack[Parts]) -> ResNet:
    """One narrow PreActBottleneck per stage: 128,530 parameters for 10 classes. From no paper."""
    return ResNet(PreActBottleneck, (1, 1, 1, 1), SMALL_WIDTHS, num_classes, stem, **parts)
