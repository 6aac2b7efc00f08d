"""Run directories become tidy tables. Nothing here judges or averages.

In a notebook:

    from analysis.load import load_runs

    loaded = load_runs("demo")
    loaded.epochs.pivot(index="epoch", columns="run_id", values="test_top1")
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cache import Cache, Read
from analysis.columns import EpochColumns
from analysis.frames import attempts_frame, epochs_frame, runs_frame
from analysis.reading import RunRecord, read_run
from jobs.errors import InputError
from jobs.events import ends
from jobs.run_dir import RunDir
from jobs.selection import select
from jobs.sweep_dir import SweepDir, find_sweep, runs_on_gpu, submission_of

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
    - `attempts`, how many; `queued_unix_s`, since when it waits on SLURM for one that has not
      begun, as far as the files tell, NaN if it does not;
    - `code` (the frozen one's hash), `torch` (its version), `device` and `precision_used` of its
      attempts, each value once, with spaces between several, of devices with `; `;
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
    records: list[RunRecord] = []
    problems: list[str] = []
    columns = EpochColumns()
    with contextlib.ExitStack() as open_caches:
        for path, sweep in unique.items():
            # Two sweeps of one name, in different folders, are told apart by their paths.
            label = path.name if names.count(path.name) == 1 else str(sweep.path)
            reader = _Reader(sweep, label, open_caches.enter_context(Cache(sweep)), columns)
            try:
                records += reader.read(all_versions)
            except InputError as error:
                if len(unique) == 1:
                    raise
                problems.append(f"sweep {label} is left out: {error}")
            problems += reader.problems
        if only is not None:
            records = _select(only, records)
        return Runs(
            runs=runs_frame(records),
            epochs=epochs_frame(records),
            attempts=attempts_frame(records),
            problems=tuple(problems),
        )


def _listed(sweeps: Iterable[Sweep] | Sweep) -> Iterable[Sweep]:
    return [sweeps] if isinstance(sweeps, SweepDir | str | Path) else sweeps


def _find(sweep: Sweep, runs: Path) -> SweepDir:
    return sweep if isinstance(sweep, SweepDir) else find_sweep(str(sweep), runs)


def _select(only: str, records: Sequence[RunRecord]) -> list[RunRecord]:
    try:
        rows = {number: record.row for number, record in enumerate(records)}
        return [records[number] for number in select(only, rows)]
    except InputError as error:
        raise InputError(f"--only {only!r}: {error}") from None


# ---- one sweep


@dataclass
class _Reader:
    """Reads the runs of a sweep, from the cache where they have not changed."""

    sweep: SweepDir
    label: str
    cache: Cache
    columns: EpochColumns
    problems: list[str] = field(default_factory=list)
    _read: list[Read] = field(default_factory=list)

    def read(self, all_versions: bool) -> list[RunRecord]:
        """Its runs in the order of the matrix, with the sweep's name in their rows."""
        named = dict.fromkeys(self.sweep.named_runs())
        chosen = self._runs(map(self.sweep.run, named))
        chosen += self._runs(self.sweep.imported_runs(besides=named), imported=True)
        others = self._runs(self.sweep.runs(besides=named))
        self.cache.keep(self._read)
        older = [record for record in others if record.row["state"] == "finished"]
        if all_versions:
            chosen += older
        elif older:
            which, are = ("run", "is") if len(older) == 1 else ("runs", "are")
            self.problems.append(
                f"{len(older)} finished {which} that the matrix of `{self.label}` no longer names "
                f"{are} left out; --all-versions includes them"
            )
        submissions = self._submissions()
        for record in chosen:
            jobs = submissions.get(record.row["run_id"], [])
            _complete(record, self.label, jobs)
            record.row["queued_unix_s"] = self._waits_since(record, jobs)
        return chosen

    def _runs(self, runs: Iterable[RunDir], *, imported: bool = False) -> list[RunRecord]:
        records = []
        for run in runs:
            # Before they are read: what is written meanwhile is read again the next time.
            stamps = run.stamps()
            record = self.cache.find(run.run_id, stamps)
            try:
                record = record or read_run(run, self.columns, imported=imported)
            except (InputError, OSError) as error:
                self.problems.append(f"{run.run_id} is left out: {error}")
                continue
            records.append(record)
            self._read.append(Read(stamps, record))
        return records

    def _waits_since(self, record: RunRecord, jobs: Sequence[Mapping[str, Any]]) -> float:
        """When its last job was submitted, if that has not begun it nor is known to have ended."""
        accepted = [job for job in jobs if job.get("job_id")]
        if not accepted or record.row["state"] not in ("planned", "unfinished"):
            return math.nan
        job, submitted_s = accepted[-1], float(accepted[-1]["submitted_unix_s"])
        has_begun = any(
            # Clocks of two machines differ, but a run may be trained without SLURM since.
            submission_of(attempt, accepted) is job or attempt["started_unix_s"] > submitted_s
            for attempt in record.attempts
        )
        has_ended = ends(self.sweep.run(record.row["run_id"]).observed(), job["token"])
        return math.nan if has_begun or has_ended else submitted_s

    def _submissions(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Those that each run was part of; none if one of them is damaged, which is said."""
        try:
            return self.sweep.submissions_of_runs()
        except (InputError, OSError) as error:
            self.problems.append(
                f"how long the runs of `{self.label}` have waited is not known: {error}"
            )
            return {}


def _complete(record: RunRecord, label: str, submissions: Sequence[Mapping[str, Any]]) -> None:
    """Add to a run's rows what its own folder does not say, and what is not kept of it."""
    about = {"sweep": label, "run_id": record.row["run_id"]}
    record.row.update(about)
    previous = None
    for attempt in record.attempts:
        attempt.update(about | _in_the_queue(attempt, previous, submissions))
        previous = attempt


def _in_the_queue(
    attempt: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    submissions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """When an attempt began to wait, if it was on SLURM, and how many runs had its GPU."""
    job = submission_of(attempt, submissions)
    queued_s = math.nan
    if attempt["restart"] > 0:
        if previous is not None and previous["job_id"] == attempt["job_id"]:
            queued_s = previous["ended_unix_s"]
    elif job is not None and job["executor"] == "slurm":
        queued_s = job["submitted_unix_s"]
    return {"queued_unix_s": queued_s, "runs_per_gpu": runs_on_gpu(attempt, job)}
