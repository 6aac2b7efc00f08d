"""One HTML file that needs nothing else: its style, its script and its figures are inside.

Nothing that a run has written gets into it unescaped, and its policy lets no script run but ours
and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.report.drawing import Drawing


@dataclass(frozen=True)
class Cell:
    """What is read, and what it is sorted by; an empty key is a missing one, and comes last."""

    text: str
    key: float | str


@dataclass(frozen=True)
class Column:
    heading: str
    cells: Sequence[Cell]
    kind: str = "text"  # or "number", to the right; or "wide", of several lines


@dataclass(frozen=True)
class Table:
    """Columns of one length, the first of which names the rows."""

    name: str
    columns: Sequence[Column]
    caption: str = ""

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        return list(zip(*(column.cells for column in self.columns), strict=True))

    def with_rows(self, numbers: Iterable[int]) -> Table:
        """The table with these rows alone."""
        rows = list(numbers)
        columns = [
            Column(column.heading, [column.cells[row] for row in rows], column.kind)
            for column in self.columns
        ]
        return Table(self.name, columns, self.caption)


@dataclass(frozen=True)
class Details:
    """What a row of the runs shows when it is opened."""

    facts: Sequence[tuple[str, str]]
    attempts: Table


@dataclass(frozen=True)
class Page:
    """What the report says, from top to bottom; what is None is left out."""

    title: str
    about: Sequence[str]  # when and from what it was made
    states: Sequence[tuple[str, int]]
    problems: Sequence[str]
    fairness: Sequence[str]
    results: Table
    missing: Sequence[str]
    citations: Sequence[str]
    baseline: str  # what the differences are to
    differences: Table | None
    drawings: Sequence[Drawing]
    below_drawings: Sequence[str]
    costs: Table
    failures: Table | None
    options: Sequence[tuple[str, str]]  # the same for all runs
    runs: Table
    details: Sequence[Details]  # one for each of the runs


def to_html(page: Page) -> str:
    script = _file("report.js")
    environment = Environment(
        loader=PackageLoader("analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("report.html.jinja").render(
        page=page,
        # Ours, and trusted as they are.
        style=Markup(_file("report.css")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _breakable(text: str) -> Markup:
    """Long names may go on in the next line, after a character that joins their parts."""
    return Markup(re.sub(r"([_/])(?=\w)", r"\1<wbr>", str(escape(text))))


def _file(name: str) -> str:
    return resources.files("analysis.report").joinpath(name).read_text()
