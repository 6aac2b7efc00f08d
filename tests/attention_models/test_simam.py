import math

import pytest
import torch
from torch import Tensor

from attention_models.count import Counts, count
from attention_models.resnet import ModuleFactory, resnet50
from attention_models.simam import SimAM


def _reference(x: Tensor, regulariser: float) -> Tensor:
    """Value by value: sigmoid(1 / e), where e is the least energy, equation 5 of the paper."""
    y = torch.empty_like(x)
    for image, scaled_image in zip(x, y, strict=True):
        for plane, scaled in zip(image, scaled_image, strict=True):
            values = plane.flatten().tolist()
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
            for position, value in enumerate(values):
                spread = 2 * (variance + regulariser)
                energy = 2 * spread / ((value - mean) ** 2 + spread)
                scaled.view(-1)[position] = value / (1 + math.exp(-1 / energy))
    return y


@pytest.mark.parametrize("regulariser", [1e-4, 0.1])
def test_simam_is_what_its_formula_says(regulariser):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(SimAM(5, regulariser)(x), _reference(x, regulariser))


def test_the_regulariser_of_the_paper_is_the_default():
    assert SimAM(5).regulariser == 1e-4


def test_no_channel_and_no_image_sees_another():
    x = torch.randn(3, 5, 3, 4, dtype=torch.float64)
    simam = SimAM(5)
    for image in range(3):
        for c in range(5):
            alone = simam(x[image : image + 1, c : c + 1])
            torch.testing.assert_close(simam(x)[image, c], alone[0, 0])


def test_positions_may_change_places():
    x = torch.randn(3, 5, 5, 6, dtype=torch.float64)
    order = torch.randperm(30)

    def shuffled(y: Tensor) -> Tensor:
        return y.flatten(2)[:, :, order].reshape(y.shape)

    torch.testing.assert_close(SimAM(5)(shuffled(x)), shuffled(SimAM(5)(x)))


def test_the_scale_stays_when_a_channel_is_shifted_or_turned_round():
    x = torch.randn(3, 5, 5, 6, dtype=torch.float64)
    scale = SimAM(5)(x) / x
    shifted = x + torch.randn(3, 5, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(SimAM(5)(shifted) / shifted, scale)
    torch.testing.assert_close(SimAM(5)(-x) / -x, scale)


def test_the_regulariser_is_in_the_unit_of_the_squared_values():
    x = torch.randn(3, 5, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(SimAM(5, 9e-4)(3 * x), 3 * SimAM(5, 1e-4)(x))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4)])
def test_a_constant_map_is_scaled_by_sigmoid_of_one_half(size):
    x = torch.full((1, 5, *size), 3.0)
    torch.testing.assert_close(SimAM(5)(x), x / (1 + math.exp(-0.5)))


def test_large_values_do_not_overflow_half_precision():
    x = (30 * torch.randn(1, 5, 56, 56)).half()  # the sum of their squares is 3e6
    y = SimAM(5)(x)
    torch.testing.assert_close(y.float(), SimAM(5)(x.float()), atol=0.1, rtol=0.01)


def _resnet50_with(attention: ModuleFactory) -> Counts:
    with torch.device("meta"):
        model = resnet50(1000, "imagenet", attention=attention)
    return count(model, 224)


def test_it_adds_neither_parameters_nor_products():
    assert _resnet50_with(SimAM) == _resnet50_with(torch.nn.Identity)
