from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import published, stats
from analysis.commands import table as command
from analysis.load import load_runs
from analysis.tables import columns
from analysis.tables.columns import COLUMNS, OPTIONAL, choose, table
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir


def test_a_table_says_by_default_what_a_comparison_needs(summary: pd.DataFrame) -> None:
    shown = table(summary)
    assert shown.headings == (
        *("network", "runs", "seeds"),
        "test top-1 (%), best epoch (chosen on test)",
        "test top-1 (%), final epoch",
        *("train minus test", "params", "MACs", "s per epoch", "restarts"),
    )
    assert shown.rows == [
        (
            *("resnet_small", "2/2", "2", "72.00 ± 1.41", "71.00 ± 1.41", "+5.00"),
            *("175 k", "26.0 M", "1.50", "0"),
        ),
        (
            *("sresnet_small", "1/3*", "1", "81.50", "80.50", "+5.00"),
            *("1.23 M", "1.30 G", "1.50", "1"),
        ),
    ]
    assert shown.is_complete == [True, False]


def test_what_is_known_of_no_row_is_left_out_unless_it_is_asked_for(summary: pd.DataFrame) -> None:
    unknown = summary.assign(params=pd.NA, seeds=pd.NA, final_mean=np.nan)
    names = [column.name for column in choose(None, unknown)]
    assert names == ["runs", "seeds", "best", "final", "gap", "macs", "epoch_s", "restarts"]
    assert [column.name for column in choose("params", unknown)] == ["params"]


def test_every_column_can_be_asked_for_by_name(summary: pd.DataFrame) -> None:
    everything = choose("all", summary)
    names = [column.name for column in everything]
    assert names == [c.name for c in COLUMNS if c.name not in ("last", "published")]
    assert [len(row) for row in table(summary, columns=everything).rows] == [1 + len(names)] * 2
    assert [column.name for column in choose("gap, best,gap", summary)] == ["gap", "best"]
    assert ", ".join(column.name for column in COLUMNS) == command.COLUMN_NAMES
    assert {*OPTIONAL} <= {column.name for column in COLUMNS}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("bset", "'bset' is not a known column; did you mean 'best'? Valid: best, "),
        ("best,", "'' is not a known column"),
        ("last", "the column 'last' needs --last N"),
        ("published", "the column 'published' needs --published"),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_what_is(
    summary: pd.DataFrame, names: str, said: str
) -> None:
    with pytest.raises(InputError) as error:
        choose(names, summary)
    assert said in str(error.value)


def test_the_mean_of_the_last_epochs_says_how_many(half_finished: SweepDir) -> None:
    loaded = load_runs(half_finished)
    summary = stats.summarise(loaded.runs, loaded.epochs, last=2)
    shown = table(summary, last=2)
    position = shown.headings.index("test top-1 (%), last 2 epochs")
    assert shown.column(position) == ["71.50 ± 1.41", "81.00"]


def test_a_metric_of_training_is_not_chosen_on_the_test(half_finished: SweepDir) -> None:
    loaded = load_runs(half_finished)
    summary = stats.summarise(loaded.runs, loaded.epochs, metric="train_loss")
    assert "train loss, best epoch" in table(summary, metric="train_loss").headings


def test_a_loss_has_three_digits_and_no_unit(half_finished: SweepDir) -> None:
    loaded = load_runs(half_finished)
    summary = stats.summarise(loaded.runs, loaded.epochs, metric="test_loss")
    shown = table(summary, metric="test_loss")
    position = shown.headings.index("test loss, final epoch")
    assert shown.column(position)[0] == "0.149 ± 0.000"


def test_what_is_not_known_is_a_dash_and_what_diverged_is_nan(summary: pd.DataFrame) -> None:
    gone = {"best_mean": np.nan, "final_mean": np.nan, "params": pd.NA, "epoch_s": np.nan}
    unknown = summary.astype(object).assign(**{name: [x, 1.0] for name, x in gone.items()})
    assert table(unknown).rows[0][3:] == ("—", "—", "+5.00", "—", "26.0 M", "—", "0")
    diverged = summary.assign(final_mean=[np.nan, 80.5], gap_mean=[np.nan, 5.0])
    assert table(diverged).rows[0][3:6] == ("72.00 ± 1.41", "nan", "—")


def test_hours_are_named_after_what_was_used(summary: pd.DataFrame) -> None:
    hours = choose("gpu_h", summary)
    for used, said in (
        (["GPU", "GPU"], "GPU-h, all runs"),
        (["CPU", "CPU"], "CPU-h, all runs"),
        (["GPU", "CPU"], "CPU/GPU-h, all runs"),
    ):
        assert table(summary.assign(hours_of=used), columns=hours).headings[1] == said


def test_what_is_only_published_has_nothing_else_and_misses_no_run(summary: pd.DataFrame) -> None:
    printed = pd.DataFrame(
        {"name": ["EfficientNet"], "value": ["91.7"], "citation": ["a post"], "group": [None]}
    )
    whole, _ = published.add_to(summary, printed)
    shown = table(whole)
    assert shown.rows[-1] == ("EfficientNet (published)", *["—"] * 9, "91.7 [1]")
    assert shown.rows[0][1] == "2/2"
    assert shown.is_complete[-1]


def test_without_runs_there_are_headings(summary: pd.DataFrame) -> None:
    empty = table(summary.iloc[:0])
    assert empty.headings[:2] == ("network", "runs")
    assert empty.rows == []
    assert table(summary, "lr").headings[0] == "lr"
    assert columns.headings([], summary, "test_top5") == []
