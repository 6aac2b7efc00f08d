"""`launcher status --watch`: the tables of some sweeps, as the files and SLURM change."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

import jobs.config
import launcher.labels
from jobs.errors import ExecutionError, InputError
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from launcher.durations import format_duration
from launcher.run_status import RunStatus
from launcher.selected import Selected
from launcher.slurm import Task
from launcher.status import count_states, list_runs, look_at, status_from, tasks_in_slurm
from launcher.table import SweepTable

# A watch may last for days, in which the code changes: what it may need is loaded when it begins.
LOADED = (jobs.config, launcher.labels)

ASK_SLURM_S = 10.0  # a controller has other things to do
LOOK_S = 1.0
LOOKING_SHARE = 0.2  # of the time, at most: the files of many runs are looked at less often


class Watch:
    """What is shown of some sweeps until all is at rest, or a person has seen enough."""

    def __init__(
        self, sweeps: Sequence[SweepDir], selected: Selected, console: Console, *, show_all: bool
    ) -> None:
        self._sweeps, self._selected = [look_at(s, remembers=True) for s in sweeps], selected
        self._console, self._show_all = console, show_all
        self._answer = _Answer(sweeps)
        self._told = ""

    def follow(self) -> None:
        """Return when nothing is under way any more; q and Ctrl-C end it, too."""
        live = Live(console=self._console, auto_refresh=False)
        with contextlib.suppress(KeyboardInterrupt), _single_keys() as keys, live:
            self._answer.ask()
            while True:
                began_s = time.monotonic()
                statuses = self._look()
                live.update(self._page(statuses), refresh=self._console.is_terminal)
                self._tell(statuses)
                if not self._goes_on(statuses):
                    return
                took_s = time.monotonic() - began_s
                if keys.wait_for("q", max(LOOK_S, took_s / LOOKING_SHARE - took_s)):
                    return
                self._answer.ask_if_old()

    def _look(self) -> list[list[RunStatus]]:
        for sweep in self._sweeps:
            sweep.look_again()
        listed = [list_runs(sweep) for sweep in self._sweeps]
        return self._selected(self._sweeps, status_from(listed, self._answer.tasks))

    def _goes_on(self, statuses: Sequence[Sequence[RunStatus]]) -> bool:
        """Without an answer of SLURM, nobody knows that nothing is under way."""
        moves = any(run.state.is_under_way for of_sweep in statuses for run in of_sweep)
        return moves or bool(self._answer.error)

    def _page(self, statuses: Sequence[Sequence[RunStatus]]) -> RenderableType:
        shown = [pair for pair in zip(self._sweeps, statuses, strict=True) if pair[1]]
        # The other half is for what is to be said of the runs.
        rows = max((self._console.height // max(len(shown), 1) - 4) // 2, 3)
        limit = None if self._show_all else rows
        tables = [SweepTable(sweep.name, of_sweep, limit) for sweep, of_sweep in shown]
        return Group(*self._answer.warning(), *tables)

    def _tell(self, statuses: Sequence[Sequence[RunStatus]]) -> None:
        """A line for each change, where the output is no terminal."""
        if self._console.is_terminal:
            return
        line = count_states(run for of_sweep in statuses for run in of_sweep)
        if line != self._told:
            self._told = line
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


class _Answer:
    """What SLURM said last."""

    def __init__(self, sweeps: Sequence[SweepDir]) -> None:
        self.tasks: dict[RunDir, Task] = {}
        self.error = ""
        # Not those of the page, since they are looked at in another thread.
        self._sweeps = [look_at(sweep, remembers=True) for sweep in sweeps]
        self._asked_s = 0.0
        self._answered_s = time.monotonic()
        self._asking: threading.Thread | None = None

    def ask(self) -> None:
        self._asked_s = time.monotonic()
        try:
            for sweep in self._sweeps:
                sweep.look_again()
            self.tasks = tasks_in_slurm(self._sweeps)
            self.error, self._answered_s = "", time.monotonic()
        except (ExecutionError, InputError, OSError) as error:
            self.error = str(error)

    def ask_if_old(self) -> None:
        """In the background, because it may be long in answering."""
        is_asking = self._asking is not None and self._asking.is_alive()
        if not is_asking and time.monotonic() - self._asked_s > ASK_SLURM_S:
            self._asking = threading.Thread(target=self.ask, daemon=True)
            self._asking.start()

    def warning(self) -> Iterator[Text]:
        if self.error:
            age = format_duration(time.monotonic() - self._answered_s)
            text = f"{self.error}; what it said {age} ago is shown, with what the files say"
            yield Text(text, style="yellow")


class _Keys:
    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal

    def wait_for(self, key: str, timeout_s: float) -> bool:
        """Whether the key is pressed before the time is over."""
        if not self._is_terminal:
            time.sleep(timeout_s)
            return False
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([sys.stdin], [], [], left_s)[0] and sys.stdin.read(1) in (key, ""):
                return True
        return False


@contextlib.contextmanager
def _single_keys() -> Iterator[_Keys]:
    """Read the terminal key by key, unseen, while the table is shown."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield _Keys(is_terminal=False)
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _Keys(is_terminal=True)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
