"""What a column of a table or a tag of an event file holds, judged by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from analysis.importing.log import ACCURACIES, Record
from analysis.importing.names import split_word

# Names that mean one thing, with a unit where one is needed; ours among them.
_EXACT = {
    "epoch": "epoch",
    "step": "step",
    "global_step": "step",
    "lr": "lr",
    "learning_rate": "lr",
    "epoch_s": "epoch_s",
    "eval_s": "eval_s",
    "throughput_img_s": "throughput_img_s",
    "data_wait_share": "data_wait_share",
    "peak_mem_mb": "peak_mem_mb",
    "time_unix_s": "time_unix_s",
    "wall_time": "time_unix_s",
}
_TOP5 = {"top5", "acc5", "prec5"}
_TOP1 = {"top1", "acc1", "prec1", "acc", "accuracy"}
# Words that a name may have beside what it measures. A name with others is something else.
_FILLING = {"epoch", "percent", "top", "classification", "categorical", "sparse", "score"}
_PREFIXES = {"training", "train", "metrics", "epoch"}


def quantity(name: str) -> str:
    """The name in `EpochMetrics` of what `name` holds; empty if it is none that we know.

    Without a word for training or test, a loss or an accuracy has none either: `loss`, `top1`.
    """
    words = _words(name)
    for first in range(len(words)):
        if all(word in _PREFIXES for word in words[:first]) and "_".join(words[first:]) in _EXACT:
            return _EXACT["_".join(words[first:])]
    splits = {split_word(word) for word in words} - {""}
    rest = {word for word in words if not split_word(word)} - _FILLING
    measures = {
        "top5": bool(rest & _TOP5) and rest <= _TOP5 | _TOP1,
        "top1": bool(rest & _TOP1) and rest <= _TOP1,
        "loss": rest == {"loss"},
    }
    found = next((measure for measure, fits in measures.items() if fits), "")
    if not found or len(splits) > 1:
        return ""
    return "_".join([*splits, found])


def quantities(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Which of these names holds what, and what was decided where several would do.

    A loss or an accuracy that does not say of what is that of training beside one of the test, as
    in Keras' logs; alone it stays unknown.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if measured := quantity(name):
            found.setdefault(measured, []).append(name)
    for measure in ("loss", "top1", "top5"):
        unsaid = found.pop(measure, [])
        if f"test_{measure}" in found and f"train_{measure}" not in found and unsaid:
            found[f"train_{measure}"] = unsaid
    notes = [
        f"{measured} is taken from {candidates[0]!r}, not from "
        + " or ".join(map(repr, candidates[1:]))
        for measured, candidates in found.items()
        if len(candidates) > 1
    ]
    return {measured: candidates[0] for measured, candidates in found.items()}, notes


def in_percent(
    records: Sequence[Record], unit: str | None, names: Iterable[str] = ()
) -> tuple[list[Record], list[str]]:
    """The records with accuracies in percent. `unit` is "percent", "fraction" or None.

    Not told, not even by the `names` of columns, they are fractions where none is above 1.
    """
    if unit is None and any("percent" in name or "%" in name for name in names):
        unit = "percent"
    given = [
        value
        for record in records
        for name in ACCURACIES
        if (value := record[name]) is not None and value == value
    ]
    is_fraction = bool(given) and max(given) <= 1 if unit is None else unit == "fraction"
    if not is_fraction:
        return list(records), []
    scaled = [
        record | {name: None if (v := record[name]) is None else 100 * v for name in ACCURACIES}
        for record in records
    ]
    notes = [] if unit else ["accuracies are fractions in the log (none is above 1), percent here"]
    return scaled, notes


def check_accuracies(records: Sequence[Record]) -> str:
    """What is wrong if an accuracy in percent is not between 0 and 100; empty if all are."""
    for record in records:
        for name in ACCURACIES:
            value = record[name]
            if value is not None and (value < 0 or value > 100):
                return f"{name} of epoch {record['epoch']} is {value:g} %, not from 0 to 100"
    return ""


def _words(name: str) -> list[str]:
    """`valAcc@5 (%)` as val, acc5."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    joined = re.sub(r"(top|acc|prec)[ @_-]+([15])(?!\d)", r"\1\2", spaced.lower())
    return [word for word in re.split(r"[^a-z0-9]+", joined) if word]
