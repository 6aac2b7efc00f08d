from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import AutoAugment as AutoAugmentV2
from torchvision.transforms.v2 import RandAugment
from torchvision.transforms.v2 import functional as tv

from jobs.config import RunConfig
from jobs.data.operations import (
    AUTOAUGMENT_BINS,
    KINDS,
    OPERATIONS,
    RANDAUGMENT_BINS,
    apply_operations,
    draw_operations,
    magnitudes_of,
    policies,
)
from tests.jobs.data.photographs import pieces

CPU = torch.device("cpu")


def photos(height: int, width: int) -> Tensor:
    """Pieces of a photograph, an image of noise and one of one colour: (42, height, width, 3)."""
    noise = torch.randint(256, (height, width, 3), generator=torch.Generator().manual_seed(0))
    plain = torch.full((height, width, 3), 77)
    return torch.cat([pieces(40, height, width), torch.stack([noise, plain]).byte()])


def shear(image: Tensor, x: float, y: float) -> Tensor:
    degrees = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return tv.affine(image, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def shift(image: Tensor, x: float, y: float) -> Tensor:
    height, width = image.shape[1:]
    return tv.affine(image, 0.0, [int(x * width), int(y * height)], 1.0, [0.0, 0.0])


# What torchvision does to one image (3, H, W) with a magnitude.
REFERENCE = {
    "Identity": lambda image, m: image,
    "ShearX": lambda image, m: shear(image, m, 0),
    "ShearY": lambda image, m: shear(image, 0, m),
    "TranslateX": lambda image, m: shift(image, m, 0),
    "TranslateY": lambda image, m: shift(image, 0, m),
    "Rotate": lambda image, m: tv.rotate(image, m),
    "Brightness": lambda image, m: tv.adjust_brightness(image, 1 + m),
    "Color": lambda image, m: tv.adjust_saturation(image, 1 + m),
    "Contrast": lambda image, m: tv.adjust_contrast(image, 1 + m),
    "Sharpness": lambda image, m: tv.adjust_sharpness(image, 1 + m),
    "Posterize": lambda image, m: tv.posterize(image, round(m)),
    "Solarize": lambda image, m: tv.solarize(image, 255 * m),
    "AutoContrast": lambda image, m: tv.autocontrast(image),
    "Equalize": lambda image, m: tv.equalize(image),
    "Invert": lambda image, m: tv.invert(image),
}
# Blends, of which torchvision rounds the terms in another order: apart by one level, rarely.
ROUNDED_OTHERWISE = ("Brightness", "Color", "Contrast", "Sharpness")
# Where a source place is half-way between two pixels, rounding errors decide which is nearest.
NEARLY_EVERYWHERE = ("ShearX", "ShearY", "Rotate")


def assert_as_torchvision_does_it(name: str, pixels: Tensor, magnitude: Tensor) -> None:
    before = pixels.clone()
    ours = OPERATIONS[name].apply(pixels, magnitude)
    assert torch.equal(pixels, before)
    assert ours.dtype == torch.uint8
    theirs = torch.stack(
        [
            REFERENCE[name](image.permute(2, 0, 1), m).permute(1, 2, 0)
            for image, m in zip(pixels, magnitude.tolist(), strict=True)
        ]
    )
    apart = (ours.int() - theirs.int()).abs()
    share = (apart > 0).double().mean()
    if name in ROUNDED_OTHERWISE:
        assert apart.max() <= 1
        assert share < 0.02
    elif name in NEARLY_EVERYWHERE:
        assert share < 0.005
    else:
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_to_each_image_what_torchvision_does(name: str) -> None:
    pixels = photos(24, 32)
    place = torch.arange(len(pixels))
    sign = 1 - 2 * (place % 2) if OPERATIONS[name].signed else torch.ones(len(pixels))
    bins = magnitudes_of(RANDAUGMENT_BINS)[KINDS[name]]
    for first_bin in range(0, RANDAUGMENT_BINS, 3):
        magnitude = bins[(place + first_bin) % RANDAUGMENT_BINS] * sign
        assert_as_torchvision_does_it(name, pixels, magnitude)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_takes_images_of_any_size(name: str) -> None:
    for height, width in ((1, 1), (2, 5), (3, 3)):
        magnitude = magnitudes_of(RANDAUGMENT_BINS)[KINDS[name], 9:13]
        assert_as_torchvision_does_it(name, photos(24, 32)[:4, :height, :width], magnitude)


@given(st.data())
def test_what_is_done_to_an_image_does_not_depend_on_those_beside_it(data: st.DataObject) -> None:
    pixels = photos(8, 8)[:12]
    kinds = torch.tensor(
        data.draw(st.lists(st.integers(0, len(OPERATIONS) - 1), min_size=12, max_size=12))
    )
    magnitude = magnitudes_of(12)[kinds, torch.arange(12)]
    together = apply_operations(pixels, kinds, magnitude)
    names = list(OPERATIONS)
    for i, kind in enumerate(kinds.tolist()):
        alone = OPERATIONS[names[kind]].apply(pixels[i : i + 1], magnitude[i : i + 1])
        assert torch.equal(together[i], alone[0])


# ---- what is drawn


@pytest.mark.parametrize("size", [8, 28, 32, 64, 96, 224])
def test_magnitudes_are_those_of_torchvision(size: int) -> None:
    """Of its tables for RandAugment and AutoAugment, which make pixels of a shift at once."""
    for space, bins in (
        (RandAugment._AUGMENTATION_SPACE, RANDAUGMENT_BINS),
        (AutoAugmentV2._AUGMENTATION_SPACE, AUTOAUGMENT_BINS),
    ):
        for name, (make, signed) in space.items():
            theirs = make(bins, size, size)
            ours = magnitudes_of(bins)[KINDS[name]]
            assert OPERATIONS[name].signed == signed
            if name.startswith("Translate"):
                assert torch.equal((ours * size).trunc(), theirs.trunc())
            elif name == "Posterize":
                assert torch.equal(ours.round().int(), theirs)
            elif theirs is None:
                assert not ours.any()
            else:
                assert torch.equal(ours, theirs)


def draw_counts(augment: str, **options: int) -> Counter[tuple[tuple[str, float], ...]]:
    """How often each sequence of operations was drawn for one of 50,000 images."""
    config = RunConfig(model="resnet18", augment=augment, **options)
    drawn = draw_operations(config, 0, 50_000, CPU)
    names = list(OPERATIONS)
    return Counter(
        tuple((names[kind], round(m, 4)) for kind, m in zip(kinds, magnitudes, strict=True))
        for kinds, magnitudes in zip(drawn.kinds.tolist(), drawn.magnitudes.tolist(), strict=True)
    )


def test_randaugment_draws_its_14_operations_equally_often_at_one_magnitude() -> None:
    counts = draw_counts("randaugment", randaugment_ops=1, randaugment_magnitude=20)
    kinds: Counter[str] = Counter()
    for ((name, _),), count in counts.items():
        kinds[name] += count
    assert set(kinds) == set(OPERATIONS) - {"Invert"}
    assert all(abs(count / 50_000 * 14 - 1) < 0.1 for count in kinds.values())
    rotated = [counts[(("Rotate", sign * 20.0),)] for sign in (1, -1)]
    assert sum(rotated) == kinds["Rotate"]
    assert min(rotated) > 0.45 * kinds["Rotate"]
    assert counts[(("Posterize", round(8 - 4 * 20 / 30, 4)),)] == kinds["Posterize"]


def test_randaugment_draws_each_of_several_operations_on_its_own() -> None:
    pairs: Counter[tuple[str, ...]] = Counter()
    for drawn, count in draw_counts("randaugment", randaugment_ops=2).items():
        pairs[tuple(name for name, _ in drawn)] += count
    assert len(pairs) == 14**2
    assert all(abs(count / 50_000 * 14**2 - 1) < 0.35 for count in pairs.values())


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "svhn"])
def test_autoaugment_draws_its_policies_with_their_chances(name: str) -> None:
    """How often each pair of operations comes, beside what the 25 policies add up to."""
    wanted: Counter[tuple[str, ...]] = Counter()
    for (a, chance_a, _), (b, chance_b, _) in AutoAugment(AutoAugmentPolicy(name)).policies:
        wanted[a, b] += chance_a * chance_b
        wanted[a, "Identity"] += chance_a * (1 - chance_b)
        wanted["Identity", b] += (1 - chance_a) * chance_b
        wanted["Identity", "Identity"] += (1 - chance_a) * (1 - chance_b)
    found: Counter[tuple[str, ...]] = Counter()
    for drawn, count in draw_counts(f"autoaugment_{name}").items():
        found[tuple(kind for kind, _ in drawn)] += count
    for pair in wanted | found:
        assert found[pair] / 50_000 == pytest.approx(wanted[pair] / 25, abs=0.006)


def test_the_magnitudes_of_autoaugment_are_those_of_its_policies() -> None:
    """Of the second policy for CIFAR-10, which alone rotates: (Rotate, 0.7, 2), (TranslateX, 9)."""
    kinds, chances, bins = policies("cifar10")
    assert kinds[1].tolist() == [KINDS["Rotate"], KINDS["TranslateX"]]
    assert chances[1].tolist() == pytest.approx([0.7, 0.3])
    assert bins[1].tolist() == [2, 9]
    both = {
        tuple(abs(m) for _, m in drawn)
        for drawn in draw_counts("autoaugment_cifar10")
        if [name for name, _ in drawn] == ["Rotate", "TranslateX"]
    }
    assert both == {(round(30 * 2 / 9, 4), round(150 / 331, 4))}


def test_an_image_is_changed_by_its_operations_one_after_the_other() -> None:
    config = RunConfig(model="resnet18", augment="randaugment", randaugment_ops=3)
    drawn = draw_operations(config, 5, 42, CPU)
    pixels, index = photos(16, 16), torch.randperm(42)
    done = drawn.apply(pixels[index], index)
    for place, image in enumerate(index.tolist()):
        wanted = pixels[image : image + 1]
        for kind, magnitude in zip(drawn.kinds[image], drawn.magnitudes[image], strict=True):
            wanted = apply_operations(wanted, kind[None], magnitude[None])
        assert torch.equal(done[place], wanted[0])
    other = draw_operations(config, 6, 42, CPU)
    assert not torch.equal(drawn.kinds, other.kinds)
