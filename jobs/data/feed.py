"""How images reach the network: cut into batches, and each batch into parts.

A part is what a network is shown at once: a batch is divided among the tasks of a job, and what a
task has of it among the steps of accumulation. How it is divided changes nothing else: the images
of a batch, what is drawn about each, and which two are mixed follow from the batch alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from jobs.config import RunConfig
from jobs.data.datasets import load_dataset
from jobs.data.staging import stage
from jobs.distributed import ALONE, Tasks
from jobs.errors import InputError

Loading = Literal["memory", "stream"]


@dataclass(frozen=True)
class Part:
    """Images (B, 3, H, W), normalised and on the device, and their labels (B,).

    Where images are mixed, `partners` (B,) are the labels of what was mixed in, and `own` (B,),
    from 0 to 1, is how much each image keeps of its own.
    """

    images: Tensor
    labels: Tensor
    partners: Tensor | None = None
    own: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Batches:
    """N images in batches of one size, each cut into parts, and each part among the tasks.

    So batch norm over all tasks sees the same images at once, however many tasks there are.
    In training, parts begin at even places of the batch, so that the images at places 2i and
    2i + 1, which may be mixed, stay together; and none is a single image, which batch norm
    cannot be trained on. A last batch of one image is left out for the same reason.
    """

    images: int
    size: int
    tasks: Tasks = ALONE
    parts: int = 1
    training: bool = True

    def __len__(self) -> int:
        whole, rest = divmod(self.images, self.size)
        return whole + (rest > (1 if self.training else 0))

    def __getitem__(self, batch: int) -> slice:
        """The places of a batch in the epoch's order."""
        return slice(batch * self.size, min((batch + 1) * self.size, self.images))

    def size_of(self, batch: int) -> int:
        where = self[batch]
        return where.stop - where.start

    def parts_of(self, batch: int) -> list[slice]:
        """This task's parts of a batch that are not empty, as places in the epoch's order."""
        return [
            mine
            for part in self._cut(self[batch], self.parts)
            for mine in self._cut(part, self.tasks.world)[self.tasks.rank :][:1]
        ]

    def _cut(self, places: slice, count: int) -> list[slice]:
        """So many pieces of about one size, or fewer: in training, none is a single image."""
        length = places.stop - places.start
        grain = 2 if self.training else 1
        grains = max(1, length // grain)
        share, rest = divmod(grains, count)
        ends = [grain * (share * piece + min(piece, rest)) for piece in range(count + 1)]
        # What is left over, an odd image, goes to the last piece that has any.
        ends = [length if end >= grain * grains else end for end in ends]
        return [
            slice(places.start + begin, places.start + end)
            for begin, end in itertools.pairwise(ends)
            if begin < end
        ]


def training_batches(config: RunConfig, images: int, tasks: Tasks) -> Batches:
    """The batches of an epoch over so many training images."""
    return Batches(images, config.batch_size, tasks, config.accumulate_steps)


def evaluation_batches(config: RunConfig, images: int, tasks: Tasks) -> Batches:
    """The batches of an evaluation: as large as what training can hold at once."""
    size = math.ceil(config.batch_size / config.accumulate_steps)
    return Batches(images, size, tasks, training=False)


class Feed(Protocol):
    """A training and a test set, a batch at a time.

    Any batch can be asked for, and gives the same images with the same augmentation each time; in
    order is fastest.
    """

    loading: Loading  # what config.loading came to mean
    num_classes: int
    input_size: int  # side of the training images, in pixels
    # Of an image folder, a hash over the names of its classes and images, in their order: the same
    # in memory, streamed, and from a copy. Of other data sets, which do not change, empty.
    contents: str
    train_labels: Tensor  # (N,) on the CPU
    test_labels: Tensor
    train_batches: Batches
    test_batches: Batches

    def train_parts(self, epoch: int, batch: int) -> Iterator[Part]:
        """This task's parts of a batch of training images; epochs count from 0."""
        ...

    def test_parts(self, batch: int) -> Iterator[Part]:
        """This task's part of a batch of test images, none if the batch is smaller than that."""
        ...


def make_feed(
    config: RunConfig,
    tasks: Tasks,
    device: torch.device,
    memory_format: torch.memory_format,
    say: Callable[[str], None] = lambda text: None,
    loading: Loading | None = None,
    must_stop: Callable[[], bool] = lambda: False,
) -> Feed:
    """The feed of a run; InputError if the files of its data set are missing.

    `loading`, memory or stream, is what an earlier attempt's feed had: `auto` means the same then.
    Where images are copied, decoded or waited for, `must_stop` is asked now and then, and
    StoppedError raised if it says so.
    """
    from jobs.data.resident import ResidentFeed

    if config.dataset != "imagefolder":
        data = load_dataset(config, say, must_stop)
        return ResidentFeed(data, config, tasks, device, memory_format)
    from jobs.data.image_folder import list_images, load_image_folder, resolve_loading

    listing = list_images(config)
    loading = loading or resolve_loading(config, listing, must_stop)
    if loading == "memory":
        # Not from a copy on the node: what was decoded is one file, and is read once.
        data = load_image_folder(config, say, must_stop, listing)
        return ResidentFeed(data, config, tasks, device, memory_format)
    from jobs.data.stream import StreamedFeed

    if config.image_px is None:
        raise InputError(
            f"image_px: {config.image_folder} is streamed, and its images are resized for that; "
            "give their size, such as image_px=224"
        )
    if config.stage_dir:
        copy = stage(listing.folder, config.stage_dir, say, must_stop=must_stop)
        listing = dataclasses.replace(listing, folder=copy)
    return StreamedFeed(listing, config, tasks, device, memory_format)
