from __future__ import annotations

import pytest

from analysis import costs, published, significance, stats
from analysis.load import Runs, load_runs
from analysis.report.page import Table
from analysis.report.results import table_of_costs, table_of_differences, table_of_results
from analysis.tables import columns as main_table
from jobs.sweep_dir import SweepDir


@pytest.fixture
def loaded(half_finished: SweepDir) -> Runs:
    return load_runs(half_finished)


def keys(table: Table, position: int) -> list[object]:
    return [cell.key for cell in table.columns[position].cells]


def test_the_results_are_the_table_of_the_command_with_values_to_sort_by(loaded: Runs) -> None:
    summary = stats.summarise(loaded.runs, loaded.epochs)
    table = table_of_results(summary, "model", "test_top1", None)
    columns = [one for one in main_table.choose(None, summary) if one.name != "restarts"]
    text = main_table.table(summary, columns=columns)
    assert [column.heading for column in table.columns] == list(text.headings)
    assert [tuple(cell.text for cell in row) for row in table.rows] == list(text.rows)
    final = [column.heading for column in table.columns].index("test top-1 (%), final epoch")
    assert keys(table, final) == [71.0, 80.5]
    assert table.columns[final].cells[0].text == "71.00 ± 1.41"
    assert [column.kind for column in table.columns][:2] == ["text", "number"]


def test_a_published_row_without_runs_of_ours_has_nothing_to_sort_by(loaded: Runs) -> None:
    runs = loaded.runs.assign(dataset="cifar100")
    summary = stats.summarise(runs, loaded.epochs)
    with_published, _ = published.add_to(summary, published.beside(runs))
    table = table_of_results(with_published, "model", "test_top1", None)
    assert len(table.rows) > len(summary)
    assert table.rows[-1][2].key == ""


def test_costs_and_waits_stand_by_themselves(loaded: Runs) -> None:
    spent = costs.costs(loaded.runs, loaded.epochs, loaded.attempts)
    summary = stats.summarise(loaded.runs, loaded.epochs)
    summary = summary.merge(costs.by_group(loaded.runs, spent), on="group")
    table = table_of_costs(summary, "model", "test_top1")
    headings = [column.heading for column in table.columns]
    assert headings[0] == "network"
    assert headings[-2:] == ["restarts", "attempts"]
    assert keys(table, len(headings) - 1) == [2, 3]


def test_differences_to_the_baseline_say_how_they_are_read(loaded: Runs) -> None:
    compared = significance.compare(loaded.runs, loaded.epochs, baseline="resnet_small")
    table = table_of_differences(compared, "resnet_small", "model", "test_top1")
    assert keys(table, 0) == ["sresnet_small"]
    assert keys(table, 2) == [pytest.approx(10.5)]
    assert "difference to resnet_small" in table.caption
