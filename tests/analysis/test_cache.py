from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import cache, columns
from analysis.load import Runs, load_runs
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import (
    EPOCHS,
    add_imported,
    add_run,
    damage,
    make_attempt,
    make_metrics,
    name_runs,
)


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just written counts as settled."""
    monkeypatch.setattr(cache, "SETTLED_AFTER_S", -1.0)


def folder_of(sweep: SweepDir) -> Path:
    return sweep.path.parent / ".analysis_cache" / sweep.name


def check_equal(one: Runs, other: Runs) -> None:
    for frame in ("runs", "epochs", "attempts"):
        pd.testing.assert_frame_equal(getattr(one, frame), getattr(other, frame))
    assert one.problems == other.problems


def cold(sweep: SweepDir, **options: bool) -> Runs:
    shutil.rmtree(folder_of(sweep), ignore_errors=True)
    return load_runs(sweep, **options)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are read from their folders from now on."""
    names: list[str] = []
    read_run = cache.analysis.reading.read_run

    def noting(run: RunDir, *given: object, **options: object) -> object:
        names.append(run.run_id)
        return read_run(run, *given, **options)

    monkeypatch.setattr("analysis.load.read_run", noting)
    return names


def test_the_second_look_reads_no_run_and_finds_the_same(
    half_finished: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_imported(half_finished)
    first = load_runs(half_finished)
    names = reads(monkeypatch)
    check_equal(load_runs(half_finished), first)
    assert names == []


def test_only_what_has_changed_is_read_again(
    half_finished: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_runs(half_finished)
    run = half_finished.run(half_finished.named_runs()[3])
    run.append_metrics(make_metrics(3, 33.0))
    names = reads(monkeypatch)
    loaded = load_runs(half_finished)
    assert names == [run.run_id]
    assert list(loaded.epochs.loc[loaded.epochs["run_id"] == run.run_id, "epoch"]) == [1, 2, 3]
    assert load_runs(half_finished).epochs.equals(loaded.epochs)
    assert names == [run.run_id]


def test_what_was_just_written_is_not_kept(
    half_finished: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SETTLED_AFTER_S", 60.0)
    old, *_, new = half_finished.runs()
    for path in old.path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    load_runs(half_finished)
    names = reads(monkeypatch)
    load_runs(half_finished)
    assert old.run_id not in names
    assert new.run_id in names


def test_many_files_become_one(half_finished: SweepDir) -> None:
    run = half_finished.run(half_finished.named_runs()[3])
    for number in range(cache.FILES):
        load_runs(half_finished)
        assert len([*folder_of(half_finished).iterdir()]) == number + 1
        run.append_metrics(make_metrics(2, float(number)))
    load_runs(half_finished)
    assert len([*folder_of(half_finished).iterdir()]) == 1
    check_equal(load_runs(half_finished), cold(half_finished))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[: len(content) // 3] + b"XXXX" + content[len(content) // 3 + 4 :],
        lambda content: b"",
        lambda content: b"not a cache",
    ],
)
def test_a_damaged_cache_is_as_good_as_none(
    half_finished: SweepDir, spoil: Callable[[bytes], bytes]
) -> None:
    first = load_runs(half_finished)
    [path] = folder_of(half_finished).iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    check_equal(load_runs(half_finished), first)
    check_equal(load_runs(half_finished), first)


def test_a_cache_of_another_version_is_not_read(
    half_finished: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_runs(half_finished)
    monkeypatch.setattr(cache, "_version", lambda: "another")
    names = reads(monkeypatch)
    check_equal(load_runs(half_finished), first)
    assert len(names) == 5


def test_where_nothing_can_be_written_the_runs_are_read(half_finished: SweepDir) -> None:
    folder = folder_of(half_finished)
    folder.parent.write_text("a file in the way")
    first = load_runs(half_finished)
    assert len(first.runs) == 5
    check_equal(load_runs(half_finished), first)


def test_columns_grow_on_after_a_sweep_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_FIRST_BYTES", 8)
    sweeps = [SweepDir(tmp_path / name) for name in ("a", "b")]
    for sweep in sweeps:
        name_runs(sweep, [add_run(sweep, "resnet_small", seed=seed) for seed in range(3)])
    first = load_runs(sweeps)
    assert len(first.epochs) == 2 * 3 * EPOCHS
    check_equal(load_runs(sweeps), first)


def test_what_a_killed_process_left_is_removed_when_it_is_old(half_finished: SweepDir) -> None:
    folder = folder_of(half_finished)
    folder.mkdir(parents=True)
    old, new = folder / ".a.tmp", folder / ".b.tmp"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 2 * cache.ABANDONED_AFTER_S,) * 2)
    load_runs(half_finished)
    assert (old.exists(), new.exists()) == (False, True)


def append(run: RunDir, number: int) -> None:
    run.append_metrics(make_metrics(1 + number % EPOCHS, float(number)))


def tear(run: RunDir, number: int) -> None:
    with open(run.metrics, "a") as file:
        file.write('{"epoch": 1')


def begin(run: RunDir, number: int) -> None:
    run.write_attempt(make_attempt(run.next_attempt(), "resnet_small"))


def cancel(run: RunDir, number: int) -> None:
    run.observe("cancelled" if number % 2 else "released")


def forget_result(run: RunDir, number: int) -> None:
    run.result.unlink(missing_ok=True)


def spoil(run: RunDir, number: int) -> None:
    damage(run)


def bring(run: RunDir, number: int) -> None:
    add_imported(SweepDir(run.path.parent), f"import{number % 2}", final=float(number))


CHANGES = [append, tear, begin, cancel, forget_result, spoil, bring]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(CHANGES), st.integers(0, 2), st.integers(0, 50)), max_size=6
    ),
    all_versions=st.booleans(),
)
def test_whatever_happens_a_look_with_the_cache_is_one_without(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[Callable[[RunDir, int], None], int, int]],
    all_versions: bool,
) -> None:
    sweep = SweepDir(tmp_path_factory.mktemp("runs") / "demo")
    runs = [
        add_run(sweep, "resnet_small"),
        add_run(sweep, "sresnet_small", epochs_done=2),
        add_run(sweep, "resnet_small", seed=1),
    ]
    name_runs(sweep, runs[:2])
    for change, place, number in changes:
        load_runs(sweep)
        change(runs[place], number)
    warm = load_runs(sweep, all_versions=all_versions)
    check_equal(warm, cold(sweep, all_versions=all_versions))
