from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir, check_name, find_sweep, sweep_of


def test_two_that_add_a_matrix_at_once_both_keep_their_version(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    threads = [
        threading.Thread(target=sweep.add_matrix, args=(f"text {n}", [f"run {n}"]))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = {path.read_text() for path in (sweep.path / "matrices").glob("*.yaml")}
    assert kept == {f"text {n}" for n in range(20)}
    newest = sweep.newest_matrix()
    assert newest is not None
    assert sweep.named_runs() == [newest[1].replace("text", "run")]


def test_lost_names_of_a_matrix_are_told_and_not_taken_for_none(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    sweep.add_matrix("a", ["x"])
    (sweep.path / "matrices" / "1.runs.json").write_text("{")
    with pytest.raises(InputError, match=r"1\.runs\.json"):
        sweep.named_runs()


def test_every_version_of_a_matrix_is_kept_once(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    assert [sweep.add_matrix(text, ids) for text, ids in [("a", ["x"]), ("a", ["x"])]] == [1, 1]
    assert sweep.add_matrix("b", ["x", "y"]) == 2
    assert sweep.newest_matrix() == (2, "b")
    assert sweep.named_runs() == ["x", "y"]


def test_without_a_matrix_every_run_is_named(run: RunDir) -> None:
    assert sweep_of(run).named_runs() == [run.run_id]


def test_a_sweep_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    SweepDir(tmp_path / "runs" / "demo").add_matrix("a", [])
    assert find_sweep("demo", tmp_path / "runs").name == "demo"
    assert find_sweep(str(tmp_path / "runs" / "demo"), Path("nowhere")).name == "demo"
    with pytest.raises(InputError, match="did you mean 'demo'"):
        find_sweep("dem", tmp_path / "runs")


def test_the_folder_of_pickles_is_private_and_refused_when_it_is_not(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    folder = sweep.job_folder("abc")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o770)
    with pytest.raises(InputError, match="chmod go-w"):
        sweep.job_folder("abc")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a" * 65, "a\n", 3, None])
def test_a_name_that_is_no_safe_folder_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="is not valid"):
        check_name("sweep", name)


def test_runs_are_the_folders_that_hold_a_configuration(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    sweep.add_matrix("a", [])
    sweep.job_folder("x")
    config = RunConfig(model="resnet18")
    sweep.run(config.run_id).write_config(config)
    assert [run.run_id for run in sweep.runs()] == [config.run_id]
