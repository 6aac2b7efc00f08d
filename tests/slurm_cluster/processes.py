"""Processes that are found again from another Python process, and ended: those and no others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from pathlib import Path

import psutil


def record(pid: int, file: Path) -> None:
    """Writes down a process so that a later one with the same number is not taken for it."""
    started = _start_ticks(pid)
    if started is not None:
        file.write_text(f"{pid} {started}\n")


def recorded(file: Path) -> psutil.Process | None:
    """The process written down in the file, if it still runs."""
    try:
        pid, started = map(int, file.read_text().split())
    except FileNotFoundError:
        return None
    return psutil.Process(pid) if _start_ticks(pid) == started else None


def gone(process: psutil.Process) -> bool:
    """Also true of a zombie: process 1 may take seconds to reap it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end(processes: Collection[psutil.Process], timeout_s: float) -> None:
    """Asks them to end and waits; after the time-out they are killed, with all their children."""
    family = _with_children(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    if not _wait_until_gone(family, timeout_s):
        kill_at_once(lambda: _with_children(family))


def kill_at_once(find: Callable[[], set[psutil.Process]]) -> None:
    """Kills all that `find` finds, with their children, so that none lives to see another die.

    They are looked for again until nothing new turns up: one of them may fork until it is stopped.
    """
    stopped: set[psutil.Process] = set()
    while found := {process for process in find() - stopped if not gone(process)}:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped |= found
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if not _wait_until_gone(stopped, 10):
        raise RuntimeError(f"Still there after SIGKILL: {stopped}")


def matching(condition: Callable[[psutil.Process], bool]) -> set[psutil.Process]:
    """The processes that satisfy the condition, and all their children."""
    found = set()
    for process in psutil.process_iter():
        # Gone in the meantime, a zombie, or another user's.
        with contextlib.suppress(psutil.Error):
            if condition(process):
                found.add(process)
    return _with_children(found)


def _start_ticks(pid: int) -> int | None:
    """When it started, in clock ticks since the boot; unlike a time of day this never shifts."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *numbers = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(numbers[18])


def _with_children(processes: Collection[psutil.Process]) -> set[psutil.Process]:
    family = set(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family.update(process.children(recursive=True))
    return family


def _wait_until_gone(processes: Collection[psutil.Process], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not all(map(gone, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
