"""What differs between the rows of a comparison besides the thing that is compared.

A difference in accuracy is one of the networks only if everything else was the same. It is easy to
publish another: a control with another schedule, a network with another number of outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.groups import as_written, grouped, keys_of, options_of_networks
from analysis.reading import DEVICES_APART
from jobs.config import RunConfig


@dataclass(frozen=True)
class Topic:
    """A kind of difference, and why it matters."""

    name: str
    why: str


IMAGES = Topic("images", "other images are another task")
EPOCHS = Topic("length of training", "by itself it can explain a difference")
SCHEDULE = Topic(
    "learning rate", "by itself it can move accuracy by more than an attention module does"
)
RECIPE = Topic("recipe", "by itself it can explain a difference")
NETWORK = Topic("network", "more than one thing was changed")
CODE = Topic("code", "what was changed in it can explain a difference")
ARITHMETIC = Topic("arithmetic", "it rounds in another way, which is mostly less than seeds do")
ORIGIN = Topic("origin", "imported runs were trained by other code")
_IN_ORDER = [IMAGES, EPOCHS, SCHEDULE, RECIPE, NETWORK, CODE, ARITHMETIC, ORIGIN]

_TOPICS = {
    **dict.fromkeys(("dataset", "image_folder", "train_images", "test_images"), IMAGES),
    "epochs": EPOCHS,
    **dict.fromkeys(("lr", "lr_min", "schedule", "warmup_epochs"), SCHEDULE),
    **dict.fromkeys(("restart_epochs", "restart_factor"), SCHEDULE),
    **dict.fromkeys(("lr_step_epochs", "lr_milestones_epochs", "lr_step_factor"), SCHEDULE),
    "model": NETWORK,
    "code": CODE,
    **dict.fromkeys(("torch", "precision", "device", "gpus"), ARITHMETIC),
    **dict.fromkeys(("threads", "channels_last", "compile"), ARITHMETIC),
    "origin": ORIGIN,
}
# What a run found, not what it was told; empty until it has begun.
_FOUND = ("code", "torch", "device", "origin")
# A key of the rows that fixes another option too.
_IMPLIED = {"dataset": "image_folder", "image_folder": "dataset"}
_SHORT_HASH = 8
_NAMES = 3
_OPTIONS = 6


@dataclass(frozen=True)
class Difference:
    """Options of one topic that tell the same rows apart.

    Each side has its rows, and what these have of each of the `options`.
    """

    topic: Topic
    options: tuple[str, ...]
    sides: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    def __str__(self) -> str:
        largest = max(len(rows) for rows, _ in self.sides)
        ends_with_others = largest > _NAMES and len(self.sides) > 1
        sides = sorted(self.sides, key=lambda side: ends_with_others and len(side[0]) == largest)
        told = [f"{self._has(values)} in {_listed(rows)}" for rows, values in sides]
        if ends_with_others:
            told[-1] = f"{self._has(sides[-1][1])} in the {largest} others"
        return f"not the same {self.topic.name}: {'; '.join(told)}. {_capital(self.topic.why)}"

    def _has(self, values: Sequence[str]) -> str:
        pairs = [f"{o}={v}" for o, v in zip(self.options, values, strict=True)]
        more = len(pairs) - _OPTIONS
        return " ".join(pairs[:_OPTIONS]) + (f" and {more} more" if more > 0 else "")


def notes(runs: pd.DataFrame, by: str = "model") -> list[str]:
    """A sentence for everything that makes the comparison of these rows less than fair."""
    found = [str(difference) for difference in differences(runs, by)]
    if mixed := mixed_options(runs, by):
        found.insert(
            0,
            f"runs that differ in {_listed(mixed, len(mixed))} are averaged together; "
            f"to tell them apart: --by {','.join([by, *mixed])}",
        )
    return [*found, *_other_sizes(runs), *_unknown(runs, by)]


def differences(runs: pd.DataFrame, by: str = "model") -> list[Difference]:
    """What differs between rows, other than what `by` names and what follows from it.

    An option of networks is compared where both have it. Where rows are networks, it counts only if
    a run has another value than its network's own default, which is part of the network. What is
    not known of imported runs is compared with nothing; `notes` tells it.
    """
    counted = grouped(runs, by)
    # What `auto` came to mean counts, not that it was said; until a run begins nobody knows it.
    used, said = counted["precision_used"], counted["precision"]
    counted["precision"] = used.where(~used.isin(["", None]), said.replace("auto", ""))
    counted["device"] = counted["device"].map(_chips)
    folded: dict[tuple[Topic, tuple[tuple[str, ...], ...]], dict[str, list[str]]] = {}
    for option in _varied(counted, by):
        rows_with: dict[str, list[str]] = {}
        for group, value in _values(counted, option):
            rows_with.setdefault(value, []).append(group)
        if len(rows_with) > 1:
            sides = tuple(map(tuple, rows_with.values()))
            topic = NETWORK if option.startswith("model_options.") else _TOPICS.get(option, RECIPE)
            folded.setdefault((topic, sides), {})[option] = list(rows_with)
    found = []
    for (topic, sides), options in folded.items():
        values_of_sides = zip(*options.values(), strict=True)
        sides_with_values = tuple(zip(sides, values_of_sides, strict=True))
        found.append(Difference(topic, tuple(options), sides_with_values))
    return sorted(found, key=lambda difference: _IN_ORDER.index(difference.topic))


def mixed_options(runs: pd.DataFrame, by: str = "model") -> list[str]:
    """The options besides the seed in which runs of one group differ.

    A mean over them is no mean over seeds; whoever shows it should say so.
    """
    counted = grouped(runs, by)
    found = []
    for option in _varied(counted, by):
        if option not in _FOUND:
            known = _known(counted, option)
            if (known.groupby(counted["group"]).nunique() > 1).any():
                found.append(option)
    return found


def _compared(counted: pd.DataFrame, by: str) -> list[str]:
    """The options that rows may differ in, with what a run found out when it began."""
    keys = keys_of(by)
    # The seed is not under study, and options of networks are told one by one.
    told = {"seed", "model_options", *keys, *(_IMPLIED.get(key, "") for key in keys)}
    of_networks = options_of_networks(counted)
    if "model_options" in keys:
        told |= {*of_networks}
    elif "model" in keys:
        told |= {*of_networks} - _set_by_matrix(counted)
    options = [*RunConfig.counting_fields(), *of_networks, *_FOUND]
    return [option for option in options if option not in told]


def _set_by_matrix(counted: pd.DataFrame) -> set[str]:
    """The options of networks of which some run has another value than its network's default.

    What imported runs tell of theirs is among them.
    """
    said = (word for text in counted["model_options"].dropna().unique() for word in text.split())
    return {f"model_options.{word.partition('=')[0]}" for word in said}


def _varied(counted: pd.DataFrame, by: str) -> list[str]:
    """Those of the options in which any two runs differ: mostly few."""
    return [name for name in _compared(counted, by) if counted[name].nunique(dropna=False) > 1]


def _known(counted: pd.DataFrame, option: str) -> pd.Series:
    """The option as each run has it, but for those of which it is not known.

    Not set is a value of its own, but no value of an option that a network does not have.
    """
    values = counted[option]
    unknown = values.isna() & (counted["origin"] == "imported")
    if option in (*_FOUND, "precision") or option.startswith("model_options."):
        unknown |= values.isna() | (values == "")
    return values[~unknown].map(as_written)


def _chips(devices: str | None) -> str:
    """Without the size of their memory, which changes no result: `V100-SXM2`."""
    return re.sub(r"[ -]\d+ ?GB\b", "", devices or "")


def _values(counted: pd.DataFrame, option: str) -> Iterator[tuple[str, str]]:
    """Each row of which the option is known, in order, with all values that its runs have."""
    known = _known(counted, option)
    if option == "code":
        known = known.map(lambda code: " ".join(part[:_SHORT_HASH] for part in code.split()))
    if option == "device":
        # In a mixed partition chance gives them to runs: what counts is which ones a row has had.
        known = known.str.split(DEVICES_APART).explode()
    if known.nunique() > 1:
        for group, values in known.groupby(counted["group"], sort=False):
            yield str(group), "|".join(sorted(values.unique()))


def _other_sizes(runs: pd.DataFrame) -> list[str]:
    """One network with several numbers of parameters, as of a head for other classes."""
    same = ["model", "model_options", "dataset", "image_folder", "image_px"]
    sized = runs[runs["params"].notna() & runs["dataset"].notna()]
    found = []
    for (model, *_), runs_of in sized.groupby(same, dropna=False, sort=False):
        counts = sorted(runs_of["params"].unique())
        if len(counts) > 1:
            said = " and ".join(f"{count:,}" for count in counts)
            found.append(
                f"{model} has {said} parameters in different runs on the same images. Was one "
                "built for another number of classes?"
            )
    return found


def _unknown(runs: pd.DataFrame, by: str) -> list[str]:
    """What nobody has told of imported runs, once for all that have it in common."""
    imported = grouped(runs[runs["origin"] == "imported"], by)
    counting = {*RunConfig.counting_fields()}
    asked = [option for option in _compared(imported, by) if option in counting]
    rows_with: dict[tuple[str, ...], list[str]] = {}
    for group, runs_of in imported.groupby("group", sort=False):
        known = tuple(name for name in asked if runs_of[name].notna().all())
        if len(known) < len(asked):
            rows_with.setdefault(known, []).append(str(group))
    return [
        f"of the training of {_listed(rows)} {_only(known)} known. Whether the rest was the same "
        "cannot be told"
        for known, rows in rows_with.items()
    ]


def _only(known: Sequence[str]) -> str:
    if not known:
        return "nothing is"
    return f"only {_listed(known, len(known))} {'is' if len(known) == 1 else 'are'}"


def _listed(names: Sequence[str], most: int = _NAMES) -> str:
    """Such as `a, b and c`, or `a, b, c and 9 others`; a name of several parts in quotes."""
    shown = [f"'{name}'" if "," in name else name for name in names[:most]]
    if len(names) > most:
        more = len(names) - most
        shown.append(f"{more} other{'s' if more > 1 else ''}")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
