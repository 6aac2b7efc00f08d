"""A table of text, before it is written in any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextTable:
    """Rows of cells, each row as long as `headings`.

    The first column names the row. Columns whose positions are in `words` are aligned to the left
    like it, all others to the right. A narrow terminal hides the columns in `optional`, the first
    ones first. Rows that are not complete are pointed out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_complete: Sequence[bool]
    caption: str = ""
    words: Sequence[int] = ()
    optional: Sequence[int] = field(default=())

    def column(self, position: int) -> list[str]:
        return [row[position] for row in self.rows]

    def is_words(self, position: int) -> bool:
        return position == 0 or position in self.words
