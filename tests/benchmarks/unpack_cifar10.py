"""Unpack CIFAR-10 as JPEG bytes in one .npz into an image folder, and time how it is loaded.

    python -m tests.benchmarks.unpack_cifar10 cifar10_jpeg.npz data/cifar10_jpeg
    python -m jobs.train resnet18 dataset=imagefolder image_folder=cifar10_jpeg

FILE.npz holds, for train and test: train_jpeg (all images, one after the other), train_offsets
(N + 1) and train_labels (N); and `classes`, their names. FOLDER becomes
FOLDER/{train,val}/CLASS/N.jpg, where N counts within the set. Files that are there already stay as
they are, so that the command may be repeated, and what was decoded of them is found again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from jobs.config import RunConfig
from jobs.data.image_folder import load_image_folder


def unpack(file: Path, folder: Path) -> int:
    """Write what is not there yet; the number of images written."""
    written = 0
    with np.load(file) as arrays:
        classes = arrays["classes"].tolist()
        for split, name in (("train", "train"), ("test", "val")):
            for label in classes:
                (folder / name / label).mkdir(parents=True, exist_ok=True)
            jpeg, offsets = arrays[f"{split}_jpeg"].data, arrays[f"{split}_offsets"].tolist()
            for number, label in enumerate(arrays[f"{split}_labels"].tolist()):
                path = folder / name / classes[label] / f"{number}.jpg"
                image = jpeg[offsets[number] : offsets[number + 1]]
                if not path.exists() or path.stat().st_size != len(image):
                    path.write_bytes(image)
                    written += 1
    return written


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    given = parser.parse_args(arguments)
    if not given.file.is_file():
        parser.error(f"there is no file {given.file}")
    folder = given.folder.resolve()
    start = time.monotonic()
    written = unpack(given.file, folder)
    print(f"unpacked {written:,} images in {time.monotonic() - start:.1f} s", flush=True)
    config = RunConfig(
        model="resnet18", dataset="imagefolder", image_folder=folder.name, data_dir=folder.parent
    )
    for which in ("first", "second"):
        start = time.monotonic()
        data = load_image_folder(config, print)
        print(f"{which} load: {time.monotonic() - start:.1f} s", flush=True)
    print(
        f"{len(data.train):,} training and {len(data.test):,} test images of {data.input_size} "
        f"pixels in {data.num_classes} classes, mean {data.mean}, std {data.std}"
    )


if __name__ == "__main__":
    main()
