"""Where every run of a sweep stands: told from the files, and from what SLURM says of its jobs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jobs.causes import NOT_RETRIED, Cause, idle_attempts
from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.processes import is_running, this_host
from jobs.run_dir import Attempt, LeaseHolder, RunDir, SweepDir
from launcher.labels import label_runs, short_id
from launcher.plan import Standing, State

if TYPE_CHECKING:
    from launcher.slurm import Task

BAR_WIDTH = 8
GOES_ON = "; goes on from its last checkpoint"
NOUNS = {Cause.PREEMPTED: "preemption"}
STUCK = "stuck at chance: its top-1 is no better than guessing"
COLOURS = {
    State.RUNNING: "cyan",
    State.QUEUED: "blue",
    State.HELD: "yellow",
    State.STOPPED: "yellow",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
    State.PLANNED: "default",
    State.FINISHED: "green",
}


@dataclass(frozen=True)
class RunStatus(Standing):
    """A row of `launcher status`."""

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
    host: str = ""


def sweep_status(sweep: SweepDir, *, ask_slurm: bool = True) -> list[RunStatus]:
    """Every run of a sweep: those that its matrix names, in its order, then the others.

    Raises ExecutionError when SLURM does not answer; without asking, the files alone tell.
    """
    return status_of_sweeps([sweep], ask_slurm=ask_slurm)[0]


def status_of_sweeps(
    sweeps: Sequence[SweepDir], *, ask_slurm: bool = True
) -> list[list[RunStatus]]:
    """The same for several sweeps, with one round of questions to SLURM, if it has any of them."""
    tasks = _ask_slurm(sweeps) if ask_slurm else {}
    found = []
    for sweep in sweeps:
        named = {run_id: place for place, run_id in enumerate(sweep.named_runs())}
        queued = queued_runs(sweep)
        runs = sorted(sweep.runs(), key=lambda run: (named.get(run.run_id, len(named)), run.run_id))
        configs = {run.run_id: config for run in runs if (config := _config_or_none(run))}
        labels = label_runs(configs)
        found.append(
            [
                replace(
                    run_status(run, queued, tasks.get(run.path), configs.get(run.run_id)),
                    label=labels.get(run.run_id, run.run_id),
                    named=run.run_id in named,
                    gpus=configs[run.run_id].gpus if run.run_id in configs else 1,
                )
                for run in runs
            ]
        )
    return found


def _config_or_none(run: RunDir) -> RunConfig | None:
    try:
        return run.read_config()
    except InputError:
        return None


def _ask_slurm(sweeps: Sequence[SweepDir]) -> dict[Path, Task]:
    if not any(sweep.is_on_slurm() for sweep in sweeps):
        return {}
    from launcher.tasks import tasks_of_runs  # with submitit, which others need not load

    return tasks_of_runs(sweeps)


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
    run: RunDir, queued: set[str], task: Task | None = None, config: RunConfig | None = None
) -> RunStatus:
    """Where one run stands. The order of the questions is the order of trust.

    `config` is the run's own, where it has been read already.
    """
    try:
        return _intact_run_status(run, queued, task, config or run.read_config())
    except InputError as error:
        return RunStatus(run.run_id, State.FAILED, str(error))


def _intact_run_status(
    run: RunDir, queued: set[str], task: Task | None, config: RunConfig
) -> RunStatus:
    epochs = config.epochs
    if (result := run.read_result()) is not None:
        return RunStatus(
            run.run_id,
            State.FINISHED,
            cause=Cause.FINISHED,
            attempts=result["attempts"],
            # Of most runs the only attempt is the one that finished it.
            causes=_count(run.history()) if result["attempts"] > 1 else {Cause.FINISHED.value: 1},
            epoch=epochs,
            epochs=epochs,
            done=1.0,
            test_top1=result["final_test_top1"],
            detail=STUCK if result.get("stuck_at_chance") else "",
        )
    holder = run.holder()
    history = run.history()
    state, detail = _unfinished_state(run, history, queued, task, holder)
    if state is State.STOPPED and run.needs_resume.exists():
        detail += "; it could not be requeued"
    last = history[-1] if history else None
    status = RunStatus(
        run.run_id,
        state,
        detail,
        cause=Cause(last["cause"]) if last and "cause" in last else None,
        idle=tuple(idle_attempts(history[:-1] if state is State.RUNNING else history)),
        code=last.get("code", "") if last else "",
        attempts=len(history),
        causes=_count(history),
        failed_nodes=_failed_nodes(history),
        epochs=epochs,
        host=holder["host"] if holder is not None else "",
    )
    if (progress := run.read_progress()) is None:
        return status
    is_current = state is State.RUNNING and progress["attempt"] == len(history)
    if is_current and progress.get("stuck_at_chance"):
        status = replace(status, detail=STUCK)
    return replace(
        status,
        epoch=progress["epoch"],
        done=progress["step"] / progress["steps"],
        test_top1=progress["test_top1"],
        eta_s=progress["eta_s"] if is_current else None,
    )


def _count(history: Sequence[Attempt]) -> dict[str, int]:
    return dict(Counter(Cause(attempt["cause"]).value for attempt in history if "cause" in attempt))


def _failed_nodes(history: Sequence[Attempt]) -> tuple[str, ...]:
    """By attempt. Of a job on several nodes, SLURM does not say which one has failed."""
    bad = (Cause.NODE_FAILURE, Cause.DEVICE_UNFIT)
    nodes = [a.get("node", "") for a in history if a.get("cause") in bad]
    return tuple(node for node in nodes if re.fullmatch(r"[\w.-]+", node))


def _unfinished_state(
    run: RunDir,
    history: Sequence[Attempt],
    queued: set[str],
    task: Task | None,
    holder: LeaseHolder | None,
) -> tuple[State, str]:
    if task is not None and not task.is_over:
        if _has_left(run, history, task, holder):
            return how_it_ended(history)
        return task.state, task.reason if task.state is not State.RUNNING else ""
    word, job_id = (task.word, task.id) if task is not None else _written_end(run, history)
    # The lease of a job that SLURM has ended is a dead one.
    if holder is not None and not (word and holder["job_id"] == job_id):
        return State.RUNNING, ""
    if run.is_cancelled():
        return State.CANCELLED, ""
    if run.run_id in queued:
        return State.QUEUED, ""
    if word and (not history or history[-1].get("job_id") != job_id):
        return how_slurm_ended_it(word)
    if history:
        return how_it_ended(history, released_unix_s=run.released_unix_s())
    return State.PLANNED, ""


def _has_left(
    run: RunDir, history: Sequence[Attempt], task: Task, holder: LeaseHolder | None
) -> bool:
    """Whether a run will not go on in its job, which other runs still need."""
    if holder is not None or not history or history[-1]["job_id"] != task.id:
        return False
    cause = history[-1].get("cause")
    return cause in NOT_RETRIED or (cause == Cause.CANCELLED and run.is_cancelled())


def how_it_ended(history: Sequence[Attempt], released_unix_s: float = 0.0) -> tuple[State, str]:
    """What is known of a run's last attempt, when nobody works on the run now."""
    last = history[-1]
    cause, message = Cause(last.get("cause", Cause.UNKNOWN)), last.get("message", "")
    is_released = last.get("ended_unix_s", last["started_unix_s"]) < released_unix_s
    match cause:
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
        return State.FAILED, "out_of_memory: SLURM killed its job before the run began"
    if word in ("FAILED", "COMPLETED", "LAUNCH_FAILED"):
        return State.FAILED, "its job ended before the run began; `launcher logs` shows its output"
    return State.STOPPED, f"its job ended ({word}) before the run began"


def _nth(history: Sequence[Attempt], cause: Cause) -> str:
    """Such as `node failure`, `2nd node failure`."""
    number = _count(history)[cause]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 * (number % 100 not in (11, 12, 13)), "th")
    word = NOUNS.get(cause, cause.replace("_", " "))
    return f"{number}{ending} {word}" if number > 1 else word


def _written_end(run: RunDir, history: Sequence[Attempt]) -> tuple[str, str]:
    """SLURM's word for how the last job ended, and the job, if nothing came after it."""
    ends = [event for event in run.observed() if event["event"] == "ended"]
    if not ends or (history and history[-1]["started_unix_s"] > ends[-1]["time_unix_s"]):
        return "", ""
    return ends[-1]["word"], ends[-1]["job_id"]


def count_states(statuses: Iterable[Standing]) -> str:
    """Such as `running 2, planned 4`."""
    counts = Counter(status.state for status in statuses)
    return ", ".join(f"{state} {counts[state]}" for state in State if counts[state]) or "no runs"


def status_table(
    sweep_name: str, statuses: Sequence[RunStatus], *, limit: int | None = None
) -> Group:
    """The table of one sweep, with at most `limit` rows, the ones in motion first."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("run", min_width=10)  # gives way in a narrow terminal
    table.add_column("id", no_wrap=True, min_width=8)
    table.add_column("state", no_wrap=True, min_width=9)
    table.add_column("", no_wrap=True, min_width=BAR_WIDTH)
    table.add_column("epoch", justify="right", no_wrap=True, min_width=5)
    table.add_column("top-1 %", justify="right", no_wrap=True, min_width=7)
    table.add_column("attempts", justify="right", no_wrap=True, min_width=8)
    table.add_column("left", justify="right", no_wrap=True, min_width=6)
    shown = statuses
    if limit is not None and len(statuses) > limit:
        order = list(State)
        shown = sorted(statuses, key=lambda status: order.index(status.state))[:limit]
    for status in shown:
        table.add_row(*_row(status))
    notes = [
        Text(
            f"  {status.label} ({short_id(status.run_id)}): {status.detail}",
            style=COLOURS[status.state],
        )
        for status in shown
        if status.detail and status.state is not State.PLANNED
    ]
    hidden = len(statuses) - len(shown)
    if hidden:
        notes.append(Text(f"  and {hidden} more; --all lists them", style="dim"))
    heading = Text.assemble((sweep_name, "bold"), f": {count_states(statuses)}")
    return Group(heading, table, *notes)


def _row(status: RunStatus) -> tuple[Text | str, ...]:
    note = "" if status.named else "(no longer in the matrix) "
    return (
        Text.assemble((note, "dim"), status.label, no_wrap=True, overflow="ellipsis"),
        short_id(status.run_id),
        Text(status.state, style=COLOURS[status.state]),
        Text("━" * round(BAR_WIDTH * status.done), style=COLOURS[status.state]),
        f"{status.epoch}/{status.epochs}",
        "" if status.test_top1 is None else f"{status.test_top1:.2f}",
        str(status.attempts),
        "" if status.eta_s is None else format_duration(status.eta_s),
    )


def format_duration(seconds: float) -> str:
    """Such as `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for size_s, unit, digits in ((86400, "d", 1), (3600, "h", 1), (60, "min", 0)):
        if seconds >= size_s:
            return f"{seconds / size_s:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
