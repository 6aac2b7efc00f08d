import pytest
import torch
from torch import Tensor

from attention_models.cbam import CBAM
from attention_models.count import Counts, count
from attention_models.resnet import ModuleFactory, resnet50


def _cbam_with_random_weights(channels: int) -> CBAM:
    torch.manual_seed(0)
    cbam = CBAM(channels).double()
    with torch.no_grad():
        for parameter in cbam.parameters():
            parameter.normal_(std=0.5)  # keeps the sigmoids from their ends
    return cbam


def _sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def _reference(cbam: CBAM, x: Tensor) -> Tensor:
    """The module in training, written out from its description with the weights of `cbam`."""
    squeeze, squeeze_bias, excite, excite_bias, kernel, scale, shift = cbam.parameters()

    def mlp(pooled: Tensor) -> Tensor:
        hidden = (pooled @ squeeze.T + squeeze_bias).clamp(min=0)
        return hidden @ excite.T + excite_bias

    planes = x.flatten(2)
    channel = _sigmoid(
        mlp(planes.sum(2) / planes.shape[2]) + mlp(planes.sort(dim=2).values[..., -1])
    )
    x = torch.einsum("bchw,bc->bchw", x, channel)

    height, width = x.shape[2:]
    maximum, mean = x.sort(dim=1).values[:, -1], x.sum(1) / x.shape[1]
    logits = torch.zeros_like(mean)
    for of_map, values in zip(kernel[0], (maximum, mean), strict=True):
        padded = torch.nn.functional.pad(values, (3, 3, 3, 3))
        for i in range(7):
            for j in range(7):
                logits += of_map[i, j] * padded[:, i : i + height, j : j + width]
    normal = (logits - logits.mean()) / (logits.var(correction=0) + 1e-5).sqrt()
    return torch.einsum("bchw,bhw->bchw", x, _sigmoid(normal * scale + shift))


@torch.no_grad()
@pytest.mark.parametrize("size", [(7, 9), (2, 3), (1, 1)])
def test_cbam_is_what_its_description_says(size):
    cbam = _cbam_with_random_weights(32)
    x = torch.randn(5, 32, *size, dtype=torch.float64)
    torch.testing.assert_close(cbam(x), _reference(cbam, x))


def test_the_scale_is_one_factor_for_the_channel_times_one_for_the_position():
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    scale = (_cbam_with_random_weights(32)(x) / x).flatten(2)
    first_channel, first_position, corner = scale[:, :1], scale[:, :, :1], scale[:, :1, :1]
    torch.testing.assert_close(scale, first_channel * first_position / corner)
    assert ((scale > 0) & (scale < 1)).all()


def test_a_new_module_has_one_half_for_every_position_as_in_the_released_code():
    torch.manual_seed(0)
    cbam = CBAM(32).double()
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    scale = cbam(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))
    assert (scale < 0.5).all()
    assert all((weight == 0).all() for name, weight in cbam.named_parameters() if "bias" in name)
    assert cbam.spatial_gate[1].momentum == 0.01


def test_every_weight_learns_from_the_second_step_on():
    torch.manual_seed(0)
    cbam = CBAM(32)
    before = {name: weight.clone() for name, weight in cbam.named_parameters()}
    optimizer = torch.optim.SGD(cbam.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        cbam(torch.randn(3, 32, 5, 6)).square().mean().backward()
        optimizer.step()
    assert not any(torch.equal(before[name], weight) for name, weight in cbam.named_parameters())


def _resnet50_with(attention: ModuleFactory, num_classes: int, input_size: int) -> Counts:
    with torch.device("meta"):
        stem = "cifar" if input_size < 64 else "imagenet"
        model = resnet50(num_classes, stem, attention=attention)
    return count(model, input_size)


@pytest.mark.parametrize(
    ("num_classes", "input_size", "params"),
    [(1000, 224, 28_089_624), (100, 32, 26_237_844), (10, 32, 26_053_434)],
)
def test_resnet50_has_its_published_counts(num_classes, input_size, params):
    plain, with_cbam = (
        _resnet50_with(module, num_classes, input_size) for module in (torch.nn.Identity, CBAM)
    )
    assert with_cbam.params == params
    # In each block two passes through two layers of C x C/16, and 2 x 7 x 7 for every position.
    side = 32 if input_size == 32 else 56
    products = 0
    for stage, depth in enumerate((3, 4, 6, 3)):
        channels, positions = 256 * 2**stage, (side // 2**stage) ** 2
        products += depth * (2 * 2 * channels * channels // 16 + 2 * 7 * 7 * positions)
    assert with_cbam.macs == plain.macs + products
    if input_size == 224:
        assert round(with_cbam.macs / 1e9, 3) == 4.096


@pytest.mark.parametrize(
    ("channels", "hidden"), [(8, 4), (64, 4), (128, 8), (256, 16), (512, 32), (2048, 128)]
)
def test_the_hidden_width_is_a_sixteenth_and_at_least_four(channels, hidden):
    assert CBAM(channels).channel_mlp[0].out_features == hidden


def test_training_on_a_single_position_needs_two_images():
    cbam = CBAM(32)
    assert cbam(torch.randn(2, 32, 1, 1)).shape == (2, 32, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        cbam(torch.randn(1, 32, 1, 1))
    assert cbam.eval()(torch.randn(1, 32, 1, 1)).isfinite().all()
