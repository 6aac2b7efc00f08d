from functools import partial

import pytest
import torch
from timm.layers.coord_attn import CoordAttn
from torch import Tensor

from attention_models.coordinate import CoordinateAttention
from attention_models.count import Counts, count
from attention_models.resnet import ModuleFactory, resnet50

FORMS = {"of timm": {}, "of the authors": {"reduction": 32, "biases": True}}


def _attention_with_random_weights(channels: int, **options: object) -> CoordinateAttention:
    torch.manual_seed(0)
    attention = CoordinateAttention(channels, **options).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    return attention


def _reference(attention: CoordinateAttention, x: Tensor) -> Tensor:
    """The module in training, row by row and column by column, with the weights of `attention`."""
    weights = attention.state_dict()

    def apply(layer: str, y: Tensor) -> Tensor:
        y = y @ weights[f"{layer}.weight"].squeeze().T
        return y + weights[f"{layer}.bias"] if f"{layer}.bias" in weights else y

    height, width = x.shape[2:]
    rows = [x[:, :, i].sum(2) / width for i in range(height)]
    columns = [x[..., j].sum(2) / height for j in range(width)]
    both = torch.stack([apply("squeeze.0", mean) for mean in rows + columns])  # (H + W, B, hidden)
    both = both - both.mean(dim=(0, 1))
    both = both / (both.square().mean(dim=(0, 1)) + 1e-5).sqrt()
    both = both * weights["squeeze.1.weight"] + weights["squeeze.1.bias"]
    both = both * (both + 3).clamp(0, 6) / 6
    y = torch.empty_like(x)
    for i in range(height):
        of_row = apply("row_gate.0", both[i])
        for j in range(width):
            of_column = apply("column_gate.0", both[height + j])
            y[:, :, i, j] = x[:, :, i, j] / (1 + torch.exp(-of_row)) / (1 + torch.exp(-of_column))
    return y


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(5, 7), (1, 3)])
def test_coordinate_attention_is_what_its_description_says(form, size):
    attention = _attention_with_random_weights(32, **FORMS[form])
    x = torch.randn(3, 32, *size, dtype=torch.float64)
    torch.testing.assert_close(attention(x), _reference(attention, x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [32, 512])
def test_coordinate_attention_is_the_module_of_timm(form, channels, training):
    attention = _attention_with_random_weights(channels, **FORMS[form])
    options = {"rd_channels": max(8, channels // 32), "bias": True} if FORMS[form] else {}
    timm_attention = CoordAttn(channels, **options).double()
    # The order of the layers is the same, and so is that of the tensors.
    names = zip(timm_attention.state_dict(), attention.state_dict().values(), strict=True)
    timm_attention.load_state_dict(dict(names))
    x = torch.randn(3, channels, 7, 5, dtype=torch.float64)
    y = attention.train(training)(x)
    torch.testing.assert_close(y, timm_attention.train(training)(x), atol=1e-8, rtol=0)


def test_the_scale_is_one_factor_for_the_row_times_one_for_the_column():
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    scale = _attention_with_random_weights(32)(x) / x
    first_row, first_column, corner = scale[:, :, :1], scale[..., :1], scale[:, :, :1, :1]
    torch.testing.assert_close(scale, first_row * first_column / corner)
    assert ((scale >= 0) & (scale <= 1)).all()


def test_rows_and_columns_differ_in_nothing_but_their_gates():
    attention = _attention_with_random_weights(32)
    x = torch.randn(3, 32, 5, 6, dtype=torch.float64)
    expected = attention(x)
    attention.row_gate, attention.column_gate = attention.column_gate, attention.row_gate
    torch.testing.assert_close(attention(x.transpose(2, 3)).transpose(2, 3), expected)


def _resnet50_with(attention: ModuleFactory) -> Counts:
    with torch.device("meta"):
        model = resnet50(1000, "imagenet", attention=attention)
    return count(model, 224)


def test_resnet50_has_its_published_counts():
    params, macs = _resnet50_with(CoordinateAttention)
    assert params == 28_083_464
    assert round(macs / 1e9, 4) == 4.1250


def test_resnet50_with_the_module_of_the_authors_has_the_size_that_their_code_says():
    released = partial(CoordinateAttention, reduction=32, biases=True)
    added = 0
    for depth, channels, hidden in ((3, 256, 8), (4, 512, 16), (6, 1024, 32), (3, 2048, 64)):
        squeeze, norm = channels * hidden + hidden, 2 * hidden
        gate = hidden * channels + channels
        added += depth * (squeeze + norm + 2 * gate)
    assert _resnet50_with(released).params == 25_557_032 + added


@pytest.mark.parametrize(
    ("channels", "hidden", "of_the_authors"),
    [(8, 8, 8), (64, 8, 8), (256, 8, 8), (512, 24, 16), (1024, 40, 32), (2048, 88, 64)],
)
def test_the_hidden_width_is_a_multiple_of_eight(channels, hidden, of_the_authors):
    assert CoordinateAttention(channels).squeeze[0].out_channels == hidden
    released = CoordinateAttention(channels, reduction=32, biases=True)
    assert released.squeeze[0].out_channels == of_the_authors
