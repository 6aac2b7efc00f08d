"""Short names for the runs of a sweep: what tells them apart, and nothing that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jobs.config import RunConfig, network_options, option_of

# More options than these are told by what is unusual.
FEW_OPTIONS = 4

# Short names that everybody knows, or that say more than the first word would.
CUSTOMARY = {"weight_decay": "wd", "label_smoothing": "smoothing"}

# The value of an option that a network does not have.
ABSENT = object()


def label_runs(options: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A label for each run id, such as `resnet_small lr=0.02 s1`, by its changed options.

    Of many options that differ, a label tells those whose value is not the most frequent one.
    """
    runs = list(options.values())
    columns = {name: column for name, column in _columns(runs) if _differ(column)}
    is_long = len(columns) > FEW_OPTIONS
    words = [_words(name, column, leave_out_usual=is_long) for name, column in columns.items()]
    networks = [run["model"] for run in runs]
    seeds = [f"s{seed}" for seed in _column(runs, "seed")]
    labels = zip(networks, *words, seeds, strict=True)
    return {
        run_id: " ".join(filter(None, label)) for run_id, label in zip(options, labels, strict=True)
    }


def _columns(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """The options that a label may tell, by their names there, each with its value in every run.

    By columns, since most options have one value in all of thousands of runs.
    """
    changed = set().union(*runs) - {"model", "model_options", "seed"}
    for name in RunConfig.counting_fields():
        if name in changed:
            yield name, _column(runs, name)
    given = _column(runs, "model_options")
    if not any(given):
        return
    of_networks = [network_options(run["model"], own) for run, own in zip(runs, given, strict=True)]
    # What nobody says of a network tells nothing, though another network has no such option.
    for option in dict.fromkeys(option for own in given for option in own):
        yield _short(option), [values.get(option, ABSENT) for values in of_networks]


def _column(runs: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    default = option_of({}, name)
    return [run.get(name, default) for run in runs]


def _differ(column: list[Any]) -> bool:
    """Whether runs differ in an option; one that a network does not have is as good as none."""
    if column == column[:1] * len(column):
        return False
    return any(value is not None and value is not ABSENT for value in column)


def _words(name: str, column: Sequence[Any], *, leave_out_usual: bool) -> list[str]:
    """What the label of each run says of an option; nothing where its network does not have it."""
    texts = [str(value) for value in column]
    # Of thousands of runs, few values differ.
    words = {
        text: "" if value is ABSENT else f"{name}={_show(value)}"
        for text, value in dict(zip(texts, column, strict=True)).items()
    }
    if leave_out_usual:
        counts = Counter(text for text in texts if words[text])
        words[counts.most_common(1)[0][0]] = ""
    return [words[text] for text in texts]


def short_id(run_id: str) -> str:
    """Enough of a run's hash to name it to `launcher logs`."""
    return run_id.rpartition("-")[2][:8]


def fit_labels(labels: Sequence[str], width: int) -> list[str]:
    """The labels in at most so many letters, 10 or more; equal only if they were equal.

    The words that all have give way first, then the later words of the options' names, then these
    names, then the middle.
    """
    if width_of(labels) <= width:
        return list(labels)
    fitted = list(labels)
    for shorten in (*_LEGIBLE, _without_names, lambda texts: _cut(texts, width)):
        if width_of(fitted) > width:
            fitted = _if_still_distinct(shorten, fitted)
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return [
        text if len(text) <= width else _cut_middle(text, width, f"~{places[label]}")
        for label, text in zip(labels, fitted, strict=True)
    ]


def least_width(labels: Sequence[str]) -> int:
    """How many letters the labels need to be legible: each value with a name of its option."""
    for shorten in _LEGIBLE:
        labels = _if_still_distinct(shorten, labels)
    return width_of(labels)


def width_of(labels: Iterable[str]) -> int:
    return max(map(len, labels), default=0)


def _if_still_distinct(
    shorten: Callable[[Sequence[str]], list[str]], labels: Sequence[str]
) -> list[str]:
    shortened = shorten(labels)
    return shortened if len(set(shortened)) == len(set(labels)) else list(labels)


def _without_names(labels: Sequence[str]) -> list[str]:
    return [" ".join(word.rpartition("=")[2] for word in label.split()) for label in labels]


def _without_shared_words(labels: Sequence[str]) -> list[str]:
    words = [label.split() for label in labels]
    if len(set(labels)) < 2:
        return list(labels)
    shared = set(words[0]).intersection(*words)
    # Of one that has nothing else, its network is told.
    return [" ".join(word for word in own if word not in shared) or own[0] for own in words]


def with_short_names(labels: Sequence[str]) -> list[str]:
    """Such as `warmup=5` for `warmup_epochs=5`: as few words of a name as no other option has."""
    words = [label.split() for label in labels]
    names = {word.partition("=")[0] for own in words for word in own if "=" in word}
    others = names | set(RunConfig.model_fields)
    short = {name: _shorten(name, others - {name}) for name in names}
    return [" ".join(_rename(word, short) for word in own) for own in words]


def _shorten(name: str, others: Iterable[str]) -> str:
    if name in CUSTOMARY:
        return CUSTOMARY[name]
    parts = name.split("_")
    for count in range(1, len(parts)):
        beginning = "_".join(parts[:count])
        if not any(f"{other}_".startswith(f"{beginning}_") for other in others):
            return beginning
    return name


def _rename(word: str, names: Mapping[str, str]) -> str:
    name, equals, value = word.partition("=")
    return f"{names[name]}={value}" if equals else word


_LEGIBLE = (_without_shared_words, with_short_names)


def _cut(labels: Sequence[str], width: int) -> list[str]:
    return [label if len(label) <= width else _cut_middle(label, width) for label in labels]


def _cut_middle(text: str, width: int, end: str = "") -> str:
    """The beginning and the end of a text; or, with a new `end`, the beginning."""
    room = width - 1 - len(end)
    tail = end or text[len(text) - room // 2 :]
    return f"{text[: width - 1 - len(tail)]}…{tail}"


def _short(option: str) -> str:
    """An option of the network by its own name, unless every training has one of that name."""
    return f"model_options.{option}" if option in RunConfig.model_fields else option


def _show(value: object) -> str:
    """A value as one word, in the words of YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, "", []) else str(value).strip("[]").replace(" ", "")
