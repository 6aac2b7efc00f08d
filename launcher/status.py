"""Where every run of a sweep stands: told from the files, and from what SLURM says of its jobs."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from jobs import events
from jobs.causes import NOT_RETRIED, SLURM_CAUSES, Cause, idle_attempts
from jobs.config import option_of
from jobs.errors import InputError
from jobs.events import Event
from jobs.lease import STALE_AFTER_S, LeaseHolder
from jobs.look import SweepLook
from jobs.processes import is_running, this_host
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Progress, Result
from jobs.sweep_dir import SweepDir
from launcher.labels import label_runs, short_id
from launcher.plan import Standing, State
from launcher.reasons import explain_reason

if TYPE_CHECKING:
    from launcher.slurm import Task

GOES_ON = "; goes on from its last checkpoint"
NOUNS = {Cause.PREEMPTED: "preemption"}
ONLY_FINISHED = {str(Cause.FINISHED): 1}
STUCK = "stuck at chance: its top-1 is no better than guessing"

# A run on a slow file system may need long to import torch, stage its data and compile.
BEGIN_WITHIN_S = 1800.0
HEARTBEATS_MISSED = 10

# SLURM's estimate behind jobs without a time limit is centuries away.
FAR_S = 365 * 86400.0

# Of a job that runs for SLURM, though the run may not.
NOT_TRAINING = {
    "CONFIGURING": "its node is being made ready",
    "COMPLETING": "it is leaving its node",
    "SUSPENDED": "SLURM has suspended it",
    "STOPPED": "SLURM has stopped it, and keeps its node",
}


@dataclass
class RunStatus(Standing):
    """A row of `launcher status`, and an object of `launcher status --json`.

    The host is where it is trained now. Node, GPU and job are those of the last attempt, or of the
    job that runs; of a finished run nobody asks for them. `reason` is SLURM's own word for why it
    waits, and `detail` a sentence. A suspect one runs, and gives no sign of life.
    """

    label: str = ""
    named: bool = True
    gpus: int = 1
    attempts: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)  # how many attempts ended so
    failed_nodes: tuple[str, ...] = ()  # a node for each attempt that it failed, or did not suit
    epoch: int = 0
    epochs: int = 0
    done: float = 0.0
    test_top1: float | None = None
    eta_s: float | None = None
    wall_s: float | None = None  # of a finished run: all of its training
    host: str = ""
    node: str = ""
    gpu: str = ""
    job_id: str = ""
    reason: str = ""
    expected_start_unix_s: float | None = None
    suspect: bool = False


def sweep_status(sweep: SweepDir, *, ask_slurm: bool = True) -> list[RunStatus]:
    """Every run of a sweep: those that its matrix names, in its order, then the others.

    Raises ExecutionError when SLURM does not answer; without asking, the files alone tell.
    """
    return status_of_sweeps([sweep], ask_slurm=ask_slurm)[0]


def status_of_sweeps(
    sweeps: Sequence[SweepDir], *, ask_slurm: bool = True, remembers: bool = False
) -> list[list[RunStatus]]:
    """The same for several sweeps, with one round of questions to SLURM, if it has any of them.

    With `remembers`, for a person to look at, of runs at rest what earlier looks have read counts.
    """
    looks = [SweepLook(sweep, remembers=remembers) for sweep in sweeps]
    with asking_slurm(looks) if ask_slurm else contextlib.nullcontext(dict) as answer:
        listed = [list_runs(sweep) for sweep in looks]  # SLURM may be long in answering
        tasks = answer()
    # Files that were read before SLURM was asked may be old by now, but not where it shows that a
    # run waits.
    waiting = {run for run, task in tasks.items() if task.state in (State.QUEUED, State.HELD)}
    for sweep in looks:
        sweep.look_again(besides=waiting)
    return status_from(listed, tasks)


@dataclass(frozen=True)
class ListedRuns:
    """The runs of a sweep in the order of its matrix, and what of them does not change.

    `options` are those that differ from their defaults, by run id, of runs that are not damaged.
    """

    sweep: SweepLook
    runs: Sequence[RunDir]
    named: Container[str]
    options: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, str]


def list_runs(sweep: SweepLook) -> ListedRuns:
    planned = {run.run_id: run for run in sweep.runs()}
    named = dict.fromkeys(sweep.named_runs())
    runs = [planned[run_id] for run_id in named | planned if run_id in planned]
    options = {run.run_id: known for run in runs if (known := intact_options(run))}
    return ListedRuns(sweep, runs, named, options, label_runs(options))


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
                    each.options.get(run.run_id),
                    each.labels.get(run.run_id, run.run_id),
                    named=run.run_id in each.named,
                )
                for run in each.runs
            ]
        )
        each.sweep.keep()
    return found


def intact_options(run: RunDir) -> Mapping[str, Any] | None:
    try:
        return run.read_options()
    except InputError:
        return None


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
        done = {"ended_unix_s", "job_id", "refused"} & submission.keys()
        if not done and submission["host"] == this_host() and is_running(submission):
            waiting.update(submission["runs"])
    return waiting


def run_status(
    run: RunDir,
    queued: set[str],
    task: Task | None = None,
    options: Mapping[str, Any] | None = None,
    label: str = "",
    *,
    named: bool = True,
) -> RunStatus:
    """Where one run stands. The order of the questions is the order of trust.

    `options` are those that the run has changed, where they have been read already.
    """
    known: dict[str, Any] = {"label": label, "named": named}
    try:
        options = options or run.read_options()
        known |= {"gpus": option_of(options, "gpus"), "epochs": option_of(options, "epochs")}
        if (result := run.read_result()) is not None:
            return _finished(run, result, known)
        return _unfinished(run, queued, task, option_of(options, "progress_every_s"), known)
    except InputError as error:
        return RunStatus(run.run_id, State.FAILED, str(error), damaged=True, **known)


def _unfinished(
    run: RunDir,
    queued: set[str],
    task: Task | None,
    progress_every_s: float,
    known: Mapping[str, Any],
) -> RunStatus:
    holder = run.holder()
    seen = run.observed()
    history = run.history(seen)
    progress = run.read_progress()
    is_queued = run.run_id in queued
    state, detail = _unfinished_state(history, seen, task, holder, is_queued=is_queued)
    if state is State.STOPPED and run.needs_resume.exists():
        detail += "; it could not be requeued"
    last = history[-1] if history else None
    attempts = idle_attempts(history[:-1] if state is State.RUNNING else history)
    unbegun = [] if state.is_under_way else jobs_before_it_began(history, seen, task)
    causes = _causes(history)
    ended = causes[-1] if last and "cause" in last else None
    is_current = progress and progress["attempt"] == len(history)
    current = progress if state is State.RUNNING and is_current else None
    status = RunStatus(
        run.run_id,
        state,
        STUCK if current and current.get("stuck_at_chance") else detail,
        cause=unbegun[0] if unbegun else ended,
        idle=(*unbegun, *attempts),
        code=last.get("code", "") if last else "",
        attempts=len(history),
        causes=_count(causes),
        failed_nodes=_failed_nodes(history),
        **_where(last, holder, task),
        **_waiting(state, task),
        **_progressed(progress),
        eta_s=current["eta_s"] if current else None,
        **known,
    )
    # A job that is suspended, or leaves its node, is silent for good reason.
    if state is not State.RUNNING or (task is not None and task.word != "RUNNING"):
        return status
    silent_s = time.time() - _last_sign_unix_s(last, progress, holder, task)
    return _suspected(status, silent_s, progress_every_s, task)


def _finished(run: RunDir, result: Result, known: Mapping[str, Any]) -> RunStatus:
    return RunStatus(
        run.run_id,
        State.FINISHED,
        cause=Cause.FINISHED,
        attempts=result["attempts"],
        # Of most runs the only attempt is the one that finished it.
        causes=_count(_causes(run.history())) if result["attempts"] > 1 else ONLY_FINISHED,
        epoch=known["epochs"],
        done=1.0,
        test_top1=result["final_test_top1"],
        wall_s=result["wall_s"],
        detail=STUCK if result.get("stuck_at_chance") else "",
        **known,
    )


def _where(last: Attempt | None, holder: LeaseHolder | None, task: Task | None) -> dict[str, Any]:
    """Where a run is trained, or was last."""
    of_task = task if task is not None and task.state is State.RUNNING else None
    attempt: Mapping[str, Any] = last or {}
    on_slurm = attempt.get("executor") == "slurm"
    return {
        "host": holder["host"] if holder is not None else "",
        "node": (of_task and of_task.node) or attempt.get("node") or attempt.get("host", ""),
        "gpu": attempt.get("environment", {}).get("device", ""),
        "job_id": task.id if task is not None else attempt["job_id"] if on_slurm else "",
    }


def _waiting(state: State, task: Task | None) -> dict[str, Any]:
    """Why SLURM lets a run wait, and until when, if it has planned that."""
    if task is None or state not in (State.QUEUED, State.HELD):
        return {}
    is_planned = task.expected_unix_s < time.time() + FAR_S
    return {
        "reason": task.reason,
        "expected_start_unix_s": task.expected_unix_s if is_planned else None,
    }


def _progressed(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    return {
        "epoch": progress["epoch"],
        "done": progress["step"] / progress["steps"],
        "test_top1": progress["test_top1"],
    }


def _last_sign_unix_s(
    last: Attempt | None, progress: Progress | None, holder: LeaseHolder | None, task: Task | None
) -> float:
    times = [
        last["started_unix_s"] if last else None,
        progress["time_unix_s"] if progress else None,
        holder["time_unix_s"] if holder else None,
        task.expected_unix_s if task and task.expected_unix_s < math.inf else None,
    ]
    return max((time_s for time_s in times if time_s is not None), default=time.time())


def _suspected(
    status: RunStatus, silent_s: float, progress_every_s: float, task: Task | None
) -> RunStatus:
    """The status, marked if the run is silent for longer than it should be."""
    is_training = status.eta_s is not None
    heartbeats_s = max(HEARTBEATS_MISSED * progress_every_s, STALE_AFTER_S)
    if silent_s <= (heartbeats_s if is_training else BEGIN_WITHIN_S):
        return status
    what = "no sign of life" if is_training else "it has not begun to train"
    where = f" on {status.node}" if status.node else ""
    again = f"; `scontrol requeue {task.id}` starts it again" if task else ""
    detail = (
        f"{what} for {format_duration(silent_s)}{where}: "
        f"`launcher logs {short_id(status.run_id)}` shows its last words{again}"
    )
    return replace(status, detail=detail, suspect=True)


def _causes(history: Sequence[Attempt]) -> list[Cause]:
    """How the attempts ended that have."""
    return [Cause(attempt["cause"]) for attempt in history if "cause" in attempt]


def _count(causes: Sequence[Cause]) -> dict[str, int]:
    return {str(cause): causes.count(cause) for cause in causes}


def _failed_nodes(history: Sequence[Attempt]) -> tuple[str, ...]:
    """By attempt. Of a job on several nodes, SLURM does not say which one has failed."""
    bad = (Cause.NODE_FAILURE, Cause.DEVICE_UNFIT)
    nodes = [a.get("node", "") for a in history if a.get("cause") in bad]
    return tuple(node for node in nodes if re.fullmatch(r"[\w.-]+", node))


def _unfinished_state(
    history: Sequence[Attempt],
    seen: Sequence[Event],
    task: Task | None,
    holder: LeaseHolder | None,
    *,
    is_queued: bool,
) -> tuple[State, str]:
    is_cancelled = events.is_cancelled(seen)
    if task is not None and not task.is_over:
        if _has_left(history, task, holder, is_cancelled=is_cancelled):
            return how_it_ended(history)
        if task.state is State.RUNNING:
            return task.state, NOT_TRAINING.get(task.word, "")
        return task.state, explain_reason(task.reason)
    word, job_id = (task.word, task.id) if task is not None else _written_end(history, seen)
    # The lease of a job that SLURM has ended is a dead one.
    if holder is not None and not (word and holder["job_id"] == job_id):
        return State.RUNNING, ""
    if is_cancelled:
        return State.CANCELLED, ""
    if is_queued:
        return State.QUEUED, ""
    if word and (not history or history[-1].get("job_id") != job_id):
        return how_slurm_ended_it(word)
    if history:
        return how_it_ended(history, released_unix_s=events.released_unix_s(seen))
    return State.PLANNED, ""


def _has_left(
    history: Sequence[Attempt], task: Task, holder: LeaseHolder | None, *, is_cancelled: bool
) -> bool:
    """Whether a run will not go on in its job, which other runs still need."""
    if holder is not None or not history or history[-1]["job_id"] != task.id:
        return False
    cause = history[-1].get("cause")
    return cause in NOT_RETRIED or (cause == Cause.CANCELLED and is_cancelled)


def how_it_ended(history: Sequence[Attempt], released_unix_s: float = 0.0) -> tuple[State, str]:
    """What is known of a run's last attempt, when nobody works on the run now."""
    last = history[-1]
    cause, message = Cause(last.get("cause", Cause.UNKNOWN)), last.get("message", "")
    is_released = last.get("ended_unix_s", last["started_unix_s"]) < released_unix_s
    match cause:
        case Cause.UNKNOWN if message.endswith("COMPLETED"):
            return State.STOPPED, f"{message}, but there is no result{GOES_ON}"
        case Cause.UNKNOWN:
            return State.STOPPED, f"killed{f' ({message})' if message else ''}{GOES_ON}"
        case Cause.FINISHED:
            return State.STOPPED, f"its result is missing{GOES_ON}"
        case Cause.STOPPED | Cause.INTERRUPTED:
            return State.STOPPED, message or cause
        case Cause.CANCELLED:
            return State.STOPPED if is_released else State.CANCELLED, message or cause
        case Cause.TIME_LIMIT | Cause.PREEMPTED:
            return State.STOPPED, f"{_nth(history, cause)}: {message}"
        case Cause.NODE_FAILURE:
            return State.STOPPED, f"{_nth(history, cause)} on {last.get('node', '?')}{GOES_ON}"
        case _:
            return State.FAILED, f"{cause}: {message}"


def how_slurm_ended_it(word: str) -> tuple[State, str]:
    """The same when the run's last job had ended before the run began."""
    if word == "OUT_OF_MEMORY":
        said = "out_of_memory: SLURM killed its job before the run began; give it more `mem`"
        return State.FAILED, said
    if word in ("FAILED", "COMPLETED", "LAUNCH_FAILED"):
        return State.FAILED, "its job ended before the run began; `launcher logs` shows its output"
    if word == "UNKNOWN":
        return State.STOPPED, "SLURM has forgotten its job, in which the run did not begin"
    return State.STOPPED, f"its job ended ({word}) before the run began"


def jobs_before_it_began(
    history: Sequence[Attempt], seen: Sequence[Event], task: Task | None
) -> list[Cause]:
    """How SLURM's jobs ended that made no attempt, newest first, since the last attempt began.

    That the newest job, `task`, is lost is written down when there is another. A person who
    releases a cancelled run begins the count anew.
    """
    last_job, since_s = "", events.released_unix_s(seen)
    if history:
        last_job, since_s = history[-1]["job_id"], max(since_s, history[-1]["started_unix_s"])
    words = {
        event["token"]: event["word"]
        for event in events.ends(seen)
        if event["time_unix_s"] > since_s and event["job_id"] != last_job
    }
    if task is not None and task.word == "UNKNOWN" and task.id != last_job:
        words[task.name] = task.word
    return [
        SLURM_CAUSES.get(word, Cause.UNKNOWN if word == "UNKNOWN" else Cause.NOT_BEGUN)
        for word in reversed(words.values())
    ]


def _nth(history: Sequence[Attempt], cause: Cause) -> str:
    """Such as `node failure`, `2nd node failure`."""
    number = _causes(history).count(cause)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 * (number % 100 not in (11, 12, 13)), "th")
    word = NOUNS.get(cause, cause.replace("_", " "))
    return f"{number}{ending} {word}" if number > 1 else word


def _written_end(history: Sequence[Attempt], seen: Sequence[Event]) -> tuple[str, str]:
    """SLURM's word for how the last job ended, and the job, if nothing came after it."""
    ends = events.ends(seen)
    if not ends or (history and history[-1]["started_unix_s"] > ends[-1]["time_unix_s"]):
        return "", ""
    return ends[-1]["word"], ends[-1]["job_id"]


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


def format_duration(seconds: float) -> str:
    """Such as `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for size_s, unit, digits in ((86400, "d", 1), (3600, "h", 1), (60, "min", 0)):
        if seconds >= size_s:
            return f"{seconds / size_s:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
