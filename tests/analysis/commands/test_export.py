from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.load import load_runs
from jobs.sweep_dir import SweepDir
from tests.analysis.commands.conftest import Analysis
from tests.analysis.conftest import EPOCHS


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ([], ["runs.csv", "epochs.csv", "attempts.csv"]),
        (["--format", "parquet"], ["runs.parquet", "epochs.parquet", "attempts.parquet"]),
    ],
)
def test_the_files_that_are_written_are_named(
    analysis: Analysis, half_finished: SweepDir, arguments: list[str], written: list[str]
) -> None:
    ended = analysis("export", "demo", "-o", "exported", *arguments)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"exported/{name}" for name in written]


def test_only_some_runs_may_be_exported(analysis: Analysis, half_finished: SweepDir) -> None:
    analysis("export", "demo", "-o", "exported", "--only", "seed == 0")
    assert set(pd.read_csv("exported/runs.csv")["seed"]) == {0}


@pytest.mark.parametrize(("format", "file"), [("csv", "epochs.csv"), ("tensorboard", "")])
def test_what_is_exported_can_be_imported(
    analysis: Analysis, half_finished: SweepDir, format: str, file: str
) -> None:
    analysis("export", "demo", "--format", format, "-o", "exported")
    ended = analysis("import", format, Path("exported") / file, "--sweep", "back")
    assert ended.status == 0
    ours = load_runs("demo").epochs.sort_values(["model", "seed", "epoch"])
    back = load_runs("back").epochs.sort_values(["model", "seed", "epoch"])
    columns = ["test_top1", "train_top1", "test_loss", "train_loss", "lr", "throughput_img_s"]
    assert back[columns].to_numpy() == pytest.approx(ours[columns].to_numpy(), rel=1e-6)
    assert list(back["seed"]) == list(ours["seed"])
    assert len(back) == 3 * EPOCHS + 2


def test_where_no_run_has_an_epoch_there_are_no_event_files(
    analysis: Analysis, half_finished: SweepDir
) -> None:
    planned = ("--only", "state == planned")
    ended = analysis("export", "demo", "--format", "tensorboard", "-o", "events", *planned)
    assert ended.status == 1
    assert ended.err == "error: nothing to export yet: no run has finished an epoch\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demos", "-o", "x"], "did you mean 'demo'?"),
        (["demo"], "Missing option"),
        (["demo", "-o", "x", "--format", "xml"], "Invalid value"),
    ],
)
def test_a_mistake_ends_with_2(
    analysis: Analysis, half_finished: SweepDir, arguments: list[str], said: str
) -> None:
    ended = analysis("export", *arguments)
    assert ended.status == 2
    assert said in ended.err


def test_help_shows_examples(analysis: Analysis) -> None:
    assert "analysis export demo -o exported" in analysis("export", "--help").out
