import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from attention_models import UnknownNameError, create_model
from attention_models.count import count_by_name
from attention_models.resnet import (
    BasicBlock,
    Bottleneck,
    PreActBasicBlock,
    PreActBottleneck,
    convolution,
    preact_resnet_small,
    resnet_small,
)

TORCHVISION = {
    "resnet18": torchvision.models.resnet18,
    "resnet34": torchvision.models.resnet34,
    "resnet50": torchvision.models.resnet50,
    "resnet101": torchvision.models.resnet101,
    "resnet152": torchvision.models.resnet152,
}


@pytest.mark.parametrize(
    ("name", "num_classes", "input_size", "params"),
    [
        ("resnet18", 10, 32, 11_173_962),
        ("resnet18", 100, 32, 11_220_132),
        ("resnet18", 1000, 224, 11_689_512),
        ("resnet34", 10, 32, 21_282_122),
        ("resnet34", 100, 32, 21_328_292),
        ("resnet34", 1000, 224, 21_797_672),
        ("resnet50", 10, 32, 23_520_842),
        ("resnet50", 100, 32, 23_705_252),
        ("resnet50", 1000, 224, 25_557_032),
        ("resnet101", 10, 32, 42_512_970),
        ("resnet101", 100, 32, 42_697_380),
        ("resnet101", 1000, 224, 44_549_160),
        ("resnet152", 1000, 224, 60_192_808),
        ("preact_resnet18", 10, 32, 11_171_146),
        ("preact_resnet50", 10, 32, 23_509_066),
        ("preact_resnet50", 100, 32, 23_693_476),
        ("preact_resnet50", 1000, 32, 25_537_576),
        ("resnet_small", 10, 8, 78_002),
        ("preact_resnet_small", 10, 8, 128_530),
    ],
)
def test_networks_have_their_published_number_of_parameters(name, num_classes, input_size, params):
    assert count_by_name(name, num_classes, input_size).params == params


@pytest.mark.parametrize("name", TORCHVISION)
def test_weights_of_torchvision_load_strictly(name):
    with torch.device("meta"):
        ours, theirs = create_model(name, 1000, 224), TORCHVISION[name]()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)


@pytest.mark.parametrize("name", TORCHVISION)
def test_with_the_weights_of_torchvision_logits_and_gradients_are_those_of_torchvision(name):
    torch.manual_seed(0)
    theirs = TORCHVISION[name](num_classes=7).double()
    with torch.device("meta"):
        ours = create_model(name, 7, 64)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    theirs(images)  # moves the running statistics away from their initial values
    ours.load_state_dict(theirs.state_dict(), assign=True)
    for training in (False, True):
        found, expected = ours.train(training)(images), theirs.train(training)(images)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    labels = torch.tensor([1, 2])
    of_ours, of_theirs = (
        torch.autograd.grad(cross_entropy(logits, labels), list(model.parameters()))
        for model, logits in ((ours, found), (theirs, expected))
    )
    for mine, reference in zip(of_ours, of_theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", [PreActBasicBlock, PreActBottleneck])
@pytest.mark.parametrize(("in_channels", "stride"), [(16, 1), (16, 2), (8, 1)])
def test_a_preactivation_block_is_what_its_formula_says(kind, in_channels, stride):
    torch.manual_seed(0)
    block = kind(in_channels, width=16 // kind.expansion, stride=stride)
    x = torch.randn(2, in_channels, 6, 6)
    layers = [(block.bn1, block.conv1), (block.bn2, block.conv2)]
    layers += [(block.bn3, block.conv3)] if kind is PreActBottleneck else []

    activated = block.bn1(x).clamp(min=0)
    branch = x
    for norm, convolve in layers:
        branch = convolve(norm(branch).clamp(min=0))
    changes_shape = in_channels != 16 or stride != 1
    shortcut = block.downsample(activated) if changes_shape else x

    assert (block.downsample is not None) == changes_shape
    torch.testing.assert_close(block(x), branch + shortcut)


def test_a_preactivation_network_has_nothing_around_its_blocks():
    torch.manual_seed(0)
    model = preact_resnet_small(5, "cifar")
    images = torch.randn(2, 3, 8, 8)
    x = model.conv1(images)
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
    torch.testing.assert_close(model(images), model.fc(x.mean(dim=(2, 3))))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck, PreActBottleneck])
def test_attention_acts_on_the_residual_branch_and_not_on_the_shortcut(block):
    class Erase(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.channels = channels

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == self.channels
            return 0 * x

    x = torch.rand(2, 4 * block.expansion, 6, 6)  # not negative, so that the last ReLU keeps it
    torch.testing.assert_close(block(x.shape[1], 4, 1, attention=Erase)(x), x)


def test_modules_are_made_for_the_channels_where_they_stand():
    attention, between_stages = [], []

    def note(channels: list[int]):
        return lambda count: channels.append(count) or nn.Identity()

    preact_resnet_small(5, "cifar", attention=note(attention), between_stages=note(between_stages))
    assert attention == [32, 64, 128, 256]
    assert between_stages == [32, 64, 128]


def test_a_network_leaves_the_weights_of_its_attention_alone():
    class Ones(nn.Conv2d):
        def __init__(self, channels: int) -> None:
            super().__init__(channels, channels, 1)
            nn.init.ones_(self.weight)

    model = resnet_small(5, "cifar", attention=Ones, between_stages=Ones)
    modules = [module for module in model.modules() if isinstance(module, Ones)]
    assert len(modules) == 4 + 3
    assert all((module.weight == 1).all() for module in modules)


def test_convolutions_start_with_the_spread_of_the_paper_and_no_bias():
    torch.manual_seed(0)
    layer = convolution(64, 128, 3, bias=True)
    assert layer.weight.std().item() == pytest.approx((2 / (3 * 3 * 128)) ** 0.5, rel=0.01)
    assert not layer.bias.any()


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_convolutions_keep_the_size(kernel, dilation):
    layer = convolution(1, 1, kernel, dilation=dilation)
    assert layer(torch.zeros(1, 1, 7, 5)).shape == (1, 1, 7, 5)


@pytest.mark.parametrize("name", ["resnet_small", "preact_resnet_small"])
def test_dropout_stands_before_the_classifier_and_acts_in_training_alone(name):
    torch.manual_seed(0)
    model, images = create_model(name, 5, 8, dropout=0.9), torch.randn(2, 3, 8, 8)
    seen = []
    model.fc.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.no_grad():
        model(images)
        model.eval()(images)
    zeros = [(features == 0).float().mean() for features in seen]
    assert zeros[0] > 0.7
    assert zeros[1] < 0.6  # those of the last ReLU
    assert create_model(name, 5, 8).dropout.p == 0


def test_an_unknown_stem_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="Valid: cifar, imagenet"):
        resnet_small(5, "auto")


@pytest.mark.parametrize("network", [resnet_small, preact_resnet_small])
def test_small_networks_learn_real_digits_in_seconds(network):
    torch.manual_seed(0)
    model = network(10, "cifar")
    digits = load_digits()
    images = torch.tensor(digits.images).float()[:, None].expand(-1, 3, -1, -1) / 16
    labels = torch.tensor(digits.target)
    steps, batch = 10 * 22, 64
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(1437, (batch,))
        optimizer.zero_grad()
        cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    right = model.eval()(images[1437:]).argmax(dim=1) == labels[1437:]
    assert right.float().mean() >= 0.9
