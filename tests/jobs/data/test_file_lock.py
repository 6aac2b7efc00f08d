from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.data.file_lock import hold_lock
from jobs.errors import StoppedError

TAKE = """
import sys, time
from pathlib import Path
from jobs.data.file_lock import hold_lock
with hold_lock(Path("lock"), lambda: print("waiting", flush=True)):
    print("holding", flush=True)
    sys.stdin.read()
"""


def take_lock() -> subprocess.Popen[str]:
    """A process that says what it does, and holds the lock until its input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", TAKE], **pipes, text=True)


def test_the_second_waits_saying_so_until_the_first_leaves() -> None:
    with take_lock() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "holding\n"
        with take_lock() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "waiting\n"
            first.communicate()
            assert second.stdout.readline() == "holding\n"


def test_who_waits_can_be_asked_to_stop() -> None:
    asked = iter([False, True])
    with take_lock() as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with (
            pytest.raises(StoppedError),
            hold_lock(Path("lock"), lambda: None, lambda: next(asked)),
        ):
            raise AssertionError("the lock is another's")
        holder.communicate()


def test_a_killed_holder_holds_nothing() -> None:
    with take_lock() as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        holder.kill()
    said: list[str] = []
    with hold_lock(Path("lock"), lambda: said.append("waiting")):
        assert said == []
