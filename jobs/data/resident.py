"""Images that live on the device as bytes: all of a small data set, augmented batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jobs.config import RunConfig
from jobs.data.augment import (
    IMAGENET,
    Boxes,
    EpochDraw,
    Normaliser,
    cut_crops,
    cut_out,
    draw_boxes,
    draw_epoch,
    resize_crops,
)
from jobs.data.datasets import DataSet, Images
from jobs.data.feed import Loading, Part, evaluation_batches, training_batches
from jobs.data.mixing import MixingDraw, draw_mixing, mix
from jobs.distributed import Tasks

if TYPE_CHECKING:
    from jobs.data.operations import OperationDraw

RESIZED_AT_ONCE = 1024


class ResidentFeed:
    """A data set in the memory of the device; see jobs.data.feed.Feed.

    An image is cropped, mirrored, changed by the operations of RandAugment or AutoAugment, and
    normalised; then cutout blanks a part of it, which is AutoAugment's order for CIFAR
    (arXiv 1805.09501, section 4.1), and in the end pairs are mixed.
    """

    loading: Loading = "memory"

    def __init__(
        self,
        data: DataSet,
        config: RunConfig,
        tasks: Tasks,
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        self.num_classes, self.contents = data.num_classes, data.contents
        self.input_size = config.image_px or shorter_side(data.train)
        self.train_labels, self.test_labels = data.train.labels, data.test.labels
        self.train_batches = training_batches(config, len(data.train), tasks)
        self.test_batches = evaluation_batches(config, len(data.test), tasks)
        self._config, self._device = config, device
        channels = IMAGENET if config.normalisation == "imagenet" else data
        self._normalise = Normaliser(channels, device, memory_format)
        self._train = stored_for_training(data.train, config).to(device)
        self._test = stored_for_test(data.test, config).to(device)
        self._drawn: _Drawn | None = None

    def train_parts(self, epoch: int, batch: int) -> Iterator[Part]:
        drawn = self._draw(epoch)
        for places in self.train_batches.parts_of(batch):
            index_on_cpu = drawn.images.order[places]
            index = index_on_cpu.to(self._device, non_blocking=True)
            pixels = self._crops(drawn, index)
            if drawn.operations:
                pixels = drawn.operations.apply(pixels, index_on_cpu)
            images = self._normalise(pixels)
            if drawn.images.holes is not None:
                images = cut_out(images, drawn.images.holes[index], self._config.cutout_px)
            yield mix(images, self._train.labels[index], index, drawn.mixing)

    def test_parts(self, batch: int) -> Iterator[Part]:
        for places in self.test_batches.parts_of(batch):
            yield Part(self._normalise(self._test.pixels[places]), self._test.labels[places])

    def _crops(self, drawn: _Drawn, index: Tensor) -> Tensor:
        if drawn.boxes is None:
            return cut_crops(self._train, index, drawn.images, self.input_size)
        return resize_crops(
            self._train.pixels,
            index,
            drawn.boxes,
            drawn.images.mirrored,
            self.input_size,
            self._config.interpolation,
        )

    def _draw(self, epoch: int) -> _Drawn:
        if self._drawn is None or self._drawn.epoch != epoch:
            self._drawn = _draw_all(self._config, epoch, self._train, self._device)
        return self._drawn


@dataclass(frozen=True)
class _Drawn:
    """All that is drawn for an epoch; None for what is not used."""

    epoch: int
    images: EpochDraw
    boxes: Boxes | None
    operations: OperationDraw | None
    mixing: MixingDraw | None


def _draw_all(config: RunConfig, epoch: int, train: Images, device: torch.device) -> _Drawn:
    count, height, width = train.pixels.shape[:3]
    boxes = operations = None
    if config.crop == "resized":
        boxes = draw_boxes(config, epoch, count, height, width, device)
    if config.augment != "none":
        # It loads torchvision, which takes half a second.
        from jobs.data.operations import draw_operations

        operations = draw_operations(config, epoch, count, device)
    mixing = draw_mixing(config, epoch, count)
    return _Drawn(
        epoch,
        draw_epoch(config, epoch, count, device),
        boxes,
        operations,
        mixing.to(device) if mixing else None,
    )


# ------------------------------------------------------------------------------- what is stored


def stored_for_training(images: Images, config: RunConfig) -> Images:
    """What crops are cut from: the images as they are for resized ones, else with a margin."""
    if config.crop == "resized":
        return images
    size_px = config.image_px or shorter_side(images)
    return centred(images, size_px, size_px, config.interpolation, config.crop_padding_px)


def stored_for_test(images: Images, config: RunConfig) -> Images:
    """The centre crop of test_px of each image, which is test_crop of its resized side."""
    size_px = config.test_px or config.image_px or shorter_side(images)
    return centred(images, round(size_px / config.test_crop), size_px, config.interpolation)


def shorter_side(images: Images) -> int:
    return min(images.pixels.shape[1:3])


def centred(
    images: Images, side_px: int, size_px: int, interpolation: str, margin_px: int = 0
) -> Images:
    """The central squares of size_px of images whose shorter side is resized to side_px.

    Antialiased, as in torchvision: what shrinks is averaged. Around each is a black margin.
    """
    if images.pixels.shape[1:3] == (side_px, side_px) and side_px == size_px:
        return images.padded(margin_px)
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    mode, padded_px = InterpolationMode(interpolation), size_px + 2 * margin_px
    # Filled some at a time, so that there is never a second copy of all.
    pixels = torch.zeros((len(images), padded_px, padded_px, 3), dtype=torch.uint8)
    within = slice(margin_px, margin_px + size_px)
    squares = pixels[:, within, within].split(RESIZED_AT_ONCE)
    for square, some in zip(squares, images.pixels.split(RESIZED_AT_ONCE), strict=True):
        resized = tv.resize(some.permute(0, 3, 1, 2), [side_px], mode)
        square.copy_(tv.center_crop(resized, [size_px]).permute(0, 2, 3, 1))
    return Images(pixels, images.labels)
