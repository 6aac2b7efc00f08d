"""Networks of timm and torchvision, by `timm/<name>` and `torchvision/<name>`.

Any network of an installed library can be named where one of ours can. The names are read from the
library's source, so that a misspelt one is refused without torch; options are passed on as they
are, and refused, if at all, when the network is built.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_models.registry import OptionValue, UnknownNameError

if TYPE_CHECKING:
    from torch import nn

# Both keep their networks in a folder `models`, as functions with the decorator @register_model.
LIBRARIES = ("timm", "torchvision")
RESERVED = {"num_classes", "img_size", "image_size", "model_name", "pretrained", "weights"}
REGISTERED = re.compile(r"^@register_model\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)


class NotInstalledError(ValueError):
    """A network of a library that is not installed."""

    def __init__(self, library: str, name: str) -> None:
        super().__init__(
            f"{name!r} is a network of {library}, which is not installed: pip install {library}"
        )


def is_external(name: str) -> bool:
    return "/" in name


def check_name(name: str) -> tuple[str, str]:
    """The library and its network; loads neither of them.

    Raises UnknownNameError for a library or network that nobody knows, NotInstalledError.
    """
    library, _, network = name.partition("/")
    if library not in LIBRARIES:
        raise UnknownNameError("library of networks", library, LIBRARIES)
    found = names(library)
    if not found:
        raise NotInstalledError(library, name)
    if network not in found:
        raise UnknownNameError(f"network of {library}", network, found)
    return library, network


@functools.cache
def names(library: str) -> frozenset[str]:
    """The networks of a library; none if it is not installed."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        return frozenset()
    folder = Path(spec.origin).parent / "models"
    sources = (path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    return frozenset(name for source in sources for name in REGISTERED.findall(source))


def check_options(options: Mapping[str, object]) -> dict[str, OptionValue]:
    """Options that are single values and do not say what a run says anyway; ValueError else."""
    for key, value in options.items():
        if key in RESERVED:
            raise ValueError(f"option {key!r} follows from the data set and cannot be given")
        if not isinstance(value, OptionValue) or value in (math.inf, -math.inf) or value != value:
            raise ValueError(f"option {key!r} takes one finite value, not {value!r}")
    return {key: value for key, value in options.items() if isinstance(value, OptionValue)}


def create(name: str, num_classes: int, input_size: int, options: Mapping[str, Any]) -> nn.Module:
    """Build a network with new weights, for images of `input_size` pixels where it has to know."""
    library, network = check_name(name)
    build = _builder_of_timm if library == "timm" else _builder_of_torchvision
    make, needed = build(network, input_size)
    try:
        return make(num_classes=num_classes, **(needed | dict(options)))
    except Exception as error:
        # Whatever a library raises about an option or a size, it is about what was asked for.
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise ValueError(
            f"{library} refused to build {name} with {dict(options)}: {why}"
        ) from error


Builder = tuple[Callable[..., "nn.Module"], dict[str, Any]]


def _builder_of_timm(network: str, input_size: int) -> Builder:
    import timm

    default = timm.get_pretrained_cfg(network)
    fixed = default is not None and default.fixed_input_size
    return functools.partial(timm.create_model, network), {"img_size": input_size} if fixed else {}


def _builder_of_torchvision(network: str, input_size: int) -> Builder:
    from torchvision import models

    needed: dict[str, Any] = {}
    if network.startswith("vit_"):
        needed = {"image_size": input_size}
    elif network in ("googlenet", "inception_v3"):
        # In training they would answer with three logits in place of one.
        needed = {"aux_logits": False, "init_weights": True}
    return models.get_model_builder(network), needed
