from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console

from jobs.errors import InputError
from jobs.run_records import Imported
from jobs.sweep_dir import SweepDir
from launcher.matrix import read_matrix
from launcher.submit import plan_submission
from launcher.sweeps import SweepSummary, summarise_sweeps, sweeps_table
from tests.launcher.conftest import add_attempt

IMPORTED = Imported(
    format="tsv", files=[], model="x", seed=None, options={}, notes=[], imported_unix_s=1.0
)


def test_the_sweep_that_changed_last_comes_first(sweep: SweepDir, matrix: Path) -> None:
    other = plan_submission(read_matrix(matrix, ["name=other"]), sweep.path.parent)
    other.write()
    run = sweep.runs()[0]
    add_attempt(run, cause="code_error")
    for path in (sweep.path, *sweep.path.iterdir(), other.sweep.path, *other.sweep.path.iterdir()):
        os.utime(path, (1e9, 1e9))
    os.utime(run.path, (2e9, 2e9))
    assert summarise_sweeps([other.sweep, sweep]) == [
        SweepSummary("tiny", 2, {"failed": 1, "planned": 1}, 2e9),
        SweepSummary("other", 2, {"planned": 2}, 1e9),
    ]


def test_a_row_counts_the_runs_by_state_in_the_order_of_states(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1e9 + 7200)
    summary = SweepSummary("tiny", 5, {"finished": 3, "failed": 2}, 1e9)
    Console(width=60).print(sweeps_table([summary]))
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["sweep", "runs", "changed", "states,", "as", "the", "files", "say"]
    assert row.split() == ["tiny", "5", "2.0", "h", "ago", "failed", "2,", "finished", "3"]


def test_of_selected_runs_only_those_are_counted(sweep: SweepDir, matrix: Path) -> None:
    other = plan_submission(read_matrix(matrix, ["name=other", "lr=0.3"]), sweep.path.parent)
    other.write()
    sweep.run("imported").write_imported(IMPORTED, [])
    sweeps = [sweep, other.sweep]
    both = summarise_sweeps(sweeps, "model == sresnet_small")
    assert {(row.sweep, row.runs) for row in both} == {("tiny", 1), ("other", 1)}
    [row] = summarise_sweeps(sweeps, "lr == 0.3")
    assert (row.sweep, row.states) == ("other", {"planned": 2})
    with pytest.raises(InputError, match="selects no run"):
        summarise_sweeps(sweeps, "lr == 0.7")


def test_imported_runs_are_counted_as_such(sweep: SweepDir) -> None:
    sweep.run("imported").write_imported(IMPORTED, [])
    [summary] = summarise_sweeps([sweep])
    assert (summary.runs, summary.states) == (3, {"planned": 2, "imported": 1})
    console = Console(width=80, record=True)
    console.print(sweeps_table([summary]))
    assert "planned 2, imported 1" in console.export_text()
