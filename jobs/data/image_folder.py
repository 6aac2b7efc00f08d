"""Image folders: FOLDER/train/CLASS/ and FOLDER/val/CLASS/ with an image per file, as ImageNet.

A folder whose images are of one size, and not too many, is decoded once and kept in one file beside
the images: `.decoded-KEY`. Every later load, by any job, reads that file. Other folders are
streamed; see jobs.data.stream.

Images are normalised by ImageNet's mean and deviation where they are streamed, as a large folder is
not read through for its own, and where `normalisation` says so, as published weights expect these.
Otherwise it is the folder's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from jobs.config import RunConfig, missing_data
from jobs.data.datasets import DataSet, Images, check_enough_images
from jobs.data.feed import Loading
from jobs.errors import ExecutionError, InputError, MissingDataError, StoppedError
from jobs.files import DamagedError, read_json, write_atomic, write_exclusive
from jobs.processes import is_running, this_host, this_process

Say = Callable[[str], None]
Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_IN_MEMORY_BYTES = 4 * 2**30
SAY_EVERY_S = 10.0
# A builder on another host gives its marker a new time whenever it reports; one whose marker stays
# as it is for so long has died.
DEAD_AFTER_S = 300.0
WAIT_S = 0.5
STREAM_IT = "such a folder cannot be kept in memory, give loading=stream"
IMAGES_AT_ONCE = 256  # what a thread is given to do

# ------------------------------------------------------------------------------- which images


@dataclass(frozen=True)
class Files:
    """Image files, relative to the folder, and their labels (N,)."""

    paths: list[str]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def first(self, count: int | None) -> Files:
        return Files(self.paths[:count], self.labels[:count])


@dataclass(frozen=True)
class Listing:
    """What an image folder holds. A label is the class's place in `classes`, which are sorted."""

    folder: Path
    classes: list[str]
    train: Files
    test: Files

    @property
    def paths(self) -> list[Path]:
        """All images, those for training first."""
        return [self.folder / path for path in self.train.paths + self.test.paths]

    @cached_property
    def contents(self) -> str:
        """64 hex digits that stand for the names of all classes and images, and their order."""
        names = [*self.classes, "", *self.train.paths, "", *self.test.paths]
        return hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()

    @cached_property
    def cache_key(self) -> str:
        """16 hex digits that are others after a file was added, removed, renamed or changed."""
        digest = hashlib.sha256(repr(HEADER).encode())  # another layout is another file
        paths = self.train.paths + self.test.paths
        for path, found in zip(paths, _flat(_in_threads(os.stat, self.paths)), strict=True):
            digest.update(os.fsencode(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"))
        return digest.hexdigest()[:16]


def list_images(config: RunConfig) -> Listing:
    """The images of a run's folder; InputError if it is not laid out as such.

    The images of a set come in a fixed order that looks random: that of the SHA-256 of CLASS/FILE.
    So the first N, which are those of train_images and test_images, are of all classes, for every
    seed the same, and stay the same but for few when files are added.
    """
    if missing := missing_data(config):
        raise MissingDataError(missing)
    folder = config.data_dir / config.image_folder
    train, test = folder / "train", folder / ("val" if (folder / "val").is_dir() else "test")
    classes, test_classes = _classes(train), _classes(test)
    if different := sorted(set(classes) ^ set(test_classes)):
        raise InputError(
            f"{train} and {test} must hold folders of the same names, one for each class; only "
            f"one of them has {_some(different)}"
        )
    listing = Listing(folder, classes, _files(train, classes), _files(test, classes))
    check_enough_images(config, len(listing.train), len(listing.test))
    return listing


def _classes(folder: Path) -> list[str]:
    try:
        found, _ = find_classes(folder)
    except FileNotFoundError:
        found = []
    classes = [name for name in found if not name.startswith(".")]
    if not classes:
        raise InputError(f"{folder} holds no folders; it must hold one for each class")
    return classes


def _files(folder: Path, classes: list[str]) -> Files:
    labels = {name: label for label, name in enumerate(classes)}
    inside = len(os.fspath(folder)) + 1
    try:
        found = make_dataset(folder, labels, is_valid_file=lambda path: _is_image(path[inside:]))
    except FileNotFoundError:
        empty = [name for name in classes if not _has_images(folder, name)]
        raise InputError(
            f"no images are in {_some(empty)} of {folder}; every class needs some, and what is "
            f"taken for an image ends in {', '.join(IMG_EXTENSIONS)}"
        ) from None
    found.sort(key=lambda file: hashlib.sha256(os.fsencode(file[0][inside:])).digest())
    paths = [f"{folder.name}/{path[inside:]}" for path, _ in found]
    return Files(paths, torch.tensor([label for _, label in found]))


def _is_image(path: str) -> bool:
    """Of a path in the folder. Hidden files, and all in hidden folders, are those of programs."""
    hidden = any(name.startswith(".") for name in path.split("/"))
    return path.lower().endswith(IMG_EXTENSIONS) and not hidden


def _has_images(folder: Path, label: str) -> bool:
    return any(
        _is_image(os.path.relpath(os.path.join(inside, name), folder))
        for inside, _, names in os.walk(folder / label, followlinks=True)
        for name in names
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# ------------------------------------------------------------------------------- memory or stream


def resolve_loading(
    config: RunConfig, listing: Listing, must_stop: Callable[[], bool] = lambda: False
) -> Loading:
    """What `loading: auto` means for a folder; InputError if `memory` is asked for in vain."""
    if config.loading == "stream":
        return "stream"
    obstacle = _obstacle(config, listing, must_stop)
    if obstacle and config.loading == "memory":
        raise InputError(f"{obstacle}; {STREAM_IT}")
    return "stream" if obstacle else "memory"


def _obstacle(config: RunConfig, listing: Listing, must_stop: Callable[[], bool]) -> str:
    """Why the images cannot be kept in memory; empty if they can.

    Looks at no more headers than it must: at one in a folder that is large in any case, and at none
    if the images were decoded before.
    """
    first = listing.folder / listing.train.paths[0]
    size = image_size(first)
    needed = _needed_bytes(config, listing, *size)
    if needed > LARGEST_IN_MEMORY_BYTES:
        return f"its images take {needed / 2**30:.1f} GiB, and at most " + (
            f"{LARGEST_IN_MEMORY_BYTES / 2**30:g} GiB are kept"
        )
    if any(path.exists() for path in _cache_files(listing)):
        return ""
    paths = listing.paths
    sizes = _flat(_in_threads(image_size, paths, must_stop))
    for path, other in zip(paths, sizes, strict=True):
        if other != size:
            return _differ(first, size, path, other)
    return ""


def _needed_bytes(config: RunConfig, listing: Listing, width: int, height: int) -> int:
    """Of all images as they are decoded, or of those of the run as a device keeps them."""
    decoded_px = (len(listing.train) + len(listing.test)) * width * height
    side = config.image_px or min(width, height)
    train_px = (side + 2 * config.crop_padding_px) ** 2
    if config.crop == "resized":
        train_px = width * height
    test_px = (config.test_px or side) ** 2
    train, test = config.train_images, config.test_images
    kept_px = (train or len(listing.train)) * train_px + (test or len(listing.test)) * test_px
    return 3 * max(decoded_px, kept_px)


def _differ(path: Path, size: tuple[int, int], other: Path, other_size: tuple[int, int]) -> str:
    return "{} has {}x{} pixels and {} {}x{}".format(path, *size, other, *other_size)


# ------------------------------------------------------------------------------- reading images


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's header; InputError if it is no image."""
    with _reading(path), Image.open(path) as image:
        return image.size


def read_image(path: Path) -> Image.Image:
    """An image in RGB; InputError if the file is damaged or no image of 8 bits."""
    with _reading(path), Image.open(path) as image:
        if image.mode.startswith(("I", "F")):
            # Pillow would cut off all that is above 255.
            raise ValueError("its pixels have more than 8 bits")
        return image.convert("RGB")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # The system's errors have a number. Pillow's have none, and come in many types.
        if isinstance(error, OSError) and error.errno is not None:
            raise ExecutionError(f"{path} cannot be read: {error.strerror}") from None
        raise InputError(
            f"{path} cannot be read as an image ({error}); repair or remove it"
        ) from None


def _in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    must_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Result]]:
    """`function` of every item, in order, in lists of some hundred; StoppedError if it must."""

    def apply(item: Item) -> Result:
        if must_stop():
            raise StoppedError
        return function(item)

    parts = [
        items[start : start + IMAGES_AT_ONCE] for start in range(0, len(items), IMAGES_AT_ONCE)
    ]
    with ThreadPoolExecutor() as pool:
        yield from pool.map(lambda part: [apply(item) for item in part], parts)


def _flat(lists: Iterator[list[Result]]) -> Iterator[Result]:
    return (item for part in lists for item in part)


# ------------------------------------------------------------------------------- decoded images


# What a file of decoded images begins with; the pixels of all images follow, those for training
# first. The checksum is over all that comes after it.
HEADER = np.dtype(
    [
        ("sha256", "V32"),
        ("height_px", "<i8"),
        ("width_px", "<i8"),
        ("mean", "<f8", 3),
        ("std", "<f8", 3),
    ]
)


class Decoded:
    """Decoded images, in memory as they are in the file: a header and the pixels."""

    def __init__(self, content: np.ndarray) -> None:
        self.content = content  # (bytes,) uint8
        self.header = content[: HEADER.itemsize].view(HEADER)[0]

    @property
    def pixels(self) -> np.ndarray:
        """(N, H, W, 3), a view."""
        shape = int(self.header["height_px"]), int(self.header["width_px"]), 3
        return self.content[HEADER.itemsize :].reshape(-1, *shape)

    def checksum(self) -> bytes:
        after = HEADER.fields["sha256"][0].itemsize  # type: ignore[index]
        return hashlib.sha256(self.content[after:].data).digest()

    @classmethod
    def read(cls, path: Path) -> Decoded:
        """FileNotFoundError if there is no such file, DamagedError if it is not as written."""
        content = np.fromfile(path, np.uint8)
        if len(content) < HEADER.itemsize:
            raise DamagedError
        decoded = cls(content)
        if decoded.header["sha256"].tobytes() != decoded.checksum():
            raise DamagedError
        return decoded


def load_image_folder(
    config: RunConfig,
    say: Say = lambda text: None,
    must_stop: Callable[[], bool] = lambda: False,
    listing: Listing | None = None,
) -> DataSet:
    """A folder of images of one size, decoded; InputError if they differ.

    Mean and deviation of the channels are those of all training images, rounded to 4 decimals.
    Raises StoppedError if it must stop.
    """
    listing = listing or list_images(config)
    decoded = _decoded(listing, say, must_stop)
    pixels, images = torch.from_numpy(decoded.pixels), len(listing.train)
    test = Images(pixels[images:], listing.test.labels).first(config.test_images)
    return DataSet(
        Images(pixels[:images], listing.train.labels).first(config.train_images),
        # A view would keep the training images in memory after they are on a GPU.
        Images(test.pixels.clone(), test.labels),
        len(listing.classes),
        tuple(decoded.header["mean"].tolist()),
        tuple(decoded.header["std"].tolist()),
        listing.contents,
    )


def _decoded(listing: Listing, say: Say, must_stop: Callable[[], bool]) -> Decoded:
    """The decoded images, from a file that is kept, or else decoded by one job for all."""
    files = _cache_files(listing)
    for file in files:
        if decoded := _read_kept(file, say):
            return decoded
    for file in files:
        # A folder that cannot be written to, or a full disk: the next one may do.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            return _build_or_wait(file, listing, say, must_stop)
    say(f"nothing can be written in {files[0].parent} and {files[1].parent}: every job decodes")
    return _decode(listing, say, must_stop)


def _cache_files(listing: Listing) -> list[Path]:
    """Where decoded images are kept: beside the images, or where a person may write in any case."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = listing.folder.resolve()
    place = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    name = f".decoded-{listing.cache_key}"
    return [folder / name, cache / "attention-sweeps" / f"{folder.name}-{place}" / name]


def _read_kept(file: Path, say: Say) -> Decoded | None:
    try:
        return Decoded.read(file)
    except FileNotFoundError:
        return None
    except DamagedError:
        say(f"{file} is damaged: decoding the images anew")
        with contextlib.suppress(OSError):
            file.unlink()
        return None


def _build_or_wait(
    file: Path, listing: Listing, say: Say, must_stop: Callable[[], bool]
) -> Decoded:
    """Decode into a file unless another job does; OSError if nothing can be written there."""
    marker = Marker(file.with_name(f"{file.name}.building"))
    while not marker.take():
        marker.wait(say, must_stop)
        if decoded := _read_kept(file, say):
            return decoded
    try:
        # Another job may have finished between the last look and the marker.
        if decoded := _read_kept(file, say):
            return decoded
        decoded = _decode(listing, say, must_stop, marker.renew)
        _keep(decoded, file, say)
        return decoded
    finally:
        marker.release()


def _keep(decoded: Decoded, file: Path, say: Say) -> None:
    """Write the file, and remove those of the folder as it was before and of killed writers."""
    try:
        write_atomic(file, decoded.content.data)
    except OSError as error:
        say(f"the decoded images cannot be kept in {file}: {error.strerror}")
        return
    for old in file.parent.glob(".decoded-*"):
        if not old.name.startswith(file.name):
            with contextlib.suppress(OSError):
                old.unlink()
    for half in file.parent.glob("..decoded-*.tmp"):
        with contextlib.suppress(OSError):
            # A young one is that of a job which is about to take its marker, or writes.
            if time.time() - half.stat().st_mtime > DEAD_AFTER_S:
                half.unlink()


class Marker:
    """A file that says who decodes a folder. It saves work and protects nothing.

    Two jobs that both decode, as one was thought to be dead, write the same file. So it is created
    exclusively, but needs no locks, which do not hold on every network file system.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self) -> bool:
        """Whether it is ours now; OSError if it cannot be written."""
        holder = {**this_process(), "time_unix_s": time.time()}
        try:
            write_exclusive(self._path, orjson.dumps(holder))
        except FileExistsError:
            return False
        return True

    def renew(self) -> None:
        """Show others that we are alive."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)

    def wait(self, say: Say, must_stop: Callable[[], bool] = lambda: False) -> None:
        """Return when it is gone, or its holder, which is then said; StoppedError if it must."""
        seen, since_s = None, time.monotonic()
        while (now := self._read()) is not None:
            holder, _ = now
            if seen is None:
                say(f"waiting for process {holder['pid']} on {holder['host']}, which decodes")
            if now != seen:
                seen, since_s = now, time.monotonic()
            here = holder["host"] == this_host()
            if not is_running(holder) if here else time.monotonic() - since_s > DEAD_AFTER_S:
                say(f"process {holder['pid']} on {holder['host']} has died")
                self.release()
                return
            if must_stop():
                raise StoppedError
            time.sleep(WAIT_S)

    def _read(self) -> tuple[dict[str, Any], int] | None:
        """The holder and when it last gave a sign; None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            sign = self._path.stat().st_mtime_ns
            if holder := read_json(self._path):
                return holder, sign
        return None


def _decode(
    listing: Listing,
    say: Say,
    must_stop: Callable[[], bool],
    on_progress: Callable[[], None] = lambda: None,
) -> Decoded:
    """All images, which must be of one size."""
    paths = listing.paths
    width, height = size = image_size(paths[0])
    decoded = Decoded(np.empty(HEADER.itemsize + len(paths) * height * width * 3, np.uint8))
    decoded.header["height_px"], decoded.header["width_px"] = height, width
    pixels = decoded.pixels

    def decode(number: int) -> None:
        image = read_image(paths[number])
        if image.size != size:
            raise InputError(f"{_differ(paths[0], size, paths[number], image.size)}; {STREAM_IT}")
        pixels[number] = image

    say(f"decoding the {len(paths):,} images of {listing.folder}")
    start_s = said_s = time.monotonic()
    done = 0
    for part in _in_threads(decode, range(len(paths)), must_stop):
        done += len(part)
        now_s = time.monotonic()
        if now_s - said_s >= SAY_EVERY_S or done == len(paths):
            said_s = now_s
            on_progress()
            say(f"decoded {done:,} images, {done / (now_s - start_s):,.0f} images/s")
    decoded.header["mean"], decoded.header["std"] = mean_and_std(pixels[: len(listing.train)])
    decoded.header["sha256"] = decoded.checksum()
    return decoded


def mean_and_std(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Of each channel of (N, H, W, 3) bytes, as shares of 255, rounded to 4 decimals."""
    sums, squares = np.zeros(3), np.zeros(3)  # whole numbers below 2**53, so these are exact
    for start in range(0, len(pixels), IMAGES_AT_ONCE):
        part = pixels[start : start + IMAGES_AT_ONCE].reshape(-1, 3).astype(np.float64)
        sums += part.sum(axis=0)
        squares += np.square(part).sum(axis=0)
    count = pixels.size / 3
    mean = sums / count
    # A channel without any contrast is not to be divided by zero.
    std = np.sqrt(np.maximum(squares / count - mean**2, 1))
    return (mean / 255).round(4).tolist(), (std / 255).round(4).tolist()
