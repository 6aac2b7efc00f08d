from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.figures import timeline
from analysis.figures.style import SIZES, Width, look
from analysis.timeline import OUTCOMES, WAITING, counts
from tests.analysis.figures.frames import PAGE, legend


def make_bars(runs: int = 2) -> pd.DataFrame:
    """What analysis.timeline.bars gives: each run waits an hour, is preempted, and finishes."""
    rows = [
        {
            "name": f"resnet{run % 2} seed {run}",
            "group": f"resnet{run % 2}",
            "kind": kind,
            "begin_h": float(begin),
            "end_h": begin + 1.0,
        }
        for run in range(runs)
        for begin, kind in enumerate(["waiting", "stopped and saved", "finished"])
    ]
    return pd.DataFrame(rows).assign(origin_unix_s=1.7e9)


def draw(bars: pd.DataFrame, *, folded: bool = False) -> Figure:
    with look(PAGE):
        if folded:
            return timeline.draw_counts(bars, counts(bars, bins=6), PAGE, about="demo")
        return timeline.draw_bars(bars, PAGE, about="demo")


def test_a_run_is_a_row_of_bars_coloured_by_how_they_ended() -> None:
    [axes] = draw(make_bars()).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["resnet0 seed 0", "resnet1 seed 1"]
    assert len(axes.collections) == 6
    spans = [bar.get_paths()[0].get_extents() for bar in axes.collections[3:]]
    assert [(span.x0, span.x1) for span in spans] == [(0, 1), (1, 2), (2, 3)]
    assert [span.y0 < 1 < span.y1 for span in spans] == [True] * 3
    colours = [to_hex(bar.get_facecolor()[0]) for bar in axes.collections[:3]]
    kinds = ["waiting", "stopped and saved", "finished"]
    assert colours == [str(timeline.FILLS[kind]["facecolor"]).lower() for kind in kinds]


def test_the_axis_says_since_when_hours_count() -> None:
    [axes] = draw(make_bars()).axes
    assert axes.get_xlabel() == "hours since 2023-11-14 22:13 UTC"
    assert axes.get_xlim()[0] == 0


def test_the_legend_tells_what_there_is_and_nothing_else() -> None:
    assert legend(draw(make_bars())) == ["waiting", "finished", "stopped and saved"]


def test_every_kind_has_a_fill_of_its_own() -> None:
    assert list(timeline.FILLS) == [WAITING, *OUTCOMES]
    assert len({fill["facecolor"] for fill in timeline.FILLS.values()}) == len(timeline.FILLS)


def test_many_runs_are_a_row_for_each_group_as_high_as_runs_did_it() -> None:
    [axes] = draw(make_bars(6), folded=True).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["resnet0\nup to 3 runs", "resnet1\nup to 3 runs"]
    waiting = axes.patches[0].get_data()
    heights = waiting.baseline - waiting.values
    assert list(heights) == pytest.approx([0.9, 0.9, 0, 0, 0, 0])
    assert list(waiting.edges) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3])


def test_in_a_column_what_is_below_the_axis_stays_in_the_figure() -> None:
    bars = make_bars().replace({"name": {"resnet0 seed 0": "sresnet50_skips_dilation seed 0"}})
    with look(SIZES[Width.column]):
        figure = timeline.draw_bars(bars, SIZES[Width.column])
        figure.draw_without_rendering()
    label = figure.axes[0].xaxis.label.get_window_extent()
    assert label.x1 <= figure.bbox.x1
