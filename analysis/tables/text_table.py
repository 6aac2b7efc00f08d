"""A table of text, before it is written in any format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class TextTable:
    """Rows of cells, each row as long as `headings`.

    The first column names the row. Columns whose positions are in `words` are aligned to the left
    like it, all others to the right. Where there is no room, columns in `optional` are left out,
    the first ones first. Rows that are not complete are pointed out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_complete: Sequence[bool]
    caption: str = ""
    words: Sequence[int] = ()
    optional: Sequence[int] = field(default=())

    def column(self, position: int) -> list[str]:
        return [row[position] for row in self.rows]

    def without(self, hidden: Collection[int]) -> TextTable:
        """The table with the other columns alone, none of them optional."""
        kept = [position for position in range(len(self.headings)) if position not in hidden]
        return replace(
            self,
            headings=[self.headings[position] for position in kept],
            rows=[[row[position] for position in kept] for row in self.rows],
            words=[number for number, position in enumerate(kept) if position in self.words],
            optional=(),
        )

    def is_words(self, position: int) -> bool:
        return position == 0 or position in self.words
