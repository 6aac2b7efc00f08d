"""The networks, by name. Which there are stands in registry.py; `create_model` builds one.

Importing this loads no torch.
"""

from __future__ import annotations

import fnmatch
import importlib
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
    "check_options",
    "create_attention",
    "create_model",
    "find",
    "list_models",
]


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, in the registry's order."""
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


def find(name: str) -> Entry:
    """The entry of a network; UnknownNameError for a name that nobody knows.

    Names with a slash are those of other libraries: see external.py. Their options are not known
    here.
    """
    if external.is_external(name):
        library, network = external.check_name(name)
        return Entry("external:create", f"{network} of {library}", arguments={"name": name})
    if name not in MODELS:
        raise UnknownNameError("network", name, MODELS)
    return MODELS[name]


def check_options(name: str, options: Mapping[str, object]) -> dict[str, OptionValue]:
    """The given options of network `name`, each in its declared type. Loads no torch.

    Raises UnknownNameError for an unknown network, option or choice, ValueError for a wrong type.
    """
    declared = find(name).options
    if external.is_external(name):
        declared = {key: Option(_scalar(key, value), "") for key, value in options.items()}
    for option in options:
        if option not in declared:
            raise UnknownNameError(f"option of network {name!r}", option, declared)
    return {option: declared[option].normalise(option, value) for option, value in options.items()}


def _scalar(option: str, value: object) -> OptionValue:
    if not isinstance(value, OptionValue):
        raise ValueError(f"option {option!r} takes one value: a truth, number or text")
    return value


def create_model(name: str, num_classes: int, input_size: int, **options: OptionValue) -> nn.Module:
    """Build a network for RGB images of `input_size` x `input_size` pixels.

    The returned module maps (B, 3, input_size, input_size) to logits (B, num_classes). Weights are
    drawn from torch's global generator, so seed it first for a reproducible initialisation.
    """
    entry = find(name)
    if external.is_external(name):
        return external.create(name, num_classes, input_size, check_options(name, options))
    arguments: dict[str, Any] = {key: option.default for key, option in entry.options.items()}
    arguments |= check_options(name, options) | dict(entry.arguments)
    if arguments.get("stem") == "auto":
        arguments["stem"] = "cifar" if input_size < CIFAR_STEM_BELOW_PX else "imagenet"
    if "attention" in arguments:
        arguments |= _modules(arguments.pop("attention"))
    return _load(entry.target)(num_classes, **arguments)


def create_attention(name: str, channels: int) -> nn.Module:
    """Build one attention module for maps of so many channels: (B, channels, H, W) -> the same."""
    if name not in ATTENTION:
        raise UnknownNameError("attention", name, ATTENTION)
    entry = ATTENTION[name]
    return _load(entry.target)(channels, **entry.arguments)


def _load(target: str) -> Callable[..., nn.Module]:
    module_name, _, attribute = target.partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module_name}"), attribute)


def _modules(attention: str) -> dict[str, Callable[..., nn.Module]]:
    """The arguments of a ResNet that put the named attention where it belongs."""
    if attention == "none":
        return {}
    place = "between_stages" if ATTENTION[attention].between_stages else "attention"
    return {place: partial(create_attention, attention)}
