"""Mixing pairs of images: mixup and CutMix, and the loss of mixed images.

Images at the places 2i and 2i + 1 of a part are mixed with each other; the last of an odd number
stays as it is. So pairs, like all that is drawn about them, follow from the order of the epoch.

Sources: mixup, Zhang et al., arXiv 1710.09412; CutMix, Yun et al., arXiv 1905.04899.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jobs.config import RunConfig
from jobs.data.augment import span
from jobs.data.feed import Part
from jobs.seeds import derive_seed


@dataclass(frozen=True)
class MixingDraw:
    """What is drawn about N images; that of the first image of a pair counts for both."""

    share: Tensor  # (N,) that an image keeps of itself
    pasted: Tensor  # (N,) bool: by CutMix, and not by mixup
    centres: Tensor  # (N, 2) of the rectangle, as shares of height and width

    def to(self, device: torch.device) -> MixingDraw:
        return MixingDraw(self.share.to(device), self.pasted.to(device), self.centres.to(device))


def draw_mixing(config: RunConfig, epoch: int, images: int) -> MixingDraw | None:
    """The mixing of an epoch, on the CPU; None if images are not mixed. Epochs count from 0."""
    used = (config.mixup_alpha > 0) + (config.cutmix_alpha > 0)
    if not used:
        return None
    # numpy's, as torch's Beta distribution takes no generator.
    generator = np.random.default_rng(derive_seed(config.seed, "mixing", epoch))
    pasted = generator.random(images) < (config.cutmix_alpha > 0) / used
    alpha = np.where(pasted, config.cutmix_alpha, config.mixup_alpha)
    share = generator.beta(alpha, alpha)
    centres = generator.random((images, 2), dtype=np.float32)
    return MixingDraw(
        torch.from_numpy(share).float(),
        torch.from_numpy(pasted),
        torch.from_numpy(centres),
    )


def mix(images: Tensor, labels: Tensor, index: Tensor, draw: MixingDraw | None) -> Part:
    """A part of images (B, 3, H, W) with labels (B,), mixed; all tensors are on one device.

    `index` (B,) are the images' places in the draw.
    """
    if draw is None:
        return Part(images, labels)
    place = torch.arange(len(labels), device=labels.device)
    partner = (place ^ 1).clamp(max=len(labels) - 1)
    pair = index[place & ~1]
    share, pasted = draw.share[pair], draw.pasted[pair]
    outside = ~rectangles(draw.centres[pair], share, *images.shape[2:])
    own = torch.where(pasted, outside.float().mean(dim=(1, 2)), share)
    own = torch.where(partner == place, 1.0, own)
    kept = torch.where(pasted[:, None, None], outside.float(), share[:, None, None])
    mixed = torch.lerp(images[partner], images, kept[:, None])
    return Part(mixed, labels, labels[partner], own)


def rectangles(centres: Tensor, share: Tensor, height: int, width: int) -> Tensor:
    """Where CutMix pastes: bool (B, height, width), with sides of sqrt(1 - share) of the image's.

    The centre lies anywhere in the image, and the rectangle ends at its borders.
    """

    def covered(centre: Tensor, length: int) -> Tensor:
        half = ((1 - share).sqrt() / 2 * length).floor()
        return span((centre * length).floor() - half, 2 * half, length)

    return covered(centres[:, 0], height)[:, :, None] & covered(centres[:, 1], width)[:, None]


def mixed_cross_entropy(logits: Tensor, part: Part, label_smoothing: float) -> Tensor:
    """The mean loss of a part; of a mixed image, that for either label by its share."""
    if part.partners is None or part.own is None:
        return F.cross_entropy(logits, part.labels, label_smoothing=label_smoothing)
    own, partners = (
        F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
        for labels in (part.labels, part.partners)
    )
    return (part.own * own + (1 - part.own) * partners).mean()
