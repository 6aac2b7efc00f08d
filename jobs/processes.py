"""Processes: telling one from a later one with its id, on Linux; and where SLURM's are asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

# By these a person has SLURM's programs show other jobs, or other clusters, than they would.
PERSONAL = ("SQUEUE_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_CLUSTERS")


def environment_to_ask_slurm() -> dict[str, str]:
    """In which SLURM's programs tell the same whoever asks: all jobs, and times in seconds."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(PERSONAL)}
    return known | {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}


class Process(TypedDict):
    """A process: ids are reused, but not at one tick of the clock since one boot."""

    host: str
    pid: int
    start_ticks: int
    boot_id: str


def this_host() -> str:
    return socket.gethostname()


def this_process() -> Process:
    _, start_ticks = _state_and_start(os.getpid())
    return Process(host=this_host(), pid=os.getpid(), start_ticks=start_ticks, boot_id=_boot_id())


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether a process of this host is alive."""
    if process["boot_id"] != _boot_id():
        return False
    try:
        state, start_ticks = _state_and_start(process["pid"])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It has ended, perhaps between open and read. Or it is another's: some sites hide those, or
        # let nobody look at them.
        return _exists_but_is_hidden(process["pid"])
    return state not in "ZX" and start_ticks == process["start_ticks"]


def _state_and_start(pid: int) -> tuple[str, int]:
    """The state's letter and the start in ticks since boot, which no change of the clock moves."""
    text = Path(f"/proc/{pid}/stat").read_text()
    # The second field is the name in parentheses, and may hold anything.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _exists_but_is_hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return False  # ours, and it ended between the two questions


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
