"""LambdaNetworks: layers that turn their surroundings into a linear function of each position.

Paper       LambdaNetworks: Modeling Long-Range Interactions Without Attention,
            arXiv 2102.08602 (ICLR 2021).
Provenance  Written for this project. Sizes, order of the layers and the tables' networks are those
            of yhgon/LambdaNetworks (October 2020, after leaderj1001/LambdaNetworks); batch norm on
            queries and values is the paper's.
Deviations  From that code: with u > 1 it cuts the values into (v, u) for the content and into
            (u, v) for the positions; here both use one layout. norm="keys" is what its tables and
            its log were made with, "values" (the default) is the paper and its later version.
            m = 0 leaves the position lambdas out; there it leaves an embedding without positions,
            and in the paper it is a global embedding. The blocks of its own baselines ignore their
            stride; ours do not. init="source" is its initialisation; "scaled" (the default) gives
            content and positions like spreads, starts every block as its shortcut, and keeps the
            features before the classifier small. The CIFAR stem is ours, after what leaderj1001
            advises users of the code.
            From the paper: no layer keeps its 3x3 convolution ("pure" LambdaResNets), dropout 0.3
            (0.2 above 200 layers) stands before the classifier, projections have a bias, and an
            average pooling also stands in the first block, where the stride is 1.
How sure    Parameter counts equal those of the code for all rows of its tables. No weights exist
            to compare with. The paper's own text could not be read: what it says comes from three
            implementations that agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_models import UnknownNameError
from attention_models.resnet import WIDTHS, Stem, convolution, stage

Norm = Literal["values", "keys"]
Init = Literal["scaled", "source"]

EXPANSION = 4
DEPTHS = {
    18: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    270: (4, 29, 53, 4),
    350: (4, 36, 72, 4),
    420: (4, 44, 87, 4),
}

# Along the classifier's weights the loss curves by p (1 - p) |mean features|^2, and momentum only
# descends while the learning rate times the curvature is below 2 (1 + momentum). 2048 features of
# unit variance are far above at the usual 0.1, and the loss goes up to 10 and more, as in the
# source's log; a quarter of that is far below.
FEATURE_SCALE = 0.25

# Columns of an image up to this many times as long as the kernel are multiplied as a whole.
WHOLE_COLUMNS_UP_TO = 2.5


def position_lambdas(values: Tensor, embedding: Tensor) -> Tensor:
    """Sum over the m x m surroundings of each position, weighted by their embedding.

    Values (B, v, u, H, W), embedding (k, u, m, m) -> lambdas (B, v, k, H, W):
    lambdas[y, x] = sum over u, dy, dx of embedding[u, dy, dx] * values[u, y + dy, x + dx], with
    the offsets counted from the middle of the kernel and zeros around the image.
    Source: the lambda convolution of arXiv 2102.08602.

    It is a 2d convolution in which v is one more batch dimension, but one with so few channels (u
    to k) and so large a kernel that its gradients starve a processor. Where a gradient is wanted
    and columns are not much longer than the kernel, they are therefore multiplied as a whole, by
    the Toeplitz matrices of the kernel's columns: a 1d convolution of u H channels into k H, which
    multiplies more and yet took 0.2 to 0.6 of the time at m = 23 on a CPU. Without a gradient the
    2d convolution was the faster one. (On a GPU neither was measured.)
    """
    batch, v, u, height, width = values.shape
    if values.is_meta:  # nothing is computed, only counted, and what counts is the definition
        return _convolve(values, embedding)
    by_columns = torch.is_grad_enabled() and height <= WHOLE_COLUMNS_UP_TO * embedding.shape[-1]
    # Offsets beyond the image see only zeros.
    embedding = _reach(embedding, 3, min(width - 1, embedding.shape[3] // 2))
    embedding = _reach(embedding, 2, min(height - 1, embedding.shape[2] // 2))
    if not by_columns:
        return _convolve(values, embedding)
    k = embedding.shape[0]
    offsets = _reach(embedding, 2, height - 1)  # (k, u, 2 H - 1, m)
    toeplitz = offsets.unfold(2, height, 1).flip(2)  # (k, u, H, m, H): target row, source row
    kernel = toeplitz.permute(0, 2, 1, 4, 3).reshape(k * height, u * height, -1)
    rows = values.reshape(batch * v, u * height, width)
    lambdas = F.conv1d(rows, kernel, padding=kernel.shape[-1] // 2)  # (B v, k H, W)
    return lambdas.view(batch, v, k, height, width)


def _convolve(values: Tensor, embedding: Tensor) -> Tensor:
    """`position_lambdas` as it is defined."""
    padding = (embedding.shape[2] // 2, embedding.shape[3] // 2)
    return F.conv2d(values.flatten(0, 1), embedding, padding=padding).unflatten(0, values.shape[:2])


def _reach(embedding: Tensor, dim: int, reach: int) -> Tensor:
    """The embedding with offsets from -reach to reach along `dim`: cut off or filled with zeros."""
    change = reach - embedding.shape[dim] // 2
    return F.pad(embedding, (0, 0) * (3 - dim) + (change, change))


def apply_lambdas(queries: Tensor, lambdas: Tensor) -> Tensor:
    """Each position's queries to its own lambdas.

    Queries (B, h, k, N), lambdas (B, v, k, N) -> (B, h, v, N).
    """
    if queries.device.type == "cpu":
        return _ApplyOnCPU.apply(queries, lambdas)
    return torch.einsum("bhkn,bvkn->bhvn", queries, lambdas)


class _ApplyOnCPU(torch.autograd.Function):
    """`apply_lambdas` as k multiplications of whole maps.

    As an einsum it is a product of two tiny matrices at each position, for which all lambdas, by
    far the largest tensor of a layer, are copied: twice the time, and a tenth more memory.
    """

    @staticmethod
    def forward(queries: Tensor, lambdas: Tensor) -> Tensor:
        y = _multiply(queries[:, :, None, 0], lambdas[:, None, :, 0])
        for index in range(1, queries.shape[2]):
            y.addcmul_(queries[:, :, None, index], lambdas[:, None, :, index])
        return y.to(queries.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        queries, lambdas = ctx.saved_tensors
        (upstream,) = gradients  # (B, h, v, N)
        of_queries = torch.empty_like(queries)
        for index in range(queries.shape[2]):
            of_queries[:, :, index] = _multiply(upstream, lambdas[:, None, :, index]).sum(2)
        of_lambdas = _multiply(upstream[:, 0, :, None], queries[:, 0, None])
        for head in range(1, queries.shape[1]):
            of_lambdas.addcmul_(upstream[:, head, :, None], queries[:, head, None])
        return of_queries, of_lambdas.to(lambdas.dtype)


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """The product, in at least single precision: more will be added to it."""
    return a.to(torch.promote_types(a.dtype, torch.float32)) * b


class LambdaConv(nn.Module):
    """A lambda layer: (B, in, H, W) -> (B, out, H, W), any H and W.

    Each position is a query to two linear functions (lambdas) of `k` to out / `heads` numbers: one
    made of the whole image (content), one of the `m` x `m` pixels around it (positions; with m = 0
    there is none). Heads ask the same lambdas. `u` is the intra-depth: so many values per output
    are summed. Source: arXiv 2102.08602.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        k: int = 16,
        u: int = 1,
        m: int = 23,
        norm: Norm = "values",
        init: Init = "scaled",
    ) -> None:
        super().__init__()
        if heads < 1 or out_channels % heads:
            raise ValueError(f"{out_channels} channels cannot be cut into {heads} heads")
        if m < 0 or (m > 0 and m % 2 == 0):
            raise ValueError(f"m is the side of a square around a pixel: odd, or 0, not {m}")
        if norm not in ("values", "keys"):
            raise UnknownNameError("norm", norm, ("values", "keys"))
        _check_init(init)
        self.heads, self.k, self.u, self.v = heads, k, u, out_channels // heads
        self.queries = _projection(in_channels, heads * k, normalised=True)
        self.keys = _projection(in_channels, k * u, normalised=norm == "keys")
        self.values = _projection(in_channels, self.v * u, normalised=norm == "values")
        self.embedding = nn.Parameter(torch.empty(k, u, m, m)) if m else None
        if self.embedding is not None:
            # "scaled": with queries and values of unit variance, so are the sums over k, u, m, m.
            spread = 1.0 if init == "source" else 1 / math.sqrt(k * u * m * m)
            nn.init.normal_(self.embedding, std=spread)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        positions = height * width  # N
        queries = self.queries(x).view(batch, self.heads, self.k, positions)  # (B, h, k, N)
        keys = self.keys(x).view(batch, self.k, self.u, positions).softmax(-1)  # (B, k, u, N)
        values = self.values(x).view(batch, self.v, self.u, height, width)  # (B, v, u, H, W)
        y: Tensor | None = None
        if self.embedding is not None:
            lambdas = position_lambdas(values, self.embedding).flatten(3)  # (B, v, k, N)
            y = apply_lambdas(queries, lambdas)  # (B, h, v, N)
        # After the positions, so that the backward pass is done with it when it comes to theirs,
        # which need the most memory.
        content = values.flatten(2) @ keys.flatten(2).mT  # (B, v, k)
        of_content = content[:, None] @ queries  # (B, h, v, N)
        y = of_content if y is None else y.add_(of_content)
        return y.reshape(batch, -1, height, width)  # (B, h v, H, W)


def _check_init(init: str) -> None:
    if init not in ("scaled", "source"):
        raise UnknownNameError("initialisation", init, ("scaled", "source"))


def _projection(in_channels: int, out_channels: int, normalised: bool) -> nn.Sequential:
    norm = [nn.BatchNorm2d(out_channels)] if normalised else []
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), *norm)


class LambdaBottleneck(nn.Module):
    """A bottleneck whose 3x3 convolution is `spatial`: (B, in, H, W) -> (B, 4 width, H/stride, ..).

    `spatial` maps (B, width, H, W) to (B, width, H/stride, W/stride). With `zero_branch` the block
    starts as its shortcut.
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, spatial: nn.Module, zero_branch: bool
    ) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.spatial = spatial
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                convolution(in_channels, out_channels, 1, stride, bias=True),
                nn.BatchNorm2d(out_channels),
            )
        if zero_branch:
            nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))  # (B, width, H, W)
        x = self.relu(self.bn2(self.spatial(x)))  # (B, width, H/stride, W/stride)
        x = self.bn3(self.conv3(x))  # (B, 4 width, H/stride, W/stride)
        return self.relu(x + shortcut)


class LambdaResNet(nn.Module):
    """Four stages of LambdaBottlenecks: (B, 3, H, W) -> logits (B, num_classes), any H and W.

    `spatial` makes the module in the middle of a block, given (in_channels, width, stride).
    """

    def __init__(
        self,
        spatial: Callable[[int, int, int], nn.Module],
        depths: Sequence[int],
        num_classes: int,
        stem: Stem,
        dropout: float,
        init: Init,
    ) -> None:
        super().__init__()
        if stem not in ("cifar", "imagenet"):
            raise UnknownNameError("stem", stem, ("cifar", "imagenet"))
        _check_init(init)

        def block(in_channels: int, width: int, stride: int) -> LambdaBottleneck:
            middle = spatial(in_channels, width, stride)
            return LambdaBottleneck(in_channels, width, stride, middle, init == "scaled")

        def layer(index: int, in_channels: int, stride: int) -> nn.Sequential:
            width = WIDTHS[index]
            return stage(block, depths[index], in_channels, EXPANSION * width, width, stride)

        on_imagenet = stem == "imagenet"
        self.conv1 = convolution(3, 64, 7, stride=2) if on_imagenet else convolution(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if on_imagenet else nn.Identity()
        self.layer1 = layer(0, 64, stride=1)
        self.layer2 = layer(1, 256, stride=2)
        self.layer3 = layer(2, 512, stride=2)
        self.layer4 = layer(3, 1024, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init == "scaled":
            nn.init.constant_(self.layer4.get_parameter("0.downsample.1.weight"), FEATURE_SCALE)
        else:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 64, H, W); ImageNet form: H/2, W/2
        x = self.maxpool(x)  # ImageNet form: H/4, W/4, written H, W from here
        x = self.layer1(x)  # (B, 256, H, W)
        x = self.layer2(x)  # (B, 512, H/2, W/2)
        x = self.layer3(x)  # (B, 1024, H/4, W/4)
        x = self.layer4(x)  # (B, 2048, H/8, W/8)
        x = self.dropout(x.mean(dim=(2, 3)))  # (B, 2048)
        return self.fc(x)  # (B, num_classes)


def lambda_resnet(
    num_classes: int,
    depth: int,
    stem: Stem,
    heads: int,
    k: int,
    u: int,
    m: int,
    norm: Norm,
    init: Init,
    dropout: float,
) -> LambdaResNet:
    """LambdaResNet-`depth`: every 3x3 convolution of a ResNet is a LambdaConv.

    LambdaResNet-50 with 1,000 classes, k = 16, 4 heads, u = 1, m = 23: 14,999,432 parameters.
    """

    def spatial(in_channels: int, width: int, stride: int) -> nn.Module:
        layer = LambdaConv(width, width, heads, k, u, m, norm, init)
        if stride == 1 and in_channels == EXPANSION * width:
            return layer
        return nn.Sequential(layer, nn.AvgPool2d(3, stride, padding=1))

    return LambdaResNet(spatial, DEPTHS[depth], num_classes, stem, dropout, init)


def lambda_baseline(
    num_classes: int, depth: int, stem: Stem, init: Init, dropout: float
) -> LambdaResNet:
    """The baselines of the tables: LambdaResNet with 3x3 convolutions, 13,970,506 for 18 layers.

    (With 10 classes and the ImageNet stem, bottlenecks two to a stage: a ResNet-26 elsewhere.)
    """

    def spatial(in_channels: int, width: int, stride: int) -> nn.Module:
        return convolution(width, width, 3, stride)

    return LambdaResNet(spatial, DEPTHS[depth], num_classes, stem, dropout, init)
