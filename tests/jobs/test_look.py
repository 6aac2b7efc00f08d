from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import look, run_dir
from jobs.errors import InputError
from jobs.look import SweepLook, digest_of_modules, tell_once
from jobs.run_dir import RunDir
from jobs.run_records import Progress, Result
from jobs.sweep_dir import sweep_of
from tests.jobs.conftest import plan_run

LONG_AGO_S = 1e9
RESULT: Result = {
    "run_id": "r", "best_test_top1": 1.0, "best_epoch": 1, "final_test_top1": 1.0,
    "final_test_top5": 1.0, "params": 1, "macs": 1, "wall_s": 1.0, "attempts": 1,
    "weights_sha256": "", "time_unix_s": 1.0,
}  # fmt: skip


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The records that were read."""
    names: list[str] = []

    def spy(name: str) -> None:
        really: Callable[..., Any] = getattr(run_dir, name)

        def reading(path: str, *keys: Any) -> Any:
            names.append(path.rpartition("/")[2])
            return really(path, *keys)

        monkeypatch.setattr(run_dir, name, reading)

    for name in ("read_record", "read_records", "read_json", "numbers_in"):
        spy(name)
    return names


@pytest.fixture(autouse=True)
def _one_run_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WORTH_KEEPING", 1)


def write_attempt(run: RunDir, number: int, **end: str) -> None:
    attempt = {"attempt": number, "started_unix_s": 1.0, "pid": 1, **end}
    run.write_attempt(attempt)  # type: ignore[typeddict-item]


def write_progress(run: RunDir, attempt: int) -> None:
    run.write_progress(
        Progress(
            attempt=attempt, epoch=1, epochs=3, step=attempt, steps=9, eta_s=1.0, test_top1=1.0,
            time_unix_s=time.time(),
        )
    )  # fmt: skip


def age(run: RunDir) -> None:
    """As if nothing of it had changed for long."""
    for path in (run.path, run.path / "attempts", run.path / "observed.jsonl"):
        if path.exists():
            os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def facts(run: RunDir) -> list[Any]:
    """All that is asked of a run for its status."""
    return [
        run.is_planned(),
        run.read_options(),
        run.read_result(),
        run.is_finished(),
        run.observed(),
        run.history(),
        run.read_progress(),
        run.holder() is None,
    ]


def told(run: RunDir) -> list[Any]:
    return tell_once(run, "facts", facts)


def remembering(run: RunDir) -> SweepLook:
    return SweepLook(sweep_of(run), "of this code")


def take_a_look(run: RunDir) -> list[Any]:
    """What a new look says of the run, which is kept for the next one."""
    sweep = remembering(run)
    (found,) = sweep.runs()
    seen = told(found)
    sweep.keep()
    return seen


def kept_file(run: RunDir) -> Path:
    return run.path.parents[1] / look.FOLDER / f"{run.path.parent.name}.jsonl"


def kept_runs(run: RunDir) -> dict[str, Any]:
    """What is kept of each run of the sweep."""
    runs: dict[str, Any] = json.loads(kept_file(run).read_bytes().splitlines()[1])["runs"]
    return runs


def stop(run: RunDir, number: int = 1) -> None:
    write_attempt(run, number, cause="stopped")
    write_progress(run, number)


# ------------------------------------------------------------------------------- within a look


def test_what_is_final_is_read_once(run: RunDir, read: list[str]) -> None:
    write_attempt(run, 1, cause="finished")
    run.write_result(RESULT)
    (seen,) = SweepLook(sweep_of(run)).runs()
    for _ in range(3):
        assert seen.read_result() == RESULT
        assert [attempt["cause"] for attempt in seen.history()] == ["finished"]
        assert seen.is_finished()
        assert seen.read_options() is seen.read_options()
    assert [read.count(name) for name in ("1.json", "result.json", "config.json")] == [1, 1, 1]


def test_what_may_change_is_read_again(run: RunDir) -> None:
    (seen,) = SweepLook(sweep_of(run)).runs()
    write_attempt(run, 1)
    assert (seen.read_result(), seen.is_finished()) == (None, False)
    assert ["cause" in attempt for attempt in seen.history()] == [False]
    write_attempt(run, 1, cause="stopped")
    write_attempt(run, 2)
    assert ["cause" in attempt for attempt in seen.history()] == [True, False]
    run.observe("cancelled")
    assert seen.is_cancelled()


def test_a_run_is_one_object_however_it_is_asked_for(run: RunDir) -> None:
    sweep = SweepLook(sweep_of(run))
    assert sweep.run(run.run_id) is sweep.run(run.run_id) is sweep.runs()[0]
    assert {run: "told"}[sweep.run(run.run_id)] == "told"


def test_what_the_look_itself_writes_down_it_sees(run: RunDir) -> None:
    stop(run)
    age(run)
    take_a_look(run)
    (seen,) = remembering(run).runs()
    assert not seen.is_cancelled()
    seen.observe("cancelled")
    assert seen.is_cancelled()


def test_what_was_told_before_a_run_finished_is_told_anew(run: RunDir) -> None:
    (seen,) = SweepLook(sweep_of(run)).runs()
    stop(run)
    assert told(seen)[3] is False
    run.write_result(RESULT)
    assert seen.read_result() == RESULT
    assert told(seen) == facts(RunDir(run.path))


# ------------------------------------------------------------------------------- from look to look


def test_who_acts_on_what_he_sees_remembers_nothing(run: RunDir) -> None:
    stop(run)
    age(run)
    before = take_a_look(run)
    (run.path / "config.json").write_text("edited in place")
    assert take_a_look(run) == before
    (seen,) = SweepLook(sweep_of(run)).runs()
    with pytest.raises(InputError, match="damaged"):
        seen.read_options()


@pytest.mark.parametrize("is_finished", [False, True])
def test_of_a_run_at_rest_the_next_look_reads_nothing(
    run: RunDir, read: list[str], is_finished: bool
) -> None:
    stop(run)
    run.observe("released")
    if is_finished:
        run.write_result(RESULT)
    age(run)
    first = take_a_look(run)
    read.clear()
    assert take_a_look(run) == first
    assert read == []


@pytest.mark.parametrize("is_finished", [False, True])
def test_what_is_not_kept_can_still_be_asked_for(run: RunDir, is_finished: bool) -> None:
    stop(run)
    if is_finished:
        run.write_result(RESULT)
    age(run)
    before = take_a_look(run)
    (seen,) = remembering(run).runs()
    assert facts(seen) == before == facts(RunDir(run.path))
    assert not kept_runs(run)[run.run_id][2].keys() & look.NOT_KEPT


def test_what_a_later_look_tells_of_a_run_at_rest_is_kept_too(run: RunDir) -> None:
    stop(run)
    age(run)
    take_a_look(run)
    for answer in ("at first", "later"):
        sweep = remembering(run)
        (seen,) = sweep.runs()
        assert tell_once(seen, "asked later", lambda run, answer=answer: answer) == "at first"
        sweep.keep()
    assert told(remembering(run).runs()[0]) == facts(run)


CHANGES: dict[str, Callable[[RunDir], object]] = {
    "it goes on": lambda run: run.take_lease("here", "1", 0),
    "it went on": lambda run: [run.release_lease(run.take_lease("here", "1", 0)), stop(run, 2)],
    "its job says how it ended": lambda run: write_attempt(run, 1, cause="preempted"),
    "it finishes": lambda run: run.write_result(RESULT),
    "it makes progress": lambda run: write_progress(run, 2),
    "it is cancelled": lambda run: run.observe("cancelled"),
    "it is planned anew": lambda run: run.write_config(
        run.read_config().model_copy(update={"progress_every_s": 7.0})
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("was_observed", [False, True])
def test_a_change_is_seen_by_the_next_look_and_by_this_one_when_it_looks_again(
    run: RunDir, change: Callable[[RunDir], object], was_observed: bool
) -> None:
    stop(run)
    if was_observed:
        run.observe("released")
    age(run)
    before = take_a_look(run)
    sweep = remembering(run)
    (seen,) = sweep.runs()
    assert told(seen) == before
    change(run)
    sweep.look_again()
    now = facts(RunDir(run.path))
    assert now != before
    assert told(seen) == facts(seen) == take_a_look(run) == now


def test_a_result_that_somebody_takes_away_is_missed(run: RunDir) -> None:
    stop(run)
    run.write_result(RESULT)
    age(run)
    take_a_look(run)
    run.result.unlink()
    assert take_a_look(run) == facts(RunDir(run.path))


def leave_a_lease(run: RunDir) -> None:
    run.take_lease("here", "1", 0)


def damage_an_attempt(run: RunDir) -> None:
    (run.path / "attempts" / "1.json").write_text("{")


@pytest.mark.parametrize(
    "disturb",
    [leave_a_lease, damage_an_attempt, lambda run: write_attempt(run, 2), lambda run: None],
    ids=["somebody holds it", "it is damaged", "an attempt goes on", "it has just changed"],
)
def test_what_is_not_at_rest_is_not_kept(
    run: RunDir, disturb: Callable[[RunDir], None], request: pytest.FixtureRequest
) -> None:
    stop(run)
    disturb(run)
    if "it has just changed" not in request.node.name:
        age(run)
    sweep = remembering(run)
    for seen in sweep.runs():
        try:
            told(seen)
        except InputError:
            assert "it is damaged" in request.node.name
    sweep.keep()
    assert not kept_file(run).exists()


def test_few_runs_are_not_worth_a_file(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WORTH_KEEPING", 2)
    stop(run)
    age(run)
    take_a_look(run)
    assert not kept_file(run).exists()
    other = plan_run(run.path.parent, seed=5)
    for each in (run, other):
        age(each)
    sweep = remembering(run)
    for each in sweep.runs():
        told(each)
    sweep.keep()
    assert kept_runs(run).keys() == {run.run_id, other.run_id}


def test_runs_that_come_to_rest_a_few_at_a_time_are_kept_when_they_are_many(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WORTH_KEEPING", 3)
    runs = [run, plan_run(run.path.parent, seed=5), plan_run(run.path.parent, seed=6)]
    sweep = remembering(run)
    for number, each in enumerate(runs):
        assert not kept_file(run).exists()
        stop(each)
        age(each)
        sweep.look_again()
        for seen in sweep.runs()[: number + 1]:
            told(seen)
        sweep.keep()
    assert len(kept_runs(run)) == 3


def test_of_a_sweep_that_was_removed_nothing_stays(run: RunDir) -> None:
    other = plan_run(run.path.parents[1] / "other")
    for each in (run, other):
        stop(each)
        age(each)
        take_a_look(each)
    assert kept_file(other).exists()
    shutil.rmtree(other.path.parent)
    kept_file(run).unlink()
    take_a_look(run)
    assert kept_file(run).exists()
    assert not kept_file(other).exists()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "other JSON": lambda content: b"[]",
    "cut": lambda content: content[:-9],
    "longer": lambda content: content + b"{}",
    "changed": lambda content: content.replace(b'"facts":[', b'"facts":[0,'),
    "of another kind": lambda content: content.replace(b'"runs":{', b'"runs":0,"no":{'),
    "of other code": lambda content: content.replace(b"of this code", b"of that code"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_as_good_as_none(
    run: RunDir, read: list[str], damage: Callable[[bytes], bytes]
) -> None:
    stop(run)
    age(run)
    before = take_a_look(run)
    content = kept_file(run).read_bytes()
    kept_file(run).write_bytes(damage(content))
    assert kept_file(run).read_bytes() != content
    read.clear()
    assert take_a_look(run) == before
    assert "config.json" in read
    assert kept_file(run).read_bytes() == content


def test_the_version_is_that_of_all_modules_of_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert digest_of_modules("jobs") != digest_of_modules("jobs", "launcher")
    monkeypatch.setattr(look, "SOURCE", tmp_path)
    (tmp_path / "tellers").mkdir()
    (tmp_path / "tellers" / "one.py").write_text("told = 1")
    before = digest_of_modules("tellers")
    (tmp_path / "tellers" / "notes.txt").write_text("no code")
    (tmp_path / "tellers" / ".#one.py").symlink_to("me@here.1")  # as Emacs has it
    assert digest_of_modules("tellers") == before
    (tmp_path / "tellers" / "other.py").write_text("told = 2")
    assert digest_of_modules("tellers") != before
    (tmp_path / "tellers" / "gone.py").symlink_to("nowhere")
    assert digest_of_modules("tellers") == ""


def test_what_was_told_of_the_sweep_is_recalled_by_its_key(run: RunDir) -> None:
    sweep = remembering(run)
    assert sweep.recall("labels", "1") is None
    sweep.remember("labels", "1", ["a"])
    assert sweep.recall("labels", "1") == ["a"]
    sweep.keep()
    assert remembering(run).recall("labels", "1") == ["a"]
    assert remembering(run).recall("labels", "2") is None
    assert SweepLook(sweep_of(run)).recall("labels", "1") is None


def test_where_nothing_can_be_written_nothing_is_kept(run: RunDir) -> None:
    stop(run)
    age(run)
    kept_file(run).parent.write_text("in the way")
    assert take_a_look(run) == take_a_look(run)


# ------------------------------------------------------------------------------- a property

DEEDS: dict[str, Callable[[RunDir], object]] = {
    "begin": lambda run: [run.take_lease("here", "1", 0), write_attempt(run, run.next_attempt())],
    "progress": lambda run: write_progress(run, run.next_attempt() - 1),
    "end": lambda run: write_attempt(run, run.next_attempt() - 1, cause="stopped"),
    "amend": lambda run: write_attempt(run, run.next_attempt() - 1, cause="preempted"),
    "leave": lambda run: (held := run.lease()) and run.release_lease(held),
    "finish": lambda run: run.write_result(RESULT),
    "explain": lambda run: run.observe(
        "explained", attempt=1, cause="preempted", message="", nodes="", ended_unix_s=None
    ),
    "cancel": lambda run: run.observe("cancelled"),
    "release": lambda run: run.observe("released"),
    "take away": lambda run: run.result.unlink(missing_ok=True),
    "begin anew": lambda run: shutil.rmtree(run.path / "attempts", ignore_errors=True),
}


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(deeds=st.lists(st.sampled_from(sorted(DEEDS)), min_size=1, max_size=12))
def test_a_look_with_a_memory_sees_what_one_without_sees(deeds: list[str]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # A tick of the file system's clock is shorter.
        patch.setattr(look, "SETTLED_AFTER_S", 0.02)
        run = plan_run(Path(folder) / "sweep")
        for deed in deeds:
            if not (deed == "begin" and run.lease()) and not (
                deed in ("end", "amend", "progress") and run.next_attempt() == 1
            ):
                DEEDS[deed](run)
            assert take_a_look(run) == facts(RunDir(run.path)), "at once"
            time.sleep(0.025)
            assert take_a_look(run) == facts(RunDir(run.path)), "when it has settled"
