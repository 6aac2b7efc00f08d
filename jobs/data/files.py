"""The data sets that torchvision reads from files: which files, and what is known of them.

Nothing here needs torch: the launcher asks on the login node whether the files are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileSet:
    """A data set in torchvision's files.

    `mean` and `std` are the training images', for each channel, of values between 0 and 1.
    """

    torchvision: str  # the class in torchvision.datasets
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    files: tuple[str, ...]  # in `data_dir`: all that a training reads
    by_hand: str  # how they get there without the download


_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10_FILES = (
    *(f"data_batch_{number}" for number in range(1, 6)),
    "test_batch",
    "batches.meta",
)

FILE_SETS = {
    # Krizhevsky 2009; 32x32. Constants as in the 2019 comparison's recipe, which used those of
    # CIFAR-10 for both.
    "cifar10": FileSet(
        "CIFAR10",
        10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        files=tuple(f"cifar-10-batches-py/{name}" for name in _CIFAR10_FILES),
        by_hand="Unpack cifar-10-python.tar.gz there",
    ),
    "cifar100": FileSet(
        "CIFAR100",
        100,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        by_hand="Unpack cifar-100-python.tar.gz there",
    ),
    # Xiao, Rasul and Vollgraf 2017; 28x28 grey. The constants are in common use.
    "fashion_mnist": FileSet(
        "FashionMNIST",
        10,
        mean=(0.2860,) * 3,
        std=(0.3530,) * 3,
        files=tuple(f"FashionMNIST/raw/{name}" for name in _MNIST_FILES),
        by_hand="Unpack its four files, such as train-images-idx3-ubyte.gz, in FashionMNIST/raw "
        "there",
    ),
    # LeCun, Cortes and Burges 1998; 28x28 grey. Constants of PyTorch's MNIST example.
    "mnist": FileSet(
        "MNIST",
        10,
        mean=(0.1307,) * 3,
        std=(0.3081,) * 3,
        files=tuple(f"MNIST/raw/{name}" for name in _MNIST_FILES),
        by_hand="Unpack its four files, such as train-images-idx3-ubyte.gz, in MNIST/raw there",
    ),
    # Netzer et al. 2011, cropped digits, without the extra training images; 32x32. The constants
    # are in common use.
    "svhn": FileSet(
        "SVHN",
        10,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        files=("train_32x32.mat", "test_32x32.mat"),
        by_hand="Put train_32x32.mat and test_32x32.mat there",
    ),
}


def missing_files(name: str, folder: Path) -> str:
    """What to do if files of a data set are not in `folder`; empty if all are there."""
    found = FILE_SETS[name]
    missing = [file for file in found.files if not (folder / file).is_file()]
    if not missing:
        return ""
    return (
        f"the files of {name} are not in {folder}: there is no {missing[0]}. {found.by_hand}, or "
        f"run `python -m jobs.data {name} {folder}` on a machine with a network"
    )
