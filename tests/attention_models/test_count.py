import pytest
import torch
from torch import nn

from attention_models import create_model
from attention_models.count import Counts, count, count_by_name


@pytest.mark.parametrize(
    ("name", "num_classes", "input_size", "giga_macs"),
    [
        ("resnet18", 100, 32, 0.5555),
        ("resnet18", 1000, 224, 1.814),
        ("resnet50", 100, 32, 1.298),
        ("resnet50", 1000, 224, 4.089),
        ("bam_resnet18", 100, 32, 0.5572),
        ("bam_resnet18", 1000, 224, 1.819),
        ("bam_resnet50", 100, 32, 1.325),
        ("bam_resnet50", 1000, 224, 4.171),
        ("preact_resnet50", 100, 32, 1.298),
        ("bam_preact_resnet50", 100, 32, 1.325),
        ("sresnet50", 100, 32, 1.298),
        ("sresnet50_skips", 100, 32, 1.298),
        ("sresnet50_dilation", 100, 32, 1.298),
    ],
)
def test_networks_cost_the_published_multiply_accumulates(name, num_classes, input_size, giga_macs):
    macs = count_by_name(name, num_classes, input_size).macs
    digits = len(str(giga_macs).partition(".")[2])
    assert round(macs / 1e9, digits) == giga_macs


def test_a_network_that_is_counted_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 7),
    )
    params = (3 * 9 + 1) * 4 + 2 * 4 + (4 + 1) * 7
    macs = 5 * 5 * 4 * (3 * 9) + 4 * 7  # a 9 x 9 image gives 5 x 5 positions
    assert count(model, 9) == Counts(params, macs)


def test_weights_in_memory_are_counted_like_weights_on_the_meta_device():
    assert count(create_model("bam_resnet_small", 5, 9), 9) == count_by_name(
        "bam_resnet_small", 5, 9
    )


def test_counting_leaves_the_network_and_the_random_numbers_as_they_were():
    model = create_model("bam_resnet_small", 5, 8).train()
    model.layer2.eval()
    flags = [part.training for part in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()

    count(model, 8)
    count_by_name("bam_resnet_small", 5, 8)

    assert [part.training for part in model.modules()] == flags
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_network_that_cannot_be_run_is_left_as_it_was_too():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Dropout()).train()
    with pytest.raises(RuntimeError, match="channel"):
        count(model, 8)
    assert model[1].training


def test_options_reach_the_network():
    cifar, imagenet = (count_by_name("resnet_small", 5, 32, stem=s) for s in ("cifar", "imagenet"))
    assert cifar.params < imagenet.params
    assert cifar.macs > imagenet.macs
