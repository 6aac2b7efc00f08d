"""Run directories become two tidy tables. Nothing here judges or averages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

import pandas as pd

from jobs.config import NETWORK_OPTIONS, RunConfig
from jobs.errors import InputError
from jobs.run_dir import EpochMetrics, RunDir, SweepDir
from jobs.selection import select

_RUN_TYPES = {
    "sweep": str,
    "run_id": str,
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
}
_FROM_RESULT = (
    *("best_test_top1", "best_epoch", "final_test_top1", "final_test_top5"),
    *("wall_s", "attempts"),
)
_MEASURED = tuple(EpochMetrics.__annotations__)
_NOT_MEASURED = dict.fromkeys(EpochMetrics.__optional_keys__)  # by older versions
_WHOLE = {"attempt", "epoch", "step", "best_epoch", "attempts", "params", "macs"}
_EPOCH_TYPES = {
    "sweep": str,
    "run_id": str,
    "model": str,
    "seed": int,
    **dict.fromkeys(_MEASURED, float),
    **dict.fromkeys(("attempt", "epoch", "step"), int),
}


@dataclass(frozen=True)
class Runs:
    """What some sweeps hold.

    `runs` has a row per planned run, in the order of the matrix: `sweep`, `run_id`, every option
    of its configuration, those of its network as `model_options.<option>`, its `state` (finished,
    unfinished or planned), and its results.
    `epochs` has a row per run and epoch, with the metrics. Epochs count from 1.
    `problems` says what was left out, and why.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    problems: tuple[str, ...]


def load_runs(
    sweeps: Iterable[SweepDir], *, all_versions: bool = False, only: str | None = None
) -> Runs:
    """What the runs that the newest matrix of each sweep names have written so far.

    With `all_versions`, finished runs that only an older version names come after them. `only` is
    an expression (see jobs/selection.py) over what `runs` has of a run.
    Raises InputError if the only sweep is damaged, where one of several is left out, and for an
    expression that selects no run.
    """
    unique = {sweep.path.resolve(): sweep for sweep in sweeps}
    names = [path.name for path in unique]
    runs: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    problems: list[str] = []
    for path, sweep in unique.items():
        # Two sweeps of one name, in different folders, are told apart by their paths.
        label = path.name if names.count(path.name) == 1 else str(sweep.path)
        try:
            named = dict.fromkeys(sweep.named_runs())
        except InputError as error:
            if len(unique) == 1:
                raise
            problems.append(f"sweep {label} is left out: {error}")
            continue
        older = 0
        for run_id in named | dict.fromkeys(run.run_id for run in sweep.runs()):
            try:
                row, its_epochs = _read(sweep.run(run_id))
            except InputError as error:
                problems.append(f"{run_id} is left out: {error}")
                continue
            if run_id in named or (all_versions and row["state"] == "finished"):
                runs.append({"sweep": label, **row})
                epochs += ({"sweep": label, **record} for record in its_epochs)
            elif row["state"] == "finished":
                older += 1
        if older:
            which, are = ("run", "is") if older == 1 else ("runs", "are")
            problems.append(
                f"{older} finished {which} that the matrix of `{label}` no longer names "
                f"{are} left out; --all-versions includes them"
            )
    if only is not None:
        runs = _select(only, runs)
        chosen = {(row["sweep"], row["run_id"]) for row in runs}
        epochs = [record for record in epochs if (record["sweep"], record["run_id"]) in chosen]
    # All of ours, so that a table has the same columns whatever it holds, and those found.
    options = dict.fromkeys([*RunConfig.model_fields, *NETWORK_OPTIONS])
    options |= {name: None for row in runs for name in row if name.startswith("model_options.")}
    return Runs(
        runs=_frame([_lists_as_text(row) for row in runs], _RUN_TYPES, options=options),
        epochs=_frame(epochs, _EPOCH_TYPES),
        problems=tuple(problems),
    )


def _select(only: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        return [runs[number] for number in select(only, dict(enumerate(runs)))]
    except InputError as error:
        raise InputError(f"--only {only!r}: {error}") from None


def _read(run: RunDir) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's row and the rows of its epochs; InputError if its files contradict the contract."""
    config = run.read_config()
    try:
        return _rows(run, config)
    except (KeyError, TypeError) as error:
        raise InputError(f"one of its records is damaged ({error!r})") from None


def _rows(run: RunDir, config: RunConfig) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    # The result is read first: a job may be writing, and it writes the result last.
    result = run.read_result()
    attempts = run.attempts()
    metrics = run.read_metrics()
    about = {"run_id": run.run_id, "model": config.model, "seed": config.seed}
    its_epochs = [about | _numbers(_NOT_MEASURED | record, _MEASURED) for record in metrics]
    for expected, record in enumerate(metrics, 1):
        if record["epoch"] != expected:
            raise InputError(f"its metrics lack epoch {expected}")
    row = {
        "run_id": run.run_id,
        **_options(config),
        "state": "planned",
        "epochs_done": len(metrics),
        "attempts": len(attempts),
    }
    if result is not None:
        if len(metrics) != config.epochs:
            raise InputError(
                f"it has a result, but metrics of {len(metrics)} of {config.epochs} epochs"
            )
        row |= _numbers(result, _FROM_RESULT)
        row["state"] = "finished"
    elif attempts or metrics:
        row["state"] = "unfinished"
    # An attempt that was killed while it began does not know the size of the network.
    sizes = [record for record in (*attempts, result) if record and "params" in record]
    if sizes:
        row |= _numbers(sizes[-1], ("params", "macs"))
    return row, its_epochs


def _numbers(record: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """These values of a record. A float may be null, which is how JSON holds a NaN."""
    numbers = {key: record[key] for key in keys}
    for key, value in numbers.items():
        if type(value) is not int and (key in _WHOLE or type(value) not in (float, NoneType)):
            raise InputError(f"one of its records is damaged ({key} is {value!r})")
    return numbers


def _options(config: RunConfig) -> dict[str, Any]:
    """Every option; those of the network as text, and each by itself with the value it has."""
    said = [f"{name}={value}" for name, value in sorted(config.model_options.items())]
    return config.by_name | {"model_options": " ".join(said)}


def _lists_as_text(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: " ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in row.items()
    }


def _frame(
    rows: list[dict[str, Any]], types: Mapping[str, Any], options: Collection[str] = ()
) -> pd.DataFrame:
    columns = [*dict.fromkeys([*list(types)[:2], *options, *types])]
    frame = pd.DataFrame(rows, columns=columns, dtype=object).astype(types)
    # An option that only some runs set stays as it is: beside a NaN, 1000 would become 1000.0.
    return frame.astype(
        {name: frame[name].infer_objects().dtype for name in options if frame[name].notna().all()}
    )
