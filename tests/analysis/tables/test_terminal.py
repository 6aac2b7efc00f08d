from __future__ import annotations

import io
import itertools
from dataclasses import replace

import pytest
from rich.console import Console

from analysis.tables.terminal import to_terminal, to_text
from analysis.tables.text_table import TextTable

LINES = ["missing: sresnet_small seed 1: unfinished, 2 of 4 epochs done"]


def text_of(*tables: TextTable, width: int, lines: list[str] | None = None) -> str:
    return to_text(to_terminal(tables, lines or [], width), width)


AT_80 = """\
                            test top-1
                                   (%)  test top-1
                            best epoch         (%)  train
                            (chosen on       final  minus                 s per
network        runs  seeds       test)       epoch   test  params   MACs  epoch
───────────────────────────────────────────────────────────────────────────────
resnet_small    2/2      2  72.00±1.41  71.00±1.41  +5.00    175k  26.0M   1.50
sresnet_small  1/3*      1       81.50       80.50  +5.00   1.23M  1.30G   1.50

hidden: restarts. Widen the terminal or use --format md
missing: sresnet_small seed 1: unfinished, 2 of 4 epochs done
"""


def test_the_table_at_80_columns(main_table: TextTable) -> None:
    assert text_of(main_table, width=80, lines=LINES) == AT_80


def test_a_number_and_a_name_stand_whole_on_a_usual_terminal(main_table: TextTable) -> None:
    for width in (80, 100, 140):
        text = text_of(main_table, width=width)
        assert max(map(len, text.splitlines())) <= width
        for number in ("72.00", "1.41", "71.00", "81.50", "2/2", "1/3*", "resnet_small"):
            assert number in text


@pytest.mark.parametrize("width", range(20, 110, 3))
def test_a_number_stands_whole_at_every_width(main_table: TextTable, width: int) -> None:
    joined = text_of(main_table, width=width).replace(" ± ", "±")
    for number in ("72.00±1.41", "71.00±1.41", "81.50", "80.50", "2/2", "1/3*"):
        assert number in joined
    assert "…" not in joined


def test_columns_that_do_not_fit_are_hidden_the_least_important_first(
    main_table: TextTable,
) -> None:
    hidden = []
    for width in (110, 80, 70, 60, 50, 44):
        text = to_text(to_terminal([main_table], LINES, width), 200)
        table, below = text.split("\n\n")
        assert max(map(len, table.splitlines())) <= width
        said, *others = below.splitlines()
        if said.startswith("hidden: "):
            names, _, advice = said.removeprefix("hidden: ").partition(". ")
            assert advice == "Widen the terminal or use --format md"
            hidden.append(names.split("; "))
        else:
            hidden.append([])
            others = [said]
        assert others == LINES
    assert hidden[0] == []
    assert all({*fewer} <= {*more} for fewer, more in itertools.pairwise(hidden))
    assert {*hidden[-1]} == {
        *("seeds", "train minus test", "params", "MACs", "s per epoch", "restarts"),
    }


def test_words_break_before_numbers_do(comparison_table: TextTable) -> None:
    text = text_of(comparison_table, width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "[+0.31,+1.33]" in text
    assert "not told apart: n = 4 shows 0.75 or more" not in text
    assert "not told apart: n = 4 shows 0.75 or more" in text_of(comparison_table, width=120)


def test_the_wider_the_terminal_the_fewer_lines_has_a_heading(main_table: TextTable) -> None:
    rows = len(main_table.rows)
    heights = {
        width: len(text_of(main_table, width=width).splitlines()) - rows - 1
        for width in (90, 100, 110, 120, 150, 200)
    }
    assert [*heights.values()] == sorted(heights.values(), reverse=True)
    assert (heights[90], heights[120], heights[200]) == (5, 2, 1)


def test_headings_grow_rather_than_that_names_break_into_more_lines() -> None:
    names = ["bam_preact_resnet50", "sresnet50_dilation", "se_preact_resnet50"]
    table = TextTable(
        headings=["network", "test top-1 (%), best epoch (chosen on test)", "params"],
        rows=[[name, "73.85 ± 0.40", "23.7 M"] for name in names],
        is_complete=[True] * 3,
    )
    heading, _, body = text_of(table, width=41).partition("─")
    assert heading.count("\n") == 5
    assert all(name in body for name in names)


def test_a_name_breaks_at_its_underscores(main_table: TextTable) -> None:
    only_runs = replace(
        main_table,
        headings=main_table.headings[:2],
        rows=[row[:2] for row in main_table.rows],
        optional=(),
    )
    names = [line.split()[0] for line in text_of(only_runs, width=16).splitlines()[2:]]
    assert names == ["resnet_", "small", "sresnet_", "small"]


def test_rows_that_are_not_complete_are_yellow(main_table: TextTable) -> None:
    console = Console(width=140, color_system="standard", force_terminal=True, file=io.StringIO())
    with console.capture() as capture:
        console.print(to_terminal([main_table], width=140))
    complete, incomplete = capture.get().splitlines()[-2:]
    yellow = "\x1b[33m"
    assert yellow in incomplete
    assert yellow not in complete


def test_a_caption_stands_above_its_table(
    main_table: TextTable, comparison_table: TextTable
) -> None:
    text = text_of(main_table, comparison_table, width=140, lines=["a line"])
    first, caption, second, line = text.split("\n\n")
    assert caption == comparison_table.caption
    assert (first.count("\n"), second.count("\n"), line) == (4, 4, "a line\n")


def test_what_looks_like_markup_is_text(main_table: TextTable) -> None:
    rows = [["[red]c", *row[1:]] for row in main_table.rows]
    assert "[red]c" in text_of(replace(main_table, rows=rows), width=140)


NAMES = ["preact_resnet50", "bam_preact_resnet50", "sresnet50_skips_dilation"]


@pytest.fixture
def long_names(main_table: TextTable) -> TextTable:
    row = ["5/5", "5", *["77.31 ± 0.21"] * 2, "+22.78", "23.7 M", "1.30 G", "31.4", "7"]
    return replace(main_table, rows=[[name, *row] for name in NAMES], is_complete=[True] * 3)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_column_is_hidden_rather_than_that_a_name_breaks(
    long_names: TextTable, width: int
) -> None:
    table, *_ = text_of(long_names, width=width).split("\n\n")
    assert max(map(len, table.splitlines())) <= width
    assert all(name in table for name in NAMES)


def test_a_name_breaks_rather_than_that_a_column_is_hidden_which_was_asked_for(
    long_names: TextTable,
) -> None:
    text = text_of(replace(long_names, optional=()), width=88)
    assert max(map(len, text.splitlines())) <= 88
    assert "hidden" not in text
    assert "restarts" in text
    assert NAMES[2] not in text


def test_an_interval_breaks_at_its_comma_before_the_table_is_wider_than_the_terminal(
    comparison_table: TextTable,
) -> None:
    rows = [[name, *row[1:]] for name, row in zip(NAMES, comparison_table.rows, strict=True)]
    text = text_of(replace(comparison_table, rows=rows), width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "[+0.31,+1.33]" not in text
    assert all(number in text for number in ("[+0.31,", "+1.33]", "+0.82", "0.022"))
