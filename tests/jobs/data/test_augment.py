from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from jobs.config import RunConfig
from jobs.data.augment import (
    Boxes,
    EpochDraw,
    Normaliser,
    cut_crops,
    cut_out,
    draw_boxes,
    draw_epoch,
    resize_crops,
)
from jobs.data.datasets import Images, load_dataset
from tests.jobs.data.photographs import pieces


def draw(images: int, epoch: int = 0, **options: Any) -> EpochDraw:
    config = RunConfig(model="resnet18", **options)
    return draw_epoch(config, epoch, images, torch.device("cpu"))


@given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.integers(0, 4), st.booleans())
def test_a_crop_is_what_torchvision_cuts_at_the_drawn_place(
    seed: int, epoch: int, margin: int, flip: bool
) -> None:
    images = Images(
        torch.randint(256, (7, 6, 6, 3), generator=torch.Generator().manual_seed(1)).byte(),
        torch.arange(7),
    )
    drawn = draw(7, epoch, seed=seed, crop_padding_px=margin, flip=flip)
    index = drawn.order[:5]
    crops = cut_crops(images.padded(margin), index, drawn, size=6)
    for place, image in enumerate(index.tolist()):
        wanted = tv.pad(images.pixels[image].permute(2, 0, 1), [margin] * 4)
        wanted = tv.crop(wanted, int(drawn.top[image]), int(drawn.left[image]), 6, 6)
        if drawn.mirrored[image]:
            wanted = tv.horizontal_flip(wanted)
        assert torch.equal(crops[place], wanted.permute(1, 2, 0))


def test_every_image_comes_once_in_an_epoch_and_in_another_order_in_the_next() -> None:
    first, second = (draw(500, epoch) for epoch in (0, 1))
    assert sorted(first.order.tolist()) == list(range(500))
    assert not torch.equal(first.order, second.order)
    assert not torch.equal(first.top, second.top)


def test_shifts_and_mirroring_use_their_whole_range() -> None:
    drawn = draw(2000)
    for shift in (drawn.top, drawn.left):
        assert torch.bincount(shift, minlength=9).min() > 2000 / 9 * 0.7
    assert 0.45 < drawn.mirrored.double().mean() < 0.55
    assert not draw(2000, flip=False).mirrored.any()


def test_the_draw_of_an_epoch_stays_what_it_was_in_stored_runs() -> None:
    drawn = draw(6, epoch=3, seed=11)
    assert drawn.order.tolist() == [1, 0, 3, 5, 4, 2]
    assert drawn.top.tolist() == [1, 7, 4, 6, 6, 8]
    assert drawn.left.tolist() == [3, 2, 1, 6, 5, 1]
    assert drawn.mirrored.int().tolist() == [1, 1, 1, 0, 1, 1]
    more = draw(6, epoch=3, seed=11, cutout_px=8, augment="randaugment", mixup_alpha=1.0)
    assert torch.equal(more.order, drawn.order)
    assert torch.equal(more.mirrored, drawn.mirrored)


def test_normalising_is_one_product_and_one_difference_for_each_channel() -> None:
    """In this order and in single precision: stored runs were trained on these very numbers."""
    data = load_dataset(RunConfig(model="resnet18", dataset="synthetic"))
    scale = 1 / (255 * torch.tensor(data.std))
    wanted = data.train.pixels * scale - torch.tensor(data.mean) / torch.tensor(data.std)
    images = Normaliser(data, torch.device("cpu"))(data.train.pixels)
    assert torch.equal(images, wanted.permute(0, 3, 1, 2))


# ---- resized crops


def boxes_of(images: int, height: int, width: int, epoch: int = 0, **options: Any) -> Boxes:
    config = RunConfig(model="resnet18", crop="resized", **options)
    return draw_boxes(config, epoch, images, height, width, torch.device("cpu"))


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 1),
    st.floats(1, 3),
    st.integers(0, 2**32 - 1),
)
def test_boxes_lie_inside_of_the_image(
    height: int, width: int, smallest: float, ratio: float, seed: int
) -> None:
    boxes = boxes_of(50, height, width, crop_scale_min=smallest, crop_ratio_max=ratio, seed=seed)
    for first, side, length in (
        (boxes.top, boxes.height, height),
        (boxes.left, boxes.width, width),
    ):
        assert first.min() >= 0
        assert side.min() >= 1
        assert (first + side).max() <= length


def quantiles(values: Tensor) -> list[float]:
    return values.double().quantile(torch.linspace(0.1, 0.9, 5).double()).tolist()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 40), (20, 100)])
def test_boxes_are_distributed_as_those_of_torchvision(height: int, width: int) -> None:
    """Each quantile of tops, lefts, heights and widths; in the last two shapes many tries fail."""
    ours = boxes_of(20_000, height, width, crop_scale_min=0.3, crop_ratio_max=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.zeros(3, height, width)
        crop = RandomResizedCrop(8, scale=(0.3, 1.0), ratio=(1 / 3, 3))
        drawn = [crop.make_params([image]) for _ in range(4000)]
    for name in ("top", "left", "height", "width"):
        theirs = torch.tensor([params[name] for params in drawn])
        apart = 0.03 * (height if name in ("top", "height") else width) + 1
        assert quantiles(getattr(ours, name)) == pytest.approx(quantiles(theirs), abs=apart)


def test_each_epoch_has_boxes_of_its_own() -> None:
    first, second = (boxes_of(20, 32, 32, epoch) for epoch in (0, 1))
    assert not torch.equal(first.top, second.top)


def test_where_no_try_fits_the_largest_centred_part_of_an_allowed_ratio_is_taken() -> None:
    for height, width, wanted in ((10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10))):
        boxes = boxes_of(20, height, width, crop_scale_min=0.9)
        for box in zip(boxes.top, boxes.left, boxes.height, boxes.width, strict=True):
            assert tuple(map(int, box)) == wanted


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [10, 32, 50])
def test_a_resized_crop_is_what_torchvision_makes_of_the_box(size: int, interpolation: str) -> None:
    """For boxes that shrink and that grow. Of floats: of bytes it rounds after the first side."""
    pixels = pieces(12, 30, 40)
    boxes = boxes_of(12, 30, 40)
    mirrored = torch.arange(12) % 2 == 0
    index = torch.randperm(12)[:9]
    crops = resize_crops(pixels, index, boxes, mirrored, size, interpolation)
    assert crops.dtype == torch.uint8
    for crop, i in zip(crops, index.tolist(), strict=True):
        box = [int(side[i]) for side in (boxes.top, boxes.left, boxes.height, boxes.width)]
        mode = InterpolationMode(interpolation)
        wanted = tv.resized_crop(pixels[i].permute(2, 0, 1).float(), *box, [size, size], mode)
        if mirrored[i]:
            wanted = tv.horizontal_flip(wanted)
        apart = (crop - wanted.permute(1, 2, 0).clamp(0, 255)).abs()
        assert apart.max() <= 0.501


# ---- cutout


def test_cutout_blanks_a_square_that_ends_at_the_borders() -> None:
    holes = torch.tensor([[0.5, 0.5], [0.0, 0.99], [0.99, 0.3]])
    images = cut_out(torch.ones(3, 3, 8, 10), holes, 4)
    wanted = torch.ones(3, 3, 8, 10)
    wanted[0, :, 2:6, 3:7] = 0
    wanted[1, :, 0:2, 7:10] = 0
    wanted[2, :, 5:8, 1:5] = 0
    assert torch.equal(images, wanted)
    assert not cut_out(images, holes, 1000).any()


def test_the_centres_of_cutout_use_the_whole_image() -> None:
    holes, later = (draw(2000, epoch, cutout_px=16).holes for epoch in (0, 1))
    assert holes is not None
    assert later is not None
    assert not torch.equal(holes, later)
    for place in holes.T:
        assert torch.bincount((place * 8).long(), minlength=8).min() > 2000 / 8 * 0.7
    assert draw(2000).holes is None
