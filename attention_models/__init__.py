"""The networks, by name. Which there are stands in registry.py; `create_model` builds one.

Importing this loads no torch.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attention_models import external
from attention_models.registry import (
    ATTENTION,
    CIFAR_STEM_BELOW_PX,
    MODELS,
    Attention,
    Entry,
    Option,
    OptionValue,
    UnknownNameError,
)

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ATTENTION",
    "CIFAR_STEM_BELOW_PX",
    "MODELS",
    "Attention",
    "Entry",
    "Option",
    "OptionValue",
    "UnknownNameError",
    "check_model_name",
    "check_options",
    "create_attention",
    "create_model",
    "declared_options",
    "find",
    "least_images_per_gpu",
    "list_models",
]


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, in the registry's order."""
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


def find(name: str) -> Entry:
    """The entry of a network of ours; UnknownNameError for a name that is not in the registry."""
    if name not in MODELS:
        raise UnknownNameError("network", name, MODELS, "launcher models")
    return MODELS[name]


def check_model_name(name: str) -> None:
    """ValueError, with what is valid, unless a network of this name can be built here."""
    if external.is_external(name):
        external.check_name(name)
    else:
        find(name)


def declared_options(name: str) -> Mapping[str, Option]:
    """The options of a network; none for one of another library, whose options nobody declares.

    Such a library need not be installed where a run is only looked at.
    """
    return {} if external.is_external(name) else find(name).options


def least_images_per_gpu(name: str) -> int:
    """How many images a GPU should see at once, if the network's source says so, else 0."""
    return 0 if external.is_external(name) else find(name).least_images_per_gpu


def check_options(name: str, options: Mapping[str, object]) -> dict[str, OptionValue]:
    """The given options of network `name`, each in its declared type. Loads no torch.

    Raises UnknownNameError for an unknown network, option or choice, ValueError for a wrong type.
    """
    if external.is_external(name):
        return external.check_options(options)
    declared = find(name).options
    for option in options:
        if option not in declared:
            raise UnknownNameError(f"option of network {name!r}", option, declared)
    return {option: declared[option].normalise(option, value) for option, value in options.items()}


def create_model(name: str, num_classes: int, input_size: int, **options: OptionValue) -> nn.Module:
    """Build a network for RGB images of `input_size` x `input_size` pixels.

    The returned module maps (B, 3, input_size, input_size) to logits (B, num_classes). Weights are
    drawn from torch's global generator, so seed it first for a reproducible initialisation.
    """
    if external.is_external(name):
        return external.create(name, num_classes, input_size, check_options(name, options))
    entry = find(name)
    arguments: dict[str, Any] = {key: option.default for key, option in entry.options.items()}
    arguments |= check_options(name, options) | dict(entry.arguments)
    if arguments.get("stem") == "auto":
        arguments["stem"] = "cifar" if input_size < CIFAR_STEM_BELOW_PX else "imagenet"
    if "attention" in arguments:
        arguments |= _modules(arguments.pop("attention"))
    build = _load(entry.target)
    if "input_size" in inspect.signature(build).parameters:
        arguments["input_size"] = input_size
    return build(num_classes, **arguments)


def create_attention(name: str, channels: int) -> nn.Module:
    """Build one attention module for maps of so many channels: (B, channels, H, W) -> the same."""
    entry = _attention(name)
    return _load(entry.target)(channels, **entry.arguments)


def _attention(name: str) -> Attention:
    if name not in ATTENTION:
        raise UnknownNameError("attention", name, ATTENTION)
    return ATTENTION[name]


def _load(target: str) -> Callable[..., nn.Module]:
    module_name, _, attribute = target.partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module_name}"), attribute)


def _modules(attention: str) -> dict[str, Callable[..., nn.Module]]:
    """The arguments of a ResNet that put the named attention where it belongs."""
    if attention == "none":
        return {}
    place = "between_stages" if _attention(attention).between_stages else "attention"
    return {place: partial(create_attention, attention)}
