import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from attention_models import create_model
from attention_models.count import count_by_name
from attention_models.sresnet import SpatialAttention

FORMS = {
    "plain": {},
    "skips": {"skips": True},
    "dilation": {"dilation": 2},
    "skips, dilation and steep": {"skips": True, "dilation": 2, "steepness": 5.0},
}


def _attention_with_random_weights(form: str) -> SpatialAttention:
    torch.manual_seed(0)
    attention = SpatialAttention(5, **FORMS[form]).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    return attention


def _reference(attention: SpatialAttention, x: Tensor, dilation: int, steepness: float) -> Tensor:
    """The original module, for even sizes, written out with the weights of `attention`."""
    weights = attention.state_dict()

    def convolve(y: Tensor, layer: str, stride: int, padding: int) -> Tensor:
        kernel, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        return conv2d(y, kernel, bias, stride, padding * dilation, dilation)

    mean = x.sum(dim=1, keepdim=True) / x.shape[1]
    local = convolve(mean, "conv1", stride=1, padding=2).clamp(min=0)
    coarse = convolve(local, "conv2", stride=2, padding=1).clamp(min=0)
    doubled = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    mask = convolve(doubled, "conv3", stride=1, padding=1)
    if "merge.weight" in weights:
        of_mask, of_mean, of_local = weights["merge.weight"].flatten()
        mask = of_mask * mask + of_mean * mean + of_local * local
    return x * torch.sigmoid(steepness * mask)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(8, 8), (2, 6), (4, 10)])
def test_spatial_attention_is_what_its_description_says(form, size):
    attention = _attention_with_random_weights(form)
    x = torch.randn(3, 5, *size, dtype=torch.float64)
    dilation, steepness = FORMS[form].get("dilation", 1), FORMS[form].get("steepness", 1)
    expected = _reference(attention, x, dilation, steepness)
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 3), (7, 4), (9, 5)])
def test_odd_sizes_work_down_to_a_single_position(form, size):
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    scale = _attention_with_random_weights(form)(x) / x
    assert scale.shape == x.shape
    assert ((scale >= 0) & (scale <= 1)).all()


@pytest.mark.parametrize("form", FORMS)
def test_all_channels_share_one_mask(form):
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64)
    scale = _attention_with_random_weights(form)(x) / x
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale))


@pytest.mark.parametrize(("form", "params"), [("plain", 46), ("dilation", 46), ("skips", 49)])
def test_the_module_has_its_published_number_of_parameters(form, params):
    module = SpatialAttention(5, **FORMS[form])
    assert sum(parameter.numel() for parameter in module.parameters()) == params


@pytest.mark.parametrize(
    ("name", "num_classes", "params"),
    [
        ("sresnet50", 10, 23_509_802),
        ("sresnet50", 100, 23_694_212),
        ("sresnet50", 1000, 25_538_312),
        ("sresnet50_dilation", 10, 23_509_802),
        ("sresnet50_dilation", 100, 23_694_212),
        ("sresnet50_dilation", 1000, 25_538_312),
        ("sresnet50_skips", 10, 23_509_850),
        ("sresnet50_skips", 100, 23_694_260),
        ("sresnet50_skips", 1000, 25_538_360),
        ("sresnet50_skips_dilation", 10, 23_509_850),
        ("sresnet50_skips_dilation", 100, 23_694_260),
        ("sresnet50_skips_dilation", 1000, 25_538_360),
    ],
)
def test_networks_have_their_published_number_of_parameters(name, num_classes, params):
    assert count_by_name(name, num_classes, 32).params == params


@pytest.mark.parametrize(
    ("name", "skips", "dilation"),
    [
        ("sresnet_small", False, 1),
        ("sresnet_small_skips", True, 1),
        ("sresnet_small_dilation", False, 2),
        ("sresnet50", False, 1),
        ("sresnet50_skips", True, 1),
        ("sresnet50_dilation", False, 2),
        ("sresnet50_skips_dilation", True, 2),
    ],
)
def test_every_block_has_the_module_in_the_form_of_the_network(name, skips, dilation):
    with torch.device("meta"):
        model = create_model(name, 5, 8)
    modules = [part for part in model.modules() if isinstance(part, SpatialAttention)]
    assert len(modules) == (4 if "small" in name else 16)
    for module in modules:
        assert (module.merge is not None) == skips
        assert module.steepness == (5 if name == "sresnet50_skips_dilation" else 1)
        convolutions = (module.conv1, module.conv2, module.conv3)
        assert all(layer.dilation == (dilation, dilation) for layer in convolutions)
