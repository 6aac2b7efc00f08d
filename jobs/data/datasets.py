"""Data sets, as bytes in memory.

Grey images are repeated to three channels, so that every network, and every published weight, fits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from jobs.config import RunConfig, missing_data
from jobs.data.file_lock import hold_lock
from jobs.data.files import FILE_SETS, missing_files
from jobs.data.staging import discard, stage
from jobs.errors import ExecutionError, InputError, MissingDataError

DIGITS_TRAIN_IMAGES = 1437  # the first four fifths; the rest was written by other people
SYNTHETIC_IMAGES = {"train": 512, "test": 256}
SYNTHETIC_SIZE_PX = 8

# What torchvision raises at files that are not what they should be.
DAMAGE = (RuntimeError, ValueError, TypeError, AssertionError, LookupError)


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
        if not margin_px:
            return self
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
    contents: str = ""  # see jobs.data.feed.Feed

    @property
    def input_size(self) -> int:
        return self.train.pixels.shape[1]


def load_dataset(
    config: RunConfig,
    say: Callable[[str], None] = lambda line: None,
    must_stop: Callable[[], bool] = lambda: False,
) -> DataSet:
    """The data set of a run; InputError if its files are not in `data_dir`, or damaged.

    With `stage_dir`, the files are copied there first, and `say` is told of it; StoppedError if it
    must stop meanwhile.
    """
    if missing := missing_data(config):
        raise MissingDataError(missing)
    if config.dataset == "digits":
        data = _digits()
    elif config.dataset == "synthetic":
        data = _synthetic()
    else:
        data = _stored(config, say, must_stop)
    check_enough_images(config, len(data.train), len(data.test))
    return DataSet(
        data.train.first(config.train_images),
        data.test.first(config.test_images),
        data.num_classes,
        data.mean,
        data.std,
    )


def check_enough_images(config: RunConfig, train: int, test: int) -> None:
    """InputError if a run wants more images than there are."""
    for name, found, wanted in (
        ("train_images", train, config.train_images),
        ("test_images", test, config.test_images),
    ):
        if wanted is not None and wanted > found:
            where = config.image_folder or config.dataset
            raise InputError(f"{name}: {wanted}, but {where} has {found}")


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


def _stored(
    config: RunConfig, say: Callable[[str], None], must_stop: Callable[[], bool]
) -> DataSet:
    name, folder = config.dataset, config.data_dir
    if config.stage_dir:
        copy = stage(folder, config.stage_dir, say, FILE_SETS[name].files, must_stop)
        if copy != folder.resolve():
            try:
                return _read(name, copy)
            except (*DAMAGE, OSError):
                say(f"the copy in {copy} is damaged and is removed: reading {folder}")
                discard(copy)
    try:
        return _read(name, folder)
    except DAMAGE:
        raise InputError(
            f"the files of {name} in {folder} are damaged; run `python -m jobs.data {name} "
            f"{folder}` on a machine with a network, which replaces them"
        ) from None


def _read(name: str, folder: Path, *, download: bool = False) -> DataSet:
    """A data set from torchvision's files in `folder`, which holds them or is to."""
    from torchvision import datasets

    known = FILE_SETS[name]
    make = getattr(datasets, known.torchvision)

    def read(part: str) -> Images:
        which = {"split": part} if name == "svhn" else {"train": part == "train"}
        found = make(root=str(folder), download=download, **which)
        pixels = torch.as_tensor(found.data)
        labels = torch.as_tensor(found.labels if name == "svhn" else found.targets)
        if pixels.ndim == 3:
            pixels = pixels[..., None].expand(-1, -1, -1, 3)
        elif name == "svhn":  # (N, 3, H, W)
            pixels = pixels.permute(0, 2, 3, 1).contiguous()
        # torchvision knows no checksums of unpacked grey files.
        if len(labels) != len(pixels) or int(labels.max()) >= known.num_classes:
            raise ValueError(f"the labels of {name} are not those of its images")
        return Images(pixels, labels)

    return DataSet(read("train"), read("test"), known.num_classes, known.mean, known.std)


# ------------------------------------------------------------------------------- downloads


def download(name: str, folder: Path, say: Callable[[str], None]) -> DataSet:
    """Download a data set's files into `folder`, unless they are there and whole.

    They get their names when all are whole. A second download for the same folder waits for the
    first, and finds them. Raises ExecutionError if it cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / ".download"
    with hold_lock(
        folder / ".download.lock", lambda: say(f"waiting for another download to {folder}")
    ):
        # A killed download left it.
        shutil.rmtree(beside, ignore_errors=True)
        if not missing_files(name, folder):
            with contextlib.suppress(*DAMAGE):
                return _read(name, folder)
            say(f"the files of {name} in {folder} are damaged and are replaced")
        try:
            data = _read(name, beside, download=True)
            for file in FILE_SETS[name].files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(beside / file, folder / file)
        except (OSError, HTTPException, RuntimeError) as error:
            cause = " ".join(str(getattr(error, "reason", error)).split())
            raise ExecutionError(f"{name} could not be downloaded: {cause}") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return data
