"""The sweep's directory: its runs, the versions of its matrix, and who submitted what.

Every file name of a sweep, beside those of its runs, its writer and its reader live here and
nowhere else.
"""

from __future__ import annotations

import getpass
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import InputError
from jobs.files import (
    numbers_in,
    pretty,
    read_json,
    read_record,
    sync_folder,
    write_atomic,
    write_exclusive,
)
from jobs.lease import claimed
from jobs.processes import Process, is_running, this_host
from jobs.run_dir import RunDir

if TYPE_CHECKING:
    from jobs.config import RunConfig

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# The clocks of the machines may differ by so much.
CLOCK_SKEW_S = 60.0

# So many files are written at once: a disk stores what comes together in one go.
WRITERS = 32


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

    def runs(self, besides: Collection[str] = ()) -> list[RunDir]:
        """Every planned run, by name, besides those that are known already."""
        return [run for run in self._folders(besides) if run.is_planned()]

    def imported_runs(self, besides: Collection[str] = ()) -> list[RunDir]:
        """Every run that another program has trained, likewise."""
        return [run for run in self._folders(besides) if run.is_imported()]

    def _folders(self, besides: Collection[str] = ()) -> list[RunDir]:
        """What may be a run, by name."""
        if not self.path.is_dir():
            return []
        entries = (entry for entry in os.scandir(self.path) if entry.name not in besides)
        return [
            self.run(name) for name in sorted(entry.name for entry in entries if entry.is_dir())
        ]

    def changed_unix_s(self) -> float:
        """When the last file of the sweep or of one of its runs was made or replaced."""
        folders = [entry.path for entry in os.scandir(self.path) if entry.is_dir()]
        return max(os.stat(place).st_mtime for place in [str(self.path), *folders])

    def write_configs(
        self, configs: Mapping[str, RunConfig], resources: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Plan runs, by their names, with what some of them ask for alone."""
        from concurrent.futures import ThreadPoolExecutor  # which looking need not load

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
        number = max(numbers_in(self._matrices, ".runs.json"), default=0) + 1
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
        numbers = numbers_in(self._matrices, ".yaml")
        if not numbers:
            return None
        return numbers[-1], self._matrix(numbers[-1]).read_text(errors="replace")

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
            raise InputError(
                f"{path} is missing or damaged; remove it and {self._matrix(newest[0])}, and "
                "submit the matrix again"
            )
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

    def submissions_of_runs(self) -> dict[str, list[dict[str, Any]]]:
        """Those that each run was part of, oldest first; of runs that never were, nothing."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in self.submissions().values():
            for run_id in record["runs"]:
                found.setdefault(run_id, []).append(record)
        return found

    def is_on_slurm(self) -> bool:
        """Whether runs of this sweep were ever given to SLURM."""
        return any(record["executor"] == "slurm" for record in self.submissions().values())

    def claim(self) -> AbstractContextManager[None]:
        """Be the only launcher that submits runs of this sweep, for as long as it takes.

        Waits for another one; ExecutionError if it takes very long.
        """
        self._submissions.mkdir(parents=True, exist_ok=True)
        return claimed(self._submissions / "claim", self.name)

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


def is_being_made(submission: Mapping[str, Any]) -> bool:
    """Whether the launcher that wrote a submission is alive on this host, and not done with it.

    It is done when it knows the job's id or was refused, and a local queue when it has ended. A
    process on another host cannot be looked up.
    """
    done = {"job_id", "refused", "ended_unix_s"} & submission.keys()
    return not done and submission["host"] == this_host() and is_running(submission)


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
    """The record of the submission that made an attempt, among those of its run, oldest first.

    On SLURM it has the id of the attempt's job. A controller that began anew has given out ids
    again: then it is the last one from before the attempt. Elsewhere it is the last one of the
    attempt's host from before it.
    """
    began_s, job_id = attempt["started_unix_s"], attempt["job_id"].partition("_")[0]
    alike = [record for record in records if record["executor"] == attempt["executor"]]
    if attempt["executor"] != "slurm":
        on_host = [record for record in alike if record["host"] == attempt["host"]]
        return _last_until(began_s, on_host)
    of_job = [record for record in alike if record.get("job_id") == job_id]
    return _last_until(began_s + CLOCK_SKEW_S, of_job) or (of_job[-1] if of_job else None)


def _last_until(
    unix_s: float, submissions: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    before = [record for record in submissions if record["submitted_unix_s"] <= unix_s]
    return before[-1] if before else None


def runs_on_gpu(attempt: Mapping[str, Any], submission: Mapping[str, Any] | None) -> int:
    """How many runs had an attempt's GPU, the last ones of a submission maybe fewer than others."""
    if submission is None:
        return 1
    size, index = submission.get("runs_per_job", 1), attempt["job_id"].partition("_")[2]
    if size > 1:
        return min(size, len(submission["runs"]) - size * int(index or 0))
    return submission.get("runs_per_gpu", 1)


def find_sweep(name_or_path: str, runs: Path) -> SweepDir:
    """The sweep that a person named: a name under `runs`, or a path."""
    for candidate in (runs / name_or_path, Path(name_or_path)):
        sweep = SweepDir(candidate)
        if sweep.exists():
            return sweep
    from attention_models import UnknownNameError  # with all networks

    names = [sweep.name for sweep in all_sweeps(runs)]
    unknown = UnknownNameError("sweep", name_or_path, names, "launcher list")
    raise InputError(f"{unknown} (looked in {runs})")


def all_sweeps(runs: Path) -> list[SweepDir]:
    """Every sweep under `runs`, by name."""
    if not runs.is_dir():
        return []
    found = (SweepDir(path) for path in sorted(runs.iterdir()))
    return [sweep for sweep in found if sweep.exists()]


def sweep_of(run: RunDir) -> SweepDir:
    """The sweep that a run is in."""
    return SweepDir(run.path.parent)


def check_name(kind: str, name: object) -> str:
    """`name`, if it is safe as a folder's and a job's name; InputError otherwise."""
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise InputError(
            f"{kind} {name!r} is not valid: use up to 64 letters, digits, '-' and '_', "
            "beginning with a letter or a digit"
        )
    return name
