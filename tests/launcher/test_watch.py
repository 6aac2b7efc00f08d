"""A watch in a terminal of its own, on a SLURM that is there, goes and comes back."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from jobs.sweep_dir import SweepDir
from launcher import watch
from launcher.selected import Selected
from launcher.watch import Watch
from tests.fake_slurm import NO_CONTROLLER, FakeSlurm
from tests.launcher.conftest import submit_by_hand


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_watch_outlives_an_outage_of_slurm_and_ends_when_all_is_at_rest(
    sweep: SweepDir, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ASK_SLURM_S", 0.1)
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    job_id = submit_by_hand(sweep, fake)
    screen = io.StringIO()
    console = Console(file=screen, width=300, height=30, force_terminal=True)
    watching = Watch([sweep], Selected(None), console, show_all=False)
    follower = threading.Thread(target=watching.follow, daemon=True)
    follower.start()
    wait_until(lambda: "other jobs are before it (Priority)" in screen.getvalue())
    fake.fail_all(NO_CONTROLLER)
    wait_until(lambda: "; what it said " in screen.getvalue())
    assert follower.is_alive()
    assert "queued 2" in screen.getvalue().rpartition("what it said")[2]
    fake.mend()
    fake.set(job_id, "CANCELLED", start=1, end=2)
    follower.join(timeout=20)
    assert not follower.is_alive()
    assert "cancelled 2" in screen.getvalue().rpartition("what it said")[2]


def test_a_watch_looks_at_the_files_often_and_asks_slurm_seldom(
    sweep: SweepDir, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.01)
    job_id = submit_by_hand(sweep, fake)
    screen = io.StringIO()
    console = Console(file=screen, width=300, height=30, force_terminal=True)
    watching = Watch([sweep], Selected(None), console, show_all=False)
    follower = threading.Thread(target=watching.follow, daemon=True)
    follower.start()
    wait_until(lambda: screen.getvalue().count("queued 2") > 5)
    assert fake.commands().count("squeue") == 1
    fake.set(job_id, "CANCELLED", start=1, end=2)
    monkeypatch.setattr(watch, "ASK_SLURM_S", 0.0)
    follower.join(timeout=20)
    assert not follower.is_alive()


@pytest.mark.parametrize("leave", ["q", "Ctrl-C"])
def test_a_person_leaves_the_watch_with_status_0_and_the_terminal_as_it_was(
    leave: str, sweep: SweepDir, fake: FakeSlurm
) -> None:
    submit_by_hand(sweep, fake)
    terminal, end = pty.openpty()
    words = [sys.executable, "-m", "launcher", "status", "--watch", "--runs", sweep.path.parent]
    process = subprocess.Popen(words, stdin=end, stdout=end, stderr=end, start_new_session=True)
    said = b""
    while b"Priority" not in said:
        said += os.read(terminal, 1000)
    if leave == "q":
        os.write(terminal, b"q")
    else:
        os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 0
    os.close(end)
    os.close(terminal)


def test_where_there_is_no_terminal_each_change_is_a_line(
    sweep: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(file=io.StringIO(), width=100)
    Watch([sweep], Selected(None), console, show_all=False).follow()
    assert capsys.readouterr().out.endswith("  planned 2\n")
