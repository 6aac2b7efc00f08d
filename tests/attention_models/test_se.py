import pytest
import torch
from timm.layers import SEModule
from torch import Tensor

from attention_models.count import Counts, count
from attention_models.resnet import ModuleFactory, resnet50
from attention_models.se import SE


def _se_with_random_weights(channels: int) -> SE:
    torch.manual_seed(0)
    se = SE(channels).double()
    with torch.no_grad():
        for parameter in se.parameters():
            parameter.normal_()
    return se


def _reference(se: SE, x: Tensor) -> Tensor:
    """The formula of the paper with the weights of `se`, image by image and channel by channel."""
    squeeze, squeeze_bias, excite, excite_bias = (weight.squeeze() for weight in se.parameters())
    y = torch.empty_like(x)
    for image, scaled in zip(x, y, strict=True):
        means = torch.stack([plane.sum() / plane.numel() for plane in image])
        hidden = [
            max(row @ means + bias, torch.zeros(()))
            for row, bias in zip(squeeze, squeeze_bias, strict=True)
        ]
        for c in range(len(image)):
            logit = sum(weight * h for weight, h in zip(excite[c], hidden, strict=True))
            scaled[c] = image[c] / (1 + torch.exp(-logit - excite_bias[c]))
    return y


@torch.no_grad()
def test_se_is_what_its_formula_says():
    se = _se_with_random_weights(64)
    x = 10 * torch.randn(3, 64, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(se(x), _reference(se, x))


def test_se_is_the_module_of_timm():
    se = _se_with_random_weights(64)
    timm_se = SEModule(64, rd_channels=4).double()
    # The order of the layers is the same, and so is that of the tensors.
    names = zip(timm_se.state_dict(), se.state_dict().values(), strict=True)
    timm_se.load_state_dict(dict(names))
    x = torch.randn(3, 64, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(se(x), timm_se(x), atol=1e-8, rtol=0)


def test_a_channel_has_one_scale_for_all_positions():
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    scale = _se_with_random_weights(32)(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))


def test_positions_may_change_places():
    se = _se_with_random_weights(32)
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    order = torch.randperm(30)

    def shuffled(y: Tensor) -> Tensor:
        return y.flatten(2)[:, :, order].reshape(y.shape)

    torch.testing.assert_close(se(shuffled(x)), shuffled(se(x)))


def _resnet50_with(attention: ModuleFactory) -> Counts:
    with torch.device("meta"):
        model = resnet50(1000, "imagenet", attention=attention)
    return count(model, 224)


def test_resnet50_has_its_published_counts():
    params, macs = _resnet50_with(SE)
    assert params == 28_088_024
    assert round(macs / 1e9, 4) == 4.0917


@pytest.mark.parametrize(
    ("channels", "hidden"), [(8, 4), (64, 4), (128, 8), (256, 16), (512, 32), (2048, 128)]
)
def test_the_hidden_width_is_a_sixteenth_and_at_least_four(channels, hidden):
    assert SE(channels).gate[0].out_channels == hidden
