"""Who may work here: the lease of a run, which a job takes, and the claim of a sweep's launcher.

Both are files that are created exclusively, and no locks are used: they do not hold on every
network file system. What a dead process has left is moved aside first; if two try, one rename
wins, and the loser finds the winner's file.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from jobs.causes import Cause
from jobs.errors import ExecutionError, TrainingError
from jobs.files import StrPath, pretty, read_json, read_record, remove_file, write_exclusive
from jobs.processes import Process, is_running, this_host, this_process

# A run on another host, whose process cannot be looked up from here, counts as alive until its
# heartbeat is older than this: ten heartbeats at the default interval.
STALE_AFTER_S = 300.0

# A launcher waits so long for another that is submitting runs of the same sweep.
CLAIM_TIMEOUT_S = 60.0


class LeaseHolder(Process):
    """Who may write in a run directory."""

    token: str
    cluster: str
    job_id: str
    restart: int
    user: str
    time_unix_s: float


class LeaseHeldError(ExecutionError):
    """Another job is working on this run."""


class LeaseLostError(TrainingError):
    """Another job has taken the run over, since this one was thought to have ended."""

    cause = Cause.STOPPED


def take_lease(
    path: StrPath,
    run_id: str,
    job: tuple[str, str, int],
    is_alive: Callable[[LeaseHolder], bool],
) -> LeaseHolder:
    """Become the only writer of a run; LeaseHeldError while another holder is alive.

    `job` is its cluster, its id, and how often it was restarted.
    """
    cluster, job_id, restart = job
    holder = LeaseHolder(
        token=os.urandom(8).hex(),
        cluster=cluster,
        job_id=job_id,
        restart=restart,
        user=getpass.getuser(),
        time_unix_s=time.time(),
        **this_process(),
    )
    held = read_lease(path)
    if held is not None and is_alive(held):
        raise LeaseHeldError(
            f"{run_id} is being trained by process {held['pid']} on {held['host']} "
            f"(job {held['job_id']}); wait for it, or cancel it first"
        )
    taken_by_another = LeaseHeldError(f"{run_id} was just taken by another job")
    if held is not None and not _remove_dead(path, held):
        raise taken_by_another
    try:
        write_exclusive(path, orjson.dumps(holder))
    except FileExistsError:
        raise taken_by_another from None
    if read_lease(path) != holder:
        raise taken_by_another
    return holder


def read_lease(path: StrPath) -> LeaseHolder | None:
    return read_record(path, LeaseHolder.__annotations__)


def check_lease(path: StrPath, own: LeaseHolder) -> None:
    """LeaseLostError if the lease is somebody else's by now."""
    if (holder := read_lease(path)) != own:
        who = f"job {holder['job_id']} on {holder['host']}" if holder else "another job"
        raise LeaseLostError(f"{who} has taken the run over; this one writes nothing more")


def release_lease(path: StrPath, holder: LeaseHolder) -> None:
    if read_lease(path) == holder:
        remove_file(path)


def is_holder_alive(
    held: LeaseHolder, heartbeat_unix_s: Callable[[], float], is_gone: bool | None = None
) -> bool:
    """Whether a holder is at work. `is_gone` is what the scheduler says, None if it does not know.

    What is seen on this host counts more, and a heartbeat is only asked for where there is no word.
    """
    if held["host"] == this_host():
        return is_running(held)
    if is_gone is not None:
        return not is_gone
    last_sign_unix_s = max(held["time_unix_s"], heartbeat_unix_s())
    return time.time() - last_sign_unix_s < STALE_AFTER_S


@contextlib.contextmanager
def claimed(path: Path, sweep_name: str) -> Iterator[None]:
    """Be the only launcher that submits runs of a sweep, for as long as it takes.

    Waits for another one; ExecutionError if it takes very long.
    """
    own = this_process()
    deadline_s = time.monotonic() + CLAIM_TIMEOUT_S
    while True:
        holder = read_record(path, Process.__annotations__)
        if holder is not None and holder["host"] == this_host() and not is_running(holder):
            _remove_dead(path, holder)  # its launcher was killed
        try:
            write_exclusive(path, pretty(own))
            break
        except FileExistsError:
            if time.monotonic() > deadline_s:
                raise ExecutionError(
                    f"another launcher is submitting runs of {sweep_name}; try again, or "
                    f"remove {path} if it is gone"
                ) from None
            time.sleep(0.1)
    try:
        yield
    finally:
        # Who was taken to be gone may have been removed by hand, and another one be there.
        if read_json(path) == own:
            remove_file(path)


def _remove_dead(path: StrPath, held: Mapping[str, Any]) -> bool:
    """Remove the lease or the claim of a dead holder; False if it is another's by now."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return True
    if read_json(aside) == held:
        aside.unlink()
        return True
    # Another process was faster, and what was moved is its own: put it back, unless a third has
    # one by now.
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return False
