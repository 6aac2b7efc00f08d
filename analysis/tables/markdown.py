"""Tables in Markdown, aligned so that the source reads as a table too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.tables.text_table import TextTable


def to_markdown(tables: Iterable[TextTable], lines: Sequence[str] = ()) -> str:
    """The tables below each other, and the lines as a list at the end."""
    parts = [_table(table) for table in tables]
    if lines:
        parts.append("".join(f"- {line}\n" for line in lines))
    return "\n".join(parts)


def _table(table: TextTable) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [table.headings, *table.rows]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = [table.is_words(position) for position in range(len(widths))]
    rule = [
        "-" * width if left else "-" * (width - 1) + ":"
        for width, left in zip(widths, words, strict=True)
    ]
    heading = [cell.ljust(width) for cell, width in zip(rows[0], widths, strict=True)]
    cells = [
        [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, words, strict=True)
        ]
        for row in rows[1:]
    ]
    caption = f"{table.caption}\n\n" if table.caption else ""
    return caption + "".join(f"| {' | '.join(line)} |\n" for line in [heading, rule, *cells])
