from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from analysis import stats, tables
from analysis.load import load_runs
from jobs.sweep_dir import SweepDir

MARKDOWN = """\
| network       | runs | best test top-1 (%) | final test top-1 (%) | params | MACs   | s per epoch | attempts |
| ------------- | ---: | ------------------: | -------------------: | -----: | -----: | ----------: | -------: |
| resnet_small  |  2/2 |        72.00 ± 1.41 |         71.00 ± 1.41 |  175 k | 26.0 M |        1.50 |        2 |
| sresnet_small | 1/3* |               81.50 |                80.50 | 1.23 M | 1.30 G |        1.50 |        3 |

- missing: sresnet_small seed 1: unfinished, 2 of 4 epochs done
- missing: sresnet_small seed 2: not started
"""  # noqa: E501  a golden table is as wide as it is

TERMINAL = """\
                        best test    final test                  s per
network        runs     top-1 (%)     top-1 (%)  params    MACs  epoch  attempts
────────────────────────────────────────────────────────────────────────────────
resnet_small    2/2  72.00 ± 1.41  71.00 ± 1.41   175 k  26.0 M   1.50         2
sresnet_small  1/3*         81.50         80.50  1.23 M  1.30 G   1.50         3

missing: sresnet_small seed 1: unfinished, 2 of 4 epochs done
missing: sresnet_small seed 2: not started
"""

CSV_HEADINGS = [
    "model",
    "finished_runs",
    "planned_runs",
    "best_test_top1_mean_percent",
    "best_test_top1_std_percent",
    "final_test_top1_mean_percent",
    "final_test_top1_std_percent",
    "params",
    "macs",
    "epoch_s",
    "attempts",
]

NOTHING_MISSING = pd.DataFrame(columns=["name", "state", "epochs_done", "epochs"])


@pytest.fixture
def summary(half_finished: SweepDir) -> pd.DataFrame:
    loaded = load_runs([half_finished])
    return stats.summarise(loaded.runs, loaded.epochs)


@pytest.fixture
def missing(half_finished: SweepDir) -> pd.DataFrame:
    return stats.missing(load_runs([half_finished]).runs)


def test_the_markdown_table(summary: pd.DataFrame, missing: pd.DataFrame) -> None:
    assert tables.to_markdown(summary, missing) == MARKDOWN


def test_the_terminal_table_at_80_columns(summary: pd.DataFrame, missing: pd.DataFrame) -> None:
    assert tables.to_text(tables.to_terminal(summary, missing, width=80), 80) == TERMINAL


def test_a_table_of_complete_rows_has_nothing_below_it(summary: pd.DataFrame) -> None:
    complete = summary.iloc[:1]
    assert tables.to_markdown(complete, NOTHING_MISSING).count("\n") == 3
    assert "missing" not in tables.to_text(tables.to_terminal(complete, NOTHING_MISSING), 120)


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (79, ["resnet_small", "sresnet_small"]),
        (74, ["resnet_small", "sresnet_", "small"]),
        (70, ["resnet_", "small", "sresnet_", "small"]),
    ],
)
def test_on_a_narrow_terminal_names_break_at_underscores_and_numbers_never(
    summary: pd.DataFrame, width: int, names: list[str]
) -> None:
    text = tables.to_text(tables.to_terminal(summary, NOTHING_MISSING, width=width), 200)
    assert "…" not in text
    assert "hidden" not in text
    for number in ("72.00±1.41", "175k", "26.0M", "1.50", "1/3*"):
        assert number in text
    assert [line.split()[0] for line in text.splitlines()[3:]] == names


NARROWEST = 40


@pytest.mark.parametrize(
    ("width", "hidden"),
    [
        (65, "attempts"),
        (55, "s per epoch, attempts"),
        (48, "MACs, s per epoch, attempts"),
        (NARROWEST, "params, MACs, s per epoch, attempts"),
    ],
)
def test_columns_that_do_not_fit_are_hidden_the_least_important_first(
    summary: pd.DataFrame, missing: pd.DataFrame, width: int, hidden: str
) -> None:
    text = tables.to_text(tables.to_terminal(summary, missing, width=width), 200)
    table, below = text.split("\n\n")
    assert max(map(len, table.splitlines())) <= width
    explained, *others = below.splitlines()
    assert explained == f"hidden: {hidden}; widen the terminal or use --format md"
    assert others == tables.missing_lines(missing)


@pytest.mark.parametrize("width", range(20, 100))
def test_a_number_stands_whole_at_every_width(summary: pd.DataFrame, width: int) -> None:
    text = tables.to_text(tables.to_terminal(summary, NOTHING_MISSING, width=width), width)
    joined = text.replace(" ± ", "±")
    for number in ("72.00±1.41", "71.00±1.41", "81.50", "80.50", "2/2", "1/3*"):
        assert number in joined


def test_rows_that_are_not_complete_are_yellow(summary: pd.DataFrame) -> None:
    from rich.console import Console

    console = Console(width=100, color_system="standard", force_terminal=True, file=io.StringIO())
    with console.capture() as capture:
        console.print(tables.to_terminal(summary, NOTHING_MISSING))
    complete, incomplete = capture.get().splitlines()[-2:]
    yellow = "\x1b[33m"
    assert yellow in incomplete
    assert yellow not in complete


def test_the_csv_has_the_raw_numbers_under_names_with_units(summary: pd.DataFrame) -> None:
    read = pd.read_csv(io.StringIO(tables.to_csv(summary)))
    assert list(read.columns) == CSV_HEADINGS
    first, second = read.to_dict("records")
    assert first["best_test_top1_std_percent"] == np.std([71.0, 73.0], ddof=1)
    assert second["params"] == 1_234_567
    assert np.isnan(second["final_test_top1_std_percent"])
    assert "best_test_loss_mean" in tables.to_csv(summary, metric="test_loss")


def test_a_loss_has_three_digits_and_no_unit(half_finished: SweepDir) -> None:
    loaded = load_runs([half_finished])
    summary = stats.summarise(loaded.runs, loaded.epochs, metric="test_loss")
    text = tables.to_markdown(summary, NOTHING_MISSING, metric="test_loss")
    assert "| best test loss |" in text
    assert "0.149 ± 0.000" in text


def test_what_is_not_known_yet_is_a_dash_and_what_diverged_is_nan(summary: pd.DataFrame) -> None:
    nothing = dict.fromkeys(["best_mean", "best_std", "final_mean", "final_std", "epoch_s"], np.nan)
    unknown = summary.assign(**nothing, params=pd.NA, macs=pd.NA, finished=[0, 1])
    text = tables.to_markdown(unknown, NOTHING_MISSING).splitlines()
    assert text[2].count("—") == 5
    assert text[3].count(" nan ") == 2


def test_a_group_that_markdown_would_split_is_escaped(summary: pd.DataFrame) -> None:
    text = tables.to_markdown(summary.assign(group=["a|b", "[red]c"]), NOTHING_MISSING, "data_dir")
    assert "| a\\|b " in text
    assert text.startswith("| data_dir ")
    shown = tables.to_terminal(summary.assign(group=["a|b", "[red]c"]), NOTHING_MISSING)
    assert "[red]c" in tables.to_text(shown, 120)


def test_a_table_without_rows_still_has_its_headings(summary: pd.DataFrame) -> None:
    empty = summary.iloc[:0]
    assert tables.to_markdown(empty, NOTHING_MISSING).startswith("| network | runs |")
    assert tables.to_csv(empty).strip() == ",".join(CSV_HEADINGS)
    assert "network" in tables.to_text(tables.to_terminal(empty, NOTHING_MISSING), 80)


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (23_705_252, "23.7 M"),
        (99_960_000, "100 M"),
        (999_600_000, "1.00 G"),
        (1_304_694_884, "1.30 G"),
        (9_996_000, "10.0 M"),
        (5_000_000_000_000_000, "5000 T"),
    ],
)
def test_large_counts_have_three_digits_and_a_prefix(
    summary: pd.DataFrame, params: int, shown: str
) -> None:
    text = tables.to_markdown(summary.assign(params=params), NOTHING_MISSING)
    assert f" {shown} |" in text.splitlines()[2]
