import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_models import UnknownNameError, create_model
from attention_models.count import count_by_name
from attention_models.lambda_networks import (
    LambdaBottleneck,
    LambdaConv,
    apply_lambdas,
    lambda_baseline,
    position_lambdas,
)

PUBLISHED = {"num_classes": 1000, "input_size": 224, "stem": "imagenet"}
ON_CIFAR10 = {"num_classes": 10, "input_size": 32, "stem": "imagenet"}


@pytest.mark.parametrize(
    ("k", "heads", "u", "with_keys", "with_values"),
    [
        (8, 2, 1, 15_031_464, 15_034_984),
        (8, 16, 1, 14_907_816, 14_908_032),
        (2, 4, 1, 14_613_000, 14_614_824),
        (4, 4, 1, 14_668_008, 14_669_768),
        (8, 4, 1, 14_778_024, 14_779_656),
        (16, 4, 1, 14_998_056, 14_999_432),
        (32, 4, 1, 15_438_120, 15_438_984),
        (2, 8, 1, 14_486_280, 14_487_160),
        (4, 8, 1, 14_571_752, 14_572_568),
        (8, 8, 1, 14_742_696, 14_743_384),
        (16, 8, 1, 15_084_584, 15_085_016),
        (32, 8, 1, 15_768_360, 15_768_280),
        (8, 8, 4, 15_263_016, 15_265_768),
        (8, 8, 8, 16_038_696, 16_044_200),
        (16, 4, 4, 16_038_696, 16_044_200),
    ],
)
def test_every_row_of_the_ablation_has_the_parameters_of_the_source(
    k, heads, u, with_keys, with_values
):
    options = {"k": k, "heads": heads, "u": u, "m": 23 if u == 1 else 7} | PUBLISHED
    assert count_by_name("lambda_resnet50", norm="keys", **options).params == with_keys
    assert count_by_name("lambda_resnet50", norm="values", **options).params == with_values


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("lambda_resnet152", PUBLISHED | {"norm": "keys"}, 32_805_768),
        ("lambda_resnet152", PUBLISHED, 32_810_152),
        ("lambda_resnet200", PUBLISHED | {"norm": "keys"}, 35_294_856),
        ("lambda_resnet200", PUBLISHED, 35_299_752),
        ("lambda_resnet18", PUBLISHED, 10_129_512),
        ("lambda_resnet270", PUBLISHED, 48_084_744),
        ("lambda_resnet350", PUBLISHED, 60_059_880),
        ("lambda_resnet420", PUBLISHED, 69_898_840),
        ("lambda_resnet18", ON_CIFAR10 | {"u": 4, "m": 7, "norm": "keys"}, 8_672_842),
        ("lambda_resnet18", ON_CIFAR10 | {"u": 4, "m": 7}, 8_675_658),
        ("lambda_resnet18", ON_CIFAR10 | {"u": 4, "m": 5, "norm": "keys"}, 8_660_554),
        ("lambda_resnet18", ON_CIFAR10 | {"u": 4, "m": 5}, 8_663_370),
        ("lambda_resnet18", ON_CIFAR10 | {"norm": "keys"}, 8_100_298),
        ("lambda_resnet18", ON_CIFAR10, 8_101_002),
        ("lambda_resnet50", ON_CIFAR10 | {"u": 4, "m": 7, "norm": "keys"}, 14_010_186),
        ("lambda_resnet50", ON_CIFAR10 | {"u": 4, "m": 7}, 14_015_690),
        ("lambda_resnet18", ON_CIFAR10 | {"num_classes": 100, "u": 4, "m": 7}, 8_860_068),
        ("lambda_resnet50", ON_CIFAR10 | {"num_classes": 100}, 13_155_332),
        ("lambda_resnet50", ON_CIFAR10 | {"num_classes": 100, "u": 4, "m": 7}, 14_200_100),
        ("lambda_resnet18", ON_CIFAR10 | {"stem": "cifar"}, 8_101_002 - 7_680),
        ("lambda_baseline18", ON_CIFAR10, 13_970_506),
        ("lambda_baseline50", ON_CIFAR10, 23_532_362),
        ("lambda_baseline50", PUBLISHED, 25_560_872),
    ],
)
def test_networks_have_the_parameters_of_the_source(name, options, params):
    assert count_by_name(name, **options).params == params


@pytest.mark.parametrize(
    ("name", "options", "gmacs"),
    [
        ("lambda_resnet50", {"num_classes": 1000, "input_size": 224}, 6.576),  # d-li14's figure
        ("lambda_resnet18", {"num_classes": 10, "input_size": 32}, 1.376),
        ("lambda_resnet18", {"num_classes": 10, "input_size": 32, "u": 4, "m": 7}, 0.898),
        ("lambda_resnet50", {"num_classes": 10, "input_size": 32}, 2.110),
        ("lambda_resnet50", {"num_classes": 10, "input_size": 32, "u": 4, "m": 7}, 1.396),
    ],
)
def test_multiplications_are_those_of_the_definition(name, options, gmacs):
    assert count_by_name(name, **options).macs / 1e9 == pytest.approx(gmacs, abs=0.0005)


def _random_layer(**options) -> LambdaConv:
    """In evaluation, with batch norms that do something."""
    torch.manual_seed(0)
    layer = LambdaConv(3, 8, **options).double().eval()
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.normal_()
    return layer


def _project(projection: nn.Sequential, x: Tensor) -> Tensor:
    """A 1x1 convolution and, if there is one, its batch norm: (C, H, W) -> (D, H, W)."""
    y = torch.einsum("dc,chw->dhw", projection[0].weight[:, :, 0, 0], x)
    if len(projection) == 1:
        return y
    norm = projection[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return y * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]


@torch.no_grad()
def _by_loops(layer: LambdaConv, x: Tensor) -> Tensor:
    """The formulas, one image, head, position and number at a time. Values are cut into (v, u)."""
    heads, depth, u, v = layer.heads, layer.k, layer.u, layer.v
    out = torch.zeros(len(x), heads * v, *x.shape[2:], dtype=x.dtype)
    for image, y in zip(x, out, strict=True):
        _, height, width = image.shape
        queries = _project(layer.queries, image).view(heads, depth, height, width)
        keys = _project(layer.keys, image).view(depth, u, height, width)
        keys = keys.exp() / keys.exp().sum(dim=(2, 3), keepdim=True)
        values = _project(layer.values, image).view(v, u, height, width)
        positions = [(row, column) for row in range(height) for column in range(width)]
        for row, column in positions:
            # What this position sees: lambda[k, v], of the whole image and of its surroundings.
            seen = torch.zeros(depth, v, dtype=x.dtype)
            for i, j in positions:
                weight = keys[:, :, i, j]  # (k, u)
                if layer.embedding is not None:
                    radius = layer.embedding.shape[-1] // 2
                    if max(abs(i - row), abs(j - column)) <= radius:
                        offset = layer.embedding[:, :, i - row + radius, j - column + radius]
                        weight = weight + offset
                for depth_of_value in range(u):
                    seen += torch.outer(weight[:, depth_of_value], values[:, depth_of_value, i, j])
            for head in range(heads):
                y[head * v : (head + 1) * v, row, column] = queries[head, :, row, column] @ seen
    return out


@pytest.mark.parametrize("norm", ["values", "keys"])
@pytest.mark.parametrize(
    ("k", "heads", "u", "m"),
    [
        (4, 2, 1, 3),
        (3, 4, 2, 3),
        (2, 1, 4, 5),
        (5, 8, 3, 7),
        (4, 2, 1, 23),
        (4, 4, 2, 1),
        (4, 2, 2, 0),
    ],
)
def test_the_layer_is_what_its_formulas_say(norm, k, heads, u, m):
    layer = _random_layer(k=k, heads=heads, u=u, m=m, norm=norm)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    expected = _by_loops(layer, x)
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():  # another way to the same lambdas
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (4, 4), (9, 3), (16, 16), (57, 8), (58, 8)])
@pytest.mark.parametrize(("u", "m"), [(1, 23), (4, 7), (2, 1), (1, 3)])
def test_positions_are_seen_as_by_a_three_dimensional_convolution(size, u, m):
    torch.manual_seed(0)
    values = torch.randn(2, 3, u, *size, dtype=torch.float64, requires_grad=True)
    embedding = torch.randn(5, u, m, m, dtype=torch.float64, requires_grad=True)
    # The form of the source: u channels of "images" v x H x W.
    expected = F.conv3d(
        values.transpose(1, 2), embedding[:, :, None], padding=(0, m // 2, m // 2)
    ).transpose(1, 2)
    lambdas = position_lambdas(values, embedding)
    torch.testing.assert_close(lambdas, expected)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(lambdas, (values, embedding), upstream)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected, (values, embedding), upstream)
    )
    with torch.no_grad():
        torch.testing.assert_close(position_lambdas(values, embedding), expected)


@pytest.mark.parametrize(("heads", "v", "k"), [(1, 1, 1), (4, 3, 5), (2, 8, 16)])
def test_lambdas_are_applied_as_matrices_at_every_position(heads, v, k):
    torch.manual_seed(0)
    queries = torch.randn(2, heads, k, 7, dtype=torch.float64, requires_grad=True)
    lambdas = torch.randn(2, v, k, 7, dtype=torch.float64, requires_grad=True)
    expected = torch.einsum("bhkn,bvkn->bhvn", queries, lambdas)
    torch.testing.assert_close(apply_lambdas(queries, lambdas), expected)
    torch.autograd.gradcheck(apply_lambdas, (queries, lambdas))


def test_in_half_precision_only_the_result_is_rounded():
    torch.manual_seed(0)
    queries, lambdas = torch.randn(2, 4, 16, 50), torch.randn(2, 8, 16, 50)
    found = apply_lambdas(queries.bfloat16(), lambdas.bfloat16())
    exact = apply_lambdas(queries.bfloat16().float(), lambdas.bfloat16().float())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_the_layer_works_alone_as_in_the_source():
    assert LambdaConv(3, 128)(torch.randn(2, 3, 32, 32)).shape == (2, 128, 32, 32)


@pytest.mark.parametrize(("u", "m"), [(1, 23), (4, 7), (1, 3)])
def test_positions_and_content_start_with_like_spreads(u, m):
    torch.manual_seed(0)
    layer = LambdaConv(64, 64, u=u, m=m)
    x = torch.randn(8, 64, 32, 32)
    both = layer(x)
    layer.embedding = None
    content = layer(x)
    assert (both - content).std().item() == pytest.approx(1, rel=0.3)
    assert content.std() < 2


def test_the_initialisation_of_the_source_drowns_the_content():
    torch.manual_seed(0)
    layer = LambdaConv(64, 64, init="source")
    x = torch.randn(8, 64, 32, 32)
    both = layer(x)
    layer.embedding = None
    assert (both - layer(x)).std() > 50


@pytest.mark.parametrize(("stride", "in_channels"), [(1, 32), (2, 32), (1, 16)])
def test_a_block_is_what_its_formula_says(stride, in_channels):
    torch.manual_seed(0)
    spatial = nn.Conv2d(8, 8, 3, stride, padding=1)
    block = LambdaBottleneck(in_channels, 8, stride, spatial, zero_branch=False)
    x = torch.randn(2, in_channels, 6, 6)
    branch = block.bn1(block.conv1(x)).relu()
    branch = block.bn2(spatial(branch)).relu()
    branch = block.bn3(block.conv3(branch))
    shortcut = x
    if stride != 1 or in_channels != 32:
        project, norm = block.downsample
        assert project.bias is not None
        shortcut = norm(project(x))
    torch.testing.assert_close(block(x), (branch + shortcut).relu())


def test_a_block_starts_as_its_shortcut_unless_the_source_is_followed():
    for init, starts_as_shortcut in (("scaled", True), ("source", False)):
        torch.manual_seed(0)
        block = create_model("lambda_resnet18", 5, 32, init=init).layer1[1]
        hidden = torch.rand(2, 256, 8, 8)
        assert torch.equal(block(hidden), hidden) == starts_as_shortcut


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", ["lambda_resnet18", "lambda_baseline18"])
def test_a_network_is_its_stem_its_blocks_and_a_classifier(name, stem):
    torch.manual_seed(0)
    model = create_model(name, 5, 32, stem=stem, init="source").double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    x = model.bn1(model.conv1(images)).clamp(min=0)
    if stem == "imagenet":
        x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in stage:
            x = block(x)
    assert x.shape[1] == 2048
    expected = x.mean(dim=(2, 3)) @ model.fc.weight.T + model.fc.bias
    torch.testing.assert_close(model(images), expected)
    model.dropout.train()
    assert not torch.allclose(model(images), expected)


def test_the_initialisation_of_the_source_is_that_of_torch_and_unit_embeddings():
    torch.manual_seed(0)
    model = create_model("lambda_resnet18", 5, 32, init="source")
    for name, parameter in model.named_parameters():
        if name.endswith("embedding"):
            assert parameter.std().item() == pytest.approx(1, rel=0.05), name
        elif parameter.ndim == 4 and parameter.numel() > 5000:
            fan_in = parameter[0].numel()
            assert parameter.abs().max() <= fan_in**-0.5, name
            assert parameter.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.05), name
        elif name.endswith("bn3.weight"):
            assert (parameter == 1).all(), name


@pytest.mark.parametrize("depth", [18, 50])
def test_every_block_has_a_lambda_layer_and_a_pool_where_its_shape_changes(depth):
    with torch.device("meta"):
        model = create_model(f"lambda_resnet{depth}", 10, 32)
    blocks = [module for module in model.modules() if isinstance(module, LambdaBottleneck)]
    assert len(blocks) == {18: 8, 50: 16}[depth]
    pooled = [block for block in blocks if isinstance(block.spatial, nn.Sequential)]
    assert len(pooled) == 4
    for block, stride in zip(pooled, [1, 2, 2, 2], strict=True):
        pool = block.spatial[1]
        assert isinstance(pool, nn.AvgPool2d)
        assert (pool.kernel_size, pool.stride, pool.padding) == (3, stride, 1)
    assert sum(isinstance(module, LambdaConv) for module in model.modules()) == len(blocks)


@pytest.mark.parametrize(("init", "is_stable"), [("scaled", True), ("source", False)])
def test_only_our_initialisation_keeps_the_usual_learning_rate_from_going_uphill(init, is_stable):
    """Along the classifier's weights the loss curves by p (1 - p) |mean features|^2, and momentum
    descends only while lr times the curvature is below 2 (1 + momentum).
    """
    torch.manual_seed(0)
    model = create_model("lambda_resnet18", 10, 32, stem="imagenet", init=init)
    features = []
    model.fc.register_forward_pre_hook(lambda module, inputs: features.append(*inputs))
    model(torch.randn(16, 3, 32, 32))
    curvature = 0.1 * 0.9 * features[0].mean(dim=0).square().sum()
    assert (0.1 * curvature < 2 * (1 + 0.9)) == is_stable


def test_dropout_is_smaller_above_two_hundred_layers():
    with torch.device("meta"):
        rates = {
            depth: create_model(f"lambda_resnet{depth}", 10, 32).dropout.p for depth in (200, 270)
        }
    assert rates == {200: 0.3, 270: 0.2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "8 channels cannot be cut into 3 heads"),
        ({"heads": 0}, "8 channels cannot be cut into 0 heads"),
        ({"m": 4}, "odd, or 0, not 4"),
        ({"m": -1}, "odd, or 0, not -1"),
        ({"init": "sourc"}, "did you mean 'source'"),
        ({"norm": "queries"}, "Valid: keys, values"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LambdaConv(8, 8, **options)


@pytest.mark.parametrize(("option", "value"), [("stem", "auto"), ("init", "random")])
def test_an_unknown_stem_or_initialisation_is_refused(option, value):
    arguments = {"stem": "cifar", "init": "scaled"} | {option: value}
    with pytest.raises(UnknownNameError, match=value):
        lambda_baseline(10, 18, dropout=0.0, **arguments)


def test_an_initial_embedding_has_the_spread_that_its_size_asks_for():
    torch.manual_seed(0)
    for u, m in ((1, 23), (4, 7)):
        embedding = LambdaConv(64, 64, k=16, u=u, m=m).embedding
        assert embedding.std().item() == pytest.approx(1 / math.sqrt(16 * u * m * m), rel=0.05)
