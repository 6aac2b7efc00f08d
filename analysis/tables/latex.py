"""Tables in LaTeX, for the package booktabs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.tables.text_table import TextTable

# What an article has between margins of 2.5 cm, less the indent of a paragraph.
_PAGE_PT = 440
# What letters of 10 pt take on average, capitals among them taking more.
_LETTER_PT, _CAPITAL_PT = 5, 8


@dataclass(frozen=True)
class _Setting:
    """How large letters and gaps are, and from how many letters on headings and words break."""

    type: str
    scale: float
    gap_pt: int
    heading: int
    words: int


# The first that makes a table fit is taken.
_SETTINGS = (
    _Setting("", 1, 12, 12, 60),
    _Setting("", 1, 12, 8, 24),
    _Setting("\\small", 0.925, 8, 8, 24),
    _Setting("\\footnotesize", 0.85, 6, 6, 18),
)
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

    A table that is wider than a page is set smaller, and if that is not enough, without its
    optional columns; comments tell which. Captions are comments too, to be used as the paper needs.
    A letter that LaTeX may not know without further packages becomes a question mark.
    """
    below_each_other = "\n\\par\\bigskip\n".join(map(_tabular, tables))
    parts = [_comment(["needs \\usepackage{booktabs}"]), below_each_other]
    return "\n".join([*parts, *([_notes(lines)] if lines else [])])


def left_out(tables: Iterable[TextTable]) -> list[str]:
    """A line for each table that is to be written without some of its columns."""
    found = []
    for table in tables:
        _, hidden = _fitted(table)
        if hidden:
            names = "; ".join(table.headings[position] for position in hidden)
            found.append(
                f"left out, because the table would be wider than a page: {names}. "
                "What --columns names is kept"
            )
    return found


def _tabular(table: TextTable) -> str:
    setting, hidden = _fitted(table)
    kept = table.without(hidden)
    heading, *rows = _cells(kept, setting)
    columns = "".join("l" if kept.is_words(n) else "r" for n in range(len(heading)))
    body = [
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _joined(_stacked(lines, side) for lines, side in zip(heading, columns, strict=True)),
        "\\midrule",
        *(_joined(map(_aligned, row)) for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    if setting.type:
        body[0] = (
            f"{{{setting.type}\\setlength{{\\tabcolsep}}{{{setting.gap_pt / 2:g}pt}}%\n{body[0]}"
        )
        body[-1] += "}"
    caption = [table.caption] if table.caption else []
    return _comment([*caption, *left_out([table])]) + "".join(f"{line}\n" for line in body)


def _fitted(table: TextTable) -> tuple[_Setting, Sequence[int]]:
    """How the table fits a page, and which of its columns it has to do without."""
    for count in range(len(table.optional) + 1):
        hidden = sorted(table.optional[:count])
        for setting in _SETTINGS:
            if _width_pt(table.without(hidden), setting) <= _PAGE_PT:
                return setting, hidden
    return setting, hidden


def _width_pt(table: TextTable, setting: _Setting) -> float:
    columns = zip(*_cells(table, setting), strict=True)
    return sum(
        setting.gap_pt + setting.scale * max(_line_pt(line) for lines in column for line in lines)
        for column in columns
    )


def _line_pt(line: str) -> int:
    return sum(_CAPITAL_PT if letter.isupper() else _LETTER_PT for letter in line)


def _cells(table: TextTable, setting: _Setting) -> list[list[list[str]]]:
    """The headings and the rows, in lines; numbers do not break."""
    headings = [
        _heading(table, position, setting.heading) for position in range(len(table.headings))
    ]
    rows = [
        [
            _wrapped(cell, setting.words) if table.is_words(n) else [cell]
            for n, cell in enumerate(row)
        ]
        for row in table.rows
    ]
    return [headings, *rows]


def _heading(table: TextTable, position: int, least: int) -> list[str]:
    """In lines about as wide as its column: in one line, few tables would fit on a page."""
    width = max(least, *map(len, table.column(position)))
    lines = [
        line for part in table.headings[position].split(", ") for line in _wrapped(part, width)
    ]
    return lines if len(lines) > 1 else [table.headings[position]]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _stacked(lines: Sequence[str], side: str) -> str:
    """The last line stands where that of the other headings does."""
    return rf"\shortstack[{side}]{{{_in_lines(lines)}}}" if len(lines) > 1 else _escaped(lines[0])


def _aligned(lines: Sequence[str]) -> str:
    """The first line stands where those of the other cells do."""
    if len(lines) == 1:
        return _escaped(lines[0])
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{_in_lines(lines)}\end{{tabular}}"


def _in_lines(lines: Sequence[str]) -> str:
    return r" \\ ".join(map(_escaped, lines))


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
