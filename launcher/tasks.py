"""Where runs stand in SLURM: the tasks of the newest submission that holds each, and their ends.

A submission is found by the token in its job's name. One whose launcher did not live to write down
the job's id is adopted, and what ended for good is written down, so that nobody asks again.
"""

from __future__ import annotations

import contextlib
import getpass
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import ExecutionError
from jobs.events import Event, ends
from jobs.processes import this_host
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir, is_being_made, read_submission
from launcher import slurm
from launcher.killed import Silent, explain, silent_attempts
from launcher.plan import State

# What SLURM shows, and the accounting more so, lags behind what it has accepted.
ANSWER_LAG_S = 60.0

# As long as SLURM has an ended job in mind, which is MinJobAge, somebody can requeue it by hand.
REMEMBERED_S = 600.0


def find_job(record: Mapping[str, Any]) -> str | None:
    """The id of a submission's job, by its token: from squeue, else from the accounting."""
    names, since_unix_s = [record["name"]], record["submitted_unix_s"]
    tasks = keep_first_jobs(slurm.squeue(names) or slurm.sacct(names, since_unix_s) or [])
    return tasks[0].job_id if tasks else None


def keep_first_jobs(tasks: Sequence[slurm.Task]) -> list[slurm.Task]:
    """The tasks without those of a second job of the same name, which is cancelled.

    There is one when SLURM carried out a request that it had seemed to have lost.
    """
    first: dict[str, int] = {}
    for task in tasks:
        first[task.name] = min(int(task.job_id), first.get(task.name, int(task.job_id)))
    doubles = [task for task in tasks if int(task.job_id) != first[task.name]]
    if alive := {task.job_id for task in doubles if not task.is_over}:
        with contextlib.suppress(ExecutionError):  # it may be a colleague's
            slurm.scancel(sorted(alive))
    return [task for task in tasks if int(task.job_id) == first[task.name]]


def _may_come_for_s(record: Mapping[str, Any]) -> float:
    """How long after the last known try a job may still be accepted.

    The sbatch of a launcher of this host that is gone may be at it; one of another host, which
    cannot be looked up, may try again.
    """
    if "job_id" in record:
        return 0.0
    from launcher import sbatch  # with submitit, which looking seldom needs

    return sbatch.TIMEOUT_S + (0.0 if record["host"] == this_host() else sbatch.RETRY_FOR_S)


@dataclass
class _Place:
    """Where a run stands in the newest submission that holds it."""

    run: RunDir
    submission: Path
    record: dict[str, Any]
    index: int

    @property
    def key(self) -> tuple[str, int]:
        return self.record["name"], self.index

    @property
    def has_ended(self) -> bool:
        """Whether SLURM has ever shown that it ended: it has, if SLURM does not show it now."""
        return bool(_written_ends(self.run, self.record["token"]))

    def task(self, word: str, reason: str = "") -> slurm.Task:
        """The run's task, of which SLURM says nothing, with our own word for that."""
        record = self.record
        is_array = len(record["runs"]) > record.get("runs_per_job", 1)
        job_id = record.get("job_id", "")
        return slurm.Task(record["name"], job_id, self.index, word, reason, is_array)


def tasks_of_runs(sweeps: Sequence[SweepDir]) -> dict[RunDir, slurm.Task]:
    """What SLURM says of each unfinished run that was submitted to it; see `asking_for_tasks`."""
    with asking_for_tasks(sweeps) as answer:
        return answer()


@contextlib.contextmanager
def asking_for_tasks(
    sweeps: Sequence[SweepDir],
) -> Iterator[Callable[[], dict[RunDir, slurm.Task]]]:
    """The same, for who has something to do until SLURM answers.

    One squeue for everything, and one sacct for what squeue has forgotten and for why attempts
    were killed. A submission whose launcher did not live to write down the job's id is adopted.
    What ended for good is written down, so that nobody has to ask again; nothing is asked when
    nothing is open.
    """
    places = [
        place
        for sweep in sweeps
        for place in _open_places(sweep)
        if not ended_in_slurm(place.run, place.record["token"])
    ]
    silent = [attempt for sweep in sweeps for attempt in silent_attempts(sweep)]  # before SLURM is
    names = _names(places)
    with slurm.asking_squeue(names) if places else contextlib.nullcontext(list) as queue:
        yield lambda: _tasks(places, _complete(queue(), places, silent))


def _tasks(
    places: Sequence[_Place], found: Mapping[tuple[str, int], slurm.Task]
) -> dict[RunDir, slurm.Task]:
    """The tasks of the runs, of those that SLURM knows; what has ended is written down."""
    job_ids = {name: task.job_id for (name, _), task in found.items()}
    for submission, record in {place.submission: place.record for place in places}.items():
        if "job_id" not in record:
            _adopt(submission, record, job_ids.get(record["name"]))
    tasks = {}
    for place in places:
        task = found.get(place.key) or (None if place.has_ended else _absent(place))
        if task is None:
            continue
        tasks[place.run] = task
        if task.is_over and place.key in found:
            _write_down(place.run, place.record["token"], task)
    return tasks


def _complete(
    shown: Sequence[slurm.Task], places: Sequence[_Place], silent: Sequence[Silent]
) -> dict[tuple[str, int], slurm.Task]:
    """The tasks that SLURM knows, by name and index; what it tells of the dead is written down.

    What squeue shows, it knows best. What it does not show has ended, and the accounting tells how:
    one that waits or runs only there was lost by a controller that crashed.
    """
    queue = _by_key(shown)
    missing = [place for place in places if place.key not in queue and not place.has_ended]
    killed = [
        attempt
        for attempt in silent
        if not _is_at_work(attempt, queue.get(attempt.key)) and _is_here(attempt.record)
    ]
    if not missing and not killed:
        return queue
    try:
        asked: list[_Place | Silent] = [*missing, *killed]
        since_unix_s = min(each.record["submitted_unix_s"] for each in asked)
        starts = slurm.sacct(_names(asked), since_unix_s)
    except ExecutionError:
        if missing:
            raise
        return queue  # why something died can wait
    explain(killed, [*queue.values(), *(starts or [])], is_final=starts is None)
    newest = _by_key(starts or [])
    return {key: task for key, task in newest.items() if task.is_over} | queue


def _by_key(tasks: Sequence[slurm.Task]) -> dict[tuple[str, int], slurm.Task]:
    return {(task.name, task.index): task for task in keep_first_jobs(tasks)}


def _names(asked: Sequence[_Place | Silent]) -> list[str]:
    return sorted({each.record["name"] for each in asked})


def _is_at_work(silent: Silent, task: slurm.Task | None) -> bool:
    """Whether an attempt that has not said how it ended may still be at work."""
    if not silent.is_last:
        return False
    return silent.run.holder() is not None if task is None else task.state is State.RUNNING


def give_up_lost(sweep: SweepDir, run_ids: Container[str]) -> None:
    """Write down that SLURM has lost the jobs of runs that are to have another one.

    Without it, the loss would be forgotten together with the submission, however often it happens.
    """
    for place in _open_places(sweep):
        if place.run.run_id in run_ids and "job_id" in place.record and not place.has_ended:
            task = place.task("UNKNOWN")
            if task.id not in (attempt["job_id"] for attempt in place.run.attempts()):
                _write_down(place.run, place.record["token"], task)


def _adopt(submission: Path, record: dict[str, Any], job_id: str | None) -> None:
    """Complete the record of a submission whose launcher did not live to do it.

    One on another host may live, and be changing the record.
    """
    if job_id is not None:
        found = {"job_id": job_id}
    elif _is_settled(record):
        found = {"refused": "never reached SLURM"}
    else:
        return
    # A sweep that belongs to a colleague can be looked at without being written.
    with contextlib.suppress(PermissionError):
        if read_submission(submission) == record:
            SweepDir(submission.parents[1]).write_submission({**record, **found}, submission)


def _absent(place: _Place) -> slurm.Task | None:
    """What is to be thought of a task that neither squeue nor the accounting shows.

    Only on its own cluster has it ended. None if it never got to SLURM.
    """
    record = place.record
    if not _is_here(record):
        word, reason = "PENDING", f"submitted to cluster {record['cluster']}: ask there"
    elif record["user"] != getpass.getuser():
        word, reason = "PENDING", f"submitted by {record['user']}, whose jobs are not shown to you"
    elif not _is_settled(record):
        word, reason = "PENDING", "SLURM does not show it yet; ask again in a minute"
    elif "job_id" in record:
        word, reason = "UNKNOWN", ""
    else:
        return None
    return place.task(word, reason)


def _is_settled(record: dict[str, Any]) -> bool:
    """Whether a submission that SLURM does not know will not turn up there any more."""
    is_mine = record["user"] == getpass.getuser()  # those of others may be hidden
    age_s = time.time() - record["submitted_unix_s"]
    is_old = age_s > ANSWER_LAG_S + _may_come_for_s(record)
    return is_mine and is_old and _is_here(record)


def _is_here(record: Mapping[str, Any]) -> bool:
    return record["cluster"] == slurm.ask_config().name


def open_tasks(sweep: SweepDir) -> list[slurm.Task]:
    """Every task that waits or runs for a sweep, also of submissions that newer ones replaced."""
    names = [
        record["name"]
        for record in sweep.submissions().values()
        if record["executor"] == "slurm" and "refused" not in record
    ]
    return [task for task in slurm.squeue(names) if not task.is_over] if names else []


def ended_in_slurm(run: RunDir, token: str) -> bool:
    """Whether it is written down that the run's job of this submission has ended for good.

    What squeue showed may have been requeued since, as long as SLURM remembers it.
    """
    return any(
        not event.get("shown") or time.time() - event["time_unix_s"] > REMEMBERED_S
        for event in _written_ends(run, token)
    )


def _written_ends(run: RunDir, token: str) -> list[Event]:
    return ends(run.observed(), token)


def _open_places(sweep: SweepDir) -> list[_Place]:
    """The places of the unfinished runs that SLURM was given last, and not refused."""
    newest: dict[str, tuple[Path, int]] = {}
    submissions = sweep.submissions()
    for path, record in submissions.items():
        if "refused" not in record and not is_being_made(record):
            newest |= {run_id: (path, place) for place, run_id in enumerate(record["runs"])}
    places = []
    for run_id, (path, place) in newest.items():
        run, record = sweep.run(run_id), submissions[path]
        if record["executor"] == "slurm" and not run.is_finished():
            places.append(_Place(run, path, record, place // record.get("runs_per_job", 1)))
    return places


def _write_down(run: RunDir, token: str, task: slurm.Task) -> None:
    is_shown = not (task.has_begun or task.has_ended)  # by squeue; the accounting knows when
    facts = {
        "word": task.word,
        "job_id": task.id,
        "nodes": task.node if is_shown else task.reason,
        "shown": is_shown,
    }
    if any(facts.items() <= event.items() for event in _written_ends(run, token)):
        return
    # A sweep that belongs to a colleague can be looked at without being written.
    with contextlib.suppress(PermissionError):
        run.observe("ended", token=token, **facts)
        if task.state is State.CANCELLED:
            run.observe("cancelled", token=token)
