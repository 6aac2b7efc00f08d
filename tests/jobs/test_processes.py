from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs import processes
from jobs.processes import environment_to_ask_slurm, is_running, this_process


def test_this_process_is_running_and_a_later_one_with_its_id_is_another() -> None:
    me = this_process()
    assert is_running(me)
    assert not is_running({**me, "start_ticks": me["start_ticks"] - 1})
    assert not is_running({**me, "boot_id": "another boot"})


def test_a_process_that_ended_is_not_running_even_before_it_is_waited_for() -> None:
    code = "import json; from jobs.processes import this_process; print(json.dumps(this_process()))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    import json

    record = json.loads(child.stdout.read())
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert not is_running(record)
    child.wait()
    assert not is_running(record)
    child.stdout.close()


def test_a_process_that_the_site_hides_counts_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 belongs to somebody else; a site that hides it cannot be had here."""

    def hidden(pid: int) -> tuple[str, int]:
        raise FileNotFoundError

    def refused(pid: int, number: int) -> None:
        raise PermissionError

    me = this_process()
    monkeypatch.setattr(processes, "_state_and_start", hidden)
    assert not is_running({**me, "pid": 2**22 + 1})
    monkeypatch.setattr(os, "kill", refused)
    assert is_running({**me, "pid": 1})


def test_a_process_that_ends_while_it_is_looked_at_is_not_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ended(pid: int) -> tuple[str, int]:
        raise ProcessLookupError

    me = this_process()
    monkeypatch.setattr(processes, "_state_and_start", ended)
    assert not is_running({**me, "pid": 2**22 + 1})


def test_a_process_that_the_site_lets_nobody_look_at_counts_as_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with hidepid=1."""

    def refused(*process: int) -> tuple[str, int]:
        raise PermissionError

    me = this_process()
    monkeypatch.setattr(processes, "_state_and_start", refused)
    monkeypatch.setattr(os, "kill", refused)
    assert is_running({**me, "pid": 1})


def test_what_a_person_has_chosen_to_see_of_slurm_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = {"SQUEUE_PARTITION": "high", "SACCT_FORMAT": "End", "SLURM_CLUSTERS": "other"}
    for name, value in {**chosen, "SLURM_CONF": "here", "SLURM_TIME_FORMAT": "%H:%M"}.items():
        monkeypatch.setenv(name, value)
    environment = environment_to_ask_slurm()
    assert not chosen.keys() & environment.keys()
    assert (environment["SLURM_CONF"], environment["SLURM_TIME_FORMAT"]) == ("here", "%s")
