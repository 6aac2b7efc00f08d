"""The frames of a load, made of what was read of each run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import MEASURED, gather, join
from analysis.reading import RunRecord
from jobs.config import NETWORK_OPTIONS, RunConfig

_RUN = ("sweep", "run_id")
_RUN_TYPES = {
    "sweep": str,
    "run_id": str,
    "origin": str,
    "state": str,
    "epochs_done": int,
    "best_test_top1": float,
    "best_epoch": "Int64",
    "final_test_top1": float,
    "final_test_top5": float,
    "params": "Int64",
    "macs": "Int64",
    "wall_s": float,
    "attempts": int,
    "queued_unix_s": float,
    "code": str,
    "torch": str,
    "device": str,
    "precision_used": str,
    "cause": str,
    "message": str,
    "stuck_at_chance": bool,
}
_ATTEMPT_TYPES = {
    "sweep": str,
    "run_id": str,
    "attempt": int,
    "executor": str,
    "job_id": str,
    "restart": int,
    "runs_per_gpu": int,
    "node": str,
    "gpus": int,
    "device": str,
    "code": str,
    "torch": str,
    "precision": str,
    "queued_unix_s": float,
    "started_unix_s": float,
    "ended_unix_s": float,
    "last_sign_unix_s": float,
    "cause": str,
    "message": str,
    "first_step": float,
    "last_step": float,
    "steps_per_epoch": float,
}


def runs_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A row per run, in their order."""
    # All of ours, so that a table has the same columns whatever it holds, and those found.
    options = dict.fromkeys([*RunConfig.model_fields, *NETWORK_OPTIONS])
    for record in records:
        options |= {name: None for name in record.row if name.startswith("model_options.")}
    return _frame([record.row for record in records], _RUN_TYPES, options)


def attempts_frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """A row per run and attempt."""
    return _frame([attempt for record in records for attempt in record.attempts], _ATTEMPT_TYPES)


def epochs_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A row per run and epoch."""
    lengths = [len(record.epochs) for record in records]
    parts = join(record.epochs for record in records)
    columns = {name: _category(records, name, lengths) for name in (*_RUN, "model")}
    columns["seed"] = _seeds(records, lengths)
    columns |= {name: gather(parts, name) for name in MEASURED}
    return pd.DataFrame(columns, copy=False)


def _seeds(records: Iterable[RunRecord], lengths: Sequence[int]) -> pd.arrays.IntegerArray:
    """The seeds of the runs, once for each of their epochs."""
    seeds = pd.array([record.row["seed"] for record in records], dtype="Int64")
    return pd.arrays.IntegerArray(
        np.repeat(seeds.to_numpy(int, na_value=0), lengths), np.repeat(seeds.isna(), lengths)
    )


def _category(records: Iterable[RunRecord], name: str, lengths: Sequence[int]) -> pd.Categorical:
    """A value of the runs, likewise."""
    of_runs = pd.Series([record.row[name] for record in records], dtype="category")
    in_order = of_runs.cat.reorder_categories([*dict.fromkeys(of_runs)])
    codes = np.repeat(in_order.cat.codes.to_numpy(), lengths)
    return pd.Categorical.from_codes(codes, dtype=in_order.dtype, validate=False)


def _frame(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, Any], options: Collection[str] = ()
) -> pd.DataFrame:
    columns = {}
    for name in dict.fromkeys([*_RUN, *options, *types]):
        values = [row.get(name) for row in rows]
        columns[name] = _option(values) if name in options else pd.Series(values, dtype=types[name])
    return pd.DataFrame(columns)


def _option(values: Iterable[Any]) -> pd.Series:
    """With lists as text, by which runs can be grouped."""
    texts = [" ".join(map(str, value)) if isinstance(value, list) else value for value in values]
    column = pd.Series(texts, dtype=object)
    # What only some runs have stays as it is: beside a NaN, 1000 would become 1000.0.
    return column.infer_objects() if column.notna().all() else column
