from __future__ import annotations

from pathlib import Path

import pytest

from analysis.load import load_runs
from tests.analysis.commands.conftest import Analysis

TRAIN = "0\t3.945\t10.108\n1\t3.230\t21.282\n"
TEST = "0\t3.618\t15.350\n1\t3.013\t25.380\n"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder of two trainings and junk, as records of others come."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for network in ("Plain", "BAM"):
        (folder / f"cifar_100_{network}_train.txt").write_text(TRAIN)
    (folder / "cifar_100_Plain_test.txt").write_text(TEST)
    (folder / "cifar_100_BAM_test.txt").write_text(TEST.replace("25.380", "26.500"))
    (folder / "notes.txt~").write_text("remember the milk")
    return folder


def test_a_whole_folder_becomes_runs_and_junk_is_named(analysis: Analysis, logs: Path) -> None:
    ended = analysis("import", "tsv", *logs.glob("*.txt*"), "--sweep", "records")
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == "to see them: analysis table records"
    assert ended.out.count("new        ") == 2
    assert ": 2 epochs, final test top-1 26.50 %, in runs/records/BAM-" in ended.out
    assert "not imported: notes.txt~: its name ends in .txt~" in ended.err
    # What is true of both is told once.
    assert ended.err.count("epochs count from 0 in the log, and from 1 here\n") == 1
    table = analysis("table", "records")
    assert table.status == 0
    assert "BAM" in table.out
    assert "26.50" in table.out


def test_a_note_names_a_few_of_the_networks_that_it_is_about(
    analysis: Analysis, tmp_path: Path
) -> None:
    for place, name in enumerate("abcdef"):
        (tmp_path / f"{name}_test.txt").write_text(f"5\t2.5\t{place}.5\n")
    for seed in range(3):
        (tmp_path / f"net_s{seed}_test.txt").write_text(f"7\t2.5\t{seed}.5\n")
    assert analysis("import", "tsv", tmp_path, "--sweep", "x").err.splitlines() == [
        "there is no train file beside the test file",
        "a, b, c, d, 2 others: the log begins at epoch 5",
        "net (3 runs): the log begins at epoch 7",
    ]


def test_a_dry_run_says_the_same_and_writes_nothing(analysis: Analysis, logs: Path) -> None:
    dry = analysis("import", "tsv", logs, "--sweep", "records", "--dry-run")
    assert not Path("runs").exists()
    real = analysis("import", "tsv", logs, "--sweep", "records")
    assert dry.out.splitlines()[:-1] == real.out.splitlines()[:-1]
    assert dry.out.endswith("nothing was written, because of --dry-run\n")
    assert dry.err == real.err


def test_what_is_known_is_kept(analysis: Analysis, logs: Path) -> None:
    known = ("--set", "epochs=150", "--set", "lr=0.1", "--rename", "Plain=preact_resnet50")
    assert analysis("import", "tsv", logs, "--sweep", "records", *known).status == 0
    runs = load_runs("records").runs.set_index("model")
    assert list(runs["epochs"]) == [150, 150]
    assert runs["params"]["preact_resnet50"] == 23_693_476


def test_another_folder_of_runs_is_told_to_the_next_command(analysis: Analysis, logs: Path) -> None:
    ended = analysis("import", "tsv", logs, "--sweep", "records", "--runs", "theirs")
    assert ended.out.splitlines()[-1] == "to see them: analysis table records --runs theirs"
    assert analysis("table", "records", "--runs", "theirs").status == 0


def test_where_nothing_can_be_imported_it_fails_and_says_why(
    analysis: Analysis, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk")
    ended = analysis("import", "tsv", "notes.txt", "--sweep", "records")
    assert ended.status == 1
    assert ended.err == (
        "not imported: notes.txt: its name says neither train nor test\n"
        "error: nothing of this could be imported as tsv\n"
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tsv", "nothing.txt", "--sweep", "x"], "there is no file or folder nothing.txt"),
        (["tsv", "logs", "--sweep", "a/b"], "sweep 'a/b' is not valid"),
        (["tsv", "logs", "--sweep", "x", "--set", "datset=cifar10"], "did you mean 'dataset'?"),
        (["tsv", "logs", "--sweep", "x", "--rename", "Plan=resnet50"], "did you mean 'Plain'?"),
        (["tsv", "logs", "--sweep", "x", "--rename", "Plain=resnet5"], "did you mean 'resnet50'?"),
        (["csv", "logs", "--sweep", "x", "--accuracy", "permille"], "Invalid value"),
        (["tsv", "logs"], "Missing option"),
        (["tsv", "--sweep", "x"], "Missing argument"),
        (["tvs", "logs", "--sweep", "x"], "No such command"),
    ],
)
def test_a_mistake_ends_with_2_and_writes_nothing(
    analysis: Analysis, logs: Path, arguments: list[str], said: str
) -> None:
    ended = analysis("import", *arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("format", ["tsv", "lambdanetworks", "csv", "tensorboard"])
def test_help_shows_examples(analysis: Analysis, format: str) -> None:
    ended = analysis("import", format, "--help")
    assert ended.status == 0
    assert f"analysis import {format} " in ended.out


def test_columns_may_be_named(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("round,score\n1,0.5\n2,0.75\n")
    named = ("--epoch", "round", "--test-top1", "score", "--accuracy", "fraction")
    assert analysis("import", "csv", "net.csv", "--sweep", "x", *named).status == 0
    assert list(load_runs("x").epochs["test_top1"]) == [50.0, 75.0]


def test_the_records_of_2019_give_the_figures_that_were_published(
    analysis: Analysis, records: Path
) -> None:
    imported = analysis("import", "tsv", records, "--sweep", "records")
    assert (imported.status, "not imported" in imported.err) == (0, False)
    # Counted from 0, the last ten epochs are 140 to 149.
    rows = analysis("table", "records", "--last", "10").out.splitlines()
    cells = {row.split()[1]: row for row in rows if row.startswith("|")}
    figures = {
        "PreActResNet50": ("75.06", "74.81"),
        "BAMResNet50": ("75.43", "75.21"),
        "SResNet50": ("75.50", "75.34"),
    }
    heading = [cell.strip() for cell in rows[0].split("|")]
    columns = [
        next(place for place, cell in enumerate(heading) if said in cell)
        for said in ("best epoch", "last 10")
    ]
    for network, said in figures.items():
        values = [cell.strip() for cell in cells[network].split("|")]
        assert tuple(values[place] for place in columns) == said
