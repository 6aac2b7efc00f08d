import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy

from attention_models import UnknownNameError
from attention_models.count import count
from attention_models.drop import DropBlock
from attention_models.resnest import VARIANTS, ResNeSt, SplitAttention, resnest

# Parameters for 1000 and 100 classes, values in buffers, and MACs for one image at 224 pixels.
FACTS = {
    "14d": (10_611_688, 8_767_588, 22_359, 2.7494),
    "26d": (17_069_448, 15_225_348, 36_775, 3.6234),
    "50d": (27_483_240, 25_639_140, 64_647, 5.3712),
    "101e": (48_275_016, 46_430_916, 130_251, 10.2006),
    "200e": (70_201_544, 68_357_444, 218_703, 17.4084),
    "269e": (110_929_480, 109_085_380, 314_795, 22.4341),
    "50d_1s4x24d": (25_677_000, 23_832_900, 63_751, 4.3998),
    "50d_4s2x40d": (30_417_592, 28_573_492, 94_855, 4.3691),
}
# One block per stage, in every form that a block has.
SHALLOW = {
    name: VARIANTS[name]._replace(depths=(1, 1, 1, 1))
    for name in ("50d", "50d_1s4x24d", "50d_4s2x40d")
}


def _on_meta(variant: str, num_classes: int = 1000, stem: str = "imagenet") -> ResNeSt:
    with torch.device("meta"):
        return resnest(num_classes, variant, stem)


def _of_timm(variant: str, stem: str = "imagenet") -> nn.Module:
    with torch.device("meta"):
        model = timm.create_model(f"resnest{variant}")
    if stem == "cifar":
        model.conv1[0].stride = (1, 1)
        model.maxpool = nn.Identity()
    return model


def _random_state(model: nn.Module) -> dict[str, Tensor]:
    """A value for everything in the state dict of `model`, none of them an initial one."""
    torch.manual_seed(0)

    def draw(key: str, like: Tensor) -> Tensor:
        if not like.is_floating_point():
            return torch.tensor(7)
        if like.ndim > 1:
            fan_in = like[0].numel()
            return torch.randn(like.shape, dtype=torch.float64) / fan_in**0.5
        if key.endswith(("running_var", "weight")):
            return torch.rand(like.shape, dtype=torch.float64) + 0.25
        return torch.randn(like.shape, dtype=torch.float64) / 4

    return {key: draw(key, like) for key, like in model.state_dict().items()}


def _both_with_the_same_weights(variant: str, stem: str) -> tuple[nn.Module, nn.Module]:
    ours, theirs = _on_meta(variant, stem=stem), _of_timm(variant, stem)
    state = _random_state(theirs)
    for model in (ours, theirs):
        model.load_state_dict(state, strict=True, assign=True)  # both in the same memory
    return ours, theirs


def _assert_equal(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def _with_random_values(module: nn.Module) -> nn.Module:
    module.load_state_dict(_random_state(module), assign=True)
    return module


def test_the_facts_are_those_of_all_variants():
    assert list(FACTS) == list(VARIANTS)


@pytest.mark.parametrize("variant", FACTS)
def test_networks_have_their_published_number_of_parameters(variant):
    for num_classes, params in zip((1000, 100), FACTS[variant], strict=False):
        model = _on_meta(variant, num_classes)
        assert sum(parameter.numel() for parameter in model.parameters()) == params
        assert sum(buffer.numel() for buffer in model.buffers()) == FACTS[variant][2]


@pytest.mark.parametrize(
    ("variant", "input_size", "giga_macs"),
    [(variant, 224, facts[3]) for variant, facts in FACTS.items()]
    + [("101e", 256, 13.3215), ("200e", 320, 35.5197), ("269e", 416, 77.3487)],
)
def test_networks_cost_the_multiply_accumulates_of_timm(variant, input_size, giga_macs):
    assert round(count(_on_meta(variant), input_size).macs / 1e9, 4) == giga_macs


@pytest.mark.parametrize("variant", FACTS)
def test_the_state_dict_is_that_of_timm_in_every_name_and_shape(variant):
    def shapes(model: nn.Module) -> list[tuple[str, torch.Size]]:
        return [(key, value.shape) for key, value in model.state_dict().items()]

    theirs = shapes(_of_timm(variant))
    assert shapes(_on_meta(variant, stem="imagenet")) == theirs
    assert shapes(_on_meta(variant, stem="cifar")) == theirs


@pytest.mark.parametrize("variant", FACTS)
def test_with_the_weights_of_timm_the_logits_are_those_of_timm(variant):
    ours, theirs = _both_with_the_same_weights(variant, "imagenet")
    images = torch.randn(2, 3, 64, 45, dtype=torch.float64)  # 45 is odd in three of five halvings
    with torch.no_grad():
        _assert_equal(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("variant", ["14d", "26d", "50d", "50d_1s4x24d", "50d_4s2x40d"])
def test_in_training_gradients_and_running_statistics_are_those_of_timm(variant):
    models = _both_with_the_same_weights(variant, "imagenet")
    images = torch.randn(4, 3, 33, 33, dtype=torch.float64)
    seen = []
    for model in models:
        model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
        inputs = images.clone().requires_grad_()
        model(inputs).square().mean().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        seen.append({"images": inputs.grad} | gradients | dict(model.named_buffers()))
    ours, theirs = seen
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("variant", ["14d", "50d_1s4x24d"])
def test_the_cifar_form_is_the_same_network_without_the_first_two_reductions(variant):
    ours, theirs = _both_with_the_same_weights(variant, "cifar")
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        _assert_equal(ours.eval()(images), theirs.eval()(images))
        assert ours.layer1(ours.bn1(ours.conv1(images))).shape == (2, 256, 32, 32)


def _reference(module: SplitAttention, x: Tensor) -> Tensor:
    """The formula of the paper, one cardinal group and one split after the other."""
    weights, groups, radix = module.state_dict(), module.cardinality, module.radix

    def normalise(y: Tensor, layer: str, part: int, parts: int) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        chunks = (weights[f"{layer}.{name}"].chunk(parts)[part] for name in names)
        mean, variance, scale, shift = (chunk[:, None, None] for chunk in chunks)
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    def connect(y: Tensor, layer: str, group: int) -> Tensor:
        matrix, bias = (
            weights[f"{layer}.{name}"].chunk(groups)[group] for name in ("weight", "bias")
        )
        return torch.einsum("oi,bi->bo", matrix[:, :, 0, 0], y) + bias

    def split(r: int, group: int) -> Tensor:
        part, parts = r * groups + group, radix * groups
        kernel = weights["conv.weight"].chunk(parts)[part]
        y = conv2d(x.chunk(parts, dim=1)[part], kernel, padding=1)
        return normalise(y, "bn0", part, parts).clamp(min=0)

    def of_group(group: int) -> Tensor:
        splits = [split(r, group) for r in range(radix)]
        hidden = connect(sum(splits).mean(dim=(2, 3)), "fc1", group)[:, :, None, None]
        hidden = normalise(hidden, "bn1", group, groups).clamp(min=0)[:, :, 0, 0]
        logits = connect(hidden, "fc2", group).chunk(radix, dim=1)
        exponentials = [logit.exp() for logit in logits]
        # A single split has the sigmoid: the softmax against a second one of logit zero.
        total = sum(exponentials) + (1 if radix == 1 else 0)
        return sum(
            u * (e / total)[:, :, None, None] for u, e in zip(splits, exponentials, strict=True)
        )

    return torch.cat([of_group(group) for group in range(groups)], dim=1)


@pytest.mark.parametrize("size", [(1, 1), (4, 7)])
@pytest.mark.parametrize("channels", [16, 48])
@pytest.mark.parametrize("cardinality", [1, 2, 4])
@pytest.mark.parametrize("radix", [1, 2, 4])
def test_split_attention_is_what_its_formula_says(radix, cardinality, channels, size):
    module = _with_random_values(SplitAttention(channels, radix, cardinality)).eval()
    x = torch.randn(3, channels, *size, dtype=torch.float64)
    torch.testing.assert_close(module(x), _reference(module, x))


def test_split_attention_leaves_its_input_alone():
    x = torch.randn(2, 16, 5, 5)
    before = x.clone()
    SplitAttention(16, radix=2, cardinality=1)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("variant", SHALLOW)
def test_every_parameter_gets_a_finite_gradient(variant, stem):
    torch.manual_seed(0)
    model = ResNeSt(SHALLOW[variant], 5, stem, 0.0)
    cross_entropy(model(torch.randn(4, 3, 33, 33)), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_at_first_every_block_is_its_shortcut():
    torch.manual_seed(0)
    block = resnest(5, "26d", "cifar").layer2[1]
    x = torch.rand(2, 512, 6, 6)  # not negative, so that the last ReLU keeps it
    assert torch.equal(block(x), x)


def test_grouped_convolutions_start_with_the_spread_of_all_others_and_no_bias():
    torch.manual_seed(0)
    module = SplitAttention(128, radix=2, cardinality=2)
    for layer in (module.conv, module.fc1, module.fc2):
        positions = layer.kernel_size[0] ** 2
        spread = (2 / (positions * layer.out_channels)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.03)
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("variant", SHALLOW)
def test_under_autocast_and_in_channels_last_every_block_keeps_both(variant):
    model = _with_random_values(ResNeSt(SHALLOW[variant], 5, "cifar", 0.0)).float().eval()
    images = torch.randn(2, 3, 32, 32)
    seen = []

    def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        in_channels_last = output.is_contiguous(memory_format=torch.channels_last)
        seen.append((output.dtype, in_channels_last))

    with torch.no_grad():
        expected = model(images)
        model.to(memory_format=torch.channels_last)
        for part in model.modules():
            if isinstance(part, SplitAttention):
                part.register_forward_hook(note)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images.to(memory_format=torch.channels_last))
    assert set(seen) == {(torch.bfloat16, True)}
    torch.testing.assert_close(logits.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("variant", SHALLOW)
def test_an_exported_network_gives_the_same_logits_for_another_batch_size(variant):
    model = _with_random_values(ResNeSt(SHALLOW[variant], 5, "cifar", 0.0)).float().eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(
        model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},)
    ).module()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images))


def test_dropout_stands_before_the_classifier_and_acts_in_training_alone():
    torch.manual_seed(0)
    model = resnest(5, "14d", "cifar", dropout=1.0)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), model.fc.bias.expand(2, 5))
        assert not torch.equal(model.eval()(images), model.fc.bias.expand(2, 5))


def test_without_being_asked_for_there_is_no_dropout():
    assert _on_meta("14d").dropout.p == 0


def test_drop_block_stands_after_all_convolutions_of_stages_3_and_4():
    with torch.device("meta"):
        model = resnest(5, "26d", "cifar", drop_block=0.1)
    found = {name: part for name, part in model.named_modules() if isinstance(part, DropBlock)}
    assert set(found) == {
        f"layer{stage}.{block}.drop{place}"
        for stage in (3, 4)
        for block in (0, 1)
        for place in (1, 2, 3)
    }
    assert {(part.probability, part.block_px) for part in found.values()} == {(0.1, 3)}
    assert not any(isinstance(part, DropBlock) for part in _on_meta("26d").modules())


def test_drop_block_acts_on_the_branch_in_training():
    torch.manual_seed(0)
    block = resnest(5, "14d", "cifar", drop_block=0.3).layer3[0]
    nn.init.ones_(block.bn3.weight)
    seen = []
    # A copy: the shortcut is added in place.
    block.drop3.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    for share in (0, 1):
        block.drop3.follow(share)
        assert block(torch.randn(2, 512, 16, 16)).isfinite().all()
    zeros = [(branch == 0).float().mean() for branch in seen]
    assert zeros[0] == 0
    assert 0.2 < zeros[1] < 0.3


def test_with_drop_block_the_state_dict_and_the_evaluation_stay_those_of_timm():
    ours, theirs = resnest(1000, "14d", "imagenet", drop_block=0.5), _of_timm("14d")
    state = {name: value.float() for name, value in _random_state(theirs).items()}
    theirs.load_state_dict(state, assign=True)
    ours.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_an_unknown_stem_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="Valid: cifar, imagenet"):
        resnest(5, "14d", "auto")


def test_an_unknown_variant_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean '50d'"):
        resnest(5, "50", "cifar")
