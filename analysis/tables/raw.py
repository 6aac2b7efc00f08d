"""The numbers of a table in full precision, as CSV."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.metrics import METRICS
from analysis.tables.columns import Column


def to_csv(
    summary: pd.DataFrame,
    by: str = "model",
    metric: str = "test_top1",
    columns: Iterable[Column] | None = None,
    comparison: pd.DataFrame | None = None,
    last: int | None = None,
) -> str:
    """Everything that the frames have, or these columns; the columns' names carry the units."""
    unit = "_percent" if METRICS[metric].unit == "%" else ""
    names = {
        f"{which}_{statistic}": f"{said}_{metric}_{statistic}{unit}"
        for which, said in (("best", "best"), ("final", "final"), ("last", f"last_{last}_epochs"))
        for statistic in ("mean", "std")
    }
    names |= {
        "train_mean": f"final_{metric.replace('test', 'train')}_mean{unit}",
        "gap_mean": f"final_train_minus_test_mean{unit}",
        "group": by,
        "finished": "finished_runs",
        "planned": "planned_runs",
        "published_values": f"published_{metric}{unit}",
    }
    summary = summary.drop(columns="published", errors="ignore")
    if columns is not None:
        shown = [name for column in columns for name in _sources(column)]
        summary = summary[["group", *shown]]
    if comparison is not None:
        renamed = {"n": "shared_seeds", "difference": f"difference{unit}", "low": f"low{unit}"}
        renamed |= {"high": f"high{unit}", "told_from": f"told_from{unit}"}
        summary = summary.merge(comparison.rename(columns=renamed), on="group", how="left")
    text: str = summary.rename(columns=names).to_csv(index=False)
    return text


def _sources(column: Column) -> list[str]:
    if column.name == "runs":
        return ["finished", "planned"]
    if column.name in ("best", "final", "last"):
        return [f"{column.name}_mean", f"{column.name}_std"]
    if column.name == "published":
        return ["published_values", "published_in"]
    return [column.source]
