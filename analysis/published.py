"""What the sources print of the accuracy of their networks, beside ours. The facts: published.yaml.

A published number comes from another recipe, and often from one run: it says whether ours is near
what is to be expected, and is no control of anything.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from analysis.groups import grouped
from analysis.metrics import METRICS
from attention_models import declared_options
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
        for group in _rows_of(row, source, groups)
    ]
    return pd.DataFrame(found, columns=["name", "value", "citation", "group"], dtype=object)


def add_to(summary: pd.DataFrame, printed: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The summary with what is printed of each row, and the citations, as numbered lines.

    `published` has the numbers with those of their citations, `published_values` the numbers alone
    and `published_in` the citations themselves, all as text. Networks that only the sources have
    come below, as rows that have nothing else.
    """
    groups = printed["group"].fillna(printed["name"] + " (published)")
    in_order = list(dict.fromkeys([*summary["group"], *groups]))
    printed = printed.assign(group=groups).sort_values(
        "group", key=lambda names: names.map(in_order.index), kind="stable"
    )
    citations = list(dict.fromkeys(printed["citation"]))
    marks = printed["citation"].map(lambda citation: f" [{citations.index(citation) + 1}]")
    of_groups = printed.assign(marked=printed["value"] + marks).groupby("group")
    texts = {
        "published": of_groups["marked"].agg(", ".join),
        "published_values": of_groups["value"].agg(", ".join),
        "published_in": of_groups["citation"].agg(" | ".join),
    }
    # Where rows have no counts, those of the others stay whole.
    counts = summary.astype(dict.fromkeys(summary.select_dtypes("int").columns, "Int64"))
    whole = counts.set_index("group").reindex(pd.Index(in_order, name="group")).assign(**texts)
    lines = [f"[{number}] {citation}" for number, citation in enumerate(citations, 1)]
    return whole.reset_index(), lines or ["no source prints this metric for these images"]


def _rows_of(
    row: Row, source: Source, groups: Iterable[tuple[str, pd.DataFrame]]
) -> Sequence[str | None]:
    """The groups all of whose runs are this network; if there is none, None."""
    found = [
        group
        for group, runs in groups
        if row.model is not None
        and {*runs["model"]} == {row.model}
        and _images(runs) == {source.dataset}
        and all(_option(runs, row.model, name) == {value} for name, value in row.options.items())
    ]
    return found or [None]


def _option(runs: pd.DataFrame, model: str, name: str) -> set[OptionValue]:
    """The values that runs of one network have of its option.

    An imported run that is called by our network's name stands for it as it is built without
    options, as where its parameters are counted.
    """
    default = declared_options(model)[name].default
    return {default if pd.isna(value) else value for value in runs[f"model_options.{name}"]}


def _images(runs: pd.DataFrame) -> set[str]:
    folder = runs["image_folder"]
    return {*folder.where(folder.notna() & (folder != ""), runs["dataset"]).dropna()}
