"""Tables on a terminal, whatever its width."""

from __future__ import annotations

import itertools
import operator
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.tables.text_table import TextTable

_GAP = 2
# The most lines of a heading, where numbers have room, and where they move together.
_LINES = 4
_MOST_LINES = 8
# After what a line may end: a name in the middle, and an interval, only where no column is left to
# be hidden.
_LINES_END = (" ", " _", " _,")


def to_terminal(
    tables: Iterable[TextTable], lines: Sequence[str] = (), width: int = 120
) -> RenderableType:
    """A rich renderable; incomplete rows are marked and explained below.

    Where `width` does not do, the numbers move together and words go on in the next line, then
    columns are hidden, which is said below, and if that is not enough, names break. A number never
    does.
    """
    shown: list[RenderableType] = []
    hidden: list[str] = []
    for table in tables:
        fitted, left_out = _fitted(table, width)
        hidden += left_out
        if shown:
            shown.append(Text())
        if table.caption:
            shown += [Text(textwrap.fill(table.caption, width), style="bold"), Text()]
        shown.append(_table(fitted))
    said = [Text(line, style="yellow") for line in lines]
    if hidden:
        which = f"hidden: {'; '.join(hidden)}"
        said.insert(0, Text(f"{which}. Widen the terminal or use --format md"))
    return Group(*shown, *([Text(), *said] if said else []))


def to_text(renderable: RenderableType, width: int) -> str:
    """A renderable as plain text, without colours and trailing blanks."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable, crop=False)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _table(table: TextTable) -> Table:
    drawn = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        # Said here, because rich would cut numbers short on a terminal that is narrower still.
        width=_table_width(table),
    )
    for position, heading in enumerate(table.headings):
        drawn.add_column(
            Text(heading),
            justify="left" if table.is_words(position) else "right",
            no_wrap=True,
            vertical="bottom",
        )
    for row, complete in zip(table.rows, table.is_complete, strict=True):
        drawn.add_row(*map(Text, row), style=None if complete else "yellow")
    return drawn


def _fitted(table: TextTable, width: int) -> tuple[TextTable, list[str]]:
    """The table with as many columns as fit, as low as that allows, and those left out."""
    for ends, count in itertools.product(_LINES_END, range(len(table.optional) + 1)):
        hidden = sorted(table.optional[:count])
        kept = table.without(hidden)
        narrowest = _narrowed(kept, width, _MOST_LINES, ends)
        if _table_width(narrowest) <= width:
            break
    spread = [_headed(kept, lines) for lines in range(1, _LINES + 1)]
    # Of two that are as high, the one with the higher headings breaks fewer names.
    narrowed = [_narrowed(kept, width, lines, ends) for lines in range(_MOST_LINES, 0, -1)]
    fitting = (
        shown for shown in [*spread, *sorted(narrowed, key=_height)] if _table_width(shown) <= width
    )
    return next(fitting, narrowest), [table.headings[position] for position in hidden]


def _headed(table: TextTable, lines: int) -> TextTable:
    """With headings of at most so many lines, as narrow as that allows."""
    headings = []
    for position, heading in enumerate(table.headings):
        least = _cells_width(table, position)
        widths = range(least, max(least, len(heading)) + 1)
        few = (folded for w in widths if (folded := _folded(heading, w)).count("\n") < lines)
        headings.append(next(few, heading))
    return replace(table, headings=headings)


def _narrowed(table: TextTable, width: int, lines: int, ends: str) -> TextTable:
    """Numbers without blanks; words in several lines, in what these and the gaps leave of it."""
    words = [n for n in range(len(table.headings)) if table.is_words(n)]
    rows = [
        [cell if n in words else _close(cell, ends) for n, cell in enumerate(row)]
        for row in table.rows
    ]
    close = _headed(replace(table, rows=rows), lines)
    tight = _with_breaks(close, dict.fromkeys(words, 1), ends)
    least = [_column_width(tight, n) for n in words]
    wanted = [_column_width(close, n) for n in words]
    more = _shared(width - _table_width(tight), map(operator.sub, wanted, least))
    return _with_breaks(close, dict(zip(words, map(operator.add, least, more), strict=True)), ends)


def _close(number: str, ends: str) -> str:
    """Without blanks; those of an interval below each other where a line may end at its comma."""
    return (number.replace(", ", ",\n") if "," in ends else number).replace(" ", "")


def _with_breaks(table: TextTable, room_of: Mapping[int, int], ends: str) -> TextTable:
    rows = [
        [_broken(cell, room_of[n], ends) if n in room_of else cell for n, cell in enumerate(row)]
        for row in table.rows
    ]
    return replace(table, rows=rows)


def _shared(room: int, wanted: Iterable[int]) -> list[int]:
    """What each gets of the room: who wants less than an equal share leaves it to the others."""
    wanted = [*wanted]
    given = {}
    for left, position in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[position] = max(0, min(wanted[position], room // (len(wanted) - left)))
        room -= given[position]
    return [given[position] for position in range(len(wanted))]


def _table_width(table: TextTable) -> int:
    return sum(_GAP + _column_width(table, n) for n in range(len(table.headings))) - _GAP


def _height(table: TextTable) -> int:
    return sum(max(cell.count("\n") + 1 for cell in row) for row in (table.headings, *table.rows))


def _column_width(table: TextTable, position: int) -> int:
    return max(map(len, [*table.headings[position].split("\n"), *_lines(table, position)]))


def _cells_width(table: TextTable, position: int) -> int:
    """As wide as the cells, and as the words of the heading, which do not break."""
    return max(map(len, [*table.headings[position].split(), *_lines(table, position)]))


def _lines(table: TextTable, position: int) -> list[str]:
    return [line for cell in table.column(position) for line in cell.split("\n")]


def _folded(heading: str, width: int) -> str:
    """In lines of this width, and what stands between commas in lines of its own."""
    parts = heading.split(", ")
    return "\n".join(textwrap.fill(part, width, break_on_hyphens=False) for part in parts)


def _broken(text: str, room: int, ends: str) -> str:
    """In lines of at most `room`, if its parts up to one of the `ends` are no longer."""
    lines = [""]
    for part in re.split(rf"(?<=[{ends}])", text):
        if lines[-1] and len(lines[-1] + part.rstrip()) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
