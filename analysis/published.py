"""What the sources print of the accuracy of their networks, beside ours. The facts: published.yaml.

A published number comes from another recipe, and often from one run: it says whether ours is near
what is to be expected, and is no control of anything.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from analysis.groups import grouped
from analysis.metrics import METRICS
from attention_models.registry import OptionValue

FACTS = Path(__file__).with_suffix(".yaml")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Row(_Entry):
    """One printed number, in percent, with the digits that the source gives."""

    name: str
    metric: str
    value: Decimal = Field(strict=False)
    model: str | None = None
    options: dict[str, OptionValue] = {}
    remark: str = ""

    def as_metric(self, metric: str) -> Decimal | None:
        """The number as this metric, where it is the same one or its error; else None."""
        if metric == self.metric:
            return self.value
        ours, theirs = METRICS[metric], METRICS[self.metric]
        is_error = self.metric == ours.error_of or metric == theirs.error_of
        return 100 - self.value if is_error else None


class Source(_Entry):
    """Some numbers on one data set, which `source` cites."""

    source: str
    dataset: str
    rows: list[Row]
    remark: str = ""

    def cited(self, row: Row) -> str:
        remarks = "; ".join(filter(None, (row.remark, self.remark)))
        return f"{self.source}{f': {remarks}' if remarks else ''}"


@functools.cache
def sources() -> tuple[Source, ...]:
    return tuple(Source(**entry) for entry in YAML(typ="safe").load(FACTS))


def beside(runs: pd.DataFrame, by: str = "model", metric: str = "test_top1") -> pd.DataFrame:
    """A row for each published number on the data sets of these runs.

    `name` as the source has it, `value` as text in percent and in this metric, `citation`, and the
    `group` that is this network with these options on this data set, None where none is.
    """
    groups = list(grouped(runs, by).groupby("group", sort=False))
    trained_on = {name for _, of_group in groups for name in _images(of_group)}
    found = [
        {"name": row.name, "value": str(value), "citation": source.cited(row), "group": group}
        for source in sources()
        if source.dataset in trained_on
        for row in source.rows
        if (value := row.as_metric(metric)) is not None
        for group in _rows_of(row, source, groups) or [None]
    ]
    return pd.DataFrame(found, columns=["name", "value", "citation", "group"], dtype=object)


def add_to(summary: pd.DataFrame, printed: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The summary with a column `published`, and the citations that its numbers refer to.

    Networks that only the sources have come below, as rows that have nothing else.
    """
    citations = list(dict.fromkeys(printed["citation"]))
    numbered = printed.assign(
        published=[
            f"{row.value} [{citations.index(row.citation) + 1}]" for row in printed.itertuples()
        ],
        group=printed["group"].fillna(printed["name"] + " (published)"),
    )
    texts = numbered.groupby("group", sort=False)["published"].agg(", ".join).reset_index()
    lines = [f"[{number}] {citation}" for number, citation in enumerate(citations, 1)]
    whole = summary.merge(texts, on="group", how="outer", sort=False)
    in_order = [*summary["group"], *texts["group"]]
    return whole.set_index("group").loc[list(dict.fromkeys(in_order))].reset_index(), lines


def _rows_of(row: Row, source: Source, groups: Iterable[tuple[str, pd.DataFrame]]) -> list[str]:
    """The groups all of whose runs are this network."""
    return [
        group
        for group, runs in groups
        if {*runs["model"]} == {row.model}
        and _images(runs) == {source.dataset}
        and all({*runs[f"model_options.{name}"]} == {value} for name, value in row.options.items())
    ]


def _images(runs: pd.DataFrame) -> set[str]:
    folder = runs["image_folder"]
    return {*folder.where(folder.notna() & (folder != ""), runs["dataset"]).dropna()}
