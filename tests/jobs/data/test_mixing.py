from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from jobs.config import RunConfig
from jobs.data.feed import Part
from jobs.data.mixing import MixingDraw, draw_mixing, mix, mixed_cross_entropy


def draw(images: int, epoch: int = 0, **options: Any) -> MixingDraw:
    drawn = draw_mixing(RunConfig(model="resnet18", **options), epoch, images)
    assert drawn is not None
    return drawn


def numbered(images: int, height: int = 6, width: int = 8) -> Tensor:
    """Images (N, 3, H, W) that are their number everywhere."""
    return torch.arange(1.0, images + 1)[:, None, None, None].expand(-1, 3, height, width)


ALPHAS = st.sampled_from([{"mixup_alpha": 0.2}, {"cutmix_alpha": 1.0}]) | st.just(
    {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}
)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), ALPHAS)
def test_an_image_holds_its_own_share_of_itself_and_the_rest_of_its_partner(
    seed: int, size: int, alphas: dict[str, float]
) -> None:
    drawn = draw(20, seed=seed, **alphas)
    index = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:size]
    part = mix(numbered(20)[index], index, index, drawn)
    assert part.partners is not None
    assert part.own is not None
    for place in range(size):
        partner = place ^ 1 if place ^ 1 < size else place
        assert part.labels[place] == index[place]
        assert part.partners[place] == index[partner]
        assert 0 <= part.own[place] <= 1
        if partner == place:
            assert part.own[place] == 1
        wanted = part.own[place] * (index[place] + 1) + (1 - part.own[place]) * (index[partner] + 1)
        assert part.images[place].mean().item() == pytest.approx(wanted.item(), rel=1e-5)


@given(st.integers(0, 2**32 - 1), ALPHAS)
def test_pairs_are_mixed_alike_however_a_batch_is_cut_between_them(
    seed: int, alphas: dict[str, float]
) -> None:
    drawn = draw(20, seed=seed, **alphas)
    index = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:11]
    whole = mix(numbered(20)[index], index, index, drawn)
    for places in (slice(0, 4), slice(4, 11)):
        some = index[places]
        part = mix(numbered(20)[some], some, some, drawn)
        assert torch.equal(part.images, whole.images[places])
        assert part.own is not None
        assert whole.own is not None
        assert torch.equal(part.own, whole.own[places])


def test_mixup_blends_both_images_of_a_pair_by_the_share_of_its_first_one() -> None:
    drawn = draw(4, mixup_alpha=1.0)
    part = mix(numbered(4), torch.arange(4), torch.tensor([2, 0, 1, 3]), drawn)
    a, b = drawn.share[[2, 1]].tolist()
    assert part.own is not None
    assert part.own.tolist() == pytest.approx([a, a, b, b])
    wanted = [a + 2 * (1 - a), 2 * a + 1 - a, 3 * b + 4 * (1 - b), 4 * b + 3 * (1 - b)]
    for image, value in zip(part.images, wanted, strict=True):
        assert image.flatten().tolist() == pytest.approx([value] * image.numel())


def test_cutmix_pastes_one_rectangle_of_the_drawn_size_and_place() -> None:
    drawn = draw(400, cutmix_alpha=1.0)
    part = mix(numbered(400, 32, 32), torch.arange(400), torch.arange(400), drawn)
    assert part.own is not None
    for place in range(0, 400, 2):
        pasted = part.images[place] == place + 2
        assert torch.equal(pasted, part.images[place + 1] == place + 1)
        assert (part.images[place][~pasted] == place + 1).all()
        side = int(32 * (1 - drawn.share[place]).sqrt() / 2)
        row, column = (int(32 * centre) for centre in drawn.centres[place])
        wanted = torch.zeros(3, 32, 32, dtype=torch.bool)
        wanted[:, max(row - side, 0) : row + side, max(column - side, 0) : column + side] = True
        assert torch.equal(pasted, wanted)
        assert part.own[place].item() == pytest.approx(1 - wanted.float().mean().item())


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    for alpha in (0.2, 1.0, 4.0):
        share = draw(50_000, mixup_alpha=alpha).share
        wanted = torch.distributions.Beta(alpha, alpha)
        assert share.mean().item() == pytest.approx(0.5, abs=0.01)
        assert share.var().item() == pytest.approx(wanted.variance.item(), rel=0.03)
        assert share.min() >= 0
        assert share.max() <= 1


def test_with_both_each_pair_has_one_of_them_with_its_own_alpha() -> None:
    drawn = draw(50_000, mixup_alpha=0.2, cutmix_alpha=1.0)
    assert 0.49 < drawn.pasted.double().mean() < 0.51
    assert drawn.share[drawn.pasted].var().item() == pytest.approx(1 / 12, rel=0.05)
    assert drawn.share[~drawn.pasted].var().item() == pytest.approx(0.25 / 1.4, rel=0.05)
    assert not draw(100, mixup_alpha=1.0).pasted.any()
    assert draw(100, cutmix_alpha=1.0).pasted.all()


def test_each_epoch_and_seed_has_a_draw_of_its_own_and_always_the_same() -> None:
    first = draw(100, mixup_alpha=1.0)
    assert torch.equal(first.share, draw(100, mixup_alpha=1.0).share)
    assert not torch.equal(first.share, draw(100, 1, mixup_alpha=1.0).share)
    assert not torch.equal(first.share, draw(100, seed=1, mixup_alpha=1.0).share)


def test_without_mixing_nothing_is_drawn_and_the_images_stay_what_they_are() -> None:
    assert draw_mixing(RunConfig(model="resnet18"), 0, 10) is None
    images, labels = numbered(4), torch.arange(4)
    part = mix(images, labels, labels, None)
    assert part.images is images
    assert part.partners is None
    assert part.own is None


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_order_in_memory_stays(memory_format: torch.memory_format) -> None:
    images = torch.rand(5, 3, 8, 8).contiguous(memory_format=memory_format)
    for alphas in ({"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}):
        part = mix(images, torch.arange(5), torch.arange(5), draw(5, **alphas))
        assert part.images.is_contiguous(memory_format=memory_format)


# ---- the loss


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1]))
def test_the_loss_is_the_cross_entropy_with_the_mixed_labels(seed: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(7, 10, generator=generator)
    labels, partners = torch.randint(10, (2, 7), generator=generator)
    own = torch.rand(7, generator=generator)
    loss = mixed_cross_entropy(logits, Part(logits, labels, partners, own), smoothing)
    mixed = own[:, None] * F.one_hot(labels, 10) + (1 - own[:, None]) * F.one_hot(partners, 10)
    wanted = F.cross_entropy(logits, mixed, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1]))
def test_the_loss_of_unmixed_images_is_the_plain_one_to_the_bit(
    seed: int, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(7, 10, generator=generator)
    labels = torch.randint(10, (7,), generator=generator)
    loss = mixed_cross_entropy(logits, Part(logits, labels), smoothing)
    assert torch.equal(loss, F.cross_entropy(logits, labels, label_smoothing=smoothing))
