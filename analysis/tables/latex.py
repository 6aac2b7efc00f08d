"""Tables in LaTeX, for the package booktabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.tables.text_table import TextTable

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
    """A tabular for each table. Captions and lines are comments, to be used as the paper needs.

    A letter that LaTeX may not know without further packages becomes a question mark.
    """
    parts = [_comment(["needs \\usepackage{booktabs}"]), *(_tabular(table) for table in tables)]
    return "\n".join([*parts, *([_comment(lines)] if lines else [])])


def _tabular(table: TextTable) -> str:
    columns = "".join("l" if table.is_words(n) else "r" for n in range(len(table.headings)))
    body = [
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _row(table.headings),
        "\\midrule",
        *map(_row, table.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    caption = _comment([table.caption]) if table.caption else ""
    return caption + "".join(f"{line}\n" for line in body)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    written = text.translate(_WRITTEN)
    return "".join(c if c.isascii() or (c.isalpha() and c < "\u0100") else "?" for c in written)


def _comment(lines: Iterable[str]) -> str:
    return "".join(f"% {line}\n" for text in lines for line in text.splitlines())
