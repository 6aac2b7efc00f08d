from __future__ import annotations

from dataclasses import replace

from analysis.tables.markdown import to_markdown
from analysis.tables.text_table import TextTable

GOLDEN = """\
| network       | runs | seeds | test top-1 (%), best epoch (chosen on test) | test top-1 (%), final epoch | train minus test | params | MACs   | s per epoch | restarts |
| ------------- | ---: | ----: | ------------------------------------------: | --------------------------: | ---------------: | -----: | -----: | ----------: | -------: |
| resnet_small  |  2/2 |     2 |                                72.00 ± 1.41 |                71.00 ± 1.41 |            +5.00 |  175 k | 26.0 M |        1.50 |        0 |
| sresnet_small | 1/3* |     1 |                                       81.50 |                       80.50 |            +5.00 | 1.23 M | 1.30 G |        1.50 |        1 |

test top-1 (%), final epoch: difference to plain

| network | shared seeds | difference | 95 % interval  | p (Holm) | verdict                                  |
| ------- | -----------: | ---------: | -------------: | -------: | ---------------------------------------- |
| se      |            5 |      +0.82 | [+0.31, +1.33] |    0.022 | better                                   |
| bam     |            4 |      -0.25 | [-0.90, +0.40] |    0.310 | not told apart: n = 4 shows 0.75 or more |
| cbam    |            1 |      +0.50 |              — |        — | n = 1 is too small to tell               |

- missing: sresnet_small seed 2: not started
"""  # noqa: E501  a golden table is as wide as it is


def test_the_markdown_of_two_tables(main_table: TextTable, comparison_table: TextTable) -> None:
    lines = ["missing: sresnet_small seed 2: not started"]
    text = to_markdown([main_table, comparison_table], lines)
    assert text.replace("\N{MINUS SIGN}", "-") == GOLDEN


def test_a_table_with_nothing_below_ends_with_its_last_row(main_table: TextTable) -> None:
    assert to_markdown([main_table]).count("\n") == 4


def test_what_markdown_would_split_is_escaped(main_table: TextTable) -> None:
    split = replace(main_table, headings=["a|b"], rows=[["c|d"]])
    assert to_markdown([split]) == "| a\\|b |\n| ---- |\n| c\\|d |\n"
