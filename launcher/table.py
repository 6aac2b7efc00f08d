"""The table of a sweep: a line for each run, as wide as there is room, and what is to be said."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

from jobs.causes import Cause
from launcher.durations import format_duration
from launcher.fitting import fit_labels, least_width, short_id, width_of
from launcher.plan import State
from launcher.run_status import RunStatus
from launcher.status import count_states, time_left_s

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

BAR = "━"
BAR_WIDTH = 8
LEGIBLE_WIDTH = 52  # labels get what they need, up to this, before other columns come in
LABEL_WIDTH = 24  # and so much where that is not enough
NOTED_LABELS = 3
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
SUSPECT_COLOUR = "bold yellow"

# Device names begin with what all of them begin with.
GPU_PREFIXES = ("NVIDIA ", "Tesla ", "GeForce ")


@dataclass(frozen=True)
class _Column:
    name: str
    cell: Callable[[RunStatus], str]
    to_the_right: bool = False

    def cells(self, runs: Sequence[RunStatus]) -> list[str]:
        """All of one width, with the name as the first."""
        cells = [self.name, *map(self.cell, runs)]
        width = max(map(len, cells))
        return [cell.rjust(width) if self.to_the_right else cell.ljust(width) for cell in cells]


@dataclass(frozen=True)
class SweepTable:
    """The table of one sweep, with at most `limit` runs, the ones in motion first."""

    sweep_name: str
    statuses: Sequence[RunStatus]
    limit: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = _most_moving(self.statuses, self.limit)
        title = Text.assemble((self.sweep_name, "bold"), f": {_summary(self.statuses)}")
        left = _time_left(self.statuses)
        fits = title.cell_len + len(left) + 2 <= options.max_width
        yield title.append(f"; {left}") if left and fits else title
        if left and not fits:
            yield Text(f"  {left}")
        whole_lines, labels = _lines(shown, options.max_width)
        head, *rows = _fitting(whole_lines, options.max_width)
        styles = (
            ["bold", *map(_colour, shown)] if console.color_system else ["" for _ in whole_lines]
        )
        for style, lines in groupby(zip(styles, [head, *rows], strict=True), itemgetter(0)):
            text = "".join(f"{line}\n" for _, line in lines)
            yield Segment(text, console.get_style(style))
        notes = _notes(shown, self.statuses, labels)
        most = None if self.limit is None else max(3, self.limit // 2)
        yield from notes[:most]
        if unsaid := len(notes[most or len(notes) :]):
            yield Text(f"  and {unsaid:,} more to be said; --all says it", style="dim")
        if hidden := len(self.statuses) - len(shown):
            yield Text(f"  and {hidden:,} more; --all lists them", style="dim")
        if any(run.state is State.FAILED for run in self.statuses):
            hint = (
                f"  `launcher logs --failed {self.sweep_name}` shows the last words of what failed"
            )
            yield Text(hint, style="dim")


def _summary(statuses: Sequence[RunStatus]) -> str:
    suspects = sum(run.suspect for run in statuses)
    return f"{count_states(statuses)}{f'; {suspects} of them suspect' if suspects else ''}"


def _time_left(statuses: Sequence[RunStatus]) -> str:
    left_s = time_left_s(statuses)
    if left_s is None:
        return ""
    queued = any(run.state is State.QUEUED for run in statuses)
    return f"about {format_duration(left_s)} to go{' if as many go on at once' if queued else ''}"


def _most_moving(statuses: Sequence[RunStatus], limit: int | None) -> Sequence[RunStatus]:
    if limit is None or len(statuses) <= limit:
        return statuses
    order = {state: place for place, state in enumerate(State)}
    return sorted(statuses, key=lambda run: (not run.suspect, order[run.state]))[:limit]


def _fitting(lines: Sequence[str], width: int) -> list[str]:
    """The lines, cut where they are too wide: they are never wrapped."""
    # Thousands of lines are seldom measured: most are of letters that each take one cell.
    text = "".join(lines).replace(BAR, "")
    is_plain = text.isascii() or all(cell_len(letter) == 1 for letter in set(text))
    measure = len if is_plain else cell_len
    return [line if measure(line) <= width else set_cell_size(line, width) for line in lines]


def _colour(run: RunStatus) -> str:
    return SUSPECT_COLOUR if run.suspect else COLOURS[run.state]


# ------------------------------------------------------------------------------- columns


def _lines(runs: Sequence[RunStatus], width: int) -> tuple[list[str], dict[str, str]]:
    """The head and a line for each run, with the columns that there is room for.

    Also the runs' labels as they stand there, by the runs' names.
    """
    labels = [_label(run) for run in runs]
    cells, room = _columns(runs, width, labels)
    fitted = fit_labels(labels, max(room, 10))
    widest = width_of(["run", *fitted])
    texts = [text.ljust(widest) for text in ("run", *fitted)]
    lines = [" ".join(parts).rstrip() for parts in zip(texts, *cells, strict=True)]
    return lines, {run.run_id: label for run, label in zip(runs, fitted, strict=True)}


def _columns(
    runs: Sequence[RunStatus], width: int, labels: Sequence[str]
) -> tuple[list[list[str]], int]:
    """The cells of as many columns as leave the labels the room that they need, and that room.

    Where it would be too much, or is not there however few the columns, labels make do with less.
    """
    cells_of = functools.cache(lambda column: column.cells(runs))

    def cells_and_room(layout: Sequence[_Column]) -> tuple[list[list[str]], int]:
        cells = [cells_of(column) for column in layout]
        return cells, width - sum(len(column[0]) + 1 for column in cells)

    cells, room = cells_and_room(LAYOUTS[0])
    if room >= width_of(labels):
        return cells, room
    needed = least_width(labels)
    legible = [needed] if needed <= LEGIBLE_WIDTH else []
    for wanted in (*legible, min(LABEL_WIDTH, needed)):
        for layout in LAYOUTS:
            cells, room = cells_and_room(layout)
            if room >= wanted:
                return cells, room
    return cells, room


def _label(run: RunStatus) -> str:
    return run.label if run.named else f"(no longer in the matrix) {run.label}"


def _state(run: RunStatus) -> str:
    return "running?" if run.suspect else str(run.state)


def _epoch(run: RunStatus) -> str:
    return f"{run.epoch}/{run.epochs}" if run.epochs else ""  # of a damaged one nothing is known


def _top1(run: RunStatus) -> str:
    return "" if run.test_top1 is None else f"{run.test_top1:.2f}"


def _left(run: RunStatus) -> str:
    return "" if run.eta_s is None else format_duration(run.eta_s)


def _attempts_and_causes(run: RunStatus) -> str:
    """Such as `4 (2 preempted, 1 time limit)`, or `2 (stopped)` where all ended so."""
    told = [
        cause if count == run.attempts else f"{count} {cause}"
        for cause, count in run.causes.items()
        if cause != Cause.FINISHED
    ]
    if not told:
        return str(run.attempts)
    return f"{run.attempts} ({', '.join(told)})".replace("_", " ")


def _when_or_node(run: RunStatus) -> str:
    if run.expected_start_unix_s is None:
        return "" if run.state is State.QUEUED else run.node
    return f"in {format_duration(max(0.0, run.expected_start_unix_s - time.time()))}"


def _when_or_where(run: RunStatus) -> str:
    if run.expected_start_unix_s is not None:
        return describe_start(run.expected_start_unix_s)
    return "" if run.state is State.QUEUED else f"{run.node} {short_gpu(run.gpu)}".strip()


def short_gpu(name: str) -> str:
    """Such as `V100-SXM2-16GB`."""
    for prefix in GPU_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def describe_start(expected_unix_s: float) -> str:
    """Such as `Tue 14:05, in 3.0 h`, in local time."""
    wait_s = expected_unix_s - time.time()
    when = time.strftime("%a %H:%M", time.localtime(expected_unix_s))
    return f"{when}, in {format_duration(wait_s)}" if wait_s > 0 else "any moment"


_ID = _Column("id", lambda run: short_id(run.run_id))
_STATE = _Column("state", _state)
_BAR = _Column("", lambda run: (BAR * round(BAR_WIDTH * run.done)).ljust(BAR_WIDTH))
_EPOCH = _Column("epoch", _epoch, to_the_right=True)
_TOP1 = _Column("top-1 %", _top1, to_the_right=True)
_LEFT = _Column("left", _left, to_the_right=True)
_ATTEMPTS = _Column("attempts", lambda run: str(run.attempts), to_the_right=True)
_CAUSES = _Column("attempts", _attempts_and_causes)
_NODE = _Column("node, or start", _when_or_node)
_WHERE = _Column("where, or start", _when_or_where)

_SHORT = (_ID, _STATE, _EPOCH, _TOP1, _LEFT)
LAYOUTS = (
    (_ID, _STATE, _BAR, _EPOCH, _TOP1, _LEFT, _CAUSES, _WHERE),
    (*_SHORT, _CAUSES, _WHERE),
    (*_SHORT, _ATTEMPTS, _WHERE),
    (*_SHORT, _ATTEMPTS, _NODE),
    (*_SHORT, _ATTEMPTS),
    _SHORT,
    (_ID, _STATE, _EPOCH),
)


# ------------------------------------------------------------------------------- notes


def _notes(
    shown: Sequence[RunStatus], runs: Sequence[RunStatus], labels: Mapping[str, str]
) -> list[Padding]:
    """What is to be said of the runs that are shown; what holds for several is said once."""
    told: dict[tuple[str, str], list[RunStatus]] = defaultdict(list)
    for run in runs:
        told[_colour(run), run.detail].append(run)
    said = dict.fromkeys(
        (_colour(run), run.detail) for run in shown if run.detail and run.state is not State.PLANNED
    )
    return [
        Padding(
            Text(f"{_who(told[note], labels)}: {note[1]}{_first_start(told[note])}", style=note[0]),
            (0, 0, 0, 2),
            expand=False,
        )
        for note in said
    ]


def _who(runs: Sequence[RunStatus], labels: Mapping[str, str]) -> str:
    if len(runs) > NOTED_LABELS:
        return f"{len(runs):,} {runs[0].state}"
    return ", ".join(f"{labels.get(r.run_id, r.label)} ({short_id(r.run_id)})" for r in runs)


def _first_start(runs: Sequence[RunStatus]) -> str:
    starts = [r.expected_start_unix_s for r in runs if r.expected_start_unix_s is not None]
    if not starts:
        return ""
    first = " the first" if len(runs) > 1 else " it"
    return f"; SLURM means to start{first} {describe_start(min(starts))}"
