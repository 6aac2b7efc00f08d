"""The networks, by name.

The registry below holds names, options and defaults as plain data, so that listing and checking
them needs no torch; a network's module is imported when it is built. To add a network, write one
file with a function `name(num_classes, **options) -> nn.Module` and add one line here.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

OptionValue = bool | int | float | str

CIFAR_STEM_BELOW_PX = 64


class UnknownNameError(ValueError):
    """A name that nobody knows, answered with the nearest one and all valid ones."""

    def __init__(self, kind: str, given: object, valid: Iterable[str]) -> None:
        self.kind, self.given, self.valid = kind, given, sorted(valid)
        nearest = difflib.get_close_matches(str(given), self.valid, n=1, cutoff=0.5)
        guess = f"; did you mean {nearest[0]!r}?" if nearest else "."
        known = ", ".join(self.valid) or "none"
        super().__init__(f"{given!r} is not a known {kind}{guess} Valid: {known}")


@dataclass(frozen=True)
class Option:
    """One option of a network; its type is the type of its default."""

    default: OptionValue
    help: str
    choices: tuple[OptionValue, ...] = ()

    def normalise(self, name: str, value: object) -> OptionValue:
        """`value` in this option's type, so that 1 and 1.0 are one value, or a ValueError."""
        wanted = type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)
        elif wanted is int and type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not wanted:
            raise ValueError(f"option {name!r} takes {wanted.__name__}, not {value!r}")
        if self.choices and value not in self.choices:
            raise UnknownNameError(f"value of option {name!r}", value, map(str, self.choices))
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"option {name!r} takes a finite number, not {value!r}")
        return value


@dataclass(frozen=True)
class Entry:
    """One network: where it is built, what it is, and which options it takes."""

    target: str
    summary: str
    options: Mapping[str, Option] = field(default_factory=dict)


_STEM = {
    "stem": Option(
        "auto",
        f"first layers: the CIFAR form below {CIFAR_STEM_BELOW_PX} pixels, else the ImageNet form",
        choices=("auto", "cifar", "imagenet"),
    )
}
_BAM = _STEM | {
    "combine": Option(
        "product",
        "how the two gates meet: as in the released code, or as in the paper",
        choices=("product", "sum"),
    )
}

MODELS: dict[str, Entry] = {
    "resnet18": Entry("resnet:resnet18", "ResNet-18", _STEM),
    "resnet34": Entry("resnet:resnet34", "ResNet-34", _STEM),
    "resnet50": Entry("resnet:resnet50", "ResNet-50", _STEM),
    "resnet_small": Entry("resnet:resnet_small", "a ResNet that trains in seconds", _STEM),
    "preact_resnet50": Entry("resnet:preact_resnet50", "pre-activation ResNet-50", _STEM),
    "preact_resnet_small": Entry(
        "resnet:preact_resnet_small", "a pre-activation ResNet that trains in seconds", _STEM
    ),
    "bam_resnet18": Entry("bam:bam_resnet18", "ResNet-18 with BAM after stages 1-3", _BAM),
    "bam_resnet50": Entry("bam:bam_resnet50", "ResNet-50 with BAM after stages 1-3", _BAM),
    "bam_resnet_small": Entry("bam:bam_resnet_small", "resnet_small with BAM", _BAM),
    "bam_preact_resnet50": Entry(
        "bam:bam_preact_resnet50",
        "pre-activation ResNet-50 with BAM, as in the 2019 comparison",
        _BAM,
    ),
    "bam_preact_resnet_small": Entry(
        "bam:bam_preact_resnet_small", "preact_resnet_small with BAM", _BAM
    ),
    "sresnet50": Entry("sresnet:sresnet50", "preact_resnet50 with spatial attention", _STEM),
    "sresnet50_skips": Entry(
        "sresnet:sresnet50_skips", "sresnet50 with skips inside the attention path", _STEM
    ),
    "sresnet50_dilation": Entry(
        "sresnet:sresnet50_dilation", "sresnet50 with dilated attention convolutions", _STEM
    ),
    "sresnet_small": Entry(
        "sresnet:sresnet_small", "preact_resnet_small with spatial attention", _STEM
    ),
    "sresnet_small_skips": Entry(
        "sresnet:sresnet_small_skips", "sresnet_small with skips inside the attention path", _STEM
    ),
    "sresnet_small_dilation": Entry(
        "sresnet:sresnet_small_dilation", "sresnet_small with dilated attention convolutions", _STEM
    ),
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, in the registry's order."""
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


def find(name: str) -> Entry:
    """The entry of a network; UnknownNameError for a name that is not in the registry."""
    if name not in MODELS:
        raise UnknownNameError("network", name, MODELS)
    return MODELS[name]


def check_options(name: str, options: Mapping[str, object]) -> dict[str, OptionValue]:
    """The given options of network `name`, each in its declared type. Loads no torch.

    Raises UnknownNameError for an unknown network, option or choice, ValueError for a wrong type.
    """
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
    entry = find(name)
    resolved = {key: option.default for key, option in entry.options.items()}
    resolved |= check_options(name, options)
    if resolved.get("stem") == "auto":
        resolved["stem"] = "cifar" if input_size < CIFAR_STEM_BELOW_PX else "imagenet"
    module_name, _, function_name = entry.target.partition(":")
    build = getattr(importlib.import_module(f"{__name__}.{module_name}"), function_name)
    return build(num_classes, **resolved)
