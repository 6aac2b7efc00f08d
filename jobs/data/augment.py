"""What is drawn at random about an image, and done to whole batches of bytes on the device.

Everything is drawn for all images at once, on the CPU, from the seed and the epoch: what happens
to an image depends on (seed, epoch, index), not on the batch size, the device or an interruption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from jobs.config import RunConfig
from jobs.data.datasets import Images
from jobs.seeds import derive_seed


@dataclass(frozen=True)
class EpochDraw:
    """What is drawn for one epoch: the order, and for each image its shift, mirroring and hole."""

    order: Tensor  # (N,) the images' indices; on the CPU, all else is on the device
    top: Tensor  # (N,) first row of an image's crop
    left: Tensor  # (N,) first column
    mirrored: Tensor  # (N,) bool
    holes: Tensor | None  # (N, 2) centre of cutout's square, as shares of height and width


def draw_epoch(config: RunConfig, epoch: int, images: int, device: torch.device) -> EpochDraw:
    """The draw of an epoch for a set of so many images; epochs count from 0 here."""
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "epoch", epoch))
    order = torch.randperm(images, generator=generator)
    shifts = 2 * config.crop_padding_px + 1
    top = torch.randint(shifts, (images,), generator=generator)
    left = torch.randint(shifts, (images,), generator=generator)
    mirrored = torch.randint(2, (images,), generator=generator).bool() & config.flip
    holes = None
    if config.cutout_px:
        generator.manual_seed(derive_seed(config.seed, "cutout", epoch))
        holes = torch.rand((images, 2), generator=generator).to(device)
    return EpochDraw(order, top.to(device), left.to(device), mirrored.to(device), holes)


class ChannelStatistics(Protocol):
    """Mean and deviation of the three channels, as shares of 255; a DataSet has them."""

    @property
    def mean(self) -> tuple[float, float, float]: ...

    @property
    def std(self) -> tuple[float, float, float]: ...


class Channels(NamedTuple):
    """Mean and deviation of the three channels, as shares of 255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# Of ImageNet's training images, as they are customary in torchvision and timm.
IMAGENET = Channels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Normaliser:
    """Bytes (B, H, W, 3) to floats (B, 3, H, W) of about mean 0 and deviation 1."""

    def __init__(
        self,
        data: ChannelStatistics,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        mean, std = torch.tensor(data.mean), torch.tensor(data.std)
        self._scale = (1 / (255 * std)).to(device)[:, None, None]
        self._shift = (mean / std).to(device)[:, None, None]
        self._memory_format = memory_format

    def __call__(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=self._memory_format)
        return images.mul_(self._scale).sub_(self._shift)


# ------------------------------------------------------------------------------- shifted crops


def cut_crops(padded: Images, index: Tensor, draw: EpochDraw, size: int) -> Tensor:
    """The drawn crop of each image of `index` (B,), mirrored where drawn: (B, size, size, 3)."""
    along = torch.arange(size, device=index.device)
    rows = draw.top[index, None] + along  # (B, size)
    columns = torch.where(draw.mirrored[index, None], along.flip(0), along) + draw.left[index, None]
    return pick_pixels(padded.pixels, index[:, None, None], rows[:, :, None], columns[:, None])


def pick_pixels(pixels: Tensor, image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of pixels (N, H, W, 3) those at places that broadcast to (B, h, w): (B, h, w, 3)."""
    height, width = pixels.shape[1:3]
    places = (image * height + rows) * width + columns
    # One index is several times faster than three.
    return pixels.reshape(-1, 3).index_select(0, places.flatten()).view(*places.shape, 3)


# ------------------------------------------------------------------------------- resized crops

BOX_TRIES = 10


@dataclass(frozen=True)
class Boxes:
    """The part of each image that is cut out and resized, in pixels; each (N,)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def draw_boxes(
    config: RunConfig, epoch: int, images: int, height: int, width: int, device: torch.device
) -> Boxes:
    """Random parts of images of one size, drawn as torchvision's RandomResizedCrop does it.

    The area is uniform from crop_scale_min to 1, the logarithm of width over height uniform up to
    crop_ratio_max in both directions. The first of ten tries that fits into the image is taken; if
    none does, the largest centred part with an allowed ratio.
    """
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "boxes", epoch))

    def uniform(low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand((images, count), generator=generator)

    area = height * width * uniform(config.crop_scale_min, 1, BOX_TRIES)
    widest = math.log(config.crop_ratio_max)
    ratio = uniform(-widest, widest, BOX_TRIES).exp()
    at_last = min(max(width / height, 1 / config.crop_ratio_max), config.crop_ratio_max)
    last = torch.tensor(
        [min(height, round(width / at_last)), min(width, round(height * at_last))]
    ).expand(images, 2)
    heights = torch.cat([(area / ratio).sqrt().round().long(), last[:, :1]], dim=1)
    widths = torch.cat([(area * ratio).sqrt().round().long(), last[:, 1:]], dim=1)
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    chosen = fits.byte().argmax(dim=1, keepdim=True)  # the first one that fits

    def place(sides: Tensor, length: int) -> tuple[Tensor, Tensor]:
        side = sides.gather(1, chosen)
        free = length - side
        first = torch.where(chosen < BOX_TRIES, (uniform(0, 1, 1) * (free + 1)).long(), free // 2)
        return first[:, 0].to(device), side[:, 0].to(device)

    (top, box_height), (left, box_width) = place(heights, height), place(widths, width)
    return Boxes(top, left, box_height, box_width)


def resize_crops(
    pixels: Tensor, index: Tensor, boxes: Boxes, mirrored: Tensor, size: int, interpolation: str
) -> Tensor:
    """The box of each image of `index` (B,), resized and mirrored where drawn: (B, size, size, 3).

    Antialiased where a box shrinks, as in torchvision with antialias: the filter is widened to the
    pixels that fall on one. Both sides are resized by products with small matrices.
    """
    height, width = pixels.shape[1:3]
    rows = resizing(boxes.top[index], boxes.height[index], height, size, interpolation)
    columns = resizing(boxes.left[index], boxes.width[index], width, size, interpolation)
    columns = torch.where(mirrored[index, None, None], columns.flip(1), columns)
    images = pixels.index_select(0, index).permute(0, 3, 1, 2).float()  # (B, 3, height, width)
    resized = rows[:, None] @ images @ columns[:, None].mT
    return resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def resizing(first: Tensor, side: Tensor, length: int, size: int, interpolation: str) -> Tensor:
    """Matrices (B, size, length) that resize the pixels first ... first + side - 1 (B,) to `size`.

    What lies outside of them counts nothing, and the weights of each row add up to 1.
    """
    scale = (side / size)[:, None, None]
    target = torch.arange(size, device=first.device)[:, None] + 0.5
    source = torch.arange(length, device=first.device) - first[:, None, None] + 0.5
    distance = (source - target * scale).abs() / scale.clamp(min=1)
    weights = cubic(distance) if interpolation == "bicubic" else (1 - distance).clamp(min=0)
    weights = weights * ((source > 0) & (source < side[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def cubic(distance: Tensor) -> Tensor:
    """The cubic filter with a = -1/2 (Keys 1981), which Pillow and torch use to antialias."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


# ------------------------------------------------------------------------------- cutout


def cut_out(images: Tensor, centres: Tensor, side_px: int) -> Tensor:
    """Normalised images (B, 3, H, W) with a square of each set to the mean, which is 0.

    `centres` (B, 2) are shares of height and width; the centre lies anywhere in the image, and the
    square ends at its borders (DeVries and Taylor, arXiv 1708.04552, section 3.2).
    """
    rows, columns = (
        span((centres[:, i] * length).floor() - side_px // 2, side_px, length)
        for i, length in enumerate(images.shape[2:])
    )
    return torch.where((rows[:, :, None] & columns[:, None])[:, None], 0.0, images)


def span(first: Tensor, side: Tensor | int, length: int) -> Tensor:
    """Which of `length` places lie in first ... first + side - 1, each (B,): bool (B, length)."""
    along = torch.arange(length, device=first.device)
    return (along >= first[:, None]) & (along < (first + side)[:, None])
