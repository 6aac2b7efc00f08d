from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_run, name_runs


class Ended:
    """How a command ended, and what it said."""

    def __init__(self, status: object, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def run(
    half_finished: SweepDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Runs `analysis` in the folder that holds `runs/demo`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["analysis", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(end.value.code, *capsys.readouterr())

    return run


def test_a_table_goes_to_a_pipe_as_markdown(run) -> None:
    ended = run("table", "demo")
    assert ended.status == 0
    assert ended.out.startswith("| network       | runs |")
    assert ended.out.endswith("- missing: sresnet_small seed 2: not started\n")
    assert ended.err == ""


def test_a_table_goes_to_a_terminal_as_a_terminal_table(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert "────" in run("table", "demo", "--format", "terminal").out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "────" in run("table", "demo").out


def test_a_table_is_written_in_the_format_that_its_name_asks_for(run) -> None:
    ended = run("table", "demo", "-o", "new/table.csv")
    assert (ended.status, ended.out) == (0, "new/table.csv\n")
    assert ended.err.startswith("missing: sresnet_small seed 1: ")
    assert list(pd.read_csv("new/table.csv")["model"]) == ["resnet_small", "sresnet_small"]
    run("table", "demo", "-o", "table.tex")
    assert "\\toprule" in Path("table.tex").read_text()
    run("table", "demo", "-o", "table.html")
    assert Path("table.html").read_text().startswith("<table ")
    run("table", "demo", "-o", "table.md")
    assert Path("table.md").read_text().startswith("| network ")
    run("table", "demo", "-o", "table.txt", "--format", "terminal")
    assert Path("table.txt").read_text().lstrip().startswith("test top-1")


def test_a_table_for_a_page_leaves_out_what_nobody_asked_for_by_name_and_says_so(run) -> None:
    everything = run("table", "demo", "--columns", "all", "--format", "latex")
    assert everything.err.startswith("left out, because the table would be wider than a page: ")
    assert f"% {everything.err.splitlines()[0]}" in everything.out
    names = "runs,seeds,best,final,train,gap,params,macs,epoch_s,images_s,attempts,restarts"
    asked = run("table", "demo", "--columns", names, "--format", "latex")
    assert asked.err == ""
    assert "{lrrrrrrrrrrrr}" in asked.out


def test_a_sweep_is_a_name_or_a_path(run, half_finished: SweepDir, tmp_path: Path) -> None:
    by_name = run("table", "demo").out
    assert run("table", str(half_finished.path), "--runs", "elsewhere").out == by_name
    assert run("table", "demo", "--runs", str(tmp_path / "runs")).out == by_name


def test_several_sweeps_make_one_table(run, tmp_path: Path) -> None:
    other = SweepDir(tmp_path / "runs" / "other")
    name_runs(other, [add_run(other, "bam_resnet_small")])
    ended = run("table", "demo", "other")
    assert "bam_resnet_small" in ended.out
    assert "sresnet_small" in ended.out


def test_what_is_averaged_besides_seeds_is_said(run, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "rates")
    name_runs(sweep, [add_run(sweep, "resnet_small", lr=lr) for lr in (0.1, 0.2)])
    ended = run("table", "rates")
    assert "differ in lr" in ended.err
    assert "--by model,lr" in ended.err
    assert run("table", "rates", "--by", "model,lr").err == ""


def test_the_story_of_the_first_source_cannot_be_published_by_accident(run, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "attention")
    plain = add_run(sweep, "preact_resnet_small", schedule="step", lr_step_epochs=70)
    spatial = add_run(sweep, "sresnet_small", schedule="step", lr_step_epochs=30)
    name_runs(sweep, [plain, spatial])
    said = "not the same learning rate: lr_step_epochs=70 in preact_resnet_small; lr_step_epochs=30"
    ended = run("table", "attention")
    assert ended.status == 0
    assert f"- warning: {said}" in ended.out
    assert ended.err.startswith(f"warning: {said}")
    strict = run("table", "attention", "--strict", "-o", "table.md")
    assert (strict.status, strict.out) == (1, "")
    assert strict.err.startswith("error: no table, because the comparison is not fair:\n  not the")
    assert not Path("table.md").exists()
    fair = run("table", "attention", "--strict", "--by", "model,lr_step_epochs")
    assert (fair.status, fair.err) == (0, "")
    assert said in run("plot", "attention").err


def test_differences_to_a_baseline_come_in_a_table_of_their_own(run, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "seeds")
    finals = {"resnet_small": (70.0, 71.0, 72.5), "sresnet_small": (72.0, 73.2, 74.4)}
    name_runs(
        sweep,
        [add_run(sweep, m, seed=n, final=x) for m, of in finals.items() for n, x in enumerate(of)],
    )
    ended = run("table", "seeds", "--baseline", "resnet_small")
    assert "difference to resnet_small" in ended.out
    assert (
        "| sresnet_small |            3 |      +2.03 | [+1.65, +2.41] |    0.002 | better"
        in ended.out
    )
    table = run("table", "seeds", "--baseline", "resnet_small", "--format", "csv").out
    assert ",better" in table.splitlines()[2]


def test_the_last_epochs_are_averaged_on_demand(run) -> None:
    ended = run("table", "demo", "--last", "2", "--columns", "last")
    assert ended.out.startswith("| network       | test top-1 (%), last 2 epochs |\n")
    too_many = run("table", "demo", "--last", "9")
    assert (too_many.status, too_many.out) == (2, "")
    assert too_many.err == "error: --last 9: the longest run has recorded 4 epochs\n"


def test_published_numbers_stand_beside_ours(run, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "spatial")
    name_runs(sweep, [add_run(sweep, "sresnet50", dataset="cifar100")])
    ended = run("table", "spatial", "--published", "--columns", "final,published")
    assert "75.50 [1]" in ended.out
    assert "| EfficientNet (published) " in ended.out
    assert "- [1] qthequartermasterman/Experimental-Neural-Networks" in ended.out
    assert "published" in run("table", "spatial", "--published", "--format", "csv").err


def test_finished_runs_of_an_older_matrix_count_only_on_demand(run, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "two")
    old = [add_run(sweep, "resnet_small", seed=seed, final=10.0) for seed in range(3)]
    new = [add_run(sweep, "resnet_small", seed=0, epochs=5, epochs_done=5, final=90.0)]
    name_runs(sweep, old, "the first matrix")
    name_runs(sweep, new, "the second matrix")
    said = (
        "3 finished runs that the matrix of `two` no longer names are left out; "
        "--all-versions includes them\n"
    )
    newest = run("table", "two")
    assert newest.err == said
    assert " 1/1 " in newest.out
    everything = run("table", "two", "--all-versions")
    assert "left out" not in everything.err
    assert "differ in epochs" in everything.err
    assert " 4/4 " in everything.out


def test_a_damaged_sweep_is_an_error_alone_and_named_beside_others(run, tmp_path: Path) -> None:
    damaged = SweepDir(tmp_path / "runs" / "damaged")
    name_runs(damaged, [add_run(damaged, "bam_resnet_small")])
    (damaged.path / "matrices" / "1.runs.json").write_text("{")
    alone = run("table", "damaged")
    assert (alone.status, alone.out) == (2, "")
    assert alone.err.startswith("error: ")
    assert "1.runs.json" in alone.err
    both = run("table", "damaged", "demo")
    assert both.status == 0
    assert "sweep damaged is left out: " in both.err
    assert "sresnet_small" in both.out


def test_a_damaged_run_is_named_and_the_table_made_without_it(run, half_finished: SweepDir) -> None:
    damaged = half_finished.runs()[0]
    (damaged.path / "config.json").write_text("{")
    ended = run("table", "demo")
    assert ended.status == 0
    assert damaged.run_id in ended.err
    assert ended.out.startswith("| network ")


def test_a_sweep_without_runs_has_an_empty_table(run, tmp_path: Path) -> None:
    name_runs(SweepDir(tmp_path / "runs" / "empty"), [])
    ended = run("table", "empty")
    assert ended.status == 0
    assert ended.out.count("\n") == 4
    assert "no rows" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table", "nosuch"], "error: 'nosuch' is not a known sweep. Valid: demo"),
        (["table", "demos"], "did you mean 'demo'?"),
        (["table", "demo", "--by", "modle"], "did you mean 'model'?"),
        (["table", "demo", "--metric", "top1"], "error: 'top1' is not a known metric"),
        (["table", "demo", "--baseline", "resnet"], "did you mean 'resnet_small'?"),
        (["table", "demo", "--columns", "parms"], "did you mean 'params'?"),
        (["table", "demo", "--columns", "last"], "needs --last N"),
        (["table", "demo", "--last", "0"], "Invalid value"),
        (["table"], "Missing argument"),
        (["table", "--bogus"], "No such option"),
        (["table", "demo", "--format", "pdf"], "Invalid value"),
        (["bogus"], "No such command"),
        ([], ""),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_is_valid(run, arguments: list[str], said: str) -> None:
    ended = run(*arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_help_shows_examples(run) -> None:
    for command in ("table", "plot"):
        ended = run(command, "--help")
        assert ended.status == 0
        assert f"analysis {command} demo" in ended.out


def test_help_loads_neither_pandas_nor_matplotlib_nor_torch() -> None:
    script = "import sys, analysis.cli; print({'pandas', 'matplotlib', 'torch'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "set()\n", ended.stderr


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "analysis", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "Usage: analysis" in ended.stdout
