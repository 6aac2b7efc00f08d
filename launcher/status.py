"""Where every run of a sweep stands, told from the files alone, from any shell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jobs.errors import InputError
from jobs.run_dir import Attempt, RunDir, SweepDir, is_running, this_host
from launcher.plan import Standing, State

BAR_WIDTH = 10
COLOURS = {
    State.RUNNING: "cyan",
    State.QUEUED: "blue",
    State.STOPPED: "yellow",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
    State.PLANNED: "default",
    State.FINISHED: "green",
}


@dataclass(frozen=True)
class RunStatus(Standing):
    """A row of `launcher status`."""

    named: bool = True
    attempts: int = 0
    epoch: int = 0
    epochs: int = 0
    done: float = 0.0
    test_top1: float | None = None
    eta_s: float | None = None
    host: str = ""


def sweep_status(sweep: SweepDir) -> list[RunStatus]:
    """Every run of a sweep: those that its matrix names, in its order, then the others."""
    named = {run_id: place for place, run_id in enumerate(sweep.named_runs())}
    queued = queued_runs(sweep)
    runs = sorted(sweep.runs(), key=lambda run: (named.get(run.run_id, len(named)), run.run_id))
    return [run_status(run, queued, named=run.run_id in named) for run in runs]


def queued_runs(sweep: SweepDir) -> set[str]:
    """The runs that wait for a worker of a launching process that is alive.

    A process on another host cannot be looked up. Its runs count as free: should both start one,
    the run's lease lets only one of them train it.
    """
    waiting: set[str] = set()
    for submission in sweep.submissions():
        ended = "ended_unix_s" in submission
        if not ended and submission["host"] == this_host() and is_running(submission):
            waiting.update(submission["runs"])
    return waiting


def run_status(run: RunDir, queued: set[str], *, named: bool = True) -> RunStatus:
    """Where one run stands. The order of the questions is the order of trust."""
    attempts = run.attempts()
    last = attempts[-1] if attempts else None
    try:
        epochs = run.read_config().epochs
    except InputError as error:
        return RunStatus(run.run_id, State.FAILED, str(error), named, len(attempts))

    if (result := run.read_result()) is not None:
        top1 = result["final_test_top1"]
        return RunStatus(
            run.run_id, State.FINISHED, "", named, result["attempts"], epochs, epochs, 1.0, top1
        )

    state, detail, host = State.PLANNED, "", ""
    if (holder := run.holder()) is not None:
        state, host = State.RUNNING, holder["host"]
    elif is_cancelled(run):
        state = State.CANCELLED
    elif run.run_id in queued:
        state = State.QUEUED
    elif last is not None:
        state, detail = how_it_ended(last)

    status = RunStatus(run.run_id, state, detail, named, len(attempts), epochs=epochs, host=host)
    if (progress := run.read_progress()) is None:
        return status
    is_current = state is State.RUNNING and progress["attempt"] == len(attempts)
    return replace(
        status,
        epoch=progress["epoch"],
        done=progress["step"] / progress["steps"],
        test_top1=progress["test_top1"],
        eta_s=progress["eta_s"] if is_current else None,
    )


def is_cancelled(run: RunDir) -> bool:
    """Whether the last word about the run was `launcher cancel`."""
    events = [record["event"] for record in run.observed()]
    return bool(events) and events[-1] == "cancelled"


def how_it_ended(attempt: Attempt) -> tuple[State, str]:
    """What the record of a run's last attempt says, when nobody works on the run now."""
    match attempt.get("cause"):
        case None:
            return State.STOPPED, "killed; goes on from its last checkpoint"
        case "stopped" | "interrupted" as cause:
            return State.STOPPED, attempt.get("message") or cause
        case cause:
            return State.FAILED, f"{cause}: {attempt.get('message', '')}"


def count_states(statuses: Iterable[Standing]) -> str:
    """Such as `running 2, planned 4`."""
    counts = Counter(status.state for status in statuses)
    return ", ".join(f"{state} {counts[state]}" for state in State if counts[state]) or "no runs"


def status_table(
    sweep_name: str, statuses: Sequence[RunStatus], *, limit: int | None = None
) -> Group:
    """The table of one sweep, with at most `limit` rows, the ones in motion first."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    # In a narrow terminal the names give way, from their end: the digits of the hash.
    table.add_column("run", min_width=10)
    table.add_column("state", no_wrap=True, min_width=9)
    table.add_column("", no_wrap=True, min_width=BAR_WIDTH)
    table.add_column("epoch", justify="right", no_wrap=True, min_width=7)
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
        Text(f"  {status.run_id}: {status.detail}", style=COLOURS[status.state])
        for status in shown
        if status.detail and status.state in (State.FAILED, State.STOPPED)
    ]
    hidden = len(statuses) - len(shown)
    if hidden:
        notes.append(Text(f"  and {hidden} more", style="dim"))
    heading = Text.assemble((sweep_name, "bold"), f": {count_states(statuses)}")
    return Group(heading, table, *notes)


def _row(status: RunStatus) -> tuple[Text | str, ...]:
    note = "" if status.named else "(no longer in the matrix) "
    return (
        Text.assemble((note, "dim"), status.run_id, no_wrap=True, overflow="ellipsis"),
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
