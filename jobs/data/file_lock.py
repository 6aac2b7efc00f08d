"""A lock between processes that never outlives its holder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jobs.errors import StoppedError

POLL_S = 0.2


@contextmanager
def hold_lock(
    path: Path, say_waiting: Callable[[], None], must_stop: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold the lock on `path`, which is made if need be and stays; wait for it if it is held.

    The kernel takes the lock from a process that ends, however it ends. That holds for the
    processes of one machine; how far others see the lock is up to a network file system. Raises
    StoppedError if it must stop while it waits.
    """
    with open(path, "a") as file:
        if not _take(file):
            say_waiting()
            # Who sleeps in flock itself hears a signal, but goes on to sleep.
            while not _take(file):
                if must_stop():
                    raise StoppedError
                time.sleep(POLL_S)
        yield


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
