"""Weights to begin with, from files of ours, of timm and of torchvision."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jobs.errors import InputError, MissingDataError

Weights = dict[str, Tensor]

# Where a training keeps the weights among other things: ours (the average, where there is one, is
# what it evaluates), timm's, torchvision's.
_PLACES = ("average", "state_dict", "model")

# What DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")

_LAYERS = (nn.Linear, nn.Conv2d)

_NAMED_AT_MOST = 3


def load_weights(
    model: nn.Module, path: Path, say: Callable[[str], None], *, whole: bool = False
) -> None:
    """Give a network the weights of a file: all of them, but for a classifier of other classes.

    Such a classifier is left out and stays as initialised, and `say` is told; with `whole` that is
    an error. Raises InputError, before anything is changed, for a file that is missing or damaged,
    or that does not fit.
    """
    given, own = read_weights(path), model.state_dict()
    classifier = classifier_names(model)
    left_out = classifier if any(not _fits(name, given, own) for name in classifier) else []
    body = {name: value for name, value in given.items() if name not in left_out}
    _check_fit(body, {name: own[name] for name in own if name not in left_out}, path)
    if left_out:
        classes = f"{path}: {_describe_classes(classifier, given, own)}"
        if whole:
            raise InputError(f"{classes}; to be evaluated, a network needs all of its weights")
        say(f"{classes}: it begins anew, and everything else with the weights of the file")
    model.load_state_dict(body, strict=False)


def read_weights(path: Path) -> Weights:
    """The weights in a file by name, on the CPU; InputError if it is missing or holds none."""
    if not path.is_file():
        raise MissingDataError(
            f"{path}: there is no such file of weights; give its path, or one relative to data_dir"
        )
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(found, Mapping):
        inner = (found[place] for place in _PLACES if isinstance(found.get(place), Mapping))
        found = dict(next(inner, found))
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise InputError(
            f"{path} does not hold a network's weights by name; valid are a run's best.pt and "
            "checkpoint.pt, and a state dict, alone or under 'state_dict' or 'model'"
        )
    return _unwrapped(found)


def _read_torch(path: Path) -> Any:
    try:
        if not _is_intact(path):
            raise ValueError
        # timm's and torchvision's trainings keep their arguments in a namespace, which is harmless.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception:  # of many kinds; torch's message may advise to run what the file contains
        raise InputError(
            f"{path} cannot be read: it is damaged, or holds Python objects beside the weights, "
            "which could run any code and are not loaded"
        ) from None


def _is_intact(path: Path) -> bool:
    """Whether an archive of torch.save has its checksums, which torch does not look at."""
    if not zipfile.is_zipfile(path):  # torch's form before 1.6, which has none
        return True
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(
            f"{path}: to read it, install safetensors (pip install safetensors), or give a .pth"
        ) from None
    try:
        return load_file(path)
    except SafetensorError:
        raise InputError(f"{path} cannot be read: it is damaged") from None


def _unwrapped(weights: Weights) -> Weights:
    for wrapper in _WRAPPERS * 2:  # in either order
        if weights and all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): value for name, value in weights.items()}
    return weights


def classifier_names(model: nn.Module) -> list[str]:
    """The names of the weights of the last layer, which has an output for every class.

    It is the last that is linear or, as in SqueezeNet, a convolution. timm's networks say where to
    look for it; some have two.
    """
    find: Any = getattr(model, "get_classifier", lambda: model)
    said = find()
    inside = {
        id(value)
        for head in (said if isinstance(said, tuple) else (said,))
        for layer in [part for part in head.modules() if isinstance(part, _LAYERS)][-1:]
        for value in layer.parameters()
    }
    return [name for name, value in model.named_parameters() if id(value) in inside]


def _fits(name: str, given: Weights, own: Weights) -> bool:
    return name in given and given[name].shape == own[name].shape


def _describe_classes(classifier: Collection[str], given: Weights, own: Weights) -> str:
    ours = len(own[next(iter(classifier))])
    counts = sorted({len(given[name]) for name in classifier if name in given})
    theirs = f"one for {counts[0]}" if counts else "none"
    return (
        f"the classifier ({', '.join(classifier)}) is for {ours} classes, and the file has {theirs}"
    )


def _check_fit(given: Weights, own: Weights, path: Path) -> None:
    # Old files lack batch norm's count of steps, which nothing here uses.
    missing = [name for name in own if name not in given and not name.endswith("_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    misshapen = [
        f"{name} is {_shape(value)}, here {_shape(own[name])}"
        for name, value in given.items()
        if name in own and value.shape != own[name].shape
    ]
    wrong = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (
            ("missing", missing),
            ("not known to the network", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if wrong:
        raise InputError(
            f"{path} does not fit the network: {'; '.join(wrong)}. Weights must be those of the "
            "same network with the same options, such as attention and stem (the published ones "
            "have stem=imagenet). Those of torchvision and timm fit resnet18 to resnet152, timm's "
            "fit resnest*, and their own networks are named torchvision/... and timm/...; no "
            "published weights have the names of our others"
        )


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", ..." if len(names) > _NAMED_AT_MOST else "")
