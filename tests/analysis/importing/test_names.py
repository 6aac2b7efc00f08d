from __future__ import annotations

from pathlib import Path

import pytest

from analysis.importing.names import Named, parse_name, telling_name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cifar_100_PreActResNet50_test", Named("PreActResNet50", "test", None, "cifar100")),
        ("cifar_10_PreActResNet50_train", Named("PreActResNet50", "train", None, "cifar10")),
        ("fashion-mnist_net_val", Named("net", "test", None, "fashion_mnist")),
        ("train-lambda_resnet18", Named("lambda_resnet18", "train")),
        ("resnet18-cifar10-s3-3f2a9c1d07be", Named("resnet18", "", 3, "cifar10")),
        ("resnest50d_1s4x24d_seed12_test", Named("resnest50d_1s4x24d", "test", 12)),
        ("contest", Named("contest")),
        ("test", Named("test")),
        ("mnist", Named("mnist")),
    ],
)
def test_a_name_says_network_half_seed_and_data_set(name: str, said: Named) -> None:
    assert parse_name(name) == said


def test_a_data_set_that_a_name_says_is_an_option_and_told() -> None:
    assert parse_name("net-s3").notes == []
    assert parse_name("net-s3").options == {}
    assert parse_name("net-cifar10-s3").notes == ["its name says data set cifar10"]
    assert parse_name("net-cifar10-s3").options == {"dataset": "cifar10"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("logs/resnet18.csv", "resnet18"),
        ("resnet18_seed1/metrics.csv", "resnet18_seed1"),
        ("resnet18/version_0/metrics.csv", "resnet18"),
        ("sresnet/tensorboard/events.csv", "sresnet"),
        ("sresnet/train/log.csv", "sresnet"),
    ],
)
def test_where_loggers_call_all_files_alike_the_folder_names_the_network(
    tmp_path: Path, path: str, name: str
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert telling_name(file) == name
