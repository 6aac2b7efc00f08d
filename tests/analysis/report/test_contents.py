from __future__ import annotations

import re

import pytest

from analysis.load import load_runs
from analysis.report import contents
from analysis.report.contents import make_page
from analysis.report.page import Page, to_html
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_imported, add_run, damage, make_attempt, name_runs


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with figures, which take their time."""
    monkeypatch.setattr(contents, "draw_all", lambda loaded, wish: ([], []))


def page_of(*sweeps: SweepDir, **wishes: object) -> Page:
    folders = [sweep.path for sweep in sweeps]
    return make_page(load_runs(sweeps), title="a report", folders=folders, **wishes)


def test_a_half_finished_sweep_has_every_part(half_finished: SweepDir) -> None:
    page = page_of(half_finished, baseline="resnet_small", last=2)
    assert page.states == [("finished", 3), ("unfinished", 1), ("planned", 1)]
    assert len(page.results.rows) == 2
    assert page.differences is not None
    assert {"curves", "seeds", "size", "lr", "timeline"} == {one.name for one in page.drawings}
    assert len(page.runs.rows) == len(page.details) == 5
    assert "missing: sresnet_small seed 2: not started" in page.missing
    assert str(half_finished.path) in page.about[0]
    headings = [column.heading for column in page.results.columns]
    assert any("last 2 epochs" in heading for heading in headings)


def test_an_empty_sweep_is_a_page_too(empty_sweep: SweepDir) -> None:
    page = page_of(empty_sweep)
    assert page.states == []
    assert page.drawings == []
    assert page.runs.rows == page.results.rows == []
    assert "There are no runs." in to_html(page)


@pytest.mark.usefixtures("without_figures")
def test_one_run_is_enough(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small")])
    page = page_of(sweep, baseline="resnet_small")
    assert len(page.runs.rows) == 1
    assert page.differences is not None
    assert page.differences.rows == []
    to_html(page)


def test_imported_runs_stand_beside_ours_and_what_is_not_known_is_missing(sweep) -> None:
    add_imported(sweep)
    name_runs(sweep, [add_run(sweep, "resnet_small")])
    page = page_of(sweep)
    assert [row[0].text for row in page.runs.rows] == ["resnet_small seed 0", "resnet50"]
    assert ("origin", "imported") in page.details[1].facts
    assert any("resnet50" in note for note in page.fairness)
    to_html(page)


@pytest.mark.usefixtures("without_figures")
def test_a_damaged_run_is_named_and_the_rest_is_shown(half_finished: SweepDir) -> None:
    damaged = half_finished.runs()[0]
    damage(damaged)
    page = page_of(half_finished)
    assert any(damaged.run_id in problem for problem in page.problems)
    assert len(page.runs.rows) == 4


@pytest.mark.usefixtures("without_figures")
def test_what_makes_the_comparison_unfair_is_noted(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, "resnet_small", lr=0.1),
        add_run(sweep, "sresnet_small", lr=0.2),
    ]
    name_runs(sweep, runs)
    assert any("lr=0.2 in sresnet_small" in note for note in page_of(sweep).fairness)


@pytest.mark.usefixtures("without_figures")
def test_published_numbers_stand_beside_ours_with_their_sources(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", dataset="cifar100")])
    page = page_of(sweep, with_published=True)
    assert "EfficientNet" in to_html(page)
    assert page.citations


@pytest.mark.usefixtures("without_figures")
def test_a_hostile_message_comes_out_as_text(sweep: SweepDir) -> None:
    run = add_run(sweep, "resnet_small", epochs_done=1)
    message = "<script>alert(1)</script> & 注意"
    ended = {"ended_unix_s": 1.7e9, "cause": "code_error", "message": message}
    run.write_attempt(make_attempt(1, "resnet_small") | ended)
    name_runs(sweep, [run])
    html = to_html(page_of(sweep))
    assert "<script>alert" not in html
    # Below the results, where it failed, and in the run's attempts.
    assert html.count("&lt;script&gt;alert(1)&lt;/<wbr>script&gt; &amp; 注意") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; 注意" in html


def test_more_rows_than_a_figure_can_show_leave_the_rest_of_the_page(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", lr=0.001 * n) for n in range(1, 63)])
    page = page_of(sweep, by="lr")
    assert len(page.results.rows) == 62
    assert any("62" in line for line in page.below_drawings)


@pytest.mark.parametrize("metric", ["test_err1", "train_loss"])
def test_any_metric_makes_a_page(half_finished: SweepDir, metric: str) -> None:
    html = to_html(page_of(half_finished, metric=metric, baseline="resnet_small"))
    assert not re.search(r"\bnan\b", html)
