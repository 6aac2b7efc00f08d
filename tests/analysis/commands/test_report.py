from __future__ import annotations

from pathlib import Path

import pytest

from jobs.sweep_dir import SweepDir
from tests.analysis.commands.conftest import Analysis
from tests.analysis.conftest import add_run, name_runs


@pytest.fixture(autouse=True)
def _two_sweeps(half_finished: SweepDir) -> None:
    other = SweepDir(half_finished.path.with_name("other"))
    name_runs(other, [add_run(other, "bam_resnet_small")])


def test_a_report_is_written_into_the_folder_of_its_sweep(analysis: Analysis) -> None:
    ended = analysis("report", "demo")
    assert (ended.status, ended.out) == (0, "runs/demo/report.html\n")
    html = Path("runs/demo/report.html").read_text(encoding="utf-8")
    assert "<title>demo</title>" in html
    assert "sresnet_" in html


def test_a_report_of_several_sweeps_is_written_here(analysis: Analysis) -> None:
    assert analysis("report", "demo", "other").out == "report.html\n"
    html = Path("report.html").read_text(encoding="utf-8")
    assert "<title>demo, other</title>" in html
    assert "bam_resnet_small" in html


def test_a_report_has_the_name_and_the_title_that_are_asked_for(analysis: Analysis) -> None:
    ended = analysis("report", "demo", "-o", "new/of me.html", "--title", "Attention & me")
    assert ended.out == "new/of me.html\n"
    assert "<title>Attention &amp; me</title>" in Path("new/of me.html").read_text(encoding="utf-8")


def test_what_is_wrong_is_said_on_stderr_too(analysis: Analysis, half_finished: SweepDir) -> None:
    damaged = half_finished.runs()[0]
    (damaged.path / "config.json").write_text("{")
    ended = analysis("report", "demo")
    assert ended.status == 0
    assert damaged.run_id in ended.err
    assert damaged.run_id in Path("runs/demo/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "error: 'nosuch' is not a known sweep. Valid: demo, other"),
        (["demo", "--baseline", "resnet"], "did you mean 'resnet_small'?"),
        (["demo", "--metric", "top1"], "error: 'top1' is not a known metric"),
        (["demo", "--by", "modle"], "did you mean 'model'?"),
        (["demo", "--last", "0"], "Invalid value"),
        (["demo", "--last", "5"], "4 epochs"),
    ],
)
def test_a_mistake_ends_with_2_and_leaves_no_file(
    analysis: Analysis, arguments: list[str], said: str
) -> None:
    ended = analysis("report", *arguments, "-o", "new/report.html")
    assert ended.status == 2
    assert said in ended.err
    assert not Path("new").exists()


def test_help_shows_examples(analysis: Analysis) -> None:
    assert "analysis report attention more_seeds --baseline" in analysis("report", "--help").out
