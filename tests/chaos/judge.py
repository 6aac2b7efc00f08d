"""What must be true once the storm is over, told from the files and by a witness of the storm.

A judgement is a list of complaints, each one sentence; it is empty if all is well.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import orjson
import psutil

from jobs.run_dir import RunDir
from jobs.run_records import NOT_REPRODUCED, Attempt
from jobs.sweep_dir import SweepDir, sweep_of
from launcher.matrix import read_matrix
from tests.chaos.lab import Size, background
from tests.jobs.test_distributed import train_on

Outcome = tuple[list[dict[str, Any]], str]

# An attempt that says so of itself has saved its last step.
SAVED = ("stopped", "preempted", "cancelled", "time_limit", "finished")

# Two clocks, that of a process and that of a file's record, and a moment between them.
CLOCK_TOLERANCE_S = 0.5


def outcome(run: RunDir) -> Outcome | None:
    """All that must be equal to the bit: the metrics without their timing, and the weights."""
    result = run.read_result()
    if result is None:
        return None
    metrics = [
        {key: value for key, value in record.items() if key not in NOT_REPRODUCED}
        for record in run.read_metrics()
    ]
    return metrics, result["weights_sha256"]


def train_undisturbed(size: Size, folder: Path) -> dict[str, Outcome]:
    """What each run comes to when nothing happens to it, in processes of its own as a job is."""
    folder.mkdir()
    matrix = folder / "undisturbed.yaml"
    matrix.write_text(size.matrix("undisturbed"))
    sweep = SweepDir(folder / "undisturbed")
    for run_id, config in read_matrix(matrix).runs.items():
        sweep.run(run_id).write_config(config)
    with ThreadPool(2) as pool:
        pool.map(_train, runs := sweep.runs())
    return {run.run_id: found for run in runs if (found := outcome(run))}


def _train(run: RunDir) -> None:
    if (tasks := run.read_config().gpus) > 1:
        train_on(run, tasks, network="resnet")
        return
    code = f"from jobs.train_job import TrainJob; TrainJob({str(run.path)!r})()"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# ---- from the files


def judge_sweep(sweep: SweepDir, undisturbed: Mapping[str, Outcome]) -> Iterator[str]:
    """Complaints about a sweep that is finished."""
    if sorted(sweep.named_runs()) != sorted(undisturbed):
        yield f"{sweep.name} has other runs than those that were asked for"
    for path, record in sweep.submissions().items():
        if not {"job_id", "refused"} & record.keys():
            yield f"nobody knows what became of {path.name}"
    for run in sweep.runs():
        for complaint in judge_run(run, undisturbed[run.run_id]):
            yield f"{sweep.name}/{run.run_id}: {complaint}"


def judge_run(run: RunDir, undisturbed: Outcome) -> Iterator[str]:
    """Complaints about one run that is finished."""
    found, result = outcome(run), run.read_result()
    if found is None or result is None:
        yield "it has no result"
        return
    for what, ours, theirs in zip(("metrics", "weights"), found, undisturbed, strict=True):
        if ours != theirs:
            yield f"its {what} are not those of an undisturbed run"
    if run.holder() is not None:
        yield "somebody still holds its lease"
    if run.needs_resume.exists():
        yield "it is finished and says that it needs to be resumed"
    yield from _judge_attempts(run, result["attempts"])
    yield from _judge_writers(run)


def _judge_attempts(run: RunDir, finished_by: int) -> Iterator[str]:
    attempts = run.history()
    if [attempt["attempt"] for attempt in attempts] != list(range(1, len(attempts) + 1)):
        yield "its attempts are not numbered without a gap"
    if [attempt.get("cause") for attempt in attempts].count("finished") != 1:
        yield "not exactly one of its attempts finished it"
    if len(attempts) > finished_by:
        yield "there were attempts after it had finished"
    for attempt in attempts:
        if "cause" not in attempt:
            yield f"nobody knows how attempt {attempt['attempt']} ended"
    for one, next_one in pairwise(attempts):
        if next_one["started_unix_s"] < one.get("ended_unix_s", one["started_unix_s"]):
            yield f"attempt {next_one['attempt']} began before {one['attempt']} had ended"
    yield from _judge_steps(attempts)


def _judge_steps(attempts: Sequence[Attempt]) -> Iterator[str]:
    """What was saved is never lost: an attempt begins where an earlier one has saved."""
    saved = 0
    for attempt in attempts:
        first = attempt.get("first_step")
        if first is None:
            continue  # it did not come so far
        if first < saved:
            yield f"attempt {attempt['attempt']} began at step {first}, and {saved} was saved"
        told = attempt.get("cause") in SAVED
        saved = max(saved, first, attempt.get("last_step", 0) if told else 0)


def _judge_writers(run: RunDir) -> Iterator[str]:
    """One attempt after the other has written, and each while it was alive."""
    lines = (run.path / "metrics.jsonl").read_bytes().splitlines()
    writers = [orjson.loads(line)["attempt"] for line in lines if line.endswith(b"}")]
    if writers != sorted(writers):
        yield "two attempts wrote metrics at the same time"


# ---- from watching


class Witness:
    """Looks at all runs again and again while the storm lasts, for what no file tells later."""

    def __init__(self, runs: Sequence[RunDir], every_s: float = 0.2) -> None:
        self.complaints: set[str] = set()
        self._runs, self._every_s = runs, every_s
        self._results: dict[Path, tuple[int, int]] = {}
        self._over = threading.Event()

    def __enter__(self) -> Witness:
        self._thread = background(self._watch)
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.result()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            for run in self._runs:
                self.look_at(run)

    def look_at(self, run: RunDir) -> None:
        name = f"{sweep_of(run).name}/{run.run_id}"
        alive = [attempt["attempt"] for attempt in run.attempts() if _is_training(attempt)]
        if len(alive) > 1:
            self.complaints.add(f"{name}: attempts {alive} trained at the same time")
        path = run.path / "result.json"
        if path.exists():
            facts = path.stat()
            identity = (facts.st_ino, facts.st_mtime_ns)
            if self._results.setdefault(run.path, identity) != identity:
                self.complaints.add(f"{name}: its result was written twice")
        elif run.path in self._results:
            self.complaints.add(f"{name}: its result has disappeared")


def _is_training(attempt: Attempt) -> bool:
    """Whether the attempt's process, and not a later one with its number, is at work."""
    if "ended_unix_s" in attempt:
        return False
    try:
        process = psutil.Process(attempt["pid"])
        began_before = process.create_time() < attempt["started_unix_s"] + CLOCK_TOLERANCE_S
        return began_before and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
