"""Labels in little room: the words that tell least give way first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

# Short names that everybody knows, or that say more than the first word would.
CUSTOMARY = {"weight_decay": "wd", "label_smoothing": "smoothing"}


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
    from jobs.config import RunConfig  # which a table with enough room need not load

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
