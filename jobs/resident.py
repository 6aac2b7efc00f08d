"""Images that live on the device as bytes: all of a small data set, augmented batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from jobs.augment import EpochDraw, Normaliser, cut_crops, draw_epoch
from jobs.config import RunConfig
from jobs.data import DataSet
from jobs.distributed import Tasks
from jobs.feed import Part, evaluation_batches, training_batches


class ResidentFeed:
    """A data set in the memory of the device; see jobs.feed.Feed."""

    def __init__(
        self,
        data: DataSet,
        config: RunConfig,
        tasks: Tasks,
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        self.num_classes, self.input_size = data.num_classes, data.input_size
        self.train_labels, self.test_labels = data.train.labels, data.test.labels
        self.train_batches = training_batches(config, len(data.train), tasks)
        self.test_batches = evaluation_batches(config, len(data.test), tasks)
        self._config, self._device = config, device
        self._normalise = Normaliser(data, device, memory_format)
        self._train = data.train.padded(config.crop_padding_px).to(device)
        self._test = data.test.to(device)
        self._drawn: tuple[int, EpochDraw] | None = None

    def train_parts(self, epoch: int, batch: int) -> Iterator[Part]:
        draw = self._draw(epoch)
        for places in self.train_batches.parts_of(batch):
            index = draw.order[places]
            images = self._normalise(cut_crops(self._train, index, draw, self.input_size))
            yield Part(images, self._train.labels[index])

    def test_parts(self, batch: int) -> Iterator[Part]:
        for places in self.test_batches.parts_of(batch):
            yield Part(self._normalise(self._test.pixels[places]), self._test.labels[places])

    def _draw(self, epoch: int) -> EpochDraw:
        if self._drawn is None or self._drawn[0] != epoch:
            draw = draw_epoch(self._config, epoch, len(self.train_labels), self._device)
            self._drawn = epoch, draw
        return self._drawn[1]
