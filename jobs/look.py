"""A look at a sweep: much is asked of each of its runs, and what cannot change is read once.

A look that remembers does not even read, of a run at rest, what earlier ones have told of it. A run
is at rest when nobody holds its lease, and it is finished or each of its attempts has said how it
ended.
Whoever goes on with it, plans it anew, says once more how it ended or takes its result away makes
or replaces a file in its folder, which changes the folder's time. Beside that, the launcher appends
to what it observes. As long as both are as they were, so is what follows from its files. That is
kept, and not the files' content, in `.status_cache/<sweep>.jsonl` beside the sweep, which can be
deleted at any time.

That is for looking. What a person edits in place in the folder of a run at rest is not noticed, and
a network's file system may tell a time late: whoever acts on what he sees does not remember.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Container, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import orjson

from jobs.errors import InputError
from jobs.events import Event
from jobs.files import SETTLED_AFTER_S, digest_of, read_bytes, remove_file, write_atomic
from jobs.lease import LeaseHolder
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Progress, Result
from jobs.sweep_dir import SweepDir

FOLDER = ".status_cache"
SOURCE = Path(__file__).parents[1]

# So many runs come to rest before the file is written again.
WORTH_KEEPING = 100

# Times of change in ns, of the folder and of the observations, and the size of these in bytes.
Stamp = list[int]
NOTHING_OBSERVED: Stamp = [0, 0]

# What was read of a run or told of it, by a name.
Records = dict[str, Any]

# What must have been read of a run that is not finished before it counts as being at rest.
UNFINISHED = {"result", "attempts", "observed", "progress"}

# What is not kept: it is long, and what was told of it is.
NOT_KEPT = {"options", "result", "attempts", "progress"}

T = TypeVar("T")


def digest_of_modules(*packages: str) -> str:
    """That of the code which tells what is kept, the modules of some of our packages.

    Empty if that cannot be read: then nothing is remembered.
    """
    folders = [SOURCE / package for package in packages]
    try:
        # Editors have files beside theirs whose names begin with a dot.
        return digest_of(path for folder in folders for path in sorted(folder.glob("[!.]*.py")))
    except OSError:
        return ""


def tell_once(run: RunDir, name: str, tell: Callable[[RunDir], T]) -> T:
    """What follows from a run's own files, as JSON has it; a look tells it once while it can."""
    return run.tell_once(name, tell) if isinstance(run, RunLook) else tell(run)


class SweepLook(SweepDir):
    """The sweep, with each of its runs as one object as long as the look lasts.

    It remembers what looks have told before that have the same `version`, that of the code which
    tells it; without one it remembers nothing.
    """

    def __init__(self, sweep: SweepDir, version: str = "") -> None:
        super().__init__(sweep.path)
        place = sweep.path.resolve()
        self._file = place.parent / FOLDER / f"{place.name}.jsonl"
        self._version = version
        self._told, self._kept = self._read_kept() if version else ({}, {})
        self._unkept = 0
        self._runs: dict[str, RunLook] = {}

    def run(self, run_id: str) -> RunLook:
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = RunLook(f"{self.path}/{run_id}")
            if self._version:
                run.remember(self._kept.get(run_id))
        return run

    def recall(self, name: str, key: str) -> Any:
        """What was told of the whole sweep under this name and key, as JSON has it, if it was."""
        told = self._told.get(name)
        return told[1] if told is not None and told[0] == key else None

    def remember(self, name: str, key: str, told: Sequence[Any]) -> None:
        """Such as something of each run; in place of what was told under another key."""
        self._told[name] = [key, told]
        self._unkept += len(told)

    def forget_options(self) -> None:
        """Read the runs' options anew, since they may have been planned anew."""
        for run in self._runs.values():
            run.forget_options()

    def look_again(self, besides: Container[RunDir] = ()) -> None:
        """See what has changed meanwhile in runs that are not finished, `besides` some."""
        if self._version:
            for run in self._runs.values():
                if not run.has_result and run not in besides:
                    run.look_again()

    def keep(self) -> None:
        """If this look remembers, keep for the next one what was told of the runs at rest."""
        if not self._version:
            return
        self._unkept += sum(run.settle() for run in self._runs.values())
        if self._unkept < WORTH_KEEPING:
            return
        self._unkept = 0
        kept = {run_id: run.kept() for run_id, run in self._runs.items() if run.is_at_rest}
        content = orjson.dumps({"sweep": self._told, "runs": kept})
        with contextlib.suppress(OSError):  # a sweep that belongs to a colleague, or a full disk
            self._file.parent.mkdir(exist_ok=True)
            write_atomic(self._file, self._head(content) + b"\n" + content, sync=False)
            self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Remove what was kept of sweeps that were removed since."""
        for kept in self._file.parent.glob("*.jsonl"):
            if not (self.path.parent / kept.stem).exists():
                remove_file(kept)

    def _read_kept(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        try:
            head, _, content = read_bytes(self._file).partition(b"\n")
        except OSError:
            return {}, {}
        if head != self._head(content):
            return {}, {}  # of other code, or damaged
        kept = orjson.loads(content)
        return kept["sweep"], kept["runs"]

    def _head(self, content: bytes) -> bytes:
        digest = sha256(content).hexdigest()
        return orjson.dumps({"version": self._version, "sha256": digest})


class RunLook(RunDir):
    """The run, of which all is read once while it is at rest.

    Else its changed options and its result are, and all of it when it is finished; the rest may
    change while SLURM is asked, and is read whenever somebody asks.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.is_at_rest = False
        self.has_result = False
        self._has_news = False
        self._stamp: Stamp | None = None
        self._records: Records = {}

    # ---- whether it is as it was

    def remember(self, kept: Sequence[Any] | None) -> None:
        """Begin with what `kept` has returned to an earlier look, and keep it for a later one."""
        if kept is not None:
            self._stamp, self.has_result, self._records = kept
            self.is_at_rest = True
        self.look_again()

    def kept(self) -> list[Any]:
        """What is known of it, for the next look."""
        known = {name: value for name, value in self._records.items() if name not in NOT_KEPT}
        return [self._stamp, self.has_result, known]

    def look_again(self) -> None:
        """Compare it anew with what is known of it."""
        if self.is_at_rest and not self._is_unchanged():
            self._forget()
        if self._stamp is None and (stamp := self._settled_stamp()):
            self._stamp, self._records = stamp, {}  # what is kept was read after its stamp

    def settle(self) -> bool:
        """Count it as being at rest from now on, if what was read shows that.

        Whether it is, and more was told of it than is kept.
        """
        if not self._has_news or self._stamp is None:
            return False
        with contextlib.suppress(InputError):  # of what is damaged, the next look tells again
            self.is_at_rest = self.lease() is None and self._has_ended()
        self._has_news = not self.is_at_rest
        return self.is_at_rest

    def _has_ended(self) -> bool:
        if self._is_final():
            return True
        known = self._records
        return known.keys() >= UNFINISHED and all("cause" in each for each in known["attempts"])

    def _is_final(self) -> bool:
        return self.is_at_rest or self.has_result

    def _forget(self) -> None:
        self.is_at_rest = self.has_result = self._has_news = False
        self._stamp, self._records = None, {}

    def _is_unchanged(self) -> bool:
        stamp = self._stamp
        assert stamp is not None, "it is at rest"
        if _changed_ns(self.folder) != stamp[0]:
            return False
        return stamp[1:] == NOTHING_OBSERVED or self._observed_stamp() == stamp[1:]

    def _settled_stamp(self) -> Stamp | None:
        """None if it is not there, or may change once more without a change of its stamp."""
        stamp = [_changed_ns(self.folder), *self._observed_stamp()]
        is_settled = max(stamp[:2]) < (time.time() - SETTLED_AFTER_S) * 1e9
        return stamp if stamp[0] and is_settled else None

    def _observed_stamp(self) -> Stamp:
        try:
            found = os.stat(self._observed)
        except OSError:
            return NOTHING_OBSERVED
        return [found.st_mtime_ns, found.st_size]

    def tell_once(self, name: str, tell: Callable[[RunDir], T]) -> T:
        """What does not change while the run is at rest, nor within a look once it is finished."""
        if name in self._records and self._is_final():
            return self._records[name]
        self._records.pop(name, None)  # what cannot be read any more is not known
        value = self._records[name] = tell(self)
        self._has_news |= name not in NOT_KEPT
        return value

    # ---- what is asked of it

    def is_planned(self) -> bool:
        return self.is_at_rest or super().is_planned()

    def read_options(self) -> Mapping[str, Any]:
        if "options" not in self._records:
            self._records["options"] = super().read_options()
        return self._records["options"]

    def forget_options(self) -> None:
        self._records.pop("options", None)

    def is_finished(self) -> bool:
        return self.has_result if self._is_final() else super().is_finished()

    def read_result(self) -> Result | None:
        if self.has_result:
            return self.tell_once("result", RunDir.read_result)
        if self.is_at_rest:
            return None
        result = self._records["result"] = super().read_result()
        if result is not None:
            self.has_result = True
            # What was read before it was finished does not say so.
            known = self._records.items()
            self._records = {name: told for name, told in known if name in ("options", "result")}
        return result

    def attempts(self) -> list[Attempt]:
        # Copies of those in which is put what others have found out of their end.
        attempts = self.tell_once("attempts", RunDir.attempts)
        return [attempt if "cause" in attempt else attempt.copy() for attempt in attempts]

    def read_progress(self) -> Progress | None:
        return self.tell_once("progress", RunDir.read_progress)

    def lease(self) -> LeaseHolder | None:
        return None if self.is_at_rest else super().lease()

    def observed(self) -> list[Event]:
        return self.tell_once("observed", RunDir.observed)

    def observe(self, event: str, **facts: Any) -> None:
        super().observe(event, **facts)
        self._forget()


def _changed_ns(path: str) -> int:
    """When it changed; 0 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
