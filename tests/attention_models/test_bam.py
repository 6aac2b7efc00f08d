import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, batch_norm, conv2d

from attention_models import UnknownNameError, create_model
from attention_models.bam import BAM
from attention_models.count import count_by_name


def _params(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _bam_with_random_weights(channels: int, **options: object) -> BAM:
    torch.manual_seed(0)
    bam = BAM(channels, **options).double()
    with torch.no_grad():
        for parameter in bam.parameters():
            parameter.normal_()
    return bam


def _reference(bam: BAM, x: Tensor) -> Tensor:
    """The module in training, written out from its description with the weights of `bam`."""
    weights = bam.state_dict()

    def normalise(y: Tensor, layer: str) -> Tensor:
        scale, shift = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        return batch_norm(y, None, None, scale, shift, training=True)

    def convolve(y: Tensor, layer: int, dilation: int, padding: int) -> Tensor:
        kernel, bias = (weights[f"spatial_gate.{layer}.{part}"] for part in ("weight", "bias"))
        return conv2d(y, kernel, bias, dilation=dilation, padding=padding)

    channel = adaptive_avg_pool2d(x, 1).flatten(1)
    channel = channel @ weights["channel_gate.0.weight"].T + weights["channel_gate.0.bias"]
    if "channel_gate.1.weight" in weights:
        channel = normalise(channel, "channel_gate.1")
    channel = channel.clamp(min=0)
    channel = channel @ weights["channel_gate.3.weight"].T + weights["channel_gate.3.bias"]

    spatial = convolve(x, 0, dilation=1, padding=0)
    spatial = normalise(spatial, "spatial_gate.1").clamp(min=0)
    spatial = convolve(spatial, 3, dilation=4, padding=4)
    spatial = normalise(spatial, "spatial_gate.4").clamp(min=0)
    spatial = convolve(spatial, 6, dilation=4, padding=4)
    spatial = normalise(spatial, "spatial_gate.7").clamp(min=0)
    spatial = convolve(spatial, 9, dilation=1, padding=0)

    channel = channel[:, :, None, None].expand_as(x)
    spatial = spatial.expand_as(x)
    gate = channel * spatial if bam.combine == "product" else channel + spatial
    return x + x * torch.sigmoid(gate)


@pytest.mark.parametrize("combine", ["product", "sum"])
@pytest.mark.parametrize("channel_batch_norm", [True, False])
def test_bam_is_what_its_description_says(combine, channel_batch_norm):
    bam = _bam_with_random_weights(32, combine=combine, channel_batch_norm=channel_batch_norm)
    x = torch.randn(5, 32, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(bam(x), _reference(bam, x))


def test_product_and_sum_differ_in_nothing_but_the_result():
    product, total = (_bam_with_random_weights(32, combine=how) for how in ("product", "sum"))
    x = torch.randn(5, 32, 7, 9, dtype=torch.float64)
    assert product.state_dict().keys() == total.state_dict().keys()
    assert not torch.allclose(product(x), total(x))


@pytest.mark.parametrize(("channels", "params"), [(256, 17_361), (512, 68_513), (1024, 272_193)])
def test_the_modules_of_resnet50_have_their_published_number_of_parameters(channels, params):
    assert _params(BAM(channels)) == params


@pytest.mark.parametrize(("channels", "hidden"), [(8, 4), (64, 4), (128, 8)])
def test_narrow_modules_keep_four_hidden_channels(channels, hidden):
    assert BAM(channels).channel_gate[0].out_features == hidden


def test_without_its_batch_norm_the_channel_gate_takes_a_single_image():
    x = torch.randn(1, 32, 4, 4)
    assert BAM(32, channel_batch_norm=False)(x).shape == x.shape
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BAM(32)(x)


@pytest.mark.parametrize("combine", ["product", "sum"])
@pytest.mark.parametrize(
    ("name", "num_classes", "input_size", "params"),
    [
        ("bam_resnet18", 10, 32, 11_196_953),
        ("bam_resnet18", 100, 32, 11_243_123),
        ("bam_resnet18", 1000, 224, 11_712_503),
        ("bam_resnet50", 10, 32, 23_878_909),
        ("bam_resnet50", 100, 32, 24_063_319),
        ("bam_resnet50", 1000, 224, 25_915_099),
        ("bam_resnet101", 10, 32, 42_871_037),
        ("bam_resnet101", 100, 32, 43_055_447),
        ("bam_resnet101", 1000, 224, 44_907_227),
        ("bam_preact_resnet50", 10, 32, 23_866_909),
        ("bam_preact_resnet50", 100, 32, 24_051_319),
        ("bam_preact_resnet50", 1000, 32, 25_895_419),
        ("bam_resnet_small", 10, 8, 79_753),
        ("bam_preact_resnet_small", 10, 8, 134_885),
    ],
)
def test_networks_have_their_published_number_of_parameters(
    name, num_classes, input_size, params, combine
):
    assert count_by_name(name, num_classes, input_size, combine=combine).params == params


@pytest.mark.parametrize("name", ["bam_resnet_small", "bam_preact_resnet_small"])
@pytest.mark.parametrize("combine", ["product", "sum"])
def test_a_network_has_bam_after_its_first_three_stages(name, combine):
    model = create_model(name, 5, 8, combine=combine)
    bams = {key: part for key, part in model.named_modules() if isinstance(part, BAM)}
    assert list(bams) == ["after1", "after2", "after3"]
    assert {bam.combine for bam in bams.values()} == {combine}


def test_the_form_of_the_released_code_is_the_default():
    assert create_model("bam_resnet_small", 5, 8).after1.combine == "product"
    assert BAM(32).combine == "product"


def test_an_unknown_way_to_combine_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="Valid: product, sum"):
        BAM(32, combine="add")
