from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.curves import NAMES_APART
from analysis.figures import schedule
from analysis.figures.looks import looks_of
from analysis.figures.style import look
from tests.analysis.figures.frames import PAGE, legend

NAMES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def make_schedules(groups: list[list[str]], rates: list[float]) -> pd.DataFrame:
    """What analysis.curves.schedules gives: the second schedule has twice the rates, and so on."""
    parts = []
    for number, names in enumerate(groups):
        lr = [rate * (number + 1) for rate in rates]
        about = {"schedule": number, "groups": NAMES_APART.join(names), "runs": len(names)}
        part = {"epoch": range(1, len(rates) + 1), "lr": lr, "restarts": 0}
        parts.append(pd.DataFrame(part | about))
    return pd.concat(parts, ignore_index=True)


def draw(schedules: pd.DataFrame) -> Figure:
    with look(PAGE):
        return schedule.draw(schedules, looks_of(NAMES), PAGE, about="demo")


COSINE = [0.1 - 0.004 * epoch for epoch in range(20)]


def test_a_schedule_of_one_network_has_its_colour_and_one_of_several_their_names() -> None:
    figure = draw(make_schedules([NAMES[1:3], NAMES[:1]], COSINE))
    shared, single = (line for line in figure.axes[0].lines if line.get_label()[0] != "_")
    assert single.get_color() == looks_of(NAMES)["resnet18"].colour
    assert list(shared.get_ydata()) == COSINE
    assert legend(figure) == ["resnet34\nresnet50 (2 runs)", "resnet18 (1 run)"]
    assert figure.axes[0].get_ylabel() == "learning rate at the end of the epoch"


def test_many_names_of_one_schedule_are_counted() -> None:
    figure = draw(make_schedules([NAMES], COSINE))
    assert legend(figure) == ["resnet18\nresnet34\nresnet50\n2 more (5 runs)"]


def test_restarts_are_marked_on_the_line() -> None:
    schedules = make_schedules([NAMES], COSINE)
    schedules.loc[[4, 9], "restarts"] = [1, 2]
    figure = draw(schedules)
    marks = figure.axes[0].lines[1]
    assert list(marks.get_xdata()) == [5, 10]
    assert list(marks.get_ydata()) == [COSINE[4], COSINE[9]]
    assert legend(figure)[-1] == "3 restarts of runs"


def test_steps_are_drawn_in_powers_of_ten_and_a_curve_is_not() -> None:
    assert draw(make_schedules([NAMES], COSINE)).axes[0].get_yscale() == "linear"
    steps = [0.1] * 10 + [0.01] * 10 + [0.001] * 10
    assert draw(make_schedules([NAMES], steps)).axes[0].get_yscale() == "log"


@pytest.mark.parametrize(
    ("rates", "spelt"),
    [
        ([0.1] * 10 + [0.01] * 10 + [0.001] * 10, {"0.1", "0.01", "0.001"}),
        ([0.05] * 10 + [0.02] * 10, {"0.05", "0.02"}),
        ([0.1] * 10, {"0.100"}),
    ],
)
def test_rates_stand_at_the_axis_as_a_matrix_spells_them(
    rates: list[float], spelt: set[str]
) -> None:
    figure = draw(make_schedules([NAMES], rates))
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    shown = {label.get_text() for label in axis.get_ticklabels(which="both")}
    assert spelt <= shown
    assert not any("$" in text for text in shown)
