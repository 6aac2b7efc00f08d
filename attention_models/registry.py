"""Every network and every attention module by name, as plain data.

Names, options and defaults are listed and checked without torch; what stands behind a name is
imported when it is built. To add a network, write one file with a function
`name(num_classes, **options) -> nn.Module` and add one line to MODELS.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OptionValue = bool | int | float | str

CIFAR_STEM_BELOW_PX = 64

# After a guess, a longer list would only hide it; without one, most lists are told as a whole.
FEW_TO_LIST, MANY_TO_LIST = 10, 200
SIMILAR_TO_LIST = 4


class UnknownNameError(ValueError):
    """A name that nobody knows, answered with the nearest one and, if they are few, all valid ones.

    `listed_by` is a command that lists them.
    """

    def __init__(self, kind: str, given: object, valid: Iterable[str], listed_by: str = "") -> None:
        self.kind, self.given, self.valid = kind, given, sorted(valid)
        nearest = difflib.get_close_matches(str(given), self.valid, n=1, cutoff=0.5)
        guess = f"; did you mean {nearest[0]!r}?" if nearest else "."
        known = ", ".join(self.valid) or "none"
        if len(self.valid) > (FEW_TO_LIST if nearest else MANY_TO_LIST):
            similar = difflib.get_close_matches(str(given), self.valid, SIMILAR_TO_LIST, cutoff=0)
            known = f"{', '.join(similar)} and {len(self.valid) - len(similar):,} others"
            known += f"; `{listed_by}` lists them" if listed_by else ""
        super().__init__(f"{given!r} is not a known {kind}{guess} Valid: {known}")


@dataclass(frozen=True)
class Option:
    """One option of a network; its type is the type of its default."""

    default: OptionValue
    help: str
    choices: tuple[OptionValue, ...] = ()
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def normalise(self, name: str, value: object) -> OptionValue:
        """`value` in this option's type, so that 1 and 1.0 are one value, or a ValueError."""
        wanted = type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)
        elif wanted is int and type(value) is float and value.is_integer():
            value = int(value)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ValueError(f"option {name!r} takes {wanted.__name__}, not {value!r}")
        if self.choices and value not in self.choices:
            if wanted is str:
                raise UnknownNameError(f"value of option {name!r}", value, map(str, self.choices))
            valid = ", ".join(map(str, self.choices))
            raise ValueError(f"option {name!r} takes one of {valid}, not {value!r}")
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"option {name!r} takes a finite number, not {value!r}")
        if wanted in (int, float) and not self.at_least <= value <= self.at_most:  # type: ignore[operator]
            raise ValueError(f"option {name!r} takes a number {self._range()}, not {value!r}")
        return value

    def valid(self) -> str:
        """The choices or the range, in words; empty if there is neither."""
        if self.choices:
            return f": one of {', '.join(map(str, self.choices))}"
        return f", a number {self._range()}" if self._range() else ""

    def _range(self) -> str:
        bounds = [(self.at_least, "from"), (self.at_most, "to")]
        return " ".join(f"{word} {bound:g}" for bound, word in bounds if abs(bound) != float("inf"))


@dataclass(frozen=True)
class Entry:
    """One network: where it is built, what it is, and which options it takes.

    The target, "module:function" of this package, is called with the number of classes and every
    option by name, and with `arguments`, which this name adds or fixes. Two options it gets in
    another form: `stem` never as "auto", and `attention` as what makes the module, under the name
    of its place, `attention` or `between_stages` (see resnet.ResNet). A function that has a
    parameter `input_size` is told the side of the images too. `least_images_per_gpu` is what the
    network's source asks for in a step; 0 is where it asks for nothing.
    """

    target: str
    summary: str
    options: Mapping[str, Option] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    least_images_per_gpu: int = 0


@dataclass(frozen=True)
class Attention:
    """One attention module: a class that is made with the number of channels, and its arguments.

    It stands in every block at the end of the residual branch, before the shortcut is added in
    place (so its last step must not be one that needs its result again, as a sigmoid does), or,
    if `between_stages`, after stages 1, 2 and 3.
    """

    target: str
    summary: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    between_stages: bool = False


ATTENTION: dict[str, Attention] = {
    "se": Attention("se:SE", "a scale for every channel, from all of them"),
    "eca": Attention("eca:ECA", "a scale for every channel, from its neighbours"),
    "cbam": Attention("cbam:CBAM", "a gate for channels, then one for positions"),
    "simam": Attention("simam:SimAM", "a scale for every value, without parameters"),
    "coordinate": Attention(
        "coordinate:CoordinateAttention", "a scale for every row and one for every column"
    ),
    "bam": Attention("bam:BAM", "bottleneck attention", between_stages=True),
    "spatial": Attention("sresnet:SpatialAttention", "one mask of the mean over channels"),
    "spatial_skips": Attention(
        "sresnet:SpatialAttention", "spatial with skips inside the attention path", {"skips": True}
    ),
    "spatial_dilation": Attention(
        "sresnet:SpatialAttention", "spatial with dilated convolutions", {"dilation": 2}
    ),
    "spatial_skips_dilation": Attention(
        "sresnet:SpatialAttention",
        "spatial with skips, dilation and a five times steeper sigmoid",
        {"skips": True, "dilation": 2, "steepness": 5.0},
    ),
}


def _dropout(default: float) -> Option:
    help = "probability of dropout before the classifier"
    return Option(default, help, at_least=0, at_most=0.9)


_STEM = {
    "stem": Option(
        "auto",
        f"first layers: the CIFAR form below {CIFAR_STEM_BELOW_PX} pixels, else the ImageNet form",
        choices=("auto", "cifar", "imagenet"),
    )
}
_RESNET = _STEM | {
    "attention": Option(
        "none",
        "module in every block (bam: between the stages)",
        choices=("none", *ATTENTION),
    ),
    "dropout": _dropout(0.0),
}
_BAM = _STEM | {
    "combine": Option(
        "product",
        "how the two gates meet: as in the released code, or as in the paper",
        choices=("product", "sum"),
    )
}


_LAMBDA_BASELINE = _STEM | {
    "init": Option(
        "scaled",
        "initial weights: those that train, or as in the source's code",
        choices=("scaled", "source"),
    ),
    "dropout": _dropout(0.3),
}
_LAMBDA = _LAMBDA_BASELINE | {
    "k": Option(16, "depth of queries and keys", at_least=1),
    "heads": Option(4, "queries that share the lambdas of a position", (1, 2, 4, 8, 16, 32, 64)),
    "u": Option(1, "intra-depth: values that are summed for each output", at_least=1),
    "m": Option(23, "side of the local context; 0 is none", (0, *range(1, 64, 2))),
    "norm": Option(
        "values",
        "batch norm on queries and values (paper), or on queries and keys (source)",
        choices=("values", "keys"),
    ),
}

_RESNEST = _STEM | {
    "dropout": _dropout(0.0),
    "drop_block": Option(
        0.0,
        "probability of DropBlock in stages 3 and 4 at the end of the training",
        at_least=0,
        at_most=0.9,
    ),
}


def _residual_attention(function: str, summary: str, modules: tuple[int, ...]) -> Entry:
    # "The mini-batch of per GPU should be at least 32 images": the authors' README.
    arguments = {"modules": modules}
    return Entry(f"residual_attention:{function}", summary, _STEM, arguments, 32)


def _residual_attention_cifar(name: str, modules: int, units: tuple[int, ...]) -> Entry:
    return Entry(
        "residual_attention:residual_attention_cifar",
        f"{name} for CIFAR, a fit: its widths are unpublished",
        arguments={"modules": modules, "units": units},
    )


MODELS: dict[str, Entry] = {
    "resnet18": Entry("resnet:resnet18", "ResNet-18", _RESNET),
    "resnet34": Entry("resnet:resnet34", "ResNet-34", _RESNET),
    "resnet50": Entry("resnet:resnet50", "ResNet-50", _RESNET),
    "resnet101": Entry("resnet:resnet101", "ResNet-101", _RESNET),
    "resnet152": Entry("resnet:resnet152", "ResNet-152", _RESNET),
    "resnet_small": Entry("resnet:resnet_small", "a ResNet that trains in seconds", _RESNET),
    "preact_resnet18": Entry("resnet:preact_resnet18", "pre-activation ResNet-18", _RESNET),
    "preact_resnet50": Entry("resnet:preact_resnet50", "pre-activation ResNet-50", _RESNET),
    "preact_resnet_small": Entry(
        "resnet:preact_resnet_small", "a pre-activation ResNet that trains in seconds", _RESNET
    ),
    "bam_resnet18": Entry("bam:bam_resnet18", "ResNet-18 with BAM after stages 1-3", _BAM),
    "bam_resnet50": Entry("bam:bam_resnet50", "ResNet-50 with BAM after stages 1-3", _BAM),
    "bam_resnet101": Entry("bam:bam_resnet101", "ResNet-101 with BAM after stages 1-3", _BAM),
    "bam_resnet_small": Entry("bam:bam_resnet_small", "resnet_small with BAM", _BAM),
    "bam_preact_resnet50": Entry(
        "bam:bam_preact_resnet50",
        "pre-activation ResNet-50 with BAM, as in the 2019 comparison",
        _BAM,
    ),
    "bam_preact_resnet_small": Entry(
        "bam:bam_preact_resnet_small", "preact_resnet_small with BAM", _BAM
    ),
    **{
        f"sresnet{size}{suffix}": Entry(
            f"resnet:preact_resnet{size}",
            f"preact_resnet{size} with {what}",
            _STEM,
            {"attention": f"spatial{suffix}"},
        )
        for size in ("50", "_small")
        for suffix, what in {
            "": "spatial attention",
            "_skips": "spatial attention that has skips inside its path",
            "_dilation": "dilated spatial attention",
            "_skips_dilation": "spatial attention: skips, dilation and a steep sigmoid",
        }.items()
    },
    **{
        f"lambda_resnet{depth}": Entry(
            "lambda_networks:lambda_resnet",
            f"LambdaResNet-{depth}",
            _LAMBDA | ({"dropout": _dropout(0.2)} if depth > 200 else {}),
            {"depth": depth},
        )
        for depth in (18, 50, 152, 200, 270, 350, 420)
    },
    **{
        f"lambda_baseline{depth}": Entry(
            "lambda_networks:lambda_baseline",
            f"the ResNet that LambdaResNet-{depth} is compared with",
            _LAMBDA_BASELINE,
            {"depth": depth},
        )
        for depth in (18, 50)
    },
    **{
        f"resnest{variant}": Entry(
            "resnest:resnest", f"ResNeSt-{variant}", _RESNEST, {"variant": variant}
        )
        for variant in ("14d", "26d", "50d", "101e", "200e", "269e", "50d_1s4x24d", "50d_4s2x40d")
    },
    "attention56": _residual_attention("residual_attention", "Attention-56", (1, 1, 1)),
    "attention92": _residual_attention("residual_attention", "Attention-92", (1, 2, 3)),
    "attentionnext56": _residual_attention("attention_next", "AttentionNeXt-56", (1, 1, 1)),
    "attentionnext92": _residual_attention("attention_next", "AttentionNeXt-92", (1, 2, 3)),
    "attention92_cifar": _residual_attention_cifar("Attention-92", 2, (1, 2, 1)),
    "attention236_cifar": _residual_attention_cifar("Attention-236", 6, (1, 2, 1)),
    "attention452_cifar": _residual_attention_cifar("Attention-452", 6, (2, 4, 3)),
}
