"""A lock between processes that never outlives its holder."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_lock(path: Path, say_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on `path`, which is made if need be and stays; wait for it if it is held.

    The kernel takes the lock from a process that ends, however it ends. That holds for the
    processes of one machine; how far others see the lock is up to a network file system.
    """
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say_waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
