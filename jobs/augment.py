"""What is drawn at random about an image, and done to whole batches of bytes on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.config import RunConfig
from jobs.data import DataSet, Images
from jobs.seeds import derive_seed


@dataclass(frozen=True)
class EpochDraw:
    """What is drawn for one epoch: the order, and for each image its shift and mirroring.

    Drawn for all images at once, on the CPU, from the seed and the epoch: what happens to an
    image depends on (seed, epoch, index), not on the batch size, the device or an interruption.
    """

    order: Tensor  # (N,) the images' indices
    top: Tensor  # (N,) first row of an image's crop
    left: Tensor  # (N,) first column
    mirrored: Tensor  # (N,) bool


def draw_epoch(config: RunConfig, epoch: int, images: int, device: torch.device) -> EpochDraw:
    """The draw of an epoch for a set of so many images; epochs count from 0 here."""
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "epoch", epoch))
    order = torch.randperm(images, generator=generator)
    shifts = 2 * config.crop_padding_px + 1
    top = torch.randint(shifts, (images,), generator=generator)
    left = torch.randint(shifts, (images,), generator=generator)
    mirrored = torch.randint(2, (images,), generator=generator).bool() & config.flip
    return EpochDraw(*(drawn.to(device) for drawn in (order, top, left, mirrored)))


class Normaliser:
    """Bytes (B, H, W, 3) to floats (B, 3, H, W) of about mean 0 and deviation 1."""

    def __init__(
        self,
        data: DataSet,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        mean, std = torch.tensor(data.mean), torch.tensor(data.std)
        self._scale = (1 / (255 * std)).to(device)
        self._shift = (mean / std).to(device)
        self._memory_format = memory_format

    def __call__(self, pixels: Tensor) -> Tensor:
        images = (pixels * self._scale - self._shift).permute(0, 3, 1, 2)
        return images.contiguous(memory_format=self._memory_format)


def cut_crops(padded: Images, index: Tensor, draw: EpochDraw, size: int) -> Tensor:
    """The drawn crop of each image of `index` (B,), mirrored where drawn: (B, size, size, 3)."""
    along = torch.arange(size, device=index.device)
    rows = draw.top[index, None] + along  # (B, size)
    columns = torch.where(draw.mirrored[index, None], along.flip(0), along) + draw.left[index, None]
    return padded.pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]
