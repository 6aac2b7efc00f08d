import copy
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attention_models import (
    CIFAR_STEM_BELOW_PX,
    MODELS,
    Option,
    UnknownNameError,
    check_options,
    create_model,
    find,
    list_models,
)

SMALL = list_models("*_small*")
LARGE = [name for name in MODELS if name not in SMALL]


def _small(name: str, input_size: int = 8, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name, 5, input_size, stem="cifar")


def _gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor | None]:
    cross_entropy(model(images), labels).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_listing_and_checking_names_loads_no_torch():
    code = (
        "import sys, attention_models as a; a.list_models();"
        "a.check_options('bam_resnet50', {'combine': 'sum'});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_network_is_answered_with_the_nearest_and_with_all_names():
    with pytest.raises(UnknownNameError, match="did you mean 'bam_resnet50'") as error:
        find("bam_resnet5O")
    assert error.value.valid == sorted(MODELS)
    assert all(name in str(error.value) for name in MODELS)


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(UnknownNameError) as error:
        find("zzzzzz")
    assert "did you mean" not in str(error.value)


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'combine'"):
        check_options("bam_resnet50", {"combined": "sum"})


def test_an_option_of_another_network_is_refused():
    with pytest.raises(UnknownNameError, match="option of network 'resnet18'"):
        check_options("resnet18", {"combine": "sum"})


def test_an_unknown_choice_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="Valid: product, sum"):
        check_options("bam_resnet50", {"combine": "mul"})


@pytest.mark.parametrize(
    ("default", "given", "normalised"),
    [(0.5, 1, 1.0), (1, 2.0, 2), (True, False, False), ("a", "b", "b"), (0.5, 0.25, 0.25)],
)
def test_a_value_takes_the_type_of_its_option(default, given, normalised):
    value = Option(default, "").normalise("x", given)
    assert value == normalised
    assert type(value) is type(normalised)


@pytest.mark.parametrize(
    ("default", "given"),
    [
        (0.5, float("nan")),
        (0.5, float("inf")),
        (0.5, "1"),
        (0.5, True),
        (1, 2.5),
        (1, True),
        (1, float("nan")),
        (True, 1),
        ("a", 1),
        ("a", None),
    ],
)
def test_a_value_of_another_type_or_not_finite_is_refused(default, given):
    with pytest.raises(ValueError, match="option 'x' takes"):
        Option(default, "").normalise("x", given)


def test_patterns_select_names_in_the_order_of_the_registry():
    assert list_models() == list(MODELS)
    assert list_models("bam_resnet1*") == ["bam_resnet18", "bam_resnet101"]
    assert list_models("RESNET18") == []


def test_every_default_is_a_valid_value_of_its_option():
    for name, entry in MODELS.items():
        defaults = {key: option.default for key, option in entry.options.items()}
        assert check_options(name, defaults) == defaults


@pytest.mark.parametrize(
    ("input_size", "stride"), [(CIFAR_STEM_BELOW_PX - 1, 1), (CIFAR_STEM_BELOW_PX, 2)]
)
def test_the_automatic_stem_follows_the_size_of_the_images(input_size, stride):
    assert create_model("resnet_small", 5, input_size).conv1.stride == (stride, stride)


def test_a_stem_that_is_named_is_used_at_any_size():
    assert create_model("resnet_small", 5, 8, stem="imagenet").conv1.stride == (2, 2)
    assert create_model("resnet_small", 5, 224, stem="cifar").conv1.stride == (1, 1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("input_size", [8, 9, 33])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_every_parameter_gets_a_finite_gradient_at_even_and_odd_sizes(name, input_size, stem):
    torch.manual_seed(0)
    model = create_model(name, 5, input_size, stem=stem)
    images = torch.randn(4, 3, input_size, input_size)
    for parameter, gradient in _gradients(model, images, torch.tensor([0, 1, 2, 3])).items():
        assert gradient is not None, parameter
        assert gradient.isfinite().all(), parameter


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("input_size", [33, 224])
def test_large_networks_reach_every_parameter_too(name, input_size):
    with torch.device("meta"):
        model = create_model(name, 5, input_size)
        images, labels = torch.empty(2, 3, input_size, input_size), torch.empty(2).long()
    assert model(images).shape == (2, 5)
    assert None not in _gradients(model, images, labels).values()


@pytest.mark.parametrize("name", SMALL)
def test_a_state_dict_carries_the_whole_network(name):
    images = torch.randn(2, 3, 8, 8)
    model, other = _small(name, seed=0), _small(name, seed=1)
    model(images)  # moves the running statistics away from their initial values
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(model.eval()(images), other.eval()(images))


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_alone_decides_the_initial_weights(name):
    first, again, other = (_small(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", SMALL)
def test_an_image_is_classified_without_regard_to_its_batch(name):
    model = _small(name).eval()
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(model(images)[:1], model(images[:1]))
