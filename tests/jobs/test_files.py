from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.files import (
    READ_AT_ONCE_BYTES,
    append_record,
    numbers_in,
    read_bytes,
    read_record,
    read_records,
    remove_half_written,
    write_atomic,
    write_exclusive,
)


@given(st.integers(0, 60))
def test_a_torn_last_line_loses_that_line_only(cut: int) -> None:
    path = Path("metrics.jsonl")
    path.unlink(missing_ok=True)
    for number in range(3):
        append_record(path, {"epoch": number, "loss": 0.123456})
    whole = path.read_bytes()
    kept = whole[: len(whole) - cut]
    path.write_bytes(kept)
    append_record(path, {"epoch": 9})
    complete = [json.loads(line) for line in kept.splitlines() if line.endswith(b"}")]
    assert list(read_records(path, ["epoch"])) == [*complete, {"epoch": 9}]


def test_records_of_another_kind_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "observed.jsonl"
    path.write_text('{"x": 1}\n3\n[]\n{"event": "cancelled"}\n')
    assert list(read_records(path, ["event"])) == [{"event": "cancelled"}]


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_file_that_comes_by_way_of_another_folder_changes_the_time_of_that_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "attempts").mkdir()
    os.utime(tmp_path, (1.0, 1.0))
    write_atomic(tmp_path / "attempts" / "1.json", b"whole", by_way_of=tmp_path)
    assert tmp_path.stat().st_mtime > 1.0
    assert [path.name for path in tmp_path.rglob("*")] == ["attempts", "1.json"]


def test_an_exclusive_write_never_replaces(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    write_exclusive(path, b"mine")
    with pytest.raises(FileExistsError):
        write_exclusive(path, b"yours")
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["lease"]


def test_what_killed_writers_left_is_removed_everywhere_below(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    for name in (".checkpoint.next.pt.1f.tmp", "attempts/.1.json.2e.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "checkpoint.pt").write_bytes(b"whole")
    remove_half_written(tmp_path)
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == ["attempts", "checkpoint.pt"]


def test_a_missing_file_is_nothing_and_a_folder_in_its_place_is_damage(tmp_path: Path) -> None:
    assert read_record(tmp_path / "nothing", ["a"]) is None
    with pytest.raises(InputError, match="it is a folder"):
        read_record(tmp_path, ["a"])


def test_a_record_that_lacks_something_says_what(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"a": 1}')
    assert read_record(path, ["a"]) == {"a": 1}
    with pytest.raises(InputError, match=r"result\.json is damaged: it lacks b, c"):
        read_record(path, ["a", "c", "b"])


@pytest.mark.parametrize("size", [0, 1, READ_AT_ONCE_BYTES, 2 * READ_AT_ONCE_BYTES + 1])
def test_a_file_is_read_to_its_end(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    assert read_bytes(path) == b"x" * size


def test_the_numbers_of_files_are_in_order_and_other_names_are_none(tmp_path: Path) -> None:
    for name in ("10.json", "9.json", "a.json", "3.yaml", ".8.json.tmp"):
        (tmp_path / name).touch()
    assert numbers_in(tmp_path) == [9, 10]
    assert numbers_in(tmp_path / "nothing") == []
