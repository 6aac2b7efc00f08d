"""Going on with several sweeps, of which one cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs import look
from jobs.config import RunConfig
from jobs.sweep_dir import SweepDir
from tests.launcher.conftest import Desk

NO_ACCOUNT = "Invalid account or account/partition combination specified"


@pytest.fixture
def stopped(desk: Desk) -> Desk:
    """Sweeps a, b and c, whose jobs reached their time limit."""
    Path("sweep.yaml").write_text("base: {model: resnet_small, dataset: digits}\nseeds: 3\n")
    for name in "abc":
        desk.launcher("submit", "sweep.yaml", "--set", f"name={name}")
    for job_id in desk.jobs():
        desk.fake.set(job_id, "TIMEOUT")
    return desk


def submissions(name: str) -> int:
    return len(SweepDir(f"runs/{name}").submissions())


def test_what_sbatch_refuses_of_one_sweep_does_not_keep_the_others_from_going_on(
    stopped: Desk,
) -> None:
    refusal = f"sbatch: error: Batch job submission failed: {NO_ACCOUNT}"
    stopped.fake.fail("sbatch", refusal, times=1)
    said = stopped.launcher("resume", status=1)
    assert f"error: a: sbatch refused: Batch job submission failed: {NO_ACCOUNT}" in said
    assert said.endswith("error: 1 of 3 sweeps failed: a\n")
    assert said.count("submitted job") == 2
    assert [submissions(name) for name in "bc"] == [2, 2]


def test_a_damaged_run_is_left_and_keeps_no_other_from_going_on(stopped: Desk) -> None:
    edited, unread, _ = SweepDir("runs/b").runs()
    config = edited.path / "config.json"
    config.write_text(config.read_text().replace('"digits"', '"mnist"'))
    (unread.path / "attempts").mkdir()
    (unread.path / "attempts" / "1.json").write_text("{")
    said = stopped.launcher("resume", status=2)
    assert "runs/b  3 runs: continue 1, leave 2 on SLURM" in said
    _, _, told = said.partition("error: b: damaged runs were left:\n")
    assert f"{config}: its configuration was edited" in told
    assert "1.json is damaged" in told
    assert told.endswith("error: 1 of 3 sweeps failed: b\n")
    assert [submissions(name) for name in "abc"] == [2, 2, 2]


def test_wishes_for_slurm_are_told_to_change_nothing_of_a_sweep_on_this_machine(
    stopped: Desk,
) -> None:
    config = RunConfig(model="resnet_small", dataset="digits")
    SweepDir("runs/here").run(config.run_id).write_config(config)
    said = stopped.launcher("resume", "here", "a", "--exclude-failed", "--update-code", "--dry-run")
    ignored = "trains on this machine, where --exclude-failed and --update-code change nothing"
    assert f"here: {ignored}\n" in said
    assert f"a: {ignored}" not in said


def test_resume_reads_what_status_remembers(stopped: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WORTH_KEEPING", 1)
    runs = SweepDir("runs/b").runs()
    stopped.launcher("status", "b")
    for run in runs:
        for path in (run.path, run.path / "observed.jsonl"):
            os.utime(path, (1e9, 1e9))
    before = stopped.launcher("status", "b")
    (runs[0].path / "config.json").write_text("edited in place")
    assert stopped.launcher("status", "b") == before
    said = stopped.launcher("resume", "b", "--dry-run", status=2)
    assert "continue 2, leave 1" in said
    assert "config.json is damaged" in said


def test_what_had_a_pilot_alone_is_not_started_by_itself(desk: Desk) -> None:
    Path("sweep.yaml").write_text("base: {model: resnet_small, dataset: digits}\n")
    desk.launcher("submit", "sweep.yaml")
    sweep = SweepDir("runs/sweep")
    ((path, record),) = sweep.submissions().items()
    sweep.write_submission({**record, "pilot_steps": 30}, path)
    desk.fake.set(record["job_id"], "TIMEOUT")
    said = desk.launcher("resume", status=2)
    assert "sweep has had a pilot, but was never submitted: `launcher submit` its matrix" in said
    assert submissions("sweep") == 1
    sweep.write_submission(record, path)
    assert "submitted job" in desk.launcher("resume")


def test_a_sweep_whose_records_are_damaged_stops_no_other(stopped: Desk) -> None:
    record = next(iter(SweepDir("runs/a").submissions()))
    record.write_text("{")
    names = next(Path("runs/c/matrices").glob("*.runs.json"))
    names.write_text("7")
    said = stopped.launcher("resume", status=2)
    assert f"error: a: {record}" in said
    assert f"error: c: {names} is missing or damaged; " in said
    assert said.endswith("error: 2 of 3 sweeps failed: a, c\n")
    assert submissions("b") == 2
    assert stopped.launcher("resume", "a", status=2).startswith(f"error: {record}")
