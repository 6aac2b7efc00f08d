"""Checkpoints that are whole or not there.

A checkpoint is a file of `torch.save`, which is a zip archive, with its SHA-256 as the archive's
comment: `torch.load` reads it like any other, and a damaged one is told from a good one. The one
before is kept until the next is safely on disk.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from jobs.files import sync_folder, write_atomic
from jobs.run_dir import RunDir

State = dict[str, Any]

_LABEL = b"sha256:"
_LENGTH_BYTES = 2  # of the comment's length, the last field of a zip archive before the comment
_SEAL_BYTES = _LENGTH_BYTES + len(_LABEL) + 64


class DamagedError(Exception):
    """The file is not what was written."""


def save_checkpoint(run: RunDir, state: State) -> None:
    """Make `state` the run's checkpoint, and the one until now the previous one."""
    write_atomic(run.next_checkpoint, pack(state))
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
    buffer = io.BytesIO()
    torch.save(state, buffer)
    body = buffer.getvalue()[:-_LENGTH_BYTES]
    return body + _seal(body)


def unpack(content: bytes) -> State:
    """The state in a checkpoint's bytes, on the CPU; DamagedError if they are not as written."""
    body, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    if seal != _seal(body):
        raise DamagedError("its checksum does not fit")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _seal(body: bytes) -> bytes:
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
