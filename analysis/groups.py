"""Which runs belong together: the rows of a table, the lines of a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from attention_models import UnknownNameError
from jobs.config import NETWORK_OPTIONS, OPTIONS_LISTED_BY, RunConfig
from jobs.errors import InputError

RUN = ["sweep", "run_id"]
GROUP_KEYS = ("sweep", *RunConfig.model_fields, *NETWORK_OPTIONS)
NOT_SET = "not set"


def keys_of(by: str) -> list[str]:
    """The options that `by` names: one, or several with commas between them."""
    keys = [key.strip() for key in by.split(",")]
    for key in keys:
        of_another_library = key.startswith("model_options.")
        if key not in GROUP_KEYS and not of_another_library:
            wrong = UnknownNameError("option to group by", key, GROUP_KEYS, OPTIONS_LISTED_BY)
            raise InputError(str(wrong))
    return keys


def check_group(kind: str, name: str, groups: Sequence[str]) -> None:
    """InputError unless there is a group of this name."""
    if name not in groups:
        raise InputError(str(UnknownNameError(kind, name, groups)))


def grouped(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """The runs, with the label of the `group` that each belongs to.

    One configuration that was trained in two sweeps is one run of its group, the one that got
    further: counted twice, it would make a deviation over seeds too small.
    """
    labelled = runs.assign(group=labels(runs, keys_of(by)))
    furthest_first = labelled.assign(finished=labelled["state"] == "finished").sort_values(
        ["finished", "epochs_done"], ascending=False
    )
    kept = furthest_first.drop_duplicates(["group", "run_id"]).index
    return labelled[labelled.index.isin(kept)].copy()


def labels(runs: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Each run's values: `0.02` for one key; of several, all but the network say their key."""
    named = [
        "" if key == "model" or len(keys) == 1 else f"{key.removeprefix('model_options.')}="
        for key in keys
    ]
    # An option of another library's network has a column only if a run has it.
    unset = pd.Series(pd.NA, index=runs.index)
    rows = zip(*(runs.get(key, unset) for key in keys), strict=True)
    texts = [", ".join(map(str.__add__, named, map(as_written, row))) for row in rows]
    return pd.Series(texts, index=runs.index, dtype=object)


def as_written(value: Any) -> str:
    """The value as a matrix spells it."""
    if pd.isna(value) or value == "":
        return NOT_SET
    return str(value).lower() if str(value) in ("True", "False") else str(value)


def options_of_networks(runs: pd.DataFrame) -> list[str]:
    """The columns that hold single options of networks."""
    return [name for name in runs.columns if name.startswith("model_options.")]
