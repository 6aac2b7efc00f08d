"""RandAugment and AutoAugment for a batch of bytes at once, each image with its own magnitudes.

Sources: AutoAugment, Cubuk et al., arXiv 1805.09501, with the policies of its appendix;
RandAugment, Cubuk et al., arXiv 1909.13719. Operations, magnitudes and policies are those of
torchvision, which the tests compare with: what is moved in is black, and nothing is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as tv

from jobs.config import RunConfig
from jobs.data.augment import pick_pixels
from jobs.seeds import derive_seed

RANDAUGMENT_BINS = 31
AUTOAUGMENT_BINS = 10


# ------------------------------------------------------------------------------- operations
# Of pixels (B, H, W, 3), uint8, and magnitudes (B,), float; the result is like the pixels.


def shear_x(pixels: Tensor, magnitude: Tensor) -> Tensor:
    rows, columns = _places(pixels)
    return _taken_from(pixels, rows, columns + _each(magnitude) * (rows + 0.5))


def shear_y(pixels: Tensor, magnitude: Tensor) -> Tensor:
    rows, columns = _places(pixels)
    return _taken_from(pixels, rows + _each(magnitude) * (columns + 0.5), columns)


def translate_x(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """By a share of the width."""
    rows, columns = _places(pixels)
    return _taken_from(pixels, rows, columns - _each(magnitude * pixels.shape[2]).trunc())


def translate_y(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """By a share of the height."""
    rows, columns = _places(pixels)
    return _taken_from(pixels, rows - _each(magnitude * pixels.shape[1]).trunc(), columns)


def rotate(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """By degrees, counter-clockwise, about the centre."""
    rows, columns = _places(pixels)
    middle_row, middle_column = (pixels.shape[1] - 1) / 2, (pixels.shape[2] - 1) / 2
    angle = _each(magnitude) * (math.pi / 180)
    sine, cosine = angle.sin(), angle.cos()
    y, x = rows - middle_row, columns - middle_column
    return _taken_from(
        pixels, sine * x + cosine * y + middle_row, cosine * x - sine * y + middle_column
    )


def _places(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (1, H, 1) and columns (1, 1, W)."""
    height, width = pixels.shape[1:3]
    rows = torch.arange(height, device=pixels.device, dtype=torch.float32)
    columns = torch.arange(width, device=pixels.device, dtype=torch.float32)
    return rows[None, :, None], columns[None, None, :]


def _each(values: Tensor) -> Tensor:
    """Values (B,) as (B, 1, 1), one for each image."""
    return values[:, None, None]


def _taken_from(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Each pixel from the nearest one to a place (B, H, W), black where that is outside."""
    rows, columns = rows.round().long(), columns.round().long()
    height, width = pixels.shape[1:3]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    image = _each(torch.arange(len(pixels), device=pixels.device))
    found = pick_pixels(pixels, image, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    return found * inside[..., None]


def brightness(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return _away_from(torch.zeros((), device=pixels.device), pixels, magnitude)


def color(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return _away_from(_grey(pixels).float(), pixels, magnitude)


def contrast(pixels: Tensor, magnitude: Tensor) -> Tensor:
    grey = _grey(pixels)
    # A sum of integers: the same however the batch is cut.
    mean = grey.sum(dim=(1, 2, 3), keepdim=True) / grey[0].numel()
    return _away_from(mean, pixels, magnitude)


def sharpness(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """Away from a smooth image, of 3x3 pixels with the centre five times; borders stay."""
    if min(pixels.shape[1:3]) < 3:
        return pixels
    smooth = pixels.float()
    inner = smooth[:, 1:-1, 1:-1]
    around = smooth.unfold(1, 3, 1).sum(-1).unfold(2, 3, 1).sum(-1)
    inner.copy_(((around + 4 * inner) / 13).round())
    return _away_from(smooth, pixels, magnitude)


def _grey(pixels: Tensor) -> Tensor:
    """(B, H, W, 1) uint8."""
    return tv.rgb_to_grayscale(pixels.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _away_from(other: Tensor, pixels: Tensor, magnitude: Tensor) -> Tensor:
    """Further from another image (float) by a share of the way, or nearer where that is below 0."""
    blend = torch.lerp(other, pixels.float(), 1 + _each(magnitude)[..., None])
    return blend.clamp(0, 255).to(torch.uint8)


def posterize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """Keep so many bits, rounded."""
    lost = 8 - magnitude.round().long()
    return pixels & _each(256 - (1 << lost)).to(torch.uint8)[..., None]


def solarize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """Invert what is at or above this share of 255."""
    threshold = _each(255 * magnitude)[..., None]
    return torch.where(pixels >= threshold, ~pixels, pixels)


def _of_torchvision(operation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """An operation without a magnitude, which torchvision does to batches (B, 3, H, W)."""
    return lambda pixels, _: operation(pixels.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Operation:
    apply: Callable[[Tensor, Tensor], Tensor]
    weakest: float = 0.0  # the magnitude of the first bin
    strongest: float = 0.0  # that of the last
    signed: bool = False  # half of the images have the negative magnitude


OPERATIONS = {
    "Identity": Operation(lambda pixels, _: pixels),
    "ShearX": Operation(shear_x, 0, 0.3, signed=True),
    "ShearY": Operation(shear_y, 0, 0.3, signed=True),
    "TranslateX": Operation(translate_x, 0, 150 / 331, signed=True),
    "TranslateY": Operation(translate_y, 0, 150 / 331, signed=True),
    "Rotate": Operation(rotate, 0, 30, signed=True),
    "Brightness": Operation(brightness, 0, 0.9, signed=True),
    "Color": Operation(color, 0, 0.9, signed=True),
    "Contrast": Operation(contrast, 0, 0.9, signed=True),
    "Sharpness": Operation(sharpness, 0, 0.9, signed=True),
    "Posterize": Operation(posterize, 8, 4),
    "Solarize": Operation(solarize, 1, 0),
    "AutoContrast": Operation(_of_torchvision(tv.autocontrast)),
    "Equalize": Operation(_of_torchvision(tv.equalize)),
    "Invert": Operation(_of_torchvision(tv.invert)),
}
KINDS = {name: kind for kind, name in enumerate(OPERATIONS)}
RANDAUGMENT_KINDS = torch.tensor([kind for name, kind in KINDS.items() if name != "Invert"])


# ------------------------------------------------------------------------------- which are done


@dataclass(frozen=True)
class OperationDraw:
    """The K operations of each of N images, one after the other."""

    # On the CPU, so that which images of a batch share an operation is known without waiting for
    # the GPU.
    kinds: Tensor  # (N, K) places in OPERATIONS
    magnitudes: Tensor  # (N, K), on the device

    def apply(self, pixels: Tensor, index: Tensor) -> Tensor:
        """Done to the images of `index` (B,), a tensor on the CPU: pixels (B, H, W, 3), uint8."""
        magnitudes = self.magnitudes[index.to(pixels.device, non_blocking=True)]
        for kinds, magnitude in zip(self.kinds[index].T, magnitudes.T, strict=True):
            pixels = apply_operations(pixels, kinds, magnitude)
        return pixels


def apply_operations(pixels: Tensor, kinds: Tensor, magnitude: Tensor) -> Tensor:
    """One operation for each image: kinds (B,) on the CPU, magnitude (B,) and pixels on the device.

    Images are sorted by their operation, each operation is done to its own, and they are put back.
    """
    by_kind = kinds.argsort(stable=True)
    counts = torch.bincount(kinds, minlength=len(OPERATIONS)).tolist()
    order, back = (
        places.to(pixels.device, non_blocking=True) for places in (by_kind, by_kind.argsort())
    )
    done = [
        operation.apply(some, its)
        for operation, some, its in zip(
            OPERATIONS.values(),
            pixels.index_select(0, order).split(counts),
            magnitude[order].split(counts),
            strict=True,
        )
        if len(some)
    ]
    return torch.cat(done).index_select(0, back)


def draw_operations(
    config: RunConfig, epoch: int, images: int, device: torch.device
) -> OperationDraw:
    """The operations of an epoch, as RandAugment or AutoAugment of torchvision draw them."""
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "operations", epoch))
    if config.augment == "randaugment":
        shape = (images, config.randaugment_ops)
        kinds = RANDAUGMENT_KINDS[torch.randint(len(RANDAUGMENT_KINDS), shape, generator=generator)]
        magnitudes = magnitudes_of(RANDAUGMENT_BINS)[kinds, config.randaugment_magnitude]
    else:
        policy_kinds, chances, bins = policies(config.augment.removeprefix("autoaugment_"))
        policy = torch.randint(len(policy_kinds), (images,), generator=generator)
        done = torch.rand((images, 2), generator=generator) < chances[policy]
        kinds = torch.where(done, policy_kinds[policy], KINDS["Identity"])
        magnitudes = magnitudes_of(AUTOAUGMENT_BINS)[kinds, bins[policy]]
    signed = torch.tensor([operation.signed for operation in OPERATIONS.values()])
    negative = torch.randint(2, kinds.shape, generator=generator).bool() & signed[kinds]
    magnitudes = torch.where(negative, -magnitudes, magnitudes)
    return OperationDraw(kinds, magnitudes.to(device))


def magnitudes_of(bins: int) -> Tensor:
    """The magnitude of every operation in every bin: (15, bins)."""
    return torch.stack(
        [torch.linspace(one.weakest, one.strongest, bins) for one in OPERATIONS.values()]
    )


def policies(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """AutoAugment's for imagenet, cifar10 or svhn: kinds, chances and bins, each (25, 2)."""
    found = AutoAugment(AutoAugmentPolicy(name)).policies
    kinds = torch.tensor([[KINDS[kind] for kind, _, _ in policy] for policy in found])
    chances = torch.tensor([[chance for _, chance, _ in policy] for policy in found])
    bins = torch.tensor([[bin_ or 0 for _, _, bin_ in policy] for policy in found])
    return kinds, chances, bins
