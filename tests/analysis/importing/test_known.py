from __future__ import annotations

import pytest

from analysis.importing.known import INPUTS, count_network, parse_known, parse_names
from jobs.config import DATASETS
from jobs.data.files import FILE_SETS
from jobs.errors import InputError


def test_options_have_the_names_and_types_of_a_matrix() -> None:
    settings = ["dataset=cifar100", "lr=1", "flip=false", "lr_milestones_epochs=[60, 90]"]
    assert parse_known([*settings, "model_options.k=16"]) == {
        "dataset": "cifar100",
        "lr": 1.0,
        "flip": False,
        "lr_milestones_epochs": [60, 90],
        "model_options.k": 16,
    }


def test_what_is_not_told_has_no_default() -> None:
    assert parse_known([]) == {}
    assert parse_known(["epochs=150"]) == {"epochs": 150}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["datset=cifar10"], "did you mean 'dataset'?"),
        (["dataset=cifar1000"], "'cifar1000' is not a known data set"),
        (["epochs=many"], "--set: epochs: "),
        (["epochs"], "write NAME=VALUE"),
        (["epochs=1", "epochs=2"], "epochs is given twice, as 1 and as 2"),
        (["model=resnet50"], "--rename NAME=NETWORK"),
    ],
)
def test_a_mistake_is_told(settings: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_known(settings)
    assert said in str(error.value)


def test_names_mean_networks_of_the_registry() -> None:
    assert parse_names(["PreActResNet50=preact_resnet50"]) == {"PreActResNet50": "preact_resnet50"}
    with pytest.raises(InputError, match=r"--rename: 'resnet5' is not a known network; did you"):
        parse_names(["ResNet=resnet5"])


def test_a_network_is_counted_for_the_images_of_its_data_set() -> None:
    plain = count_network("preact_resnet50", {"dataset": "cifar100"})
    assert plain is not None
    assert (plain[0], round(plain[1] / 1e9, 3)) == (23_693_476, 1.298)
    with_stem = count_network("resnet18", {"dataset": "cifar10", "model_options.stem": "imagenet"})
    assert with_stem is not None
    assert with_stem[0] == 11_181_642
    assert count_network("preact_resnet50", {}) is None


def test_an_option_that_the_network_does_not_have_is_told() -> None:
    with pytest.raises(InputError, match="--set model_options: 'k' is not a known option"):
        count_network("resnet18", {"dataset": "cifar10", "model_options.k": 16})


def test_the_data_sets_have_as_many_classes_as_where_they_are_trained() -> None:
    assert {name: INPUTS[name][0] for name in FILE_SETS} == {
        name: files.num_classes for name, files in FILE_SETS.items()
    }
    assert INPUTS.keys() <= {*DATASETS}
