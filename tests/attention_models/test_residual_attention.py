import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attention_models import UnknownNameError
from attention_models.count import count
from attention_models.residual_attention import (
    AttentionModule,
    Hourglass,
    ResidualAttentionNetwork,
    ResNeXtUnit,
    Stage,
    attention_next,
    residual_attention,
    residual_attention_cifar,
)
from attention_models.resnet import PreActBottleneck

UNITS = [PreActBottleneck, ResNeXtUnit]

IMAGENET = {
    "attention56": (residual_attention, (1, 1, 1)),
    "attention92": (residual_attention, (1, 2, 3)),
    "attentionnext56": (attention_next, (1, 1, 1)),
    "attentionnext92": (attention_next, (1, 2, 3)),
}
CIFAR = {
    "attention92_cifar": (2, (1, 2, 1)),
    "attention236_cifar": (6, (1, 2, 1)),
    "attention452_cifar": (6, (2, 4, 3)),
}


def _network(name: str, num_classes: int, stem: str = "imagenet") -> ResidualAttentionNetwork:
    if name in CIFAR:
        return residual_attention_cifar(num_classes, *CIFAR[name])
    make, modules = IMAGENET[name]
    return make(num_classes, stem, modules)


def _without_memory(name: str, num_classes: int, stem: str = "imagenet") -> nn.Module:
    with torch.device("meta"):
        return _network(name, num_classes, stem)


def _tiny(unit) -> ResidualAttentionNetwork:
    torch.manual_seed(0)
    stages = (Stage(64, modules=1, levels=2, units_after=1), Stage(64, 1, 1, 0))
    return ResidualAttentionNetwork(unit, 8, stages, (1, 2, 1), num_classes=10, stem="cifar")


def _bare(hourglass: Hourglass) -> Hourglass:
    """Without its units: what is left is pooling, resizing and adding."""
    hourglass.down = hourglass.skip = hourglass.up = nn.Identity()
    if hourglass.inner is not None:
        _bare(hourglass.inner)
    return hourglass


def _pooled(x: Tensor) -> Tensor:
    """Caffe's 3x3 max pooling of stride 2, window by window, for sizes of at least 2."""
    row_starts, column_starts = (range(0, size - 1, 2) for size in x.shape[2:])
    rows = [
        torch.stack([x[:, :, i : i + 3, j : j + 3].amax(dim=(2, 3)) for j in column_starts], dim=2)
        for i in row_starts
    ]
    return torch.stack(rows, dim=2)


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with aligned corners, as a product with the weights of each row and column."""

    def weights(old: int, new: int) -> Tensor:
        places = torch.arange(new, dtype=x.dtype) * (old - 1) / max(new - 1, 1)
        return (1 - (places[:, None] - torch.arange(old)).abs()).clamp(min=0)

    return weights(x.shape[2], height) @ x @ weights(x.shape[3], width).T


@pytest.mark.parametrize(
    ("name", "num_classes", "input_size", "params", "macs"),
    [
        ("attention56", 1000, 224, 31_810_728, 6_270_836_736),
        ("attention92", 1000, 224, 52_466_344, 10_533_789_696),
        ("attentionnext56", 1000, 224, 31_318_824, 6_419_106_816),
        ("attentionnext92", 1000, 224, 52_102_952, 10_704_337_920),
        ("attention92_cifar", 10, 32, 1_841_274, 211_913_216),
        ("attention92_cifar", 100, 32, 1_864_404, 211_936_256),
        ("attention236_cifar", 10, 32, 5_084_794, 568_265_216),
        ("attention452_cifar", 10, 32, 8_745_850, 936_757_760),
    ],
)
def test_networks_have_their_number_of_parameters_and_macs(
    name, num_classes, input_size, params, macs
):
    assert count(_without_memory(name, num_classes), input_size) == (params, macs)


@pytest.mark.parametrize(
    ("name", "published"), [("attention56", 12_826_214_400), ("attention92", 21_526_118_400)]
)
def test_at_320_pixels_only_the_classifier_costs_less_than_in_the_published_file(name, published):
    # Its 7x7 pooling of stride 1 leaves 4x4 of 10x10 positions to the classifier.
    saved = (4 * 4 - 1) * 2048 * 1000
    assert count(_without_memory(name, 1000), 320).macs == published - saved


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("attention56", 56),
        ("attention92", 92),
        ("attentionnext56", 56),
        ("attentionnext92", 92),
        ("attention92_cifar", 92),
        ("attention236_cifar", 236),
        ("attention452_cifar", 452),
    ],
)
def test_the_number_in_the_name_is_the_layers_with_weights_beside_masks_and_shortcuts(name, depth):
    layers = [
        path
        for path, layer in _without_memory(name, 10).named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        and not {"mask", "downsample"} & {*path.split(".")}
    ]
    assert len(layers) == depth


@pytest.mark.parametrize("name", [*IMAGENET, *CIFAR])
def test_masks_pool_three_times_in_the_first_stage_twice_in_the_second_once_in_the_third(name):
    levels, skips = [], []
    for stage in _without_memory(name, 10).stages:
        for module in stage:
            if isinstance(module, AttentionModule):
                mask = list(module.mask.modules())
                glasses = [part for part in mask if isinstance(part, Hourglass)]
                levels.append(len(glasses))
                skips.append(sum(len(glass.skip) for glass in glasses))
    modules = IMAGENET[name][1] if name in IMAGENET else [CIFAR[name][0]] * 3
    assert levels == [3] * modules[0] + [2] * modules[1] + [1] * modules[2]
    assert skips == [level - 1 for level in levels]


def test_the_paper_hyperparameters_count_the_units_of_a_module():
    with torch.device("meta"):
        module = AttentionModule(PreActBottleneck, 8, levels=2, units=(2, 4, 3))
    outer, inner = module.mask[0], module.mask[0].inner
    assert [len(part) for part in (module.before, module.trunk, module.after)] == [2, 4, 2]
    assert [len(part) for part in (outer.down, outer.skip, outer.up)] == [3, 1, 1]
    assert [len(part) for part in (inner.down, inner.skip, inner.up)] == [3, 0, 1]


def test_an_hourglass_pools_as_caffe_and_aligns_the_corners():
    x = torch.tensor([[0, 1, 0, 0, 2], [0, 0, 0, 0, 0], [3, 0, 0, 0, 0], [0] * 5, [0, 0, 0, 0, 5]])
    # The four windows have the maxima 3, 2, 3 and 5; corners stay where they are.
    expected = [
        [3.0, 2.75, 2.5, 2.25, 2.0],
        [3.0, 2.9375, 2.875, 2.8125, 2.75],
        [3.0, 3.125, 3.25, 3.375, 3.5],
        [3.0, 3.3125, 3.625, 3.9375, 4.25],
        [3.0, 3.5, 4.0, 4.5, 5.0],
    ]
    hourglass = _bare(Hourglass(PreActBottleneck, 4, levels=1, units_down=1))
    assert hourglass(x[None, None].float()).tolist() == [[expected]]


def test_pooling_counts_a_window_that_juts_out_and_adds_no_padding():
    hourglass = _bare(Hourglass(PreActBottleneck, 4, levels=1, units_down=1))
    x = -torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    assert hourglass.pool(x).tolist() == [[[[-1, -3], [-9, -11]]]]
    assert hourglass.pool(x[:, :, :3, :3]).tolist() == [[[[-1]]]]


def test_a_skip_is_added_after_the_inner_hourglass_came_back_to_its_size():
    class Tenfold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 10 * x

    hourglass = _bare(Hourglass(PreActBottleneck, 4, levels=2, units_down=1))
    hourglass.skip = Tenfold()
    hourglass.up = nn.Threshold(50, 0)  # sees the sum, still small
    x = torch.tensor([[1.0, 0, 0, 0], [0] * 4, [0] * 4, [0, 0, 0, 7]])[None, None]
    # Pooled: 1, 0, 0, 7. The inner one adds their maximum, 7, to ten times each: 17, 7, 7, 77.
    sums = torch.tensor([[[[0.0, 0.0], [0.0, 77.0]]]])
    torch.testing.assert_close(hourglass(x), _resized(sums, 4, 4))


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (11, 8), (13, 17), (33, 31), (25, 10)])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_an_hourglass_without_units_is_what_its_description_says_at_any_size(size, levels):
    def reference(x: Tensor, levels: int) -> Tensor:
        y = _pooled(x)
        if levels > 1:
            y = y + reference(y, levels - 1)
        return _resized(y, *x.shape[2:])

    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    hourglass = _bare(Hourglass(PreActBottleneck, 4, levels, units_down=1))
    torch.testing.assert_close(hourglass(x), reference(x, levels))


@pytest.mark.parametrize("unit", UNITS)
def test_an_hourglass_is_its_units_between_pooling_and_resizing(unit):
    torch.manual_seed(0)
    hourglass = Hourglass(unit, 64, levels=2, units_down=2).double().eval()
    inner = hourglass.inner
    x = torch.randn(2, 64, 9, 12, dtype=torch.float64)
    coarse = hourglass.down[1](hourglass.down[0](_pooled(x)))
    coarser = inner.up(inner.down[1](inner.down[0](_pooled(coarse))))
    expected = hourglass.up(hourglass.skip(coarse) + _resized(coarser, 4, 6))
    torch.testing.assert_close(hourglass(x), _resized(expected, 9, 12))


@pytest.mark.parametrize("unit", UNITS)
def test_a_module_is_what_its_formula_says(unit):
    torch.manual_seed(0)
    module = AttentionModule(unit, 64, levels=2, units=(1, 2, 1)).double()
    x = torch.randn(2, 64, 9, 7, dtype=torch.float64)
    before = module.before(x)
    trunk, mask = module.trunk(before), module.mask(before)
    assert mask.shape == trunk.shape == x.shape
    assert ((mask > 0) & (mask < 1)).all()
    assert mask.std(dim=1).min() > 0  # a value of its own for each channel
    torch.testing.assert_close(module(x), module.after(trunk * mask + trunk))


@pytest.mark.parametrize(("logit", "factor"), [(-1e4, 1.0), (0.0, 1.5), (1e4, 2.0)])
def test_a_closed_mask_leaves_the_trunk_and_an_open_one_doubles_it(logit, factor):
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, logit)

    torch.manual_seed(0)
    module = AttentionModule(PreActBottleneck, 8, levels=1, units=(1, 2, 1))
    module.mask[-2] = Constant()
    module.before = module.after = nn.Identity()
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(module(x), factor * module.trunk(x))


@pytest.mark.parametrize(
    ("unit", "kinds"),
    [
        (PreActBottleneck, "BatchNorm2d ReLU Conv2d BatchNorm2d ReLU Conv2d Sigmoid"),
        (ResNeXtUnit, "Conv2d BatchNorm2d ReLU Conv2d Sigmoid"),
    ],
)
def test_only_behind_preactivation_units_a_mask_and_the_network_end_in_their_own_batch_norm(
    unit, kinds
):
    model = _tiny(unit)
    module = model.stages[0][1]
    hourglass, *gate = module.mask
    assert isinstance(hourglass, Hourglass)
    assert " ".join(type(layer).__name__ for layer in gate) == kinds
    assert len(model.last) == (2 if unit is PreActBottleneck else 0)


@pytest.mark.parametrize(("in_channels", "stride"), [(64, 1), (256, 1), (256, 2)])
def test_the_unit_of_attentionnext_is_that_of_resnext(in_channels, stride):
    torch.manual_seed(0)
    ours = ResNeXtUnit(in_channels, 128, stride).double()
    downsample = None
    if ours.downsample is not None:
        convolution = nn.Conv2d(in_channels, 256, 1, stride, bias=False)
        downsample = nn.Sequential(convolution, nn.BatchNorm2d(256))
    theirs = torchvision.models.resnet.Bottleneck(
        in_channels, 64, stride, downsample, groups=32, base_width=4
    ).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, in_channels, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


def test_grouped_convolutions_start_with_the_spread_of_the_others():
    torch.manual_seed(0)
    weight = ResNeXtUnit(64, 256, 1).conv2.weight
    assert weight.std().item() == pytest.approx((2 / (3 * 3 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("size", [32, 33, 97])
@pytest.mark.parametrize("name", ["attention56", "attentionnext56"])
def test_any_size_from_32_works(name, size):
    model = _without_memory(name, 5).eval()
    assert model(torch.empty(2, 3, size, size + 1, device="meta")).shape == (2, 5)


@pytest.mark.parametrize("size", [8, 9, 31, 32])
@pytest.mark.parametrize("name", ["attention56", "attentionnext56", "attention92_cifar"])
def test_with_the_cifar_stem_any_size_from_8_works(name, size):
    model = _without_memory(name, 5, stem="cifar").eval()
    assert model(torch.empty(2, 3, size, size + 1, device="meta")).shape == (2, 5)


def test_the_cifar_stem_keeps_the_size_and_the_imagenet_stem_quarters_it():
    image = torch.empty(1, 3, 64, 64, device="meta")
    stems = [_without_memory("attention56", 5, stem).eval().stem for stem in ("cifar", "imagenet")]
    assert [tuple(stem(image).shape) for stem in stems] == [(1, 64, 64, 64), (1, 64, 16, 16)]


@pytest.mark.parametrize(
    ("name", "size"), [("attention56", 64), ("attentionnext56", 64), ("attention92_cifar", 32)]
)
def test_no_layer_is_dead(name, size):
    torch.manual_seed(0)
    model = _network(name, 5)
    images, labels = torch.randn(4, 3, size, size), torch.tensor([0, 1, 2, 3])
    cross_entropy(model(images), labels).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@pytest.mark.parametrize("unit", UNITS)
def test_memory_format_and_low_precision_are_kept(unit):
    module = AttentionModule(unit, 64, levels=3, units=(1, 2, 1))
    module = module.to(memory_format=torch.channels_last)
    x = torch.randn(2, 64, 15, 16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.float().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("unit", UNITS)
def test_networks_can_be_exported(unit):
    model, images = _tiny(unit).eval(), torch.randn(2, 3, 17, 15)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))


def test_an_unknown_stem_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="Valid: cifar, imagenet"):
        residual_attention(5, "auto", (1, 1, 1))


def test_modules_are_given_for_each_of_three_stages():
    with pytest.raises(ValueError, match="zip"), torch.device("meta"):
        attention_next(5, "imagenet", (1, 1))


@pytest.mark.parametrize("unit", [PreActBottleneck, ResNeXtUnit])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_a_network_is_its_stem_its_stages_and_a_classifier(unit, stem):
    torch.manual_seed(0)
    stages = (Stage(64, modules=1, levels=1, units_after=0), Stage(64, 0, 0, 1))
    model = ResidualAttentionNetwork(unit, 8, stages, (1, 2, 1), num_classes=10, stem=stem)
    model = model.double().eval()
    images = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    convolve, norm = model.stem[0], model.stem[1]
    x = norm(convolve(images)).clamp(min=0)
    if stem == "imagenet":
        x = _pooled(x)
    for stage in model.stages:
        x = stage(x)
    if unit.pre_activation:
        x = model.last[0](x).clamp(min=0)
    expected = x.mean(dim=(2, 3)) @ model.fc.weight.T + model.fc.bias
    torch.testing.assert_close(model(images), expected)
