"""What a person knows of foreign trainings: their options, and which networks of ours they are."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from attention_models import UnknownNameError, check_model_name, check_options
from attention_models.registry import MODELS
from jobs.config import make_config
from jobs.errors import InputError

# Classes and pixels of the data sets whose images have one size.
INPUTS = {
    "cifar10": (10, 32),
    "cifar100": (100, 32),
    "digits": (10, 8),
    "fashion_mnist": (10, 28),
    "mnist": (10, 28),
    "svhn": (10, 32),
}
_OF_NETWORK = "model_options."


def parse_known(settings: Sequence[str]) -> dict[str, Any]:
    """The options in `name=value` texts, checked as those of a matrix are.

    A value is JSON or a bare word. Options of a network are named `model_options.<option>`.
    """
    given = _pairs("--set", settings, "--set dataset=cifar100")
    if "model" in given:
        raise InputError(
            f"--set model={given['model']}: a log's name says which network it is of; to give it "
            "another one: --rename NAME=NETWORK"
        )
    values = {name: _value(text) for name, text in given.items()}
    of_network = {name: value for name, value in values.items() if name.startswith(_OF_NETWORK)}
    of_training = {name: value for name, value in values.items() if name not in of_network}
    # Any network would do: what is asked is whether the values are ones of their options.
    try:
        config = make_config({"model": next(iter(MODELS)), **of_training})
    except InputError as error:
        raise InputError(f"--set: {error}") from None
    checked = config.model_dump(mode="json", include=set(of_training))
    return {name: checked[name] for name in of_training} | of_network


def parse_names(renames: Sequence[str]) -> dict[str, str]:
    """Which network of the registry a name in a file means, from `name=network` texts."""
    names = _pairs("--rename", renames, "--rename PreActResNet50=preact_resnet50")
    for network in names.values():
        try:
            check_model_name(network)
        except ValueError as error:
            raise InputError(f"--rename: {error}") from None
    return names


def check_network_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network among these, without their prefix; InputError for a wrong one."""
    given = {
        name.removeprefix(_OF_NETWORK): value
        for name, value in options.items()
        if name.startswith(_OF_NETWORK)
    }
    try:
        return dict(check_options(model, given))
    except ValueError as error:
        raise InputError(f"--set {_OF_NETWORK[:-1]}: {error}") from None


def count_network(model: str, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """Parameters and multiply-accumulates; None if the data set does not say the size of images.

    Imports torch.
    """
    of_network = check_network_options(model, options)
    if options.get("dataset") not in INPUTS:
        return None
    classes, side_px = INPUTS[options["dataset"]]
    return _count(model, classes, options.get("image_px", side_px), tuple(of_network.items()))


# The same for each seed.
@functools.cache
def _count(
    model: str, classes: int, side_px: int, options: tuple[tuple[str, Any], ...]
) -> tuple[int, int]:
    from attention_models.count import count_by_name

    counts = count_by_name(model, classes, side_px, **dict(options))
    return counts.params, counts.macs


def check_renamed(names: Mapping[str, str], networks: Sequence[str]) -> None:
    """InputError for a name that no log has."""
    for name in names:
        if name not in networks:
            raise InputError(f"--rename: {UnknownNameError('network here', name, networks)}")


def _pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InputError(f"{option} {text}: write NAME=VALUE, as in {example}")
        if pairs.setdefault(name, value) != value:
            raise InputError(f"{option} {name} is given twice, as {pairs[name]} and as {value}")
    return pairs


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
