"""Run directories become tidy tables. Nothing here judges or averages.

In a notebook:

    from analysis.load import load_runs

    loaded = load_runs("demo")
    loaded.epochs.pivot(index="epoch", columns="run_id", values="test_top1")
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading import MEASURED, RunRecord, read_run
from jobs.config import NETWORK_OPTIONS, RunConfig
from jobs.errors import InputError
from jobs.selection import select
from jobs.sweep_dir import SweepDir, find_sweep, submission_of

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

Sweep = SweepDir | str | Path


@dataclass(frozen=True)
class Runs:
    """What some sweeps hold.

    `runs` has a row per run, in the order of the matrix, imported runs after those that it names:
    `sweep`, `run_id`, every option of its configuration, those of its network as
    `model_options.<option>`, and
    - `origin`: trained or imported; of an imported run, options that nobody knows are missing;
    - `state`: finished, failed (it would fail again), cancelled, unfinished or planned;
    - `epochs_done`, and its results, in percent where they are accuracies; `wall_s` is all of its
      training; `params` and `macs` of one image;
    - `attempts`, how many; `code` (the frozen one's hash), `torch` (its version), `device` and
      `precision_used` of its attempts, each value once, with spaces between several;
    - `cause` and `message` of its last attempt; `stuck_at_chance`: it learns nothing.
    `epochs` has a row per run and epoch, sorted by both, with the metrics: `attempt` and `epoch`
    are whole, epochs count from 1, and what was not recorded is NaN. `sweep`, `run_id` and `model`
    are categories, so group with `observed=True`. Of an imported run epochs may be missing, and
    its attempt is 0.
    `attempts` has a row per run and attempt: who and where; `runs_per_gpu`, which share its GPU;
    `queued_unix_s`, when it began to wait: at the submission of its job or, where that was
    requeued, at the end of the attempt before, NaN if it is unknown or was not on SLURM;
    `started_unix_s`; `ended_unix_s`, NaN if it goes on or nobody knows; `last_sign_unix_s`: its
    end, else the last that it wrote; `cause`, empty if it is unknown; `first_step` and
    `last_step`, NaN where they are not known.
    `problems` says what was left out, and why.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    attempts: pd.DataFrame
    problems: tuple[str, ...]


def load_runs(
    sweeps: Iterable[Sweep] | Sweep,
    *,
    all_versions: bool = False,
    only: str | None = None,
    runs: Path | str = "runs",
) -> Runs:
    """What the runs that the newest matrix of each sweep names have written so far.

    Sweeps are names of folders in `runs`, or paths. Imported runs are always among them. With
    `all_versions`, finished runs that only an older version names come after them. `only` is an
    expression (see jobs/selection.py) over what `Runs.runs` has of a run.
    Raises InputError for a sweep that is not there, if the only sweep is damaged, where one of
    several is left out, and for an expression that selects no run.
    """
    found = [_find(sweep, Path(runs)) for sweep in _listed(sweeps)]
    unique = {sweep.path.resolve(): sweep for sweep in found}
    names = [path.name for path in unique]
    loaded: list[_Loaded] = []
    problems: list[str] = []
    for path, sweep in unique.items():
        # Two sweeps of one name, in different folders, are told apart by their paths.
        label = path.name if names.count(path.name) == 1 else str(sweep.path)
        try:
            loaded += _load_sweep(sweep, label, all_versions, problems)
        except InputError as error:
            if len(unique) == 1:
                raise
            problems.append(f"sweep {label} is left out: {error}")
    if only is not None:
        loaded = _select(only, loaded)
    return Runs(
        runs=_runs_frame([run.row for run in loaded]),
        epochs=_epochs_frame(loaded),
        attempts=_frame([row for run in loaded for row in run.attempts], _ATTEMPT_TYPES),
        problems=tuple(problems),
    )


def _listed(sweeps: Iterable[Sweep] | Sweep) -> Iterable[Sweep]:
    return [sweeps] if isinstance(sweeps, SweepDir | str | Path) else sweeps


def _find(sweep: Sweep, runs: Path) -> SweepDir:
    return sweep if isinstance(sweep, SweepDir) else find_sweep(str(sweep), runs)


# ---- one sweep


@dataclass(frozen=True)
class _Loaded:
    """A run with the name of its sweep in its rows."""

    row: dict[str, Any]
    attempts: list[dict[str, Any]]
    epochs: np.ndarray


def _load_sweep(
    sweep: SweepDir, label: str, all_versions: bool, problems: list[str]
) -> list[_Loaded]:
    """Its runs in the order of the matrix; what is left out is added to `problems`."""
    named = dict.fromkeys(sweep.named_runs())
    others = [run.run_id for run in sweep.runs() if run.run_id not in named]
    submissions = _submissions_of_runs(sweep, label, problems)
    imported = [run.run_id for run in sweep.imported_runs()]
    chosen = [
        *_read_all(sweep, named, problems),
        *_read_all(sweep, imported, problems, imported=True),
    ]
    older = [
        record for record in _read_all(sweep, others, problems) if record.row["state"] == "finished"
    ]
    if all_versions:
        chosen += older
    elif older:
        which, are = ("run", "is") if len(older) == 1 else ("runs", "are")
        problems.append(
            f"{len(older)} finished {which} that the matrix of `{label}` no longer names "
            f"{are} left out; --all-versions includes them"
        )
    return [_labelled(record, label, submissions[record.row["run_id"]]) for record in chosen]


def _read_all(
    sweep: SweepDir, run_ids: Iterable[str], problems: list[str], *, imported: bool = False
) -> Iterator[RunRecord]:
    for run_id in run_ids:
        try:
            yield read_run(sweep.run(run_id), imported=imported)
        except (InputError, OSError) as error:
            problems.append(f"{run_id} is left out: {error}")


def _submissions_of_runs(
    sweep: SweepDir, label: str, problems: list[str]
) -> Mapping[str, list[Mapping[str, Any]]]:
    """The submissions to SLURM that each run was part of, oldest first."""
    of_runs: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    try:
        submissions = sweep.submissions()
    except (InputError, OSError) as error:
        problems.append(f"how long the runs of `{label}` have waited is not known: {error}")
        return of_runs
    for record in submissions.values():
        if record["executor"] == "slurm":
            for run_id in record["runs"]:
                of_runs[run_id].append(record)
    return of_runs


def _labelled(record: RunRecord, label: str, submissions: Sequence[Mapping[str, Any]]) -> _Loaded:
    about = {"sweep": label, "run_id": record.row["run_id"]}
    before: list[Mapping[str, Any] | None] = [None, *record.attempts]
    attempts = [
        about | attempt | _in_the_queue(attempt, previous, submissions)
        for attempt, previous in zip(record.attempts, before, strict=False)
    ]
    return _Loaded(about | record.row, attempts, record.epochs)


def _in_the_queue(
    attempt: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    submissions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """When an attempt began to wait, and how many runs its job carries on one GPU."""
    job = submission_of(attempt, submissions) if attempt["executor"] == "slurm" else None
    queued_s = math.nan
    if attempt["restart"] > 0:
        if previous is not None and previous["job_id"] == attempt["job_id"]:
            queued_s = previous["ended_unix_s"]
    elif job is not None:
        queued_s = job["submitted_unix_s"]
    return {"queued_unix_s": queued_s, "runs_per_gpu": (job or {}).get("runs_per_job", 1)}


def _select(only: str, loaded: Sequence[_Loaded]) -> list[_Loaded]:
    try:
        rows = {number: run.row for number, run in enumerate(loaded)}
        return [loaded[number] for number in select(only, rows)]
    except InputError as error:
        raise InputError(f"--only {only!r}: {error}") from None


# ---- frames


def _runs_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    # All of ours, so that a table has the same columns whatever it holds, and those found.
    options = dict.fromkeys([*RunConfig.model_fields, *NETWORK_OPTIONS])
    options |= {name: None for row in rows for name in row if name.startswith("model_options.")}
    return _frame([_lists_as_text(row) for row in rows], _RUN_TYPES, options)


def _lists_as_text(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: " ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in row.items()
    }


def _frame(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, Any], options: Collection[str] = ()
) -> pd.DataFrame:
    columns = [*dict.fromkeys([*_RUN, *options, *types])]
    frame = pd.DataFrame(rows, columns=columns, dtype=object).astype(types)
    # An option that only some runs set stays as it is: beside a NaN, 1000 would become 1000.0.
    return frame.astype(
        {name: frame[name].infer_objects().dtype for name in options if frame[name].notna().all()}
    )


def _epochs_frame(loaded: Sequence[_Loaded]) -> pd.DataFrame:
    lengths = [run.epochs.shape[1] for run in loaded]
    about = {
        name: pd.Categorical.from_codes(np.repeat(codes, lengths), [*values])
        for name in (*_RUN, "model")
        for codes, values in [pd.factorize(np.array([run.row[name] for run in loaded], object))]
    }
    seeds = pd.array([run.row["seed"] for run in loaded], dtype="Int64").repeat(lengths)
    values = np.concatenate([np.empty((len(MEASURED), 0)), *(run.epochs for run in loaded)], axis=1)
    measured = {
        name: column.astype(int) if name in ("attempt", "epoch") else column
        for name, column in zip(MEASURED, values, strict=True)
    }
    return pd.DataFrame({**about, "seed": seeds, **measured})
