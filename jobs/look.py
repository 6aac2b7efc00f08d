"""A look at a sweep: much is asked of each of its runs, and what cannot change is read once.

A run is at rest when nobody holds its lease, and it is finished or each of its attempts has said
how it ended. Whoever goes on with it, plans it anew or takes its result away makes or replaces a
file in its folder, which changes the folder's time; and what the launcher observes is appended to
one file. As long as these two are as they were, nothing of the run is read again: neither by this
look, nor by the next one, for which it is kept in `.status_cache/<sweep>.json` beside the sweep.
That file can be deleted at any time. What somebody edits in place in the folder of a run at rest,
a look does not see, though whoever trains the run, or submits its matrix again, does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from jobs.config import defaults_digest
from jobs.errors import InputError
from jobs.events import Event
from jobs.files import SETTLED_AFTER_S, read_json, write_atomic
from jobs.lease import LeaseHolder
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Progress, Result
from jobs.sweep_dir import SweepDir

FOLDER = ".status_cache"

# Fewer runs than these are read as fast as their file.
WORTH_KEEPING = 100

# The folder's time of change in ns; of the observations, the size in bytes and time of change in
# ns, zeros if there are none.
Stamp = list[int]

# What the run's methods return, by a name, and all of them that an unfinished one is known by.
Records = dict[str, Any]
UNFINISHED = {"result", "attempts", "observed", "progress"}

T = TypeVar("T")


class SweepLook(SweepDir):
    """The sweep, with each of its runs as one object as long as the look lasts."""

    def __init__(self, sweep: SweepDir) -> None:
        super().__init__(sweep.path)
        place = sweep.path.resolve()
        self._file = place.parent / FOLDER / f"{place.name}.json"
        self._kept = self._read_kept()
        self._runs: dict[str, RunLook] = {}

    def run(self, run_id: str) -> RunDir:
        run = self._runs.get(run_id)
        if run is None:
            run = RunLook(f"{self.path}/{run_id}", self._kept.get(run_id))
            self._runs[run_id] = run
        return run

    def look_again(self) -> None:
        """See what has changed meanwhile in runs that are not finished."""
        for run in self._runs.values():
            run.look_again()

    def keep(self) -> None:
        """Keep what was read of the runs at rest for the next look, if that is worth it."""
        new = [run for run in self._runs.values() if run.comes_to_rest()]
        if len(new) < WORTH_KEEPING:
            return
        kept = {run_id: run.kept() for run_id, run in self._runs.items() if run.is_at_rest}
        content = orjson.dumps({"defaults": defaults_digest(), "runs": kept})
        with contextlib.suppress(OSError):  # a sweep that belongs to a colleague, or a full disk
            self._file.parent.mkdir(exist_ok=True)
            write_atomic(self._file, content, sync=False)

    def _read_kept(self) -> Mapping[str, Any]:
        with contextlib.suppress(InputError, OSError, LookupError, TypeError):
            found = read_json(self._file)
            # Of other code, the same options may mean something else.
            if found["defaults"] == defaults_digest():
                return found["runs"]
        return {}


class RunLook(RunDir):
    """The run, of which all is read once while it is at rest.

    Else the configuration, the result and the attempts that ended are; the rest may change while
    SLURM is asked, and is read whenever somebody asks.
    """

    def __init__(self, path: str, kept: Sequence[Any] | None = None) -> None:
        super().__init__(path)
        self.is_at_rest = kept is not None
        self._stamp: Stamp | None = None
        self._records: Records = {}
        self._is_checked = False
        self._seen_attempts: dict[int, Attempt] = {}
        if kept is not None:
            self._stamp, self._records = kept

    # ---- whether it is as it was

    def look_again(self) -> None:
        if not self._records.get("result"):
            self._is_checked = False

    def comes_to_rest(self) -> bool:
        """Whether what was read of it holds from now on, as it did not before."""
        if self.is_at_rest or self._stamp is None:
            return False
        with contextlib.suppress(InputError):  # of what is damaged, the next look tells again
            self.is_at_rest = self._is_known_to_rest()
        return self.is_at_rest

    def _is_known_to_rest(self) -> bool:
        read = self._records
        if "options" not in read or self.lease() is not None:
            return False
        if read.get("result"):
            return True
        return read.keys() >= UNFINISHED and all("cause" in each for each in read["attempts"])

    def kept(self) -> list[Any]:
        """What the constructor takes of a run at rest."""
        return [self._stamp, self._records]

    def _rests(self) -> bool:
        """Whether it has been at rest since it was read; asked before anything is."""
        if not self._is_checked:
            self._is_checked = True
            now = self._stamp_now()
            if self.is_at_rest and now != self._stamp:
                self._forget()
            if self._stamp is None and now is not None:
                self._stamp, self._records = now, {}  # what is kept was read after its stamp
        return self.is_at_rest

    def _forget(self) -> None:
        self.is_at_rest, self._stamp, self._records = False, None, {}

    def _stamp_now(self) -> Stamp | None:
        """None if it is not there, or may change once more without a change of its stamp."""
        try:
            changed_ns = os.stat(self.folder).st_mtime_ns
        except OSError:
            return None
        if self.is_at_rest and self._stamp == [changed_ns, 0, 0]:
            return self._stamp
        try:
            observed = os.stat(self._observed)
            stamp = [changed_ns, observed.st_size, observed.st_mtime_ns]
        except OSError:
            stamp = [changed_ns, 0, 0]
        is_settled = max(stamp[0], stamp[2]) < (time.time() - SETTLED_AFTER_S) * 1e9
        return stamp if is_settled else None

    def _read(self, name: str, read: Callable[[], T]) -> T:
        """A record that does not change while the run is at rest."""
        if self._rests() and name in self._records:
            return self._records[name]
        value = self._records[name] = read()
        return value

    # ---- what is asked of it

    def is_planned(self) -> bool:
        return self._rests() or super().is_planned()

    def read_options(self) -> Mapping[str, Any]:
        self._rests()
        if "options" not in self._records:
            self._records["options"] = super().read_options()
        return self._records["options"]

    def is_finished(self) -> bool:
        if self._rests() or self._records.get("result"):
            return self._records["result"] is not None
        return super().is_finished()

    def read_result(self) -> Result | None:
        if self._rests() or self._records.get("result"):
            return self._records["result"]
        return self._read("result", super().read_result)

    def read_attempt(self, number: int) -> Attempt:
        attempt = self._seen_attempts.get(number)
        if attempt is None:
            attempt = super().read_attempt(number)
            if "cause" in attempt:
                self._seen_attempts[number] = attempt
        return attempt

    def attempts(self) -> list[Attempt]:
        # Copies, because what others have found out of an attempt's end is put into it.
        return [attempt.copy() for attempt in self._read("attempts", super().attempts)]

    def read_progress(self) -> Progress | None:
        return self._read("progress", super().read_progress)

    def lease(self) -> LeaseHolder | None:
        return None if self._rests() else super().lease()

    def observed(self) -> list[Event]:
        return self._read("observed", super().observed)

    def observe(self, event: str, **facts: Any) -> None:
        super().observe(event, **facts)
        self._forget()
