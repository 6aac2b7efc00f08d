"""What the name of a file says of the training whose log it is.

`cifar_100_PreActResNet50_test.txt` is the test half of a PreActResNet50 on CIFAR-100, and
`resnet18-cifar10-s3-3f2a9c1d07be/tensorboard/` holds the events of seed 3 of resnet18.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.config import DATASETS

TEST_WORDS = ("test", "testing", "val", "valid", "validation", "eval", "evaluation")
TRAIN_WORDS = ("train", "training")

# What loggers call every file and folder of theirs: the name of the training is further up.
_OF_LOGGERS = re.compile(
    r"(tensorboard|tb|events?|logs?|lightning_logs|history|metrics|results?|progress|summary|"
    r"scalars|epochs|train(ing)?[_-]?log|version_\d+)",
    re.IGNORECASE,
)
_SEPARATOR = r"[ _.-]"
_SPLIT = {
    **dict.fromkeys(TEST_WORDS, "test"),
    **dict.fromkeys(TRAIN_WORDS, "train"),
}
_SEED = re.compile(rf"{_SEPARATOR}(?:seed[ _=-]?|s)(\d+)(?={_SEPARATOR}|$)", re.IGNORECASE)
_DIGEST = re.compile(r"-[0-9a-f]{12}$")


@dataclass(frozen=True)
class Named:
    """`split` is "train", "test" or empty."""

    network: str
    split: str = ""
    seed: int | None = None
    dataset: str = ""

    @property
    def options(self) -> dict[str, Any]:
        return {"dataset": self.dataset} if self.dataset else {}

    @property
    def notes(self) -> list[str]:
        return [f"its name says data set {self.dataset}"] if self.dataset else []


def parse_name(name: str) -> Named:
    """What a name, without its suffix, says."""
    rest, split = _take_split(_DIGEST.sub("", name))
    seed = _SEED.search(rest)
    rest = _SEED.sub("", rest, count=1)
    rest, dataset = _take_dataset(rest)
    return Named(rest.strip(" _.-") or name, split, int(seed[1]) if seed else None, dataset)


def telling_name(path: Path) -> str:
    """The name of a file or folder, or of the folder around it if loggers call all theirs so."""
    for place in (path.resolve(), *path.resolve().parents):
        stem = place.stem if place.is_file() else place.name
        if stem and not _OF_LOGGERS.fullmatch(stem) and split_word(stem) == "":
            return stem
    return path.stem


def split_word(word: str) -> str:
    """ "train" or "test" for a word that means it, else empty."""
    return _SPLIT.get(word.lower(), "")


def _take_split(name: str) -> tuple[str, str]:
    """The name without a word for training or test at either of its ends, and what it means."""
    words = "|".join(_SPLIT)
    for pattern in (rf"^(.+){_SEPARATOR}({words})$", rf"^({words}){_SEPARATOR}(.+)$"):
        if match := re.match(pattern, name, re.IGNORECASE):
            first, second = match.groups()
            split = split_word(second) or split_word(first)
            return (first if split_word(second) else second), split
    return name, ""


def _take_dataset(name: str) -> tuple[str, str]:
    """The name without a data set at either of its ends, and the data set as we call it."""
    for dataset in sorted(DATASETS, key=len, reverse=True):
        if dataset == "imagefolder":
            continue
        # cifar100 is also written cifar_100, and fashion_mnist fashion-mnist.
        spelt = re.sub(r"(?<=[a-z])_?(?=\d)|_", "[ _-]?", dataset)
        for pattern in (rf"^{spelt}{_SEPARATOR}(?=.)", rf"{_SEPARATOR}{spelt}$"):
            rest, count = re.subn(pattern, "", name, flags=re.IGNORECASE)
            if count:
                return rest, dataset
    return name, ""
