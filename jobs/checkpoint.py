"""Checkpoints that are whole or not there, written while the training goes on.

A checkpoint is a file of `torch.save`, which is a zip archive, with its SHA-256 as the archive's
comment: `torch.load` reads it like any other, and a damaged one is told from a good one. The one
before is kept until the next is safely on disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from jobs.files import DamagedError, sync_folder, write_atomic
from jobs.run_dir import RunDir

State = dict[str, Any]

_LABEL = b"sha256:"
_LENGTH_BYTES = 2  # of the comment's length, the last field of a zip archive before the comment
_SEAL_BYTES = _LENGTH_BYTES + len(_LABEL) + 64


class CheckpointWriter:
    """Writes the checkpoints of a run one after the other, each in a thread of its own.

    As a context manager it does not let go before the last one is written: afterwards the run may
    belong to another job, whose checkpoints an older state must not replace.
    """

    def __init__(self, run: RunDir, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def save(self, state: State, *, wait: bool = False) -> None:
        """Take a copy of `state`, which may change from then on, and begin to write it.

        A write that is still under way is waited for, not skipped: states reach the disk in their
        order, none is missing, and there is one copy in memory at a time, of the size of the file.
        If it failed, `say` is told, and the checkpoint before stays. With `wait`, returns when
        this one is on disk too, and raises OSError if it cannot be written.
        """
        self.finish()
        if wait:
            save_checkpoint(self._run, state)
            return
        # The archive is the copy: it keeps strides and shared memory as `torch.save` does, waits
        # for the GPU, and is made in a small part of the time that the disk takes.
        archive = _serialise(state)
        # No daemon: when the training fails, a write that has begun still ends, and the
        # interpreter waits for it. The thread waits for nothing but the disk.
        self._thread = threading.Thread(target=self._write, args=(archive,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait for the write under way, if there is one, and tell `say` if it failed."""
        if self._thread:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if isinstance(failure, OSError):
            # The one before is untouched, and the next may succeed.
            self._say(f"the checkpoint could not be written: {failure}")
        elif failure:
            raise failure

    def _write(self, archive: io.BytesIO) -> None:
        try:
            _write(self._run, archive)
        except Exception as error:
            self._failure = error


def save_checkpoint(run: RunDir, state: State) -> None:
    """Make `state` the run's checkpoint, and the one until now the previous one."""
    _write(run, _serialise(state))


def _write(run: RunDir, archive: io.BytesIO) -> None:
    run.check_lease()
    write_atomic(run.next_checkpoint, _seal(archive))
    # Whenever the process is killed, the newest whole file is one of the three that are tried.
    if run.checkpoint.exists():
        os.replace(run.checkpoint, run.previous_checkpoint)
    os.replace(run.next_checkpoint, run.checkpoint)
    sync_folder(run.path)


def load_checkpoint(run: RunDir, say: Callable[[str], None]) -> State | None:
    """The newest good checkpoint, or None if there is none; says so when one is damaged."""
    damaged = False
    for path in (run.next_checkpoint, run.checkpoint, run.previous_checkpoint):
        try:
            state = unpack(path.read_bytes())
        except FileNotFoundError:
            continue
        except DamagedError as error:
            say(f"{path.name} is damaged ({error}); trying the one before")
            damaged = True
            continue
        say(f"going on from {path.name}")
        return state
    if damaged:
        say("no checkpoint is left: beginning anew")
    return None


def pack(state: State) -> bytes:
    return _seal(_serialise(state))


def _serialise(state: State) -> io.BytesIO:
    archive = io.BytesIO()
    torch.save(state, archive)
    return archive


def _seal(archive: io.BytesIO) -> bytes:
    """The archive with its checksum; takes no second copy of it."""
    with archive.getbuffer() as content:
        comment = _comment(content[:-_LENGTH_BYTES])
    archive.seek(-_LENGTH_BYTES, os.SEEK_END)
    archive.write(comment)
    return archive.getvalue()


def unpack(content: bytes) -> State:
    """The state in a checkpoint's bytes, on the CPU; DamagedError if they are not as written."""
    body, comment = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    if comment != _comment(body):
        raise DamagedError("its checksum does not fit")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _comment(body: bytes | memoryview) -> bytes:
    """What closes the archive: the length of its comment, and the comment."""
    comment = _LABEL + hashlib.sha256(body).hexdigest().encode()
    return len(comment).to_bytes(_LENGTH_BYTES, "little") + comment


def save_weights(path: Path, weights: State) -> None:
    write_atomic(path, pack(weights))


def weights_sha256(weights: State) -> str:
    """A digest of every tensor's name, type, shape and bytes: equal weights, equal digest."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
