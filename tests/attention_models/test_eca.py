import math

import pytest
import torch
from timm.layers import EcaModule
from torch import Tensor

from attention_models.count import Counts, count
from attention_models.eca import ECA, kernel_size
from attention_models.resnet import ModuleFactory, resnet50


def _eca_with_random_weights(channels: int) -> ECA:
    torch.manual_seed(0)
    eca = ECA(channels).double()
    with torch.no_grad():
        for parameter in eca.parameters():
            parameter.normal_()
    return eca


def _reference(eca: ECA, x: Tensor) -> Tensor:
    """The formula of the paper with the weights of `eca`, channel by channel."""
    weights = eca.conv.weight.flatten()
    reach = len(weights) // 2
    y = torch.empty_like(x)
    for image, scaled in zip(x, y, strict=True):
        for c in range(len(image)):
            neighbours = range(max(c - reach, 0), min(c + reach + 1, len(image)))
            logit = sum(weights[n - c + reach] * image[n].mean() for n in neighbours)
            scaled[c] = image[c] / (1 + torch.exp(-logit))
    return y


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 8, 40, 128])
def test_eca_is_what_its_formula_says(channels):
    eca = _eca_with_random_weights(channels)
    x = torch.randn(3, channels, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(eca(x), _reference(eca, x))


@pytest.mark.parametrize("channels", [8, 256, 2048])
def test_eca_is_the_module_of_timm(channels):
    eca = _eca_with_random_weights(channels)
    timm_eca = EcaModule(channels).double()
    timm_eca.load_state_dict(eca.state_dict())
    x = torch.randn(3, channels, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(eca(x), timm_eca(x), atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("channels", "kernel"),
    [(8, 3), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)],
)
def test_the_kernel_is_the_one_of_the_paper(channels, kernel):
    assert kernel_size(channels) == kernel
    assert ECA(channels).conv.kernel_size == (kernel,)


def test_no_other_odd_number_is_nearer_to_the_formula():
    for channels in [*range(1, 5000), 2**20]:
        exact = (math.log2(channels) + 1) / 2
        kernel = kernel_size(channels)
        assert kernel % 2 == 1
        assert -1 < kernel - exact <= 1, channels  # of two that are as near, the larger


def test_a_channel_has_one_scale_for_all_positions():
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    scale = _eca_with_random_weights(32)(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))


@torch.no_grad()
def test_a_channel_has_a_say_in_its_neighbours_only():
    eca = _eca_with_random_weights(128)  # reaches two channels to each side
    x = torch.randn(1, 128, 3, 4, dtype=torch.float64)
    changed = x.clone()
    changed[:, 50] += 1
    differs = (eca(changed) != eca(x)).any(dim=3).any(dim=2)[0]
    assert differs.nonzero().flatten().tolist() == [48, 49, 50, 51, 52]


def _resnet50_with(attention: ModuleFactory) -> Counts:
    with torch.device("meta"):
        model = resnet50(1000, "imagenet", attention=attention)
    return count(model, 224)


def test_resnet50_has_its_published_counts():
    plain, with_eca = (_resnet50_with(module) for module in (torch.nn.Identity, ECA))
    assert with_eca.params == 25_557_118
    # one product for every channel and every weight of its kernel
    products = 3 * 256 * 5 + 4 * 512 * 5 + 6 * 1024 * 5 + 3 * 2048 * 7
    assert with_eca.macs == plain.macs + products
