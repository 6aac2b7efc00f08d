from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from jobs.augment import EpochDraw, cut_crops, draw_epoch
from jobs.config import RunConfig
from jobs.data import Images


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
