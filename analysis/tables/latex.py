"""Tables in LaTeX, for the package booktabs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from analysis.tables.text_table import TextTable

_LEAST_HEADING = 12  # letters that a line of it may have above a narrower column
# A letter is written as what typesets it; the order does not matter, since each is replaced once.
_WRITTEN = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "\n": " ",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
        "±": r"$\pm$",
        "\N{MINUS SIGN}": "$-$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "—": "---",
        "…": r"\ldots{}",
        "[": "{[}",  # after \\ it would begin a length
        "]": "{]}",
        '"': "''",
    }
)


def to_latex(tables: Iterable[TextTable], lines: Sequence[str] = ()) -> str:
    """A tabular for each table, and below the lines as notes, so that they go where the table goes.

    Captions are comments, to be used as the paper needs. A letter that LaTeX may not know without
    further packages becomes a question mark.
    """
    parts = [_comment(["needs \\usepackage{booktabs}"]), *(_tabular(table) for table in tables)]
    return "\n".join([*parts, *([_notes(lines)] if lines else [])])


def _tabular(table: TextTable) -> str:
    columns = "".join("l" if table.is_words(n) else "r" for n in range(len(table.headings)))
    body = [
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _joined([_heading(table, position) for position in range(len(table.headings))]),
        "\\midrule",
        *map(_row, table.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    caption = _comment([table.caption]) if table.caption else ""
    return caption + "".join(f"{line}\n" for line in body)


def _heading(table: TextTable, position: int) -> str:
    """In lines about as wide as its column: in one line, few tables would fit on a page."""
    width = max(_LEAST_HEADING, *map(len, table.column(position)))
    parts = table.headings[position].split(", ")
    lines = [line for part in parts for line in textwrap.wrap(part, width)]
    if len(lines) < 2:
        return _escaped(table.headings[position])
    side = "l" if table.is_words(position) else "r"
    stacked = r" \\ ".join(map(_escaped, lines))
    return rf"\shortstack[{side}]{{{stacked}}}"


def _row(cells: Sequence[str]) -> str:
    return _joined(map(_escaped, cells))


def _joined(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _notes(lines: Sequence[str]) -> str:
    written = "".join(f"{_escaped(line)}\\par\n" for line in lines)
    return f"\\par\\medskip\n{{\\footnotesize\\raggedright\n{written}}}\n"


def _escaped(text: str) -> str:
    written = text.translate(_WRITTEN)
    return "".join(c if c.isascii() or (c.isalpha() and c < "\u0100") else "?" for c in written)


def _comment(lines: Iterable[str]) -> str:
    return "".join(f"% {line}\n" for text in lines for line in text.splitlines())
