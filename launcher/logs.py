"""Finding a run by a part of its name, and printing what it said and how its attempts ended."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from rich.table import Table
from rich.text import Text

from jobs.causes import Cause
from jobs.errors import ExecutionError, InputError
from jobs.events import ends
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Progress
from jobs.sweep_dir import SweepDir, all_sweeps, sweep_of
from launcher.durations import format_duration
from launcher.fitting import short_id, with_short_names
from launcher.plan import State
from launcher.run_status import RunStatus, run_status
from launcher.status import labels_of, look_at, queued_runs, tasks_in_slurm
from launcher.table import describe_start, short_gpu

FOLLOW_S = 0.3
ASK_SLURM_S = 10.0  # a controller has other things to do
FAILED_LINES = 15
MATCHES_SHOWN = 10


def find_run(name: str, runs: Path, only: str | None = None) -> RunDir:
    """The run that is meant: a path, a run's name or label, or a unique part of one.

    Also SWEEP/PART; a sweep alone, or nothing, means its only run. Among several, the expression
    `only` may select one.
    """
    for path in (runs / name, Path(name)):
        if name and RunDir(path).is_planned():
            return RunDir(path)
    found = _matches(name, runs)
    if only:
        found = _only(only, found)
    if len(found) == 1:
        return found[0]
    if not name and not only:
        raise InputError("which run? Give a part of its name, or --only 'seed == 0 and ...'")
    shown = "".join(f"\n  {line}" for line in _described(found[:MATCHES_SHOWN]))
    more = f"\n  and {len(found) - MATCHES_SHOWN} more" if len(found) > MATCHES_SHOWN else ""
    what = f"{name!r} is a part of several runs' names"
    if only:
        what = f"--only {only!r} selects several runs"
    raise InputError(f"{what}; say which:{shown}{more}")


def _described(runs: Sequence[RunDir]) -> list[str]:
    """Each with the name by which it is found, and the label by which a person knows it."""
    labels = _labels(list({run.path.parent: sweep_of(run) for run in runs}.values()))
    return [
        f"{run.path.parent.name}/{run.run_id}  {labels.get(run.path, '')}".rstrip() for run in runs
    ]


def _matches(name: str, runs: Path) -> list[RunDir]:
    """The runs of which this is the name, a part of it, the label, words of it, or the sweep.

    The first of these that fits any run counts.
    """
    sweep_name, slash, part = name.rpartition("/")
    sweeps = [s for s in all_sweeps(runs) if not slash or s.name == sweep_name]
    candidates = [run for sweep in sweeps for run in sweep.runs()]
    labels, words = _labels(sweeps), set(part.split())
    # As a narrow table shows them, too.
    short = dict(zip(labels, with_short_names(list(labels.values())), strict=True))
    told = {path: {*label.split(), *short[path].split()} for path, label in labels.items()}
    for found in (
        [run for run in candidates if run.run_id == part],
        [run for run in candidates if part in run.run_id],
        [run for run in candidates if labels.get(run.path) == part],
        [run for run in candidates if words <= told.get(run.path, set())],
        [run for run in candidates if run.path.parent.name == name],
    ):
        if found:
            return found
    raise InputError(f"no run in {runs} is called {name!r}; `launcher status` lists them")


def _labels(sweeps: Sequence[SweepDir]) -> dict[Path, str]:
    """What tells each run from the others of its sweep, but for damaged ones."""
    labels: dict[Path, str] = {}
    for sweep in sweeps:
        runs = {run.run_id: run for run in sweep.runs()}
        of_sweep = labels_of(look_at(sweep, remembers=True), runs)
        labels |= {runs[run_id].path: label for run_id, label in of_sweep.items()}
    return labels


def _only(only: str, runs: list[RunDir]) -> list[RunDir]:
    from launcher.failures import Failures, intact_sweeps
    from launcher.printing import status_or_files
    from launcher.selected import Selected

    sweeps = list({run.path.parent: sweep_of(run) for run in runs}.values())
    sweeps = intact_sweeps(sweeps, Failures(len(sweeps)))
    candidates = {run.path for run in runs}
    among = [
        [status for status in statuses if sweep.path / status.run_id in candidates]
        for sweep, statuses in zip(sweeps, status_or_files(sweeps, remembers=True), strict=True)
    ]
    chosen = zip(sweeps, Selected(only)(sweeps, among), strict=True)
    return [sweep.run(status.run_id) for sweep, statuses in chosen for status in statuses]


def print_log(run: RunDir, attempt: int | None, *, follow: bool, tail: int | None = None) -> None:
    """Print the log of one attempt, by default the last; of it the last `tail` lines.

    With `follow` it goes on while the run does, over preemptions, from attempt to attempt. Of a run
    without a log, what its job printed.
    """
    logs = run.logs()
    if attempt is not None and attempt not in logs:
        known = ", ".join(map(str, logs)) or "none"
        raise InputError(f"{run.run_id} has no attempt {attempt}. Valid: {known}")
    if follow:
        _Follower(run, attempt or max(logs, default=1), tail).follow()
        return
    path = logs[attempt or max(logs)] if logs else _job_output(run)
    if path is None:
        raise InputError(_why_silent(run))
    print(_read(path, tail), end="")


def print_failures(
    sweeps: Sequence[SweepDir], statuses: Sequence[Sequence[RunStatus]], tail: int | None
) -> None:
    """Print why each failed run failed, and the last lines of what it said."""
    failed = [
        (sweep.run(status.run_id), status)
        for sweep, of_sweep in zip(sweeps, statuses, strict=True)
        for status in of_sweep
        if status.state is State.FAILED
    ]
    for run, status in failed:
        where = f" on {status.node}" if status.node else ""
        print(f"==> {run.path.parent.name}: {status.label} ({short_id(run.run_id)}){where}")
        print(f"    {status.detail}")
        logs = run.logs()
        path = logs[max(logs)] if logs else _job_output(run)
        text = _read(path, tail or FAILED_LINES) if path else f"{_why_silent(run)}\n"
        print(text if text.endswith("\n") else f"{text}\n")
    if not failed:
        print("no run has failed")


def _read(path: Path, tail: int | None) -> str:
    return _read_from(path, 0 if tail is None else _start_of_last(path, tail))[0]


def _start_of_last(path: Path, lines: int) -> int:
    """Where the last lines of a file begin."""
    kept = deque(path.read_bytes().splitlines(keepends=True), maxlen=lines)
    return path.stat().st_size - sum(map(len, kept))


def _read_from(path: Path, position: int) -> tuple[str, int]:
    """What stands behind a position, and the new end; all of a file that was begun anew."""
    with open(path, "rb") as log:
        if log.seek(0, os.SEEK_END) < position:
            position = 0
        log.seek(position)
        text = log.read()
    return text.decode(errors="replace"), position + len(text)


def attempts_table(run: RunDir) -> Table:
    """A row for each attempt: when, where, from which step to which, and why it ended.

    Of one that was killed the last step is not known: `9+` is one that it has reached at least.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("", "began", "lasted", "host", "GPU", "steps", "cause"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("host", "GPU"))
    table.add_column("", overflow="fold", min_width=16)
    history = run.history()
    progress, holder = run.read_progress(), run.holder()
    for attempt, later in zip_longest(history, history[1:]):
        otherwise = "running" if later is None and holder is not None else Cause.UNKNOWN
        table.add_row(*map(Text, _row(attempt, _steps(attempt, later, progress), otherwise)))
    return table


def _steps(attempt: Attempt, later: Attempt | None, progress: Progress | None) -> str:
    if "first_step" not in attempt:
        return ""
    if "last_step" in attempt:
        return f"{attempt['first_step']}-{attempt['last_step']}"
    reached = [attempt["first_step"]]
    if later is not None and "first_step" in later:
        reached.append(later["first_step"])  # it had saved
    if progress is not None and progress["attempt"] == attempt["attempt"]:
        reached.append(progress["step"])
    return f"{attempt['first_step']}-{max(reached)}+"


def _row(attempt: Attempt, steps: str, otherwise: str) -> tuple[str, ...]:
    began = time.localtime(attempt["started_unix_s"])
    ended_s = attempt.get("ended_unix_s")
    gpu = short_gpu(attempt["environment"]["device"]) if "environment" in attempt else ""
    ids = attempt.get("gpu_ids")
    return (
        str(attempt["attempt"]),
        time.strftime("%Y-%m-%d %H:%M", began),
        "" if ended_s is None else format_duration(ended_s - attempt["started_unix_s"]),
        attempt.get("node") or attempt["host"],
        f"{gpu} ({ids})" if gpu and ids else gpu or ids or "",
        steps,
        attempt.get("cause", otherwise),
        attempt.get("message", ""),
    )


class _Follower:
    """Prints what a run says, attempt after attempt, until it is at rest."""

    def __init__(self, run: RunDir, attempt: int, tail: int | None) -> None:
        self._run, self._attempt, self._tail = run, attempt, tail
        self._ask_every_s = ASK_SLURM_S if sweep_of(run).is_on_slurm() else FOLLOW_S
        self._asked_s = -math.inf
        self._is_under_way = True
        self._told = ""

    def follow(self) -> None:
        first = self._attempt
        while True:
            self._ask()  # first, because the next log may come in between
            if (log := self._run.logs().get(self._attempt)) is not None:
                if self._attempt != first:
                    print(_announcement(self._run, self._attempt), flush=True)
                self._print(log)
                self._attempt += 1
                self._asked_s = -math.inf
            elif not self._is_under_way:
                return
            else:
                time.sleep(FOLLOW_S)

    def _print(self, path: Path) -> None:
        """One attempt's log as it grows, until the attempt is over."""
        position = 0 if self._tail is None else _start_of_last(path, self._tail)
        while True:
            over = self._run.next_attempt() - 1 > self._attempt or self._run.holder() is None
            text, position = _read_from(path, position)
            if text:
                print(text, end="", flush=True)
            elif over:
                return
            else:
                time.sleep(FOLLOW_S)

    def _ask(self) -> None:
        """Find out now and then whether the run goes on, and say why it waits."""
        if time.monotonic() - self._asked_s < self._ask_every_s:
            return
        self._asked_s = time.monotonic()
        sweep = sweep_of(self._run)
        try:
            task = tasks_in_slurm([sweep]).get(self._run)
        except ExecutionError as error:
            self._tell(f"{error}; waiting for SLURM to answer")
            return
        status = run_status(self._run, queued_runs(sweep), task)
        self._is_under_way = status.state.is_under_way
        if status.state is State.QUEUED and status.detail:
            start = status.expected_start_unix_s
            when = f"; SLURM means to start it {describe_start(start)}" if start else ""
            self._tell(f"queued: {status.detail}{when}")

    def _tell(self, line: str) -> None:
        """Once, and beside what the run says."""
        if line.partition(";")[0] != self._told.partition(";")[0]:
            print(f"---- {line}", file=sys.stderr, flush=True)
        self._told = line


def _announcement(run: RunDir, number: int) -> str:
    """Such as `---- attempt 2 on n3, after preempted, waited 3 min ----`."""
    parts = [f"attempt {number}"]
    history = {attempt["attempt"]: attempt for attempt in run.history()}
    now, before = history.get(number), history.get(number - 1)
    if now is not None:
        parts[0] += f" on {now.get('node') or now['host']}"
    if before is not None:
        parts.append(f"after {before.get('cause', Cause.UNKNOWN).replace('_', ' ')}")
    if now is not None and before is not None and "ended_unix_s" in before:
        waited_s = max(0.0, now["started_unix_s"] - before["ended_unix_s"])
        parts.append(f"waited {format_duration(waited_s)}")
    return f"---- {', '.join(parts)} ----"


def _job_output(run: RunDir) -> Path | None:
    """What the last job of a run printed, if it has ended and SLURM said so.

    Of runs that share a job each is a task, with a file of its own; the first task's is the job's.
    """
    ended = ends(run.observed())
    for record in reversed(sweep_of(run).submissions().values()):
        if ended and run.run_id in record["runs"]:
            job = sweep_of(run).job_output(record) / ended[-1]["job_id"]
            rank = record["runs"].index(run.run_id) % record.get("runs_per_job", 1)
            files = [job.with_name(f"{job.name}_{task}_log.out") for task in (rank, 0)]
            return next((file for file in files if file.exists()), None)
    return None


def _why_silent(run: RunDir) -> str:
    """Nothing was said by the run itself; its job may have said why."""
    said = f"{run.run_id} has said nothing yet"
    for record in reversed(sweep_of(run).submissions().values()):
        if run.run_id in record["runs"]:
            return f"{said}; what its job printed is in {sweep_of(run).job_output(record)}"
    return f"{said}: it has not been started"
