"""Tables in HTML, to be opened as they are or put into a page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from analysis.tables.text_table import TextTable

_STYLE = "border-spacing: 1em 0.3em; margin-bottom: 1.5em"


def to_html(tables: Iterable[TextTable], lines: Sequence[str] = ()) -> str:
    """The tables, and the lines as a list. It is ASCII, so that no page's encoding can break it."""
    parts = [_table(table) for table in tables]
    if lines:
        items = "".join(f"  <li>{html.escape(line)}</li>\n" for line in lines)
        parts.append(f"<ul>\n{items}</ul>\n")
    return "".join(parts).encode("ascii", "xmlcharrefreplace").decode()


def _table(table: TextTable) -> str:
    caption = f"  <caption>{html.escape(table.caption)}</caption>\n" if table.caption else ""
    heading = "".join(
        f'<th scope="col" style="text-align: {_side(table, position)}">{html.escape(cell)}</th>'
        for position, cell in enumerate(table.headings)
    )
    rows = "".join(f"    <tr>{_cells(table, row)}</tr>\n" for row in table.rows)
    return (
        f'<table style="{_STYLE}">\n{caption}  <thead>\n    <tr>{heading}</tr>\n  </thead>\n'
        f"  <tbody>\n{rows}  </tbody>\n</table>\n"
    )


def _cells(table: TextTable, row: Sequence[str]) -> str:
    name, *values = map(html.escape, row)
    return f'<th scope="row" style="text-align: left">{name}</th>' + "".join(
        f'<td style="text-align: {_side(table, position)}; white-space: nowrap">{value}</td>'
        for position, value in enumerate(values, 1)
    )


def _side(table: TextTable, position: int) -> str:
    return "left" if table.is_words(position) else "right"
