"""Short names for the runs of a sweep: what tells them apart, and nothing that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.config import RunConfig, network_options, option_of

# More options than these are told by what is unusual.
FEW_OPTIONS = 4

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


def _short(option: str) -> str:
    """An option of the network by its own name, unless every training has one of that name."""
    return f"model_options.{option}" if option in RunConfig.model_fields else option


def _show(value: object) -> str:
    """A value as one word, in the words of YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, "", []) else str(value).strip("[]").replace(" ", "")
