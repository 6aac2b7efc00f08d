from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.checkpoint import (
    CheckpointWriter,
    DamagedError,
    load_checkpoint,
    pack,
    save_checkpoint,
    unpack,
    weights_sha256,
)
from jobs.run_dir import RunDir

PACKED = pack({"weights": torch.arange(5.0), "epoch": 3})
KILLS = 20


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def load_epoch(run: RunDir) -> tuple[Any, list[str]]:
    said: list[str] = []
    state = load_checkpoint(run, said.append)
    return (state["epoch"] if state else None), said


def large_state(epoch: int) -> dict[str, Any]:
    """Of 4 MiB: writing takes milliseconds, in which much can happen."""
    return {"epoch": epoch, "weights": torch.full((2**20,), float(epoch))}


def start_child(
    work: Callable[[RunDir, Connection], None], run: RunDir
) -> tuple[multiprocessing.Process, Connection]:
    """A process that does `work`, and what it sends."""
    fork = multiprocessing.get_context("fork")  # torch is already imported in it
    received, sent = fork.Pipe(duplex=False)
    child = fork.Process(target=work, args=(run, sent))
    child.start()
    sent.close()
    return child, received  # type: ignore[return-value]


def test_a_checkpoint_comes_back_as_it_was() -> None:
    state = unpack(PACKED)
    assert state["epoch"] == 3
    assert torch.equal(state["weights"], torch.arange(5.0))


def test_torch_load_reads_the_file_like_any_other(run: RunDir) -> None:
    save_checkpoint(run, {"epoch": 3})
    assert torch.load(run.checkpoint, weights_only=True) == {"epoch": 3}


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_a_change_of_any_byte_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(PACKED)
    damaged[place] ^= change
    with pytest.raises(DamagedError):
        unpack(bytes(damaged))


@given(st.integers(0, len(PACKED) - 1))
def test_a_file_cut_anywhere_is_noticed(length: int) -> None:
    with pytest.raises(DamagedError):
        unpack(PACKED[:length])


def test_the_newest_is_loaded_and_the_one_before_is_kept(run: RunDir) -> None:
    for epoch in (1, 2, 3):
        save_checkpoint(run, {"epoch": epoch})
    assert load_epoch(run)[0] == 3
    assert unpack(run.previous_checkpoint.read_bytes())["epoch"] == 2
    assert sorted(os.listdir(run.path)) == ["checkpoint.prev.pt", "checkpoint.pt"]


def test_without_any_good_one_the_run_begins_anew_and_says_so(run: RunDir) -> None:
    assert load_epoch(run) == (None, [])
    save_checkpoint(run, {"epoch": 1})
    run.checkpoint.write_bytes(b"")
    epoch, said = load_epoch(run)
    assert epoch is None
    assert "beginning anew" in said[-1]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_killed_between_any_two_steps_of_saving_nothing_is_lost(
    run: RunDir, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renames after the write: killed before the first, before the second, after both."""
    save_checkpoint(run, {"epoch": 1})
    save_checkpoint(run, {"epoch": 2})
    done = 0
    replace = os.replace

    def replace_then_die(source: Path, target: Path) -> None:
        nonlocal done
        if source.name.startswith("."):  # the atomic write itself
            return replace(source, target)
        if done == steps:
            raise KeyboardInterrupt
        done += 1
        return replace(source, target)

    monkeypatch.setattr(os, "replace", replace_then_die)
    try:
        save_checkpoint(run, {"epoch": 3})
    except KeyboardInterrupt:
        assert steps < 2
    assert load_epoch(run)[0] == 3


def test_a_failed_write_leaves_the_good_ones(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(run, {"epoch": 1})

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run, {"epoch": 2})
    assert load_epoch(run)[0] == 1
    assert os.listdir(run.path) == ["checkpoint.pt"]


def test_equal_weights_have_equal_digests_and_no_others() -> None:
    weights = {"a": torch.ones(2, 3), "b": torch.zeros(1)}
    assert weights_sha256(weights) == weights_sha256(dict(reversed(weights.items())))
    for other in (
        {"a": torch.ones(3, 2), "b": torch.zeros(1)},
        {"a": torch.ones(2, 3).double(), "b": torch.zeros(1)},
        {"a": torch.ones(2, 3), "c": torch.zeros(1)},
        {"a": torch.ones(2, 3), "b": torch.zeros(1) + 1e-30},
    ):
        assert weights_sha256(weights) != weights_sha256(other)


# ------------------------------------------------------------------------------- in the background


@pytest.fixture
def held_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk on which nothing is safe before this is set."""
    released, fsync = threading.Event(), os.fsync

    def fsync_when_released(descriptor: int) -> None:
        assert released.wait(timeout=60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_when_released)
    return released


def test_saving_does_not_wait_for_the_disk(run: RunDir, held_disk: threading.Event) -> None:
    writer = CheckpointWriter(run, print)
    writer.save({"epoch": 1})
    assert load_epoch(run)[0] is None
    held_disk.set()
    writer.finish()
    assert load_epoch(run)[0] == 1
    writer.finish()  # nothing is left to wait for


@pytest.mark.parametrize(
    "comes_next",
    [
        lambda writer: writer.save({"epoch": 2}),
        lambda writer: writer.save({"epoch": 2}, wait=True),
        lambda writer: writer.finish(),
        lambda writer: writer.__exit__(None, None, None),
    ],
    ids=["save", "save and wait", "finish", "leave"],
)
def test_whatever_comes_next_waits_for_the_write_under_way(
    comes_next: Callable[[CheckpointWriter], None], run: RunDir, held_disk: threading.Event
) -> None:
    writer = CheckpointWriter(run, print)
    writer.save({"epoch": 1})
    release = threading.Timer(0.1, held_disk.set)
    release.start()
    comes_next(writer)
    assert held_disk.is_set()
    assert load_epoch(run)[0] in (1, 2)
    writer.finish()
    release.join()


def test_what_changes_after_saving_is_not_in_the_file(run: RunDir) -> None:
    """Of so many bytes that whoever copied them in the thread would meet the changes."""
    model = torch.nn.Linear(2**11, 2**11)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2**11)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loop": {"step": 1}}
    packed = pack(state)
    with CheckpointWriter(run, print) as writer:
        writer.save(state)
        state["loop"]["step"] = 2
        for parameter in model.parameters():
            parameter.data.fill_(-1)
            optimizer.state[parameter]["momentum_buffer"].fill_(-1)
    assert run.checkpoint.read_bytes() == packed != pack(state)


def test_strides_shared_memory_and_plain_values_come_back(run: RunDir) -> None:
    weights = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    state = {
        "model": {"weights": weights, "tied": weights, "part": weights[1:3]},
        "loop": {"sums": [0.1, float("inf")], "best": None, "names": ("a", "b")},
    }
    with CheckpointWriter(run, print) as writer:
        writer.save(state)
    loaded = unpack(run.checkpoint.read_bytes())
    assert loaded["loop"] == state["loop"]
    model = loaded["model"]
    assert torch.equal(model["weights"], weights)
    assert model["weights"].stride() == weights.stride()
    model["weights"].zero_()
    assert model["tied"].count_nonzero() == model["part"].count_nonzero() == 0


def test_states_reach_the_disk_in_their_order_and_none_is_missing(run: RunDir) -> None:
    with CheckpointWriter(run, print) as writer:
        for epoch in range(1, 30):
            writer.save(large_state(epoch))
            # While one is written, the one before is on the disk.
            assert load_epoch(run)[0] in (epoch - 1 or None, epoch)
    assert load_epoch(run)[0] == 29
    assert unpack(run.previous_checkpoint.read_bytes())["epoch"] == 28


# ------------------------------------------------------------------------------- full disks


def _save_beyond_the_limit(run: RunDir, sent: Connection) -> None:
    """Real failures of write(): files may not be larger than 1 MiB, and a state is."""
    said: list[str] = []
    writer = CheckpointWriter(run, said.append)
    writer.save(large_state(1), wait=True)
    no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, no_limit[1]))
    for epoch in (2, 3):
        writer.save(large_state(epoch))
    writer.finish()
    writer.finish()
    sent.send((said.copy(), load_epoch(run)[0], os.listdir(run.path)))
    try:
        writer.save(large_state(4), wait=True)
    except OSError as error:
        sent.send((error.strerror, load_epoch(run)[0], os.listdir(run.path)))
    writer.save(large_state(5))
    resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
    writer.finish()
    said.clear()
    writer.save(large_state(6))
    writer.finish()
    sent.send((said, load_epoch(run)[0], sorted(os.listdir(run.path))))


def test_a_full_disk_is_told_once_per_failure_and_leaves_the_good_one(run: RunDir) -> None:
    child, received = start_child(_save_beyond_the_limit, run)
    told = "the checkpoint could not be written: [Errno 27] File too large"
    assert received.recv() == ([told, told], 1, ["checkpoint.pt"])
    assert received.recv() == ("File too large", 1, ["checkpoint.pt"])
    said, epoch, left = received.recv()
    assert (said, epoch) == ([], 6)
    assert left[-1] == "checkpoint.pt"
    child.join()


def test_what_is_no_failure_of_the_disk_is_raised_at_the_next_call(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, content: bytes) -> None:
        raise MemoryError("no room")

    writer = CheckpointWriter(run, print)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.checkpoint.write_atomic", broken)
        writer.save({"epoch": 1})
        with pytest.raises(MemoryError, match="no room"):
            writer.save({"epoch": 2})
    writer.finish()
    assert load_epoch(run)[0] is None


# ------------------------------------------------------------------------------- kills and exits


def _save_for_ever(run: RunDir, sent: Connection) -> None:
    """Save one state after the other, and send which one is begun and which was the last."""
    run.remove_leftovers()
    writer = CheckpointWriter(run, print)
    for epoch in itertools.count(load_epoch(run)[0] + 1):
        sent.send((epoch, epoch - 1))
        writer.save(large_state(epoch))


def test_killed_at_any_moment_it_goes_on_from_one_of_the_last_two(run: RunDir) -> None:
    moment = random.Random(0)
    save_checkpoint(run, large_state(0))
    newest = 0
    for _ in range(KILLS):
        child, received = start_child(_save_for_ever, run)
        begun, saved = received.recv()
        assert begun == newest + 1, "it goes on from the newest"
        last = newest + moment.randint(1, 6)
        while begun < last:
            begun, saved = received.recv()
            check_the_room(run)
        time.sleep(moment.uniform(0, 0.02))
        child.kill()
        child.join()
        check_the_room(run)
        with contextlib.suppress(EOFError):
            while True:
                begun, saved = received.recv()
        before = newest
        newest, said = load_epoch(run)
        # What was saved may not be on the disk yet, but the one before it is.
        assert max(before, saved - 1) <= newest <= begun
        assert not any("damaged" in line for line in said)
    assert newest > KILLS


def check_the_room(run: RunDir) -> None:
    """At most three checkpoints and a temporary file are there at any moment."""
    left = {path.name for path in run.path.iterdir()}
    half_written = {name for name in left if name.startswith(".")}
    assert len(half_written) <= 1
    assert left - half_written <= {"checkpoint.pt", "checkpoint.prev.pt", "checkpoint.next.pt"}


@pytest.mark.parametrize(
    ("ending", "status"),
    [("sys.exit(3)", 3), ("raise ValueError('of the training')", 1), ("pass", 0)],
)
def test_a_write_under_way_when_the_process_ends_is_finished(
    ending: str, status: int, run: RunDir
) -> None:
    script = f"""
        import sys
        from tests.jobs.test_checkpoint import CheckpointWriter, RunDir, large_state
        writer = CheckpointWriter(RunDir({str(run.path)!r}), print)
        writer.save(large_state(1))
        {ending}
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=root, timeout=60, capture_output=True
    )
    assert done.returncode == status
    assert load_epoch(run)[0] == 1
    assert os.listdir(run.path) == ["checkpoint.pt"]


@given(st.integers(0, len(PACKED) - 1), st.integers(0, 255))
def test_any_damage_falls_back_to_the_one_before_and_is_told(place: int, change: int) -> None:
    """One changed byte or, with a change of 0, a file that is cut off there."""
    damaged = bytearray(PACKED)
    damaged[place] ^= change
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(folder)
        run.previous_checkpoint.write_bytes(pack({"epoch": 1}))
        run.checkpoint.write_bytes(damaged if change else damaged[:place])
        epoch, said = load_epoch(run)
    assert epoch == 1
    assert said == [
        "checkpoint.pt is damaged (its checksum does not fit); trying the one before",
        "going on from checkpoint.prev.pt",
    ]
