"""The run directory: the contract between jobs, launcher and analysis.

Every file name of a run, its writer and its reader live here and nowhere else; those of a sweep are
in jobs/sweep_dir.py, and what the records hold in jobs/run_records.py. One writer per file. A file
is written beside, synced and renamed, or appended and flushed; nothing is edited in place, so
whoever reads sees a whole file or none.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from jobs import events, lease
from jobs.causes import Cause
from jobs.errors import InputError
from jobs.events import Event
from jobs.files import (
    StrPath,
    append_record,
    numbers_in,
    pretty,
    read_bytes,
    read_json,
    read_record,
    read_records,
    remove_file,
    remove_half_written,
    write_atomic,
)
from jobs.lease import LeaseHolder
from jobs.run_records import Attempt, EpochMetrics, Imported, Progress, Resolved, Result

if TYPE_CHECKING:
    from jobs.config import RunConfig  # with pydantic, which looking at runs need not load

# Of a file: its path in the run directory, inode, size in bytes and time of change in ns.
FileStamp = tuple[str, int, int, int]


class _File:
    """The path of a file of a run, made when it is asked for: thousands of runs are listed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunDir, owner: type[RunDir]) -> Path:
        return run.path / self.name


class _Record:
    """The same as text: of thousands of small files, a Path takes longer to make than to read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunDir, owner: type[RunDir]) -> str:
        return f"{run.folder}/{self.name}"


class RunDir:
    """One run: `<sweep>/<run_id>/`. Two are equal if they are of one folder."""

    checkpoint = _File("checkpoint.pt")
    next_checkpoint = _File("checkpoint.next.pt")
    previous_checkpoint = _File("checkpoint.prev.pt")
    best = _File("best.pt")
    event_files = _File("tensorboard")
    metrics = _File("metrics.jsonl")
    needs_resume = _File("needs_resume")
    result = _File("result.json")
    _config = _Record("config.json")
    _resources = _Record("resources.json")
    _resolved = _Record("resolved.json")
    _attempts = _Record("attempts")
    _observed = _Record("observed.jsonl")
    _lease = _Record("lease")
    _progress = _Record("progress.json")
    _imported = _Record("imported.json")
    _metrics = _Record(metrics.name)
    _result = _Record(result.name)
    _needs_resume = _Record(needs_resume.name)

    def __init__(self, path: StrPath) -> None:
        self.folder = os.fspath(path).rstrip("/")
        self.run_id = self.folder.rpartition("/")[2]
        self._own_lease: LeaseHolder | None = None

    def __repr__(self) -> str:
        return f"RunDir({self.folder!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunDir) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    @functools.cached_property
    def path(self) -> Path:
        return Path(self.folder)

    # ---- configuration: written by the launcher, once

    def is_planned(self) -> bool:
        return os.path.exists(self._config)

    def is_planned_as(self, config: RunConfig, wishes: Mapping[str, Any]) -> bool:
        """Whether there is nothing to be written; InputError if the file was edited since."""
        return (
            self.is_planned() and self.read_config() == config and self.read_resources() == wishes
        )

    def write_config(self, config: RunConfig) -> None:
        """Plan the run. Planned again, it takes over the options that cannot change the result.

        Raises InputError if the file was edited since it was written.
        """
        from jobs.config import changed_document

        if not self.is_planned():
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self._config, pretty(config.to_document()))
        elif self.read_config() != config:
            document = changed_document(read_json(self._config), config)
            write_atomic(self._config, pretty(document))

    def read_config(self) -> RunConfig:
        """The configuration as it was planned; InputError if the file was edited since."""
        from jobs.config import read_document

        document = read_json(self._config)
        try:
            return read_document(document, self.run_id)
        except InputError as error:
            raise InputError(f"{self._config}: {error}") from None

    def read_options(self) -> Mapping[str, Any]:
        """The options of its configuration that differ from their defaults, as JSON has them."""
        from jobs.config import changed_options

        return changed_options(self.read_config())

    # ---- what it asks for beyond its sweep: written by the launcher with each matrix

    def write_resources(self, wishes: Mapping[str, Any]) -> None:
        """Keep what this run alone asks SLURM for, such as {"time": "8h"}; no file for nothing."""
        if wishes == self.read_resources():
            return
        if wishes:
            write_atomic(self._resources, pretty(wishes))
        else:
            remove_file(self._resources)

    def read_resources(self) -> dict[str, Any]:
        return read_record(self._resources, ()) or {}

    # ---- what `auto` means: written by the job, once

    def write_resolved(self, resolved: Resolved) -> None:
        write_atomic(self._resolved, pretty(resolved))

    def read_resolved(self) -> Resolved | None:
        return read_record(self._resolved, Resolved.__required_keys__)

    # ---- attempts: written by the job

    def attempts(self) -> list[Attempt]:
        """All attempts, in order."""
        return [self.read_attempt(number) for number in numbers_in(self._attempts)]

    def read_attempt(self, number: int) -> Attempt:
        return read_record(self._attempt(number), ("attempt", "started_unix_s", "pid"))

    def next_attempt(self) -> int:
        return max(numbers_in(self._attempts), default=0) + 1

    def write_attempt(self, attempt: Attempt) -> None:
        """At the start of an attempt, and again at its end."""
        Path(self._attempts).mkdir(exist_ok=True)
        # By way of the run's folder: of thousands of runs, its time alone tells what has changed.
        path = self._attempt(attempt["attempt"])
        write_atomic(path, pretty(attempt), by_way_of=self.folder)

    def _attempt(self, number: int) -> str:
        return f"{self._attempts}/{number}.json"

    def history(self, seen: Sequence[Event] | None = None) -> list[Attempt]:
        """All attempts, in order, with all that is known of how they ended.

        One without a cause goes on, or was killed and nobody has found out why yet. `seen` is what
        was observed, where it has been read already.
        """
        attempts = self.attempts()
        if all("cause" in attempt for attempt in attempts):
            return attempts
        events.explain(attempts, self.observed() if seen is None else seen)
        if "cause" not in attempts[-1] and self.read_result() is not None:
            attempts[-1]["cause"] = Cause.FINISHED  # killed after its last word but one
        return attempts

    def explain(
        self,
        attempt: int,
        cause: Cause,
        message: str,
        nodes: str = "",
        ended_unix_s: float | None = None,
    ) -> None:
        """Write down why an attempt was killed; for the launcher, since the job could not."""
        why = {"cause": cause, "message": message, "nodes": nodes, "ended_unix_s": ended_unix_s}
        self.observe("explained", attempt=attempt, **why)

    def log(self, attempt: int) -> Path:
        return self.path / f"log.{attempt}.txt"

    def logs(self) -> dict[int, Path]:
        """The log of each attempt that has one, in order."""
        found = {}
        for path in self.path.glob("log.*.txt"):
            number = path.name.split(".")[1]
            if number.isdigit():
                found[int(number)] = path
        return dict(sorted(found.items()))

    # ---- progress, metrics, result: written by the job

    def write_progress(self, progress: Progress) -> None:
        self.check_lease()
        # A heartbeat may be lost in a crash, so it is renamed into place but not synced.
        write_atomic(self._progress, orjson.dumps(progress), sync=False)

    def read_progress(self) -> Progress | None:
        return read_record(self._progress, Progress.__required_keys__)

    def append_metrics(self, metrics: EpochMetrics) -> None:
        self.check_lease()
        append_record(self._metrics, metrics)

    def read_metrics(self) -> list[EpochMetrics]:
        """One record per epoch, in order.

        A run that goes on from a checkpoint trains some epochs again, so the last record of an
        epoch counts. A torn last line is what a killed writer leaves, and is left out.
        """
        by_epoch = {record["epoch"]: record for record in read_records(self._metrics, ["epoch"])}
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]  # type: ignore[misc]

    def metric_lines(self) -> list[bytes]:
        """The records as they stand in the file, for whoever reads very many of them."""
        try:
            return read_bytes(self._metrics).splitlines()
        except FileNotFoundError:
            return []
        except IsADirectoryError:
            raise InputError(f"{self._metrics} is damaged: it is a folder") from None

    def write_result(self, result: Result) -> None:
        self.check_lease()
        write_atomic(self._result, pretty(result))

    def is_finished(self) -> bool:
        return os.path.exists(self._result)

    def read_result(self) -> Result | None:
        return read_record(self._result, Result.__required_keys__)

    # ---- a run of another program: written by the analysis, never seen by the launcher

    def is_imported(self) -> bool:
        return os.path.exists(self._imported) and not self.is_planned()

    def write_imported(self, imported: Imported, metrics: Iterable[Mapping[str, Any]]) -> None:
        """Keep what another program has recorded, in place of what was imported here before.

        A record of `metrics` has its `epoch`, from 1, and what is known of EpochMetrics.
        Raises InputError if a run of ours has this name.
        """
        if self.is_planned():
            raise InputError(f"{self.path} holds a run that is trained here; choose another name")
        self.path.mkdir(parents=True, exist_ok=True)
        lines = (orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in metrics)
        write_atomic(self._metrics, b"".join(lines))
        write_atomic(self._imported, pretty(imported))

    def read_imported(self) -> Imported | None:
        return read_record(self._imported, Imported.__required_keys__)

    # ---- what only the launcher knows

    def observe(self, event: str, **facts: Any) -> None:
        """Append what the launcher saw or was told, such as `cancelled`."""
        append_record(self._observed, {"event": event, **facts, "time_unix_s": time.time()})

    def is_cancelled(self) -> bool:
        """Whether the run was cancelled, and not released since."""
        return events.is_cancelled(self.observed())

    def released_unix_s(self) -> float:
        """When a person last said that a cancelled run is to go on; 0 if nobody ever did."""
        return events.released_unix_s(self.observed())

    def observed(self) -> list[Event]:
        return list(read_records(self._observed, ("event", "time_unix_s")))

    # ---- whether its last job could not be requeued: marked by the job

    def is_left_behind(self) -> bool:
        return os.path.exists(self._needs_resume)

    # ---- lease: who may write here

    def take_lease(
        self,
        cluster: str,
        job_id: str,
        restart: int,
        is_gone: Callable[[LeaseHolder], bool | None] = lambda held: None,
    ) -> LeaseHolder:
        """Become the only writer; LeaseHeldError while another holder is alive.

        `is_gone` may know from the scheduler whether a holder has ended, or say None. What is seen
        on this host counts more.
        """
        self._own_lease = lease.take_lease(
            self._lease,
            self.run_id,
            (cluster, job_id, restart),
            lambda held: lease.is_holder_alive(held, self._heartbeat_unix_s, is_gone(held)),
        )
        return self._own_lease

    def release_lease(self, holder: LeaseHolder) -> None:
        lease.release_lease(self._lease, holder)
        self._own_lease = None

    def check_lease(self) -> None:
        """LeaseLostError if the lease that was taken here belongs to somebody else by now.

        Asked before everything that an attempt writes: of a node that SLURM has given up, and of a
        job that it forgot in a crash, the processes may go on, while the run is started elsewhere.
        """
        if self._own_lease is not None:
            lease.check_lease(self._lease, self._own_lease)

    def lease(self) -> LeaseHolder | None:
        return lease.read_lease(self._lease)

    def holder(self) -> LeaseHolder | None:
        """Who is working on this run now; a dead holder's lease does not count."""
        held = self.lease()
        is_alive = held is not None and lease.is_holder_alive(held, self._heartbeat_unix_s)
        return held if is_alive else None

    def _heartbeat_unix_s(self) -> float:
        progress = self.read_progress()
        return progress["time_unix_s"] if progress else 0.0

    # ---- all records

    def stamps(self) -> list[FileStamp]:
        """Of every file that holds a record: if they are as before, so is what is read."""
        paths = [self._config, self._result, self._metrics, self._progress, self._observed]
        paths.append(self._imported)
        paths += [self._attempt(number) for number in numbers_in(self._attempts)]
        stamps = []
        for path in paths:
            try:
                found = os.stat(path)
            except OSError:  # it is not there, or whoever reads it is told what is wrong
                continue
            name = path[len(self.folder) + 1 :]
            stamps.append((name, found.st_ino, found.st_size, found.st_mtime_ns))
        return stamps

    # ---- the end

    def remove_leftovers(self) -> None:
        """Remove what a killed writer left half-written; for the holder of the lease."""
        remove_half_written(self.path)

    def drop_checkpoints(self, keep: str) -> None:
        """Remove what is not to stay: `keep` is none, final or best.

        Asked to keep the best of a run that began without that wish, it keeps the final one too.
        """
        self.previous_checkpoint.unlink(missing_ok=True)
        if keep == "none" or (keep == "best" and self.best.exists()):
            self.checkpoint.unlink(missing_ok=True)
        if keep != "best":
            self.best.unlink(missing_ok=True)
