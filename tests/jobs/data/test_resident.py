from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from jobs.config import RunConfig
from jobs.data import resident
from jobs.data.augment import IMAGENET, Normaliser, cut_crops, cut_out, draw_epoch
from jobs.data.datasets import DataSet, Images
from jobs.data.feed import Part
from jobs.data.resident import ResidentFeed, stored_for_training
from jobs.distributed import ALONE, Tasks
from tests.jobs.data.photographs import pieces

CPU = torch.device("cpu")
ALL_OPTIONS: dict[str, Any] = {
    "augment": "randaugment",
    "cutout_px": 6,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
}


def photos(height: int = 16, width: int = 16) -> DataSet:
    """41 training and 20 test images, pieces of a photograph, labelled by their number."""
    pixels, labels = pieces(61, height, width), torch.arange(61)
    train, test = (Images(pixels[some], labels[some]) for some in (slice(41), slice(41, None)))
    return DataSet(train, test, 61, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def feed_of(
    data: DataSet,
    tasks: Tasks = ALONE,
    memory_format: torch.memory_format = torch.contiguous_format,
    **options: Any,
) -> ResidentFeed:
    config = RunConfig(**({"model": "resnet18", "batch_size": 16} | options))
    return ResidentFeed(data, config, tasks, CPU, memory_format)


def whole_epoch(feed: ResidentFeed, epoch: int = 0) -> list[Part]:
    return [
        part for batch in range(len(feed.train_batches)) for part in feed.train_parts(epoch, batch)
    ]


def joined(parts: list[Part]) -> tuple[Tensor, Tensor]:
    return torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])


def test_images_are_shifted_mirrored_normalised_and_blanked_as_drawn() -> None:
    data = photos()
    for cutout_px in (0, 6):
        config = RunConfig(model="resnet18", seed=3, cutout_px=cutout_px)
        images, labels = joined(whole_epoch(feed_of(data, seed=3, cutout_px=cutout_px), epoch=2))
        drawn = draw_epoch(config, 2, 41, CPU)
        crops = cut_crops(data.train.padded(4), drawn.order, drawn, 16)
        wanted = Normaliser(data, CPU)(crops)
        if drawn.holes is not None:
            wanted = cut_out(wanted, drawn.holes[drawn.order], cutout_px)
        assert torch.equal(images, wanted)
        assert torch.equal(labels, drawn.order)


OPTIONS = st.sampled_from(
    [
        {},
        {"crop": "resized"},
        {"crop": "resized", "image_px": 10, "interpolation": "bicubic"},
        {"image_px": 20, "augment": "autoaugment_cifar10"},
    ]
)


@settings(max_examples=15)
@given(OPTIONS, st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 2))
def test_how_a_batch_is_divided_changes_nothing(
    options: dict[str, Any], seed: int, world: int, accumulate: int
) -> None:
    options = ALL_OPTIONS | options | {"seed": seed}
    data = photos()
    alone = whole_epoch(feed_of(data, **options))
    tasks = [
        feed_of(data, Tasks(rank, world), gpus=world, accumulate_steps=accumulate, **options)
        for rank in range(world)
    ]
    placed = [
        (places.start, part)
        for batch in range(len(tasks[0].train_batches))
        for task in tasks
        for places, part in zip(
            task.train_batches.parts_of(batch), task.train_parts(0, batch), strict=True
        )
    ]
    divided = [part for _, part in sorted(placed, key=lambda item: item[0])]
    for name in ("images", "labels", "partners", "own"):
        wanted = torch.cat([getattr(part, name) for part in alone])
        assert torch.equal(torch.cat([getattr(part, name) for part in divided]), wanted), name


def test_any_batch_can_be_asked_for_again() -> None:
    feed = feed_of(photos(), **ALL_OPTIONS)
    (first,) = feed.train_parts(1, 2)
    whole_epoch(feed, epoch=0)
    (again,) = feed.train_parts(1, 2)
    assert torch.equal(first.images, again.images)
    (other,) = feed.train_parts(0, 2)
    assert not torch.equal(first.images, other.images)


def test_every_option_changes_the_images_and_none_of_them_the_order() -> None:
    data = photos()
    plain, order = joined(whole_epoch(feed_of(data)))
    for options in (
        {"crop": "resized"},
        {"augment": "randaugment"},
        {"augment": "autoaugment_imagenet"},
        {"augment": "autoaugment_svhn"},
        {"cutout_px": 4},
        {"mixup_alpha": 1.0},
        {"cutmix_alpha": 1.0},
    ):
        images, labels = joined(whole_epoch(feed_of(data, **options)))
        assert images.shape == plain.shape
        assert not torch.equal(images, plain), options
        assert torch.equal(labels, order), options


def test_cutout_blanks_what_the_operations_have_changed() -> None:
    """Everything that is blanked has the mean, although inverting, say, would change it."""
    images, _ = joined(whole_epoch(feed_of(photos(), augment="randaugment", cutout_px=100)))
    assert not images.any()


@pytest.mark.parametrize("options", [{}, {"crop": "resized"}, ALL_OPTIONS])
def test_images_come_in_the_order_in_memory_that_was_asked_for(options: dict[str, Any]) -> None:
    for memory_format in (torch.channels_last, torch.contiguous_format):
        feed = feed_of(photos(), memory_format=memory_format, **options)
        for part in [*feed.train_parts(0, 0), *feed.test_parts(0)]:
            assert part.images.is_contiguous(memory_format=memory_format)


# ---- sizes


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 24)])
def test_test_images_are_the_centre_of_resized_ones(
    height: int, width: int, interpolation: str
) -> None:
    data = photos(height, width)
    feed = feed_of(data, image_px=20, test_px=28, test_crop=0.875, interpolation=interpolation)
    (part, *_) = feed.test_parts(0)
    resized = tv.resize(
        data.test.pixels[:16].permute(0, 3, 1, 2), [32], InterpolationMode(interpolation)
    )
    wanted = tv.center_crop(resized, [28]).permute(0, 2, 3, 1)
    assert torch.equal(part.images, Normaliser(data, CPU)(wanted))
    assert feed.input_size == 20


@pytest.mark.parametrize("crop", ["shift", "resized"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 16)])
def test_images_have_the_size_that_is_asked_for_or_their_own(
    height: int, width: int, crop: str
) -> None:
    data = photos(height, width)
    for options, train_px, test_px in (
        ({}, 16, 16),
        ({"image_px": 12}, 12, 12),
        ({"image_px": 20, "test_px": 24}, 20, 24),
        ({"test_crop": 0.5}, 16, 16),
    ):
        feed = feed_of(data, crop=crop, **options)
        assert feed.input_size == train_px
        (trained, *_), (tested, *_) = feed.train_parts(0, 0), feed.test_parts(0)
        assert trained.images.shape == (16, 3, train_px, train_px)
        assert tested.images.shape == (16, 3, test_px, test_px)


def test_images_are_resized_before_they_are_shifted() -> None:
    data = photos()
    feed = feed_of(data, image_px=8, crop_padding_px=0, flip=False)
    images, labels = joined(whole_epoch(feed))
    resized = tv.resize(data.train.pixels[labels].permute(0, 3, 1, 2), [8])
    assert torch.equal(images, Normaliser(data, CPU)(resized.permute(0, 2, 3, 1)))


@pytest.mark.parametrize("crop_padding_px", [0, 3])
def test_resized_images_are_made_without_a_second_copy_of_all(
    crop_padding_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "RESIZED_AT_ONCE", 8)
    images = Images(torch.randint(256, (400, 16, 16, 3), dtype=torch.uint8), torch.arange(400))
    config = RunConfig(model="resnet18", image_px=40, crop_padding_px=crop_padding_px)
    with torch.profiler.profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        stored = stored_for_training(images, config)
    events = sorted(profile.events(), key=lambda event: event.time_range.start)
    held = itertools.accumulate(event.self_cpu_memory_usage for event in events)
    assert stored.pixels.nbytes <= max(held) < 1.2 * stored.pixels.nbytes


# ---- on a device


@pytest.mark.parametrize("crop", ["shift", "resized"])
@pytest.mark.parametrize("augment", ["none", "randaugment", "autoaugment_svhn"])
def test_no_step_asks_the_device_for_a_number(augment: str, crop: str) -> None:
    """On a device without values, on which it would fail: a GPU would have to be waited for."""
    config = RunConfig(
        model="resnet18", batch_size=16, crop=crop, **(ALL_OPTIONS | {"augment": augment})
    )
    device = torch.device("meta")
    parts = whole_epoch(ResidentFeed(photos(), config, ALONE, device, torch.channels_last))
    for part in parts:
        assert part.images.shape == (len(part), 3, 16, 16)
        for tensor in (part.images, part.labels, part.partners, part.own):
            assert tensor is not None
            assert tensor.device == device


def test_published_weights_get_the_colours_that_they_expect() -> None:
    data = photos()
    (part,) = feed_of(data, normalisation="imagenet", batch_size=32).test_parts(0)
    assert torch.equal(part.images, Normaliser(IMAGENET, CPU)(data.test.pixels))
    (own,) = feed_of(data, batch_size=32).test_parts(0)
    assert torch.equal(own.images, Normaliser(data, CPU)(data.test.pixels))
