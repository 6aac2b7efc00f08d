from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from jobs.augment import Normaliser
from jobs.config import RunConfig
from jobs.data import load_dataset, main
from jobs.errors import InputError

CPU = torch.device("cpu")


def test_digits_are_the_real_images_split_without_overlap() -> None:
    data = load_dataset(RunConfig(model="resnet18", dataset="digits"))
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.pixels.shape == (1437, 8, 8, 3)
    assert data.train.pixels.dtype == torch.uint8
    assert int(data.train.pixels.max()) == 255


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_normalised_training_images_have_mean_0_and_deviation_1(name: str) -> None:
    data = load_dataset(RunConfig(model="resnet18", dataset=name))
    images = Normaliser(data, CPU)(data.train.pixels)
    assert images.shape == (len(data.train), 3, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=0.05)
    assert images.std().item() == pytest.approx(1, abs=0.1)


def test_a_part_of_a_data_set_is_its_first_images() -> None:
    whole = load_dataset(RunConfig(model="resnet18", dataset="digits"))
    config = RunConfig(model="resnet18", dataset="digits", train_images=100, test_images=10)
    part = load_dataset(config)
    assert (len(part.train), len(part.test)) == (100, 10)
    assert torch.equal(part.train.pixels, whole.train.pixels[:100])


def test_the_synthetic_images_are_always_the_same() -> None:
    config = RunConfig(model="resnet18", dataset="synthetic")
    first, second = load_dataset(config), load_dataset(config)
    assert torch.equal(first.train.pixels, second.train.pixels)
    assert not torch.equal(first.train.pixels[:256], first.test.pixels)


# ---- CIFAR


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_files_are_told_with_where_to_put_them(name: str, tmp_path: Path) -> None:
    config = RunConfig(model="resnet18", dataset=name, data_dir=tmp_path)
    with pytest.raises(InputError) as caught:
        load_dataset(config)
    message = str(caught.value)
    assert f"the files of {name} are not in {tmp_path}" in message
    assert "-python.tar.gz" in message
    assert f"python -m jobs.data {name} {tmp_path}" in message


def test_cifar_files_are_read_into_bytes_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in the format of the real ones, small ones; the checksums of the real ones are off."""
    monkeypatch.setattr(datasets.CIFAR100, "_check_integrity", lambda self: True)
    folder = tmp_path / datasets.CIFAR100.base_folder
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    for name in ("train", "test"):
        content = {"data": pixels.reshape(4, -1), "fine_labels": [5, 99, 0, 7]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(n) for n in range(100)]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    data = load_dataset(RunConfig(model="resnet18", dataset="cifar100", data_dir=tmp_path))
    assert data.num_classes == 100
    assert data.input_size == 32
    assert torch.equal(data.train.pixels, torch.from_numpy(pixels.transpose(0, 2, 3, 1)))
    assert data.test.labels.tolist() == [5, 99, 0, 7]


def test_asking_for_a_download_wrongly_shows_the_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["jobs.data", "cifar"])
    with pytest.raises(InputError, match=r"usage: python -m jobs\.data"):
        main()
