"""Where every run of a sweep stands: told from the files, and from what SLURM says of its jobs."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import median
from typing import TYPE_CHECKING

from jobs.look import SweepLook, digest_of_modules
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir, is_being_made
from launcher.plan import Standing, State
from launcher.run_status import WAITING, RunStatus, intact_options, run_status

if TYPE_CHECKING:
    from launcher.slurm import Task


def sweep_status(sweep: SweepDir, *, ask_slurm: bool = True) -> list[RunStatus]:
    """Every run of a sweep: those that its matrix names, in its order, then the others.

    Raises ExecutionError when SLURM does not answer; without asking, the files alone tell.
    """
    return status_of_sweeps([sweep], ask_slurm=ask_slurm)[0]


def status_of_sweeps(
    sweeps: Sequence[SweepDir], *, ask_slurm: bool = True, remembers: bool = False
) -> list[list[RunStatus]]:
    """The same for several sweeps, with one round of questions to SLURM, if it has any of them.

    With `remembers`, for a person to look at, of runs at rest what earlier looks have told counts.
    """
    looks = [look_at(sweep, remembers=remembers) for sweep in sweeps]
    with asking_slurm(looks) if ask_slurm else contextlib.nullcontext(dict) as answer:
        listed = [list_runs(sweep) for sweep in looks]  # SLURM may be long in answering
        tasks = answer()
    # Files that were read before SLURM was asked may be old by now, but not where it shows that a
    # run waits.
    waiting = {run for run, task in tasks.items() if task.state in WAITING}
    for sweep in looks:
        sweep.look_again(besides=waiting)
    return status_from(listed, tasks)


def look_at(sweep: SweepDir, *, remembers: bool) -> SweepLook:
    return SweepLook(sweep, _version() if remembers else "")


@functools.cache
def _version() -> str:
    return digest_of_modules("attention_models", "jobs", "launcher")


@dataclass(frozen=True)
class ListedRuns:
    """The runs of a sweep in the order of its matrix, and their labels; see `labels_of`."""

    sweep: SweepLook
    runs: Sequence[RunDir]
    named: Container[str]
    labels: Mapping[str, str]


def list_runs(sweep: SweepLook) -> ListedRuns:
    planned = {run.run_id: run for run in sweep.runs()}
    named = dict.fromkeys(sweep.named_runs())
    runs = [planned[run_id] for run_id in named | planned if run_id in planned]
    return ListedRuns(sweep, runs, named, labels_of(sweep, planned))


def labels_of(sweep: SweepLook, runs: Mapping[str, RunDir]) -> dict[str, str]:
    """What tells each run from the others, by its name, but for runs that were damaged then.

    The names of the runs and the matrix stand for all that labels tell. Without a matrix, the
    number of GPUs could be another one, and nothing is remembered.
    """
    matrix = sweep.newest_matrix()
    key = sha256("\n".join([*map(str, matrix or ()), *runs]).encode()).hexdigest()
    if matrix and (kept := sweep.recall("labels", key)):
        labels = dict(zip(runs, kept, strict=True))
        damaged = [name for name, label in labels.items() if label is None]
        if not any(intact_options(runs[name]) for name in damaged):
            return {name: label for name, label in labels.items() if label is not None}
    from launcher.labels import label_runs

    sweep.forget_options()
    options = {name: known for name, run in runs.items() if (known := intact_options(run))}
    labels = label_runs(options)
    if matrix:
        sweep.remember("labels", key, [labels.get(name) for name in runs])
    return labels


def status_from(
    listed: Sequence[ListedRuns], tasks: Mapping[RunDir, Task]
) -> list[list[RunStatus]]:
    """What the files tell now, together with what SLURM has said of runs before."""
    found = []
    for each in listed:
        queued = queued_runs(each.sweep)
        found.append(
            [
                run_status(
                    run,
                    queued,
                    tasks.get(run),
                    each.labels.get(run.run_id, run.run_id),
                    named=run.run_id in each.named,
                )
                for run in each.runs
            ]
        )
        each.sweep.keep()
    return found


def tasks_in_slurm(sweeps: Sequence[SweepDir]) -> dict[RunDir, Task]:
    """What SLURM says of the runs that were given to it; ExecutionError if it does not answer."""
    with asking_slurm(sweeps) as answer:
        return answer()


def asking_slurm(
    sweeps: Sequence[SweepDir],
) -> contextlib.AbstractContextManager[Callable[[], dict[RunDir, Task]]]:
    """The same, for who has something to do until SLURM answers."""
    if not any(sweep.is_on_slurm() for sweep in sweeps):
        return contextlib.nullcontext(dict)
    from launcher.tasks import asking_for_tasks  # which others need not load

    return asking_for_tasks(sweeps)


def queued_runs(sweep: SweepDir) -> set[str]:
    """The runs that a launching process which is alive is going to start.

    A process on another host cannot be looked up. Its runs count as free: should both start one,
    the run's lease lets only one of them train it.
    """
    waiting: set[str] = set()
    for submission in sweep.submissions().values():
        if is_being_made(submission):
            waiting.update(set(submission["runs"]).difference(submission.get("let_go", ())))
    return waiting


def count_states(statuses: Iterable[Standing]) -> str:
    """Such as `running 2, planned 4`."""
    counts = Counter(status.state for status in statuses)
    return ", ".join(f"{state} {counts[state]:,}" for state in State if counts[state]) or "no runs"


def time_left_s(statuses: Sequence[RunStatus]) -> float | None:
    """An estimate for all that runs or is queued, as long as so many runs go on at once as now."""
    running = [run for run in statuses if run.eta_s is not None and not run.suspect]
    if not running:
        return None
    known_s = [run.wall_s for run in statuses if run.wall_s is not None]
    known_s += [run.eta_s / (1 - run.done) for run in running if run.eta_s and run.done < 1]
    typical_s = median(known_s) if known_s else 0.0
    left_s = [run.eta_s for run in running if run.eta_s is not None]
    queued_s = [typical_s * (1 - run.done) for run in statuses if run.state is State.QUEUED]
    return max(*left_s, sum([*left_s, *queued_s]) / len(running), 0.0)
