from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs import run_dir
from jobs.look import SweepLook
from jobs.run_dir import RunDir
from jobs.sweep_dir import sweep_of


@pytest.fixture
def look(run: RunDir) -> RunDir:
    (found,) = SweepLook(sweep_of(run)).runs()
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The records that were read."""
    names: list[str] = []
    really: Callable[..., Any] = run_dir.read_record

    def read_record(path: str, keys: Any) -> Any:
        names.append(path.rpartition("/")[2])
        return really(path, keys)

    monkeypatch.setattr(run_dir, "read_record", read_record)
    return names


def write_attempt(run: RunDir, number: int, **end: str) -> None:
    attempt = {"attempt": number, "started_unix_s": 1.0, "pid": 1, **end}
    run.write_attempt(attempt)  # type: ignore[typeddict-item]


def test_what_is_final_is_read_once(run: RunDir, look: RunDir, read: list[str]) -> None:
    write_attempt(run, 1, cause="finished")
    result = dict.fromkeys(["run_id", "best_test_top1", "best_epoch", "final_test_top1"], 1)
    result |= dict.fromkeys(["final_test_top5", "params", "macs", "wall_s", "attempts"], 1)
    result |= dict.fromkeys(["weights_sha256", "time_unix_s"], 1)
    run.write_result(result)  # type: ignore[arg-type]
    for _ in range(3):
        assert look.read_result() == result
        assert [attempt["cause"] for attempt in look.history()] == ["finished"]
        assert look.is_finished()
        assert look.read_config() is look.read_config()
    assert sorted(read) == ["1.json", "result.json"]


def test_what_may_change_is_read_again(run: RunDir, look: RunDir) -> None:
    write_attempt(run, 1)
    assert (look.read_result(), look.is_finished()) == (None, False)
    assert ["cause" in attempt for attempt in look.history()] == [False]
    write_attempt(run, 1, cause="stopped")
    write_attempt(run, 2)
    assert ["cause" in attempt for attempt in look.history()] == [True, False]
    run.observe("cancelled")
    assert look.is_cancelled()


def test_a_run_is_one_object_however_it_is_asked_for(run: RunDir) -> None:
    sweep = SweepLook(sweep_of(run))
    assert sweep.run(run.run_id) is sweep.run(run.run_id) is sweep.runs()[0]
    assert {run: "told"}[sweep.run(run.run_id)] == "told"
