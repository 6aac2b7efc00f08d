import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import max_pool2d

from attention_models.drop import DropBlock


def dropping(probability: float, block_px: int = 7, share: float = 1.0) -> DropBlock:
    drop = DropBlock(probability, block_px)
    drop.follow(share)
    return drop


def dropped_share(drop: DropBlock, height: int, width: int) -> float:
    """Of all values of some thousand channels; what is drawn is the same each time."""
    torch.manual_seed(0)
    return (drop(torch.ones(1, 20_000, height, width)) == 0).float().mean().item()


def expected_share(probability: float, side: int, height: int, width: int) -> float:
    """A position is kept if no square begins at any of the places from which one would cover it."""
    places = torch.ones(1, 1, height - side + 1, width - side + 1)
    rate = probability * height * width / side**2 / places.numel()
    covering = torch.nn.functional.conv_transpose2d(places, torch.ones(1, 1, side, side))
    return 1 - ((1 - rate) ** covering).mean().item()


@pytest.mark.parametrize("off", [{"probability": 0.0}, {"probability": 0.5, "share": 0.0}])
def test_at_probability_zero_and_at_the_beginning_nothing_is_dropped(off):
    x = torch.randn(2, 8, 9, 9)
    assert torch.equal(dropping(**off)(x), x)


def test_in_evaluation_nothing_is_dropped():
    x = torch.randn(2, 8, 9, 9)
    assert dropping(0.9).eval()(x) is x


@given(
    probability=st.floats(0.02, 0.9),
    block_px=st.integers(1, 8),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    share=st.floats(0, 1),
)
def test_the_dropped_share_is_that_of_the_formula_at_any_size(
    probability, block_px, height, width, share
):
    side = min(block_px, height, width)
    expected = expected_share(probability * share, side, height, width)
    found = dropped_share(dropping(probability, block_px, share), height, width)
    # Five standard deviations where it varies most: where a channel is one square.
    assert found == pytest.approx(expected, abs=0.018)


@given(st.floats(0, 1), st.floats(0.1, 0.9))
def test_the_probability_rises_linearly_with_the_training(share, probability):
    drop = dropping(probability, block_px=1, share=share)  # one pixel: no overlap, the share itself
    assert dropped_share(drop, 1, 1) == pytest.approx(probability * share, abs=0.018)


@pytest.mark.parametrize("block_px", [2, 3, 7])
def test_what_is_dropped_is_a_union_of_squares_inside_the_map(block_px):
    torch.manual_seed(0)
    zeros = (dropping(0.3, block_px)(torch.ones(1, 500, 12, 10)) == 0).float()
    assert 0.1 < zeros.mean() < 0.5
    # Erosion finds the places where a whole square is zero; dilation paints these squares again.
    whole = -max_pool2d(-zeros, block_px, stride=1)
    again = torch.nn.functional.conv_transpose2d(
        whole.transpose(0, 1), torch.ones(1, 1, block_px, block_px)
    ).transpose(0, 1)
    assert torch.equal(again > 0, zeros > 0)


def test_all_images_of_a_batch_share_the_squares_and_channels_do_not():
    torch.manual_seed(0)
    zeros = dropping(0.3, 3)(torch.ones(4, 50, 9, 9)) == 0
    assert torch.equal(zeros, zeros[:1].expand(4, -1, -1, -1))
    assert len(zeros[0].flatten(1).unique(dim=0)) > 40


def test_what_is_kept_is_scaled_so_that_the_mean_of_ones_stays_one():
    torch.manual_seed(0)
    x = dropping(0.3, 3)(torch.ones(2, 64, 14, 14))
    assert x.mean().item() == pytest.approx(1, abs=1e-5)
    assert len(x.unique()) == 2


def test_in_half_precision_a_large_map_is_scaled_like_any_other():
    """The count of 200,000 values is no number of float16."""
    torch.manual_seed(0)
    x = dropping(0.1, 3)(torch.ones(1, 1024, 14, 14, dtype=torch.float16))
    assert x.dtype == torch.float16
    assert x.float().mean().item() == pytest.approx(1, abs=1e-3)


def test_if_everything_is_dropped_the_rest_is_zero_and_no_infinity():
    torch.manual_seed(0)
    x = dropping(1.0, 7)(torch.ones(2, 4, 7, 7))
    assert torch.equal(x, torch.zeros_like(x))


def test_gradients_flow_where_something_is_kept_and_with_the_same_scale():
    torch.manual_seed(0)
    x = torch.ones(2, 8, 9, 9, requires_grad=True)
    y = dropping(0.3, 3)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_order_in_memory_stays(memory_format):
    x = torch.randn(4, 8, 6, 6).contiguous(memory_format=memory_format)
    assert dropping(0.3)(x).is_contiguous(memory_format=memory_format)


def test_there_is_no_state_to_save_and_a_copy_follows_too():
    drop = dropping(0.3)
    assert drop.state_dict() == {}
    other = copy.deepcopy(drop)
    other.follow(0)
    assert (drop.share, other.share) == (1, 0)


def test_a_compiled_network_is_not_compiled_again_for_each_probability():
    drop, traced = DropBlock(0.5, 3), []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        traced.append(graph)
        return graph

    compiled = torch.compile(drop, backend=backend, dynamic=False)
    x = torch.ones(2, 100, 9, 9)
    shares = []
    for share in (0.0, 0.5, 1.0):
        drop.follow(share)
        shares.append((compiled(x) == 0).float().mean().item())
    assert len(traced) == 1
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[2] > 0.3
