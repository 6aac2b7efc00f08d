from __future__ import annotations

import pandas as pd
import pytest

from analysis.groups import as_written, check_group, grouped, keys_of, labels
from jobs.errors import InputError

RUNS = pd.DataFrame(
    {
        "model": ["resnet18", "resnet18"],
        "lr": [0.1, 0.2],
        "flip": [True, False],
        "train_images": pd.array([None, 100], dtype="Int64"),
        "model_options.attention": ["se", None],
    }
)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("lr", ["0.1", "0.2"]),
        ("flip", ["true", "false"]),
        ("train_images", ["not set", "100"]),
        ("model,lr", ["resnet18, lr=0.1", "resnet18, lr=0.2"]),
        (
            "model, model_options.attention",
            ["resnet18, attention=se", "resnet18, attention=not set"],
        ),
        ("model,model_options.of_a_library", ["resnet18, of_a_library=not set"] * 2),
    ],
)
def test_a_label_says_the_values_as_a_matrix_spells_them(by: str, expected: list[str]) -> None:
    assert list(labels(RUNS, keys_of(by))) == expected


def test_a_name_that_nobody_knows_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match="did you mean 'model'"):
        keys_of("modle")
    with pytest.raises(InputError, match=r"not a known baseline.*Valid: a, b"):
        check_group("baseline", "c", ["a", "b"])


def test_of_one_run_in_two_sweeps_the_one_that_got_further_counts() -> None:
    about = {"model": "a", "run_id": "a-1"}
    runs = pd.DataFrame(
        [
            {**about, "sweep": "new", "state": "unfinished", "epochs_done": 9},
            {**about, "sweep": "old", "state": "finished", "epochs_done": 5},
        ]
    )
    assert list(grouped(runs, "model")["sweep"]) == ["old"]
    assert list(grouped(runs, "sweep")["group"]) == ["new", "old"]


def test_nothing_is_written_as_not_set() -> None:
    assert [as_written(value) for value in (None, pd.NA, "", 0, False)] == [
        *("not set", "not set", "not set"),
        *("0", "false"),
    ]
