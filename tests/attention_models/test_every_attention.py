"""What holds for every attention module of the registry."""

import pytest
import torch
from torch import nn

from attention_models import ATTENTION, UnknownNameError, create_attention


def _with_random_weights(name: str, channels: int = 32) -> nn.Module:
    """Gates that start at zero would hide what stands behind them."""
    torch.manual_seed(0)
    module = create_attention(name, channels).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module


def test_an_unknown_name_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="'sse' is not a known attention; did you mean 'se'"):
        create_attention("sse", 32)


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("channels", [8, 40, 64])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 3), (7, 4)])
def test_maps_of_any_size_keep_it_and_get_gradients(name, channels, size):
    module = _with_random_weights(name, channels)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    y = module(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in module.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ATTENTION)
def test_the_layout_in_memory_changes_nothing_and_is_kept(name):
    module = _with_random_weights(name)
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    channels_last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(module(channels_last), module(x))
    assert module(channels_last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ATTENTION)
def test_half_precision_comes_near_to_the_full_one(name):
    module = _with_random_weights(name).float().eval()
    x = torch.randn(2, 32, 5, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    torch.testing.assert_close(y.float(), module(x.float()), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("name", ATTENTION)
def test_the_exported_module_computes_the_same(name):
    module = _with_random_weights(name).eval()
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x), module(x))
