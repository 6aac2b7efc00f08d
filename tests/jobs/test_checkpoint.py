from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.checkpoint import (
    DamagedError,
    load_checkpoint,
    pack,
    save_checkpoint,
    unpack,
    weights_sha256,
)
from jobs.run_dir import RunDir

PACKED = pack({"weights": torch.arange(5.0), "epoch": 3})


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def load_epoch(run: RunDir) -> tuple[int | None, list[str]]:
    said: list[str] = []
    state = load_checkpoint(run, said.append)
    return (state["epoch"] if state else None), said


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


def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(run: RunDir) -> None:
    for epoch in (1, 2):
        save_checkpoint(run, {"epoch": epoch})
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:-100])
    epoch, said = load_epoch(run)
    assert epoch == 1
    assert said[0] == "checkpoint.pt is damaged (its checksum does not fit); trying the one before"


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
