"""Data sets, as bytes in memory.

Grey images are repeated to three channels, so that every network, and every published weight, fits.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor

from jobs.config import RunConfig, missing_data
from jobs.errors import ExecutionError, InputError, run_command

DIGITS_TRAIN_IMAGES = 1437  # the first four fifths; the rest was written by other people
SYNTHETIC_IMAGES = {"train": 512, "test": 256}
SYNTHETIC_SIZE_PX = 8


@dataclass(frozen=True)
class Images:
    """Images (N, H, W, 3) as bytes, and their labels (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> Images:
        return Images(self.pixels[:count], self.labels[:count])

    def padded(self, margin_px: int) -> Images:
        """With a black margin on every side, from which shifted crops can be cut."""
        return Images(F.pad(self.pixels, (0, 0, *[margin_px] * 4)), self.labels)

    def to(self, device: torch.device) -> Images:
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """A training and a test set, with the mean and deviation of its training images' channels."""

    train: Images
    test: Images
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def input_size(self) -> int:
        return self.train.pixels.shape[1]


def load_dataset(config: RunConfig) -> DataSet:
    """The data set of a run; InputError if its files are not in `data_dir`."""
    if missing := missing_data(config):
        raise InputError(missing)
    if config.dataset == "digits":
        data = _digits()
    elif config.dataset == "synthetic":
        data = _synthetic()
    else:
        data = _cifar(config.dataset, config.data_dir)
    for name, found, wanted in (
        ("train_images", len(data.train), config.train_images),
        ("test_images", len(data.test), config.test_images),
    ):
        if wanted is not None and wanted > found:
            raise InputError(f"{name}: {wanted}, but {config.dataset} has {found}")
    return DataSet(
        data.train.first(config.train_images),
        data.test.first(config.test_images),
        data.num_classes,
        data.mean,
        data.std,
    )


def _digits() -> DataSet:
    """Hand-written digits, 8x8 grey, 10 classes: in scikit-learn's package, no download."""
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = torch.from_numpy(found.images * (255 / 16)).round().to(torch.uint8)
    pixels, labels = grey[..., None].expand(-1, -1, -1, 3), torch.from_numpy(found.target).long()
    train = Images(pixels[:DIGITS_TRAIN_IMAGES], labels[:DIGITS_TRAIN_IMAGES])
    test = Images(pixels[DIGITS_TRAIN_IMAGES:], labels[DIGITS_TRAIN_IMAGES:])
    # Measured on the training images.
    return DataSet(train, test, 10, mean=(0.3054,) * 3, std=(0.3755,) * 3)


def _synthetic() -> DataSet:
    """Ten coloured patterns under noise: for tests, learnable in a few steps, always the same."""
    generator = torch.Generator().manual_seed(0)
    size = SYNTHETIC_SIZE_PX
    patterns = torch.randint(64, 192, (10, size, size, 3), generator=generator)

    def draw(count: int) -> Images:
        labels = torch.randint(10, (count,), generator=generator)
        noise = torch.randint(-60, 61, (count, size, size, 3), generator=generator)
        return Images((patterns[labels] + noise).clamp(0, 255).to(torch.uint8), labels)

    train, test = draw(SYNTHETIC_IMAGES["train"]), draw(SYNTHETIC_IMAGES["test"])
    return DataSet(train, test, 10, mean=(0.5,) * 3, std=(0.2,) * 3)


# name -> class in torchvision, classes, mean, std. Constants as in the 2019 comparison's recipe,
# which used those of CIFAR-10 for both.
_CIFAR = {
    "cifar10": ("CIFAR10", 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ("CIFAR100", 100, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}


def _cifar(name: str, folder: Path, *, download: bool = False) -> DataSet:
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009), 32x32, from torchvision's files in `folder`."""
    from torchvision import datasets

    class_name, num_classes, mean, std = _CIFAR[name]
    make = getattr(datasets, class_name)

    def load(train: bool) -> Images:
        found = make(root=str(folder), train=train, download=download)
        return Images(torch.from_numpy(found.data), torch.tensor(found.targets))

    try:
        return DataSet(load(True), load(False), num_classes, mean, std)
    except RuntimeError:
        raise InputError(
            f"the files of {name} in {folder} are damaged; remove them, and run "
            f"`python -m jobs.data {name} {folder}` on a machine with a network"
        ) from None
    except URLError as error:
        raise ExecutionError(f"{name} could not be downloaded: {error.reason}") from None


def main() -> None:
    """`python -m jobs.data NAME FOLDER`: download a data set, once, on request."""
    if len(sys.argv) != 3 or sys.argv[1] not in _CIFAR:
        raise InputError(f"usage: python -m jobs.data {'|'.join(_CIFAR)} FOLDER")
    name, folder = sys.argv[1], Path(sys.argv[2])
    data = _cifar(name, folder, download=True)
    print(f"{name}: {len(data.train)} training and {len(data.test)} test images in {folder}")


if __name__ == "__main__":
    run_command(main)
