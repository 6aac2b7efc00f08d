"""A page made by hand, so that what is tested of it is in sight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from analysis.report.cells import durations, numbers, texts
from analysis.report.page import Details, Page, Table

MakePage = Callable[..., Page]


@pytest.fixture
def make_page() -> MakePage:
    """A page of three runs, with the fields that a test cares for."""

    def make(**changed: Any) -> Page:
        runs = Table("runs", [texts("run", ["resnet18 s0", "resnet9 s0", "bam s0"])])
        page: dict[str, Any] = {
            "title": "attention",
            "about": ["Made on a Monday"],
            "states": [("finished", 3)],
            "problems": [],
            "fairness": [],
            "results": table_of_results(),
            "missing": [],
            "citations": [],
            "baseline": "",
            "differences": None,
            "drawings": [],
            "below_drawings": [],
            "costs": Table("costs", [texts("network", ["bam"])]),
            "failures": None,
            "options": [("epochs", "4")],
            "runs": runs,
            "details": [details(f"demo/{number}") for number in range(len(runs.rows))],
        }
        return Page(**page | changed)

    return make


def table_of_results() -> Table:
    """With a number that is missing, counts of several units, and names that hold numbers."""
    return Table(
        "results",
        [
            texts("network", ["resnet18", "resnet9", "bam"]),
            numbers("accuracy %", [9.5, float("nan"), 70.25], ".2f"),
            durations("wait", [7200.0, 50.0, 200_000.0]),
        ],
    )


def details(run: str) -> Details:
    attempts = Table("attempts", [numbers("attempt", [1]), texts("node", ["gpu07"])])
    return Details([("run", run), ("code", "a3f2c9d8")], attempts)
