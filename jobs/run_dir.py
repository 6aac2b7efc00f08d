"""The run directory: the contract between jobs, launcher and analysis.

Every file name of a sweep, its writer and its reader live here and nowhere else. One writer per
file. A file is written beside, synced and renamed, or appended and flushed; nothing is edited in
place, so whoever reads sees a whole file or none.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import orjson
import psutil

from attention_models import UnknownNameError
from jobs.config import RunConfig, changed_document, read_document
from jobs.errors import ExecutionError, InputError

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# A run on another host, whose process cannot be looked up from here, counts as alive until its
# heartbeat is older than this: ten heartbeats at the default interval.
STALE_AFTER_S = 300.0

# A lease is created empty and filled at once; one that stays empty has lost its writer.
TORN_LEASE_AFTER_S = 10.0


class Environment(TypedDict):
    """What can change the bits of a result though the configuration is the same."""

    device: str
    threads: int
    cpu_capability: str
    versions: dict[str, str]


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
    environment: NotRequired[Environment]
    params: NotRequired[int]
    macs: NotRequired[int]
    steps_per_epoch: NotRequired[int]
    first_step: NotRequired[int]
    ended_unix_s: NotRequired[float]
    cause: NotRequired[str]
    message: NotRequired[str]
    last_step: NotRequired[int]


class EpochMetrics(TypedDict):
    """One record of `metrics.jsonl`. Epochs count from 1; top-1 and top-5 are in percent."""

    attempt: int
    epoch: int
    step: int
    lr: float
    train_loss: float
    train_top1: float
    test_loss: float
    test_top1: float
    test_top5: float
    epoch_s: float
    eval_s: float
    throughput_img_s: float
    peak_mem_mb: float
    time_unix_s: float


class Progress(TypedDict):
    """The heartbeat of a running attempt. Epochs count from 1."""

    attempt: int
    epoch: int
    epochs: int
    step: int
    steps: int
    eta_s: float | None
    test_top1: float | None
    time_unix_s: float


class Result(TypedDict):
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


class LeaseHolder(TypedDict):
    """Who may write in a run directory."""

    token: str
    cluster: str
    job_id: str
    restart: int
    user: str
    host: str
    pid: int
    pid_started_unix_s: float
    time_unix_s: float


class LeaseHeldError(ExecutionError):
    """Another job is working on this run."""


class Process(TypedDict):
    """A process, told apart from a later one with the same id."""

    host: str
    pid: int
    pid_started_unix_s: float


class RunDir:
    """One run: `<sweep>/<run_id>/`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.run_id = self.path.name
        self.checkpoint = self.path / "checkpoint.pt"
        self.next_checkpoint = self.path / "checkpoint.next.pt"
        self.previous_checkpoint = self.path / "checkpoint.prev.pt"
        self.best = self.path / "best.pt"
        self.needs_resume = self.path / "needs_resume"
        self._config = self.path / "config.json"
        self._attempts = self.path / "attempts"
        self._observed = self.path / "observed.jsonl"
        self._lease = self.path / "lease"
        self._progress = self.path / "progress.json"
        self._metrics = self.path / "metrics.jsonl"
        self._result = self.path / "result.json"

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"

    @property
    def sweep(self) -> SweepDir:
        return SweepDir(self.path.parent)

    # ---- configuration: written by the launcher, once

    def is_planned(self) -> bool:
        return self._config.exists()

    def write_config(self, config: RunConfig) -> None:
        """Plan the run. Planned again, it takes over the options that cannot change the result.

        Raises InputError if the file was edited since it was written.
        """
        if not self.is_planned():
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self._config, _pretty(config.to_document()))
        elif self.read_config() != config:
            write_atomic(self._config, _pretty(changed_document(_load(self._config), config)))

    def read_config(self) -> RunConfig:
        """The configuration as it was planned; InputError if the file was edited since."""
        try:
            return read_document(_load(self._config), self.run_id)
        except InputError as error:
            raise InputError(f"{self._config}: {error}") from None

    # ---- attempts: written by the job

    def attempts(self) -> list[Attempt]:
        """All attempts, in order. A damaged file is left out."""
        records = (_load_or_none(self._attempts / f"{n}.json") for n in _numbers(self._attempts))
        return [record for record in records if record is not None]

    def next_attempt(self) -> int:
        return max(_numbers(self._attempts), default=0) + 1

    def write_attempt(self, attempt: Attempt) -> None:
        """At the start of an attempt, and again at its end."""
        self._attempts.mkdir(exist_ok=True)
        write_atomic(self._attempts / f"{attempt['attempt']}.json", _pretty(attempt))

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
        # A heartbeat may be lost in a crash, so it is renamed into place but not synced.
        write_atomic(self._progress, orjson.dumps(progress), sync=False)

    def read_progress(self) -> Progress | None:
        return _load_or_none(self._progress)

    def append_metrics(self, metrics: EpochMetrics) -> None:
        append_record(self._metrics, metrics)

    def read_metrics(self) -> list[EpochMetrics]:
        """One record per epoch, in order.

        A run that goes on from a checkpoint trains some epochs again, so the last record of an
        epoch counts. A torn last line is what a killed writer leaves, and is left out.
        """
        by_epoch = {record["epoch"]: record for record in read_records(self._metrics)}
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]

    def write_result(self, result: Result) -> None:
        write_atomic(self._result, _pretty(result))

    def read_result(self) -> Result | None:
        return _load_or_none(self._result)

    # ---- what only the launcher knows

    def observe(self, event: str, **facts: Any) -> None:
        """Append what the launcher saw or was told, such as `cancelled`."""
        append_record(self._observed, {"event": event, **facts, "time_unix_s": time.time()})

    def observed(self) -> list[dict[str, Any]]:
        return list(read_records(self._observed))

    # ---- lease: who may write here

    def take_lease(
        self,
        cluster: str,
        job_id: str,
        restart: int,
        is_gone: Callable[[LeaseHolder], bool | None] = lambda held: None,
    ) -> LeaseHolder:
        """Become the only writer; LeaseHeldError while another holder is alive.

        `is_gone` may know from the scheduler whether a holder has ended, or say None.

        The file is created exclusively (no locks: they do not hold on every network file system).
        A dead holder's lease is moved aside first; if two jobs try, one rename wins, and the
        loser finds the winner's lease.
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
        if held is not None or self._lease_is_torn():
            self._move_aside(held, holder["token"])
        try:
            descriptor = os.open(self._lease, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            raise LeaseHeldError(f"{self.run_id} was just taken by another job") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(holder))
            file.flush()
            os.fsync(file.fileno())
        if self.lease() != holder:
            raise LeaseHeldError(f"{self.run_id} was just taken by another job")
        return holder

    def release_lease(self, holder: LeaseHolder) -> None:
        if self.lease() == holder:
            self._lease.unlink(missing_ok=True)

    def lease(self) -> LeaseHolder | None:
        return _load_or_none(self._lease)

    def holder(self) -> LeaseHolder | None:
        """Who is working on this run now; a dead holder's lease does not count."""
        held = self.lease()
        return held if held is not None and self._is_alive(held) else None

    def _is_alive(self, held: LeaseHolder, is_gone: bool | None = None) -> bool:
        if is_gone is not None:
            return not is_gone
        if held["host"] == this_host():
            return is_running(held)
        progress = self.read_progress()
        last_sign = max(held["time_unix_s"], progress["time_unix_s"] if progress else 0.0)
        return time.time() - last_sign < STALE_AFTER_S

    def _lease_is_torn(self) -> bool:
        """Whether a lease's taker was killed before it had written who it is."""
        try:
            return time.time() - self._lease.stat().st_mtime > TORN_LEASE_AFTER_S
        except FileNotFoundError:
            return False

    def _move_aside(self, held: LeaseHolder | None, token: str) -> None:
        aside = self.path / f"lease.{token}"
        try:
            os.rename(self._lease, aside)
        except FileNotFoundError:
            return
        moved = _load_or_none(aside)
        if moved != held:
            # Another job was faster, and what was moved is its lease: put it back.
            os.rename(aside, self._lease)
            raise LeaseHeldError(f"{self.run_id} was just taken by another job")
        aside.unlink()

    # ---- the end

    def remove_leftovers(self) -> None:
        """Remove what a killed writer left half-written; for the holder of the lease."""
        for path in self.path.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def drop_checkpoints(self, keep: str) -> None:
        """Remove what is not to stay: `keep` is none, final or best."""
        self.previous_checkpoint.unlink(missing_ok=True)
        if keep != "final":
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
        return self._matrices.is_dir() or bool(self.runs())

    def run(self, run_id: str) -> RunDir:
        return RunDir(self.path / run_id)

    def runs(self) -> list[RunDir]:
        """Every planned run, by name."""
        if not self.path.is_dir():
            return []
        found = (RunDir(entry.path) for entry in os.scandir(self.path) if entry.is_dir())
        return sorted((run for run in found if run.is_planned()), key=lambda run: run.run_id)

    # ---- matrices: every version as submitted, each with the runs that it names

    def add_matrix(self, text: str, run_ids: Iterable[str]) -> int:
        """Keep this version of the matrix; the newest version again is not kept twice.

        Returns the version's number.
        """
        run_ids = list(run_ids)
        newest = self.newest_matrix()
        if newest and newest[1] == text and self.named_runs() == run_ids:
            return newest[0]
        number = newest[0] + 1 if newest else 1
        self._matrices.mkdir(parents=True, exist_ok=True)
        # The names are stored beside, and first: what a version names is not derived again later.
        write_atomic(self._matrices / f"{number}.runs.json", _pretty(run_ids))
        write_atomic(self._matrix(number), text.encode())
        return number

    def newest_matrix(self) -> tuple[int, str] | None:
        numbers = _numbers(self._matrices, ".yaml")
        return (numbers[-1], self._matrix(numbers[-1]).read_text()) if numbers else None

    def _matrix(self, number: int) -> Path:
        return self._matrices / f"{number}.yaml"

    def named_runs(self) -> list[str]:
        """The runs that the newest version of the matrix names, in its order.

        Without a matrix, in a folder of runs that were started by hand, all of them.
        """
        newest = self.newest_matrix()
        if newest is None:
            return [run.run_id for run in self.runs()]
        return _load_or_none(self._matrices / f"{newest[0]}.runs.json") or []

    # ---- submissions: who asked for what, when

    def write_submission(self, record: Mapping[str, Any], path: Path | None = None) -> Path:
        """Write an intent, or replace the one at `path` with what became of it."""
        if path is None:
            self._submissions.mkdir(parents=True, exist_ok=True)
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            path = self._submissions / f"{stamp}-{record['token']}.json"
        write_atomic(path, _pretty(record))
        return path

    def submissions(self) -> dict[Path, dict[str, Any]]:
        """All submissions, oldest first."""
        paths = sorted(self._submissions.glob("*.json"))
        records = {path: _load_or_none(path) for path in paths}
        return {path: record for path, record in records.items() if record is not None}

    def code_folder(self, content_hash: str) -> Path:
        """Where the launcher keeps the code that jobs of this sweep import, once per content."""
        return self.path / "code" / content_hash

    def job_folder(self, token: str) -> Path:
        """A private folder for submitit's pickles and output: it unpickles what it finds there."""
        mine = self.path / "slurm" / getpass.getuser()
        mine.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(mine)
        folder = mine / token
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


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
    try:
        return _load(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def find_sweep(name_or_path: str, runs: Path) -> SweepDir:
    """The sweep that a person named: a name under `runs`, or a path."""
    for candidate in (runs / name_or_path, Path(name_or_path)):
        sweep = SweepDir(candidate)
        if sweep.exists():
            return sweep
    names = [sweep.name for sweep in all_sweeps(runs)]
    raise InputError(f"{UnknownNameError('sweep', name_or_path, names)} (looked in {runs})")


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


# ---- processes


def this_host() -> str:
    return socket.gethostname()


def this_process() -> Process:
    return Process(
        host=this_host(),
        pid=os.getpid(),
        pid_started_unix_s=psutil.Process().create_time(),
    )


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether a process of this host is alive, and no later one that got its id."""
    try:
        found = psutil.Process(process["pid"])
        # The start is derived from the clock at boot, which may be corrected a little later.
        same = abs(found.create_time() - process["pid_started_unix_s"]) < 2.0
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---- files


def write_atomic(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write beside, sync, rename: a reader sees the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line of JSON. A torn line before it is ended first, so that it stays one loss."""
    line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    with open(path, "a+b") as file:
        if file.tell() and _last_byte(path) != b"\n":
            line = b"\n" + line
        file.write(line)
        file.flush()


def read_records(path: Path) -> Iterator[Any]:
    """Every whole line of a JSON-lines file; a file that is not there has none."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            continue


def _numbers(folder: Path, suffix: str = ".json") -> list[int]:
    """The numbers that name files of a folder, `3` for `3.json`, in order."""
    return sorted(int(path.stem) for path in folder.glob(f"*{suffix}") if path.stem.isdigit())


def _last_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _pretty(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _load(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError("the file is missing") from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"the file is not JSON ({error})") from None


def _load_or_none(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None
