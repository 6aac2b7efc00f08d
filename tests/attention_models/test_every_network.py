"""What holds for every network of the registry, and for every attention module in a ResNet."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attention_models import ATTENTION, MODELS, OptionValue, create_model, find

CLASSES = 5

# Too large to be computed here: their shapes and gradients are followed on the meta device.
LARGEST = {
    "resnet101",
    "resnet152",
    "bam_resnet101",
    "lambda_resnet152",
    "lambda_resnet200",
    "lambda_resnet270",
    "lambda_resnet350",
    "lambda_resnet420",
    "resnest101e",
    "resnest200e",
    "resnest269e",
    "attention92",
    "attentionnext92",
}
ONE_OF_EACH_FAMILY = (
    "resnet_small",
    "preact_resnet_small",
    "bam_resnet_small",
    "sresnet_small",
    "lambda_resnet18",
    "resnest14d",
    "attention92_cifar",
    "attentionnext56",
)


class Network(NamedTuple):
    """A network of the registry with its options; a large one on maps as small as it takes."""

    name: str
    options: dict[str, OptionValue]
    input_size: int

    def __str__(self) -> str:
        return "-".join([self.name, *map(str, self.options.values())])

    def build(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return create_model(self.name, CLASSES, self.input_size, **self.options)

    def images(self, count: int = 2, size: int = 0) -> Tensor:
        torch.manual_seed(1)
        return torch.randn(count, 3, size or self.input_size, size or self.input_size)


def _network(name: str, **options: OptionValue) -> Network:
    if "_small" in name:
        return Network(name, options, 8)
    stem = {"stem": "imagenet"} if "stem" in find(name).options else {}
    return Network(name, stem | options, 32)


COMPUTED = [_network(name) for name in MODELS if name not in LARGEST] + [
    _network(backbone, attention=attention)
    for backbone in ("resnet_small", "preact_resnet_small")
    for attention in ATTENTION
]


@pytest.fixture(scope="module", params=COMPUTED, ids=str)
def network(request: pytest.FixtureRequest) -> Network:
    return request.param


@pytest.fixture(scope="module")
def model(network: Network) -> nn.Module:
    """Built once for all tests of a network, which leave it as it was, but for its gradients."""
    return _with_all_branches(network.build())


def _with_all_branches(model: nn.Module) -> nn.Module:
    """Some branches start at zero: then no test would look into them."""
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                norm.weight.uniform_(0.5, 1)
    return model


@pytest.fixture(scope="module")
def precise(model: nn.Module) -> nn.Module:
    """In double precision, so that equal means equal also in a deep network that is untrained."""
    return copy.deepcopy(model).double().eval()


@pytest.mark.parametrize("further", [0, 1])
def test_every_parameter_gets_a_finite_gradient_at_even_and_odd_sizes(network, model, further):
    images = network.images(count=3, size=network.input_size + further)
    state = copy.deepcopy(model.state_dict())
    model.zero_grad()
    logits = model.train()(images)
    assert logits.shape == (3, CLASSES)
    cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    model.load_state_dict(state)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_channels_last_gives_the_same_numbers(network, precise):
    images = network.images().double()
    other = copy.deepcopy(precise).to(memory_format=torch.channels_last)
    with torch.no_grad():
        found = other(images.to(memory_format=torch.channels_last))
        torch.testing.assert_close(found, precise(images))


def test_autocast_to_bf16_stays_finite(network, model):
    images = network.images()
    state = copy.deepcopy(model.state_dict())
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(model.train()(images).float(), torch.tensor([0, 1]))
    loss.backward()
    model.load_state_dict(state)
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_state_dict_carries_the_whole_network(network, model):
    with torch.device("meta"):
        other = create_model(network.name, CLASSES, network.input_size, **network.options)
    other.load_state_dict(model.state_dict(), assign=True)
    images = network.images()
    with torch.no_grad():
        assert torch.equal(other.eval()(images), model.eval()(images))


def test_an_image_is_classified_without_regard_to_its_batch(network, precise):
    images = network.images(count=3).double()
    with torch.no_grad():
        torch.testing.assert_close(precise(images)[:1], precise(images[:1]))


def test_the_seed_alone_decides_the_initial_weights(network):
    first, again, other = (network.build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", sorted(LARGEST))
def test_the_largest_networks_reach_every_parameter_too(name):
    with torch.device("meta"):
        model = create_model(name, CLASSES, 33, stem="imagenet")
        images, labels = torch.empty(2, 3, 33, 33), torch.empty(2).long()
    logits = model(images)
    assert logits.shape == (2, CLASSES)
    cross_entropy(logits, labels).backward()
    assert None not in [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_one_of_each_family_can_be_exported(name):
    network = _network(name)
    model, images = _with_all_branches(network.build()).eval(), network.images()
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))
