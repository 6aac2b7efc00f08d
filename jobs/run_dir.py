"""The run directory: the contract between jobs, launcher and analysis.

Every file name of a sweep, its writer and its reader live here and nowhere else. One writer per
file. A file is written beside, synced and renamed, or appended and flushed; nothing is edited in
place, so whoever reads sees a whole file or none.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import orjson

from attention_models import UnknownNameError
from jobs.causes import Cause
from jobs.config import RunConfig, changed_document, read_document
from jobs.errors import ExecutionError, InputError, TrainingError
from jobs.files import (
    StrPath,
    append_record,
    pretty,
    read_json,
    read_record,
    read_records,
    remove_half_written,
    sync_folder,
    write_atomic,
    write_exclusive,
)
from jobs.processes import Process, is_running, this_host, this_process

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# A run on another host, whose process cannot be looked up from here, counts as alive until its
# heartbeat is older than this: ten heartbeats at the default interval.
STALE_AFTER_S = 300.0

# A launcher waits so long for another that is submitting runs of the same sweep.
CLAIM_TIMEOUT_S = 60.0

# The clocks of the machines may differ by so much.
CLOCK_SKEW_S = 60.0

# So many files are written at once: a disk stores what comes together in one go.
WRITERS = 32


class Environment(TypedDict):
    """What can change the bits of a result though the configuration is the same."""

    gpus: int
    device: str
    threads: int
    cpu_capability: str
    versions: dict[str, str]


class Measured(TypedDict):
    """How fast an attempt trained, after its first few steps."""

    startup_s: float  # from the attempt's start to the end of its first step
    steps: int  # that step_s is the mean of
    step_s: float  # without evaluations
    eval_steps: int  # batches of an evaluation
    eval_s: float | None  # of one whole evaluation; None if there was none
    peak_mem_mb: float  # of the first GPU or, on a CPU, of the process


class Attempt(TypedDict):
    """One start of a run: who and where, then what torch found, then how it ended.

    The later parts are missing while an attempt has not come so far, or if it was killed.
    """

    attempt: int
    started_unix_s: float
    executor: str
    job_id: str
    restart: int
    host: str
    pid: int
    user: str
    code: str
    node: NotRequired[str]  # SLURM's name for the host, or for all of a killed job's
    gpu_ids: NotRequired[str]  # of that host, as SLURM or CUDA_VISIBLE_DEVICES has them
    environment: NotRequired[Environment]
    precision: NotRequired[str]
    params: NotRequired[int]
    macs: NotRequired[int]
    steps_per_epoch: NotRequired[int]
    first_step: NotRequired[int]
    measured: NotRequired[Measured]
    ended_unix_s: NotRequired[float]
    cause: NotRequired[str]
    message: NotRequired[str]
    last_step: NotRequired[int]


class Resolved(TypedDict):
    """What options that say `auto` came to mean at the first attempt; the later ones keep it."""

    precision: str
    loading: NotRequired[str]


class Waiting(TypedDict, total=False):
    """What the records of older versions do not have."""

    data_wait_share: float  # of epoch_s, until the images were there


class EpochMetrics(Waiting):
    """One record of `metrics.jsonl`. Epochs count from 1; top-1 and top-5 are in percent.

    An evaluation alone is one epoch without the values of training.
    """

    attempt: int
    epoch: int
    step: int
    lr: float
    train_loss: float | None
    train_top1: float | None
    test_loss: float
    test_top1: float
    test_top5: float
    epoch_s: float
    eval_s: float
    throughput_img_s: float
    peak_mem_mb: float
    time_unix_s: float


class Marks(TypedDict, total=False):
    """What the records of older versions do not have."""

    stuck_at_chance: bool  # for a good part of the epochs, up to the last one


class Progress(Marks):
    """The heartbeat of a running attempt. `epoch` counts the finished ones."""

    attempt: int
    epoch: int
    epochs: int
    step: int
    steps: int
    eta_s: float | None
    test_top1: float | None
    time_unix_s: float


class Result(Marks):
    """The final numbers of a run; the file's existence is "finished"."""

    run_id: str
    best_test_top1: float
    best_epoch: int
    final_test_top1: float
    final_test_top5: float
    params: int
    macs: int
    wall_s: float
    attempts: int
    weights_sha256: str
    time_unix_s: float


class ImportedFile(TypedDict):
    name: str
    sha256: str


class Imported(TypedDict):
    """Where a run comes from that another program has trained, and what is known of it."""

    format: str
    files: list[ImportedFile]
    model: str  # the network's name as in the file
    seed: int | None
    options: dict[str, Any]  # those that are known, by their names in a matrix
    notes: list[str]  # what was odd about the files
    imported_unix_s: float


# What may differ between two trainings of one run: everything else is equal to the bit.
NOT_REPRODUCED = {
    "attempt",
    "epoch_s",
    "eval_s",
    "throughput_img_s",
    "data_wait_share",
    "peak_mem_mb",
    "time_unix_s",
}


class LeaseHolder(Process):
    """Who may write in a run directory."""

    token: str
    cluster: str
    job_id: str
    restart: int
    user: str
    time_unix_s: float


class LeaseHeldError(ExecutionError):
    """Another job is working on this run."""


class LeaseLostError(TrainingError):
    """Another job has taken the run over, since this one was thought to have ended."""

    cause = Cause.STOPPED


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
    """One run: `<sweep>/<run_id>/`."""

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

    def __init__(self, path: StrPath) -> None:
        self.folder = os.fspath(path).rstrip("/")
        self.run_id = os.path.basename(self.folder)
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

    @property
    def sweep(self) -> SweepDir:
        return SweepDir(self.path.parent)

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
        if not self.is_planned():
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self._config, pretty(config.to_document()))
        elif self.read_config() != config:
            document = changed_document(read_json(self._config), config)
            write_atomic(self._config, pretty(document))

    def read_config(self) -> RunConfig:
        """The configuration as it was planned; InputError if the file was edited since."""
        try:
            return read_document(read_json(self._config), self.run_id)
        except InputError as error:
            raise InputError(f"{self._config}: {error}") from None

    # ---- what it asks for beyond its sweep: written by the launcher with each matrix

    def write_resources(self, wishes: Mapping[str, Any]) -> None:
        """Keep what this run alone asks SLURM for, such as {"time": "8h"}; no file for nothing."""
        if wishes == self.read_resources():
            return
        if wishes:
            write_atomic(self._resources, pretty(wishes))
        else:
            _remove(self._resources)

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
        needed = ("attempt", "started_unix_s", "pid")
        return [read_record(self._attempt(n), needed) for n in _numbers(self._attempts)]

    def next_attempt(self) -> int:
        return max(_numbers(self._attempts), default=0) + 1

    def write_attempt(self, attempt: Attempt) -> None:
        """At the start of an attempt, and again at its end."""
        Path(self._attempts).mkdir(exist_ok=True)
        write_atomic(self._attempt(attempt["attempt"]), pretty(attempt))

    def _attempt(self, number: int) -> str:
        return f"{self._attempts}/{number}.json"

    def history(self) -> list[Attempt]:
        """All attempts, in order, with all that is known of how they ended.

        One without a cause goes on, or was killed and nobody has found out why yet.
        """
        attempts = self.attempts()
        silent = {attempt["attempt"]: attempt for attempt in attempts if "cause" not in attempt}
        if attempts and attempts[-1]["attempt"] in silent and self.read_result() is not None:
            attempts[-1]["cause"] = Cause.FINISHED  # killed after its last word but one
        for event in self.observed() if silent else ():
            if event["event"] == "explained" and event["attempt"] in silent:
                attempt = silent[event["attempt"]]
                attempt["cause"], attempt["message"] = event["cause"], event["message"]
                attempt["node"] = event["nodes"] or attempt.get("node", "")
                if (ended_s := event.get("ended_unix_s")) is not None:
                    attempt["ended_unix_s"] = ended_s
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
            with open(self._metrics, "rb") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

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
        """Whether the run was cancelled, and not released since.

        That SLURM cancelled a job counts once, however often and however late it is written down.
        """
        cancelled = False
        told: set[str] = set()
        for event in self.observed():
            if event["event"] == "released":
                cancelled = False
            elif event["event"] == "cancelled" and event.get("token") not in told:
                cancelled = True
                told.update(filter(None, [event.get("token")]))
        return cancelled

    def released_unix_s(self) -> float:
        """When a person last said that a cancelled run is to go on; 0 if nobody ever did."""
        times = [e["time_unix_s"] for e in self.observed() if e["event"] == "released"]
        return max(times, default=0.0)

    def observed(self) -> list[dict[str, Any]]:
        return list(read_records(self._observed, ("event", "time_unix_s")))

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

        The file is created exclusively, and no locks are used: they do not hold on every network
        file system. A dead holder's lease is moved aside first; if two jobs try, one rename wins,
        and the loser finds the winner's lease.
        """
        holder = LeaseHolder(
            token=secrets.token_hex(8),
            cluster=cluster,
            job_id=job_id,
            restart=restart,
            user=getpass.getuser(),
            time_unix_s=time.time(),
            **this_process(),
        )
        held = self.lease()
        if held is not None and self._is_alive(held, is_gone(held)):
            raise LeaseHeldError(
                f"{self.run_id} is being trained by process {held['pid']} on {held['host']} "
                f"(job {held['job_id']}); wait for it, or cancel it first"
            )
        if held is not None:
            self._move_aside(held, holder["token"])
        try:
            write_exclusive(self._lease, orjson.dumps(holder))
        except FileExistsError:
            raise LeaseHeldError(f"{self.run_id} was just taken by another job") from None
        if self.lease() != holder:
            raise LeaseHeldError(f"{self.run_id} was just taken by another job")
        self._own_lease = holder
        return holder

    def release_lease(self, holder: LeaseHolder) -> None:
        if self.lease() == holder:
            _remove(self._lease)
        self._own_lease = None

    def check_lease(self) -> None:
        """LeaseLostError if the lease that was taken here belongs to somebody else by now.

        Asked before everything that an attempt writes: of a node that SLURM has given up, and of a
        job that it forgot in a crash, the processes may go on, while the run is started elsewhere.
        """
        if self._own_lease is not None and (holder := self.lease()) != self._own_lease:
            who = f"job {holder['job_id']} on {holder['host']}" if holder else "another job"
            raise LeaseLostError(f"{who} has taken the run over; this one writes nothing more")

    def lease(self) -> LeaseHolder | None:
        return read_record(self._lease, LeaseHolder.__annotations__)

    def holder(self) -> LeaseHolder | None:
        """Who is working on this run now; a dead holder's lease does not count."""
        held = self.lease()
        return held if held is not None and self._is_alive(held) else None

    def _is_alive(self, held: LeaseHolder, is_gone: bool | None = None) -> bool:
        if held["host"] == this_host():
            return is_running(held)
        if is_gone is not None:
            return not is_gone
        progress = self.read_progress()
        last_sign = max(held["time_unix_s"], progress["time_unix_s"] if progress else 0.0)
        return time.time() - last_sign < STALE_AFTER_S

    def _move_aside(self, held: LeaseHolder, token: str) -> None:
        if not _remove_dead(self._lease, held, self.path / f".lease.{token}.tmp"):
            raise LeaseHeldError(f"{self.run_id} was just taken by another job")

    # ---- all records

    def stamps(self) -> list[FileStamp]:
        """Of every file that holds a record: if they are as before, so is what is read."""
        paths = [self._config, self._result, self._metrics, self._progress, self._observed]
        paths.append(self._imported)
        paths += [f"{self._attempts}/{number}.json" for number in _numbers(self._attempts)]
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


class SweepDir:
    """All runs of one matrix: `<runs>/<sweep>/`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self._matrices = self.path / "matrices"
        self._submissions = self.path / "submissions"

    def __repr__(self) -> str:
        return f"SweepDir({str(self.path)!r})"

    def exists(self) -> bool:
        return self.is_own() or any(run.is_imported() for run in self._folders())

    def is_own(self) -> bool:
        """Whether it was planned here, and does not hold imported runs alone."""
        return self._matrices.is_dir() or any(run.is_planned() for run in self._folders())

    def run(self, run_id: str) -> RunDir:
        return RunDir(f"{self.path}/{run_id}")

    def runs(self) -> list[RunDir]:
        """Every planned run, by name."""
        return [run for run in self._folders() if run.is_planned()]

    def imported_runs(self) -> list[RunDir]:
        """Every run that another program has trained, by name."""
        return [run for run in self._folders() if run.is_imported()]

    def _folders(self) -> list[RunDir]:
        """What may be a run, by name."""
        if not self.path.is_dir():
            return []
        found = (RunDir(entry.path) for entry in os.scandir(self.path) if entry.is_dir())
        return sorted(found, key=lambda run: run.run_id)

    def changed_unix_s(self) -> float:
        """When the last file of the sweep or of one of its runs was made or replaced."""
        folders = [entry.path for entry in os.scandir(self.path) if entry.is_dir()]
        return max(os.stat(place).st_mtime for place in [str(self.path), *folders])

    def write_configs(
        self, configs: Mapping[str, RunConfig], resources: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Plan runs, by their names, with what some of them ask for alone."""

        def write(run: RunDir) -> None:
            run.write_config(configs[run.run_id])
            run.write_resources(resources.get(run.run_id, {}))

        new = [
            run
            for run_id, config in configs.items()
            if not (run := self.run(run_id)).is_planned_as(config, resources.get(run_id, {}))
        ]
        # Side by side, because each waits for the disk, often longer than it works.
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, new))
        if new:
            sync_folder(self.path)

    # ---- matrices: every version as submitted, each with the runs that it names

    def add_matrix(self, text: str, run_ids: Iterable[str]) -> int:
        """Keep this version of the matrix; the newest version again is not kept twice.

        Returns the version's number.
        """
        names = list(run_ids)
        newest = self.newest_matrix()
        if newest is not None and newest[1] == text and self.named_runs() == names:
            return newest[0]
        self._matrices.mkdir(parents=True, exist_ok=True)
        number = max(_numbers(self._matrices, ".runs.json"), default=0) + 1
        while True:
            # The names are stored beside, so that what a version names is never derived again;
            # and first, which makes the number ours.
            try:
                write_exclusive(self._names(number), pretty(names))
                break
            except FileExistsError:
                number += 1
        write_atomic(self._matrix(number), text.encode())
        return number

    def newest_matrix(self) -> tuple[int, str] | None:
        """The number and the text of the newest version, if there is one."""
        numbers = _numbers(self._matrices, ".yaml")
        return (numbers[-1], self._matrix(numbers[-1]).read_text()) if numbers else None

    def named_runs(self) -> list[str]:
        """The runs that the newest version of the matrix names, in its order.

        Without a matrix, in a folder of runs that were started by hand, all of them.
        """
        newest = self.newest_matrix()
        if newest is None:
            return [run.run_id for run in self.runs()]
        path = self._names(newest[0])
        names = read_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path} is missing or damaged; submit the matrix again")
        return names

    def _matrix(self, number: int) -> Path:
        return self._matrices / f"{number}.yaml"

    def _names(self, number: int) -> Path:
        return self._matrices / f"{number}.runs.json"

    # ---- submissions: who asked for what, when

    def write_submission(self, record: Mapping[str, Any], path: Path | None = None) -> Path:
        """Write an intent, or replace the one at `path` with what became of it."""
        if path is None:
            self._submissions.mkdir(parents=True, exist_ok=True)
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            path = self._submissions / f"{stamp}-{record['token']}.json"
            write_exclusive(path, pretty(record))
        else:
            write_atomic(path, pretty(record))
        return path

    def submissions(self) -> dict[Path, dict[str, Any]]:
        """All submissions, oldest first."""
        records = {path: read_submission(path) for path in self._submissions.glob("*.json")}
        return dict(sorted(records.items(), key=lambda item: item[1]["submitted_unix_s"]))

    def is_on_slurm(self) -> bool:
        """Whether runs of this sweep were ever given to SLURM."""
        return any(record["executor"] == "slurm" for record in self.submissions().values())

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Be the only launcher that submits runs of this sweep, for as long as it takes.

        Waits for another one; ExecutionError if it takes very long.
        """
        self._submissions.mkdir(parents=True, exist_ok=True)
        claim = self._submissions / "claim"
        deadline_s = time.monotonic() + CLAIM_TIMEOUT_S
        while True:
            holder = read_record(claim, Process.__annotations__)
            if holder is not None and holder["host"] == this_host() and not is_running(holder):
                # Its launcher was killed.
                _remove_dead(claim, holder, claim.with_name(f".claim.{secrets.token_hex(8)}.tmp"))
            try:
                write_exclusive(claim, pretty(this_process()))
                break
            except FileExistsError:
                if time.monotonic() > deadline_s:
                    raise ExecutionError(
                        f"another launcher is submitting runs of {self.name}; try again, or "
                        f"remove {claim} if it is gone"
                    ) from None
                time.sleep(0.1)
        try:
            yield
        finally:
            claim.unlink(missing_ok=True)

    def code_folder(self, content_hash: str) -> Path:
        """Where the launcher keeps the code that jobs of this sweep import, once per content."""
        return self.path / "code" / content_hash

    def job_output(self, record: Mapping[str, Any]) -> Path:
        """Where the jobs of a submission, whoever made it, put what they print."""
        return self.path / "slurm" / record["user"] / record["token"]

    def job_folder(self, token: str) -> Path:
        """A private folder for submitit's pickles and output: it unpickles what it finds there."""
        mine = self.path / "slurm" / getpass.getuser()
        mine.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(mine)
        folder = mine / token
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _remove(path: StrPath) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _remove_dead(path: StrPath, held: Mapping[str, Any], aside: Path) -> bool:
    """Remove the lease or the claim of a dead holder; False if it is another's by now."""
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return True
    if read_json(aside) == held:
        aside.unlink()
        return True
    # Another process was faster, and what was moved is its own: put it back, unless a third has
    # one by now.
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return False


def check_private(folder: Path) -> None:
    """InputError unless the folder is this user's, and nobody else can write in it."""
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise InputError(
            f"{folder} must be writable by {getpass.getuser()} alone, because "
            f"jobs run what is stored there; remove it or run: chmod go-w {folder}"
        )


def read_submission(path: Path) -> dict[str, Any]:
    """One submission's record; InputError if it is missing or damaged."""
    needed = ("token", "executor", "runs", "user", "submitted_unix_s", *Process.__annotations__)
    record = read_record(path, needed)
    if record is None:
        raise InputError(f"{path} is missing")
    return record


def submission_of(
    attempt: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The record of an attempt's job on SLURM, among those of its run, oldest first.

    A controller that began anew has given out ids again: then it is the last one from before the
    attempt.
    """
    job_id = attempt["job_id"].partition("_")[0]
    found = [record for record in records if record.get("job_id") == job_id]
    began_s = attempt["started_unix_s"]
    before = [r for r in found if r["submitted_unix_s"] <= began_s + CLOCK_SKEW_S]
    return (before or found)[-1] if found else None


def find_sweep(name_or_path: str, runs: Path) -> SweepDir:
    """The sweep that a person named: a name under `runs`, or a path."""
    for candidate in (runs / name_or_path, Path(name_or_path)):
        sweep = SweepDir(candidate)
        if sweep.exists():
            return sweep
    names = [sweep.name for sweep in all_sweeps(runs)]
    unknown = UnknownNameError("sweep", name_or_path, names, "launcher list")
    raise InputError(f"{unknown} (looked in {runs})")


def all_sweeps(runs: Path) -> list[SweepDir]:
    """Every sweep under `runs`, by name."""
    if not runs.is_dir():
        return []
    found = (SweepDir(path) for path in sorted(runs.iterdir()))
    return [sweep for sweep in found if sweep.exists()]


def check_name(kind: str, name: object) -> str:
    """`name`, if it is safe as a folder's and a job's name; InputError otherwise."""
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise InputError(
            f"{kind} {name!r} is not valid: use up to 64 letters, digits, '-' and '_', "
            "beginning with a letter or a digit"
        )
    return name


def _numbers(folder: StrPath, suffix: str = ".json") -> list[int]:
    """The numbers that name files of a folder, `3` for `3.json`, in order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return sorted(int(stem) for stem in stems if stem.isdigit())
