"""Asking SLURM, in few questions: one squeue and at most one sacct for everything that is shown.

Jobs are matched by their names, which hold a token that is never used twice. Their ids are reused,
and their comments are not kept by every site.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from jobs.errors import ExecutionError
from jobs.processes import environment_to_ask_slurm
from launcher.plan import State

TIMEOUT_S = 60.0

# Every state that SLURM has, in our words. FAILED and the like only say that SLURM does not work
# on the run any more; why it ended, the run's own records say better.
STATES = {
    "PENDING": State.QUEUED,
    "REQUEUED": State.QUEUED,
    "REQUEUE_FED": State.QUEUED,
    "RESV_DEL_HOLD": State.HELD,
    "REQUEUE_HOLD": State.HELD,
    "SPECIAL_EXIT": State.HELD,
    "CONFIGURING": State.RUNNING,
    "RUNNING": State.RUNNING,
    "COMPLETING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
    "STOPPED": State.RUNNING,
    "SUSPENDED": State.RUNNING,
    "REVOKED": State.RUNNING,  # by another cluster of a federation, which has begun the job
    "COMPLETED": State.STOPPED,
    "TIMEOUT": State.STOPPED,
    "DEADLINE": State.STOPPED,
    "PREEMPTED": State.STOPPED,
    "NODE_FAIL": State.STOPPED,
    "BOOT_FAIL": State.STOPPED,
    "FAILED": State.FAILED,
    "LAUNCH_FAILED": State.FAILED,
    "RECONFIG_FAIL": State.FAILED,
    "OUT_OF_MEMORY": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "UNKNOWN": State.STOPPED,  # our own word for a job that SLURM has forgotten
}

# The reasons of a pending job that does not start unless somebody releases it. Others are
# sentences that end in "held" or "held state".
HELD_REASONS = {"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"}


@dataclass  # not frozen: there may be ten thousand, and that takes long
class Task:
    """One start of a task as SLURM sees it; a job that is no array is its task 0.

    When it began and ended only the accounting tells, and there `reason` names the nodes. squeue
    tells where it is, and when it began or, as far as SLURM has planned, is going to.
    """

    name: str
    job_id: str
    index: int
    word: str
    reason: str = ""
    is_array: bool = True
    started_unix_s: float = math.inf
    ended_unix_s: float = math.inf
    expected_unix_s: float = math.inf
    node: str = ""

    @property
    def has_begun(self) -> bool:
        return self.started_unix_s < math.inf

    @property
    def has_ended(self) -> bool:
        return self.ended_unix_s < math.inf

    @property
    def id(self) -> str:
        """As SLURM's commands take it."""
        return f"{self.job_id}_{self.index}" if self.is_array else self.job_id

    @property
    def state(self) -> State:
        return _state(self.word, self.reason)

    @property
    def is_over(self) -> bool:
        return self.state in (State.STOPPED, State.FAILED, State.CANCELLED)


@functools.cache  # of thousands of tasks, few differ in both
def _state(word: str, reason: str) -> State:
    is_held = reason in HELD_REASONS or reason.endswith((" held", " held state"))
    if word == "PENDING" and is_held:
        return State.HELD
    return STATES.get(word, State.RUNNING)


def squeue(names: Sequence[str]) -> list[Task]:
    """The tasks of the jobs of these names that SLURM still has in mind, ended ones included."""
    with asking_squeue(names) as answer:
        return answer()


@contextlib.contextmanager
def asking_squeue(names: Sequence[str]) -> Iterator[Callable[[], list[Task]]]:
    """The same, for who has something to do until it answers."""
    # %K is the task's index, or N/A where the job is no array; %F the array's id.
    columns = "%j|%F|%K|%T|%S|%N|%r"
    which = ["-t", "all", f"--name={','.join(names)}"]
    with _asking(["squeue", "-h", "-r", *which, "-o", columns]) as answer:
        yield lambda: [
            Task(
                name,
                job_id,
                int(index) if index.isdigit() else 0,
                word,
                reason,
                index.isdigit(),
                expected_unix_s=_unix_s(start),
                node=node,
            )
            for name, job_id, index, word, start, node, reason in _rows("squeue", answer(), 7)
        ]


@dataclass(frozen=True)
class Job:
    """A single job of which somebody waits for the end; `start_unix_s` is 0 if SLURM has none."""

    word: str
    reason: str
    start_unix_s: float

    @property
    def state(self) -> State:
        return _state(self.word, self.reason)

    @property
    def is_over(self) -> bool:
        return self.state in (State.STOPPED, State.FAILED, State.CANCELLED)


def ask_job(job_id: str) -> Job | None:
    """A job, or the first task of an array; None if SLURM has forgotten it."""
    try:
        rows = list(_ask_rows(["squeue", "-h", "-t", "all", "-j", job_id, "-o", "%T|%S|%r"], 3))
    except ExecutionError as error:
        if "Invalid job id" in str(error):
            return None
        raise
    return next((Job(word, why, float(t) if t.isdigit() else 0.0) for word, t, why in rows), None)


def open_jobs(job_ids: Sequence[str]) -> list[str]:
    """Those of these jobs that have not ended; of an array, as long as one of its tasks has not."""
    try:
        rows = list(_ask_rows(["squeue", "-h", "-j", ",".join(job_ids), "-o", "%F"], 1))
    except ExecutionError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return sorted({job_id for (job_id,) in rows}, key=int)


def sacct(names: Sequence[str], since_unix_s: float) -> list[Task] | None:
    """Every start of these tasks from the accounting, of all users, the newest last.

    None where there is no accounting. It lags behind squeue, and what a controller has lost in a
    crash waits or runs there for ever.
    """
    columns = "JobName,JobID,State,Start,End,NodeList"
    # Jobs that begin later than now are shown only up to an end in the future.
    window = ["-S", _slurm_time(since_unix_s - 60), "-E", "now+1day"]
    words = [
        "sacct",
        "-a",
        "-X",
        "-D",
        "-n",
        "-P",
        f"--name={','.join(names)}",
        *window,
        "-o",
        columns,
    ]
    try:
        rows = list(_ask_rows(words, 6))
    except ExecutionError as error:
        if "storage is disabled" in str(error):
            return None
        raise
    tasks = []
    # Tasks that never began stand together, and not all that are told there still belong to them.
    rows.sort(key=lambda row: ("[" not in row[1], _unix_s(row[3])))
    for name, own_id, state, start, end, nodes in rows:
        job_id, is_array, index = own_id.partition("_")
        word = state.partition(" ")[0]  # as in `CANCELLED by 1000`
        times = _unix_s(start), _unix_s(end)
        indices = task_indices(index) if is_array else [0]
        tasks += [Task(name, job_id, i, word, nodes, bool(is_array), *times) for i in indices]
    return tasks


def task_indices(text: str) -> list[int]:
    """Every index of what SLURM writes for several tasks, such as `[0-2,7,10-20:5%2]`.

    Where it has cut a long list, as in `[1,3,5...]`, the last number may be a part of one.
    """
    if "..." in text:
        text = text.rpartition(",")[0]
    spans = re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", text.partition("%")[0])
    return [
        index
        for first, last, step in spans
        for index in range(int(first), int(last or first) + 1, int(step or 1))
    ]


def _ask_rows(words: Sequence[str], columns: int) -> Iterator[list[str]]:
    return _rows(words[0], run_slurm(words), columns)


def _rows(command: str, answer: str, columns: int) -> Iterator[list[str]]:
    """The rows of an answer, of which the last column may hold anything."""
    for line in answer.splitlines():
        row = line.split("|", columns - 1)
        if len(row) < columns:
            raise ExecutionError(f"`{command}` gave an answer that is none: {line!r}")
        yield row


def scancel(task_ids: Iterable[str]) -> None:
    run_slurm(["scancel", *task_ids])


def release(task_ids: Iterable[str]) -> None:
    """Let held jobs wait for their turn again."""
    run_slurm(["scontrol", "release", ",".join(task_ids)])


@dataclass(frozen=True)
class Config:
    """What the cluster says of itself; no array may have more tasks than max_array_size."""

    name: str
    max_array_size: int


@functools.cache
def ask_config() -> Config:
    """Asked once in a process: a cluster does not change its name while a command runs."""
    values = config_values()
    try:
        limit = re.search(r"max_array_tasks=(\d+)", values.get("SchedulerParameters", ""))
        sizes = [values["MaxArraySize"], *(limit.groups() if limit else ())]
        return Config(values["ClusterName"], min(map(int, sizes)))
    except (KeyError, ValueError) as error:
        raise ExecutionError(f"`scontrol show config` does not say {error}") from None


def config_values() -> dict[str, str]:
    """Everything that the cluster's configuration says, as SLURM writes it."""
    lines = (line.partition("=") for line in run_slurm(["scontrol", "show", "config"]).splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def run_slurm(words: Sequence[str]) -> str:
    """The output of one of SLURM's commands; ExecutionError with what it said if it failed."""
    with _asking(words) as answer:
        return answer()


@contextlib.contextmanager
def _asking(words: Sequence[str]) -> Iterator[Callable[[], str]]:
    """The same, which waits for the output when it is asked for it."""
    environment = environment_to_ask_slurm()
    shown = f"`{words[0]}`"
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment)
    except FileNotFoundError:
        raise ExecutionError(f"{shown} is not on this machine; is this a login node?") from None

    def answer() -> str:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ExecutionError(f"{shown} did not answer within {TIMEOUT_S:.0f} s") from None
        if process.returncode != 0:
            said = errors.strip() or f"status {process.returncode}"
            raise ExecutionError(f"{shown} failed: {said}")
        return output

    with process:
        try:
            yield answer
        finally:
            process.kill()  # if it has not ended, nobody needs its answer any more


def _unix_s(text: str) -> float:
    """A time, or what stands for one that has not come, such as Unknown or None."""
    return float(text) if text.isdigit() else math.inf


def _slurm_time(time_unix_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time_unix_s))
