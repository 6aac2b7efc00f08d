from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import curves, stats
from analysis.load import load_runs
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_imported, add_run, make_metrics, name_runs


def frames(sweep: SweepDir) -> tuple[pd.DataFrame, pd.DataFrame]:
    loaded = load_runs([sweep])
    return loaded.runs, loaded.epochs


def test_a_curve_ends_at_the_final_mean_of_the_table(half_finished: SweepDir) -> None:
    runs, epochs = frames(half_finished)
    summary = stats.summarise(runs, epochs).set_index("group")
    test = curves.curves(runs, epochs).query("metric == 'test_top1'")
    ends = test.groupby("group").tail(1).set_index("group")
    assert list(test["group"].unique()) == ["resnet_small", "sresnet_small"]
    assert ends["mean"].to_dict() == summary["final_mean"].to_dict()
    assert ends["n"].to_dict() == {"resnet_small": 2, "sresnet_small": 1}
    assert ends["planned"].to_dict() == {"resnet_small": 2, "sresnet_small": 3}
    assert ends["finished"].all()


def test_the_curve_of_unfinished_runs_ends_where_the_slowest_is(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, "resnet_small", seed=0, final=70.0, epochs_done=3),
        add_run(sweep, "resnet_small", seed=1, final=72.0, epochs_done=2),
        add_run(sweep, "resnet_small", seed=2, epochs_done=0),
    ]
    name_runs(sweep, runs)
    curve = curves.curves(*frames(sweep), metrics=["test_top1"])
    assert list(curve["epoch"]) == [1, 2]
    assert list(curve["n"]) == [2, 2]
    assert list(curve["mean"]) == [70.0, 71.0]
    assert not curve["finished"].any()


def test_a_curve_that_shorter_runs_cut_off_is_found(sweep: SweepDir) -> None:
    short = [add_run(sweep, "resnet_small", seed=seed, epochs=3, epochs_done=3) for seed in (0, 1)]
    long = [add_run(sweep, "resnet_small", seed=seed, epochs=30, epochs_done=30) for seed in (0, 1)]
    begun = add_run(sweep, "resnet_small", seed=2, epochs_done=1)
    equal = [add_run(sweep, "sresnet_small", seed=seed) for seed in (0, 1)]
    name_runs(sweep, [*long, *short, begun, *equal])
    runs, epochs = frames(sweep)
    [cut] = curves.cut_curves(runs).to_dict("records")
    ids = ", ".join(run.run_id for run in short)
    assert cut == {"group": "resnet_small", "epoch": 3, "longest": 30, "run_ids": ids}
    assert curves.curves(runs, epochs).groupby("group")["epoch"].max()["resnet_small"] == 3
    assert curves.cut_curves(runs, "model,epochs").empty


def test_a_curve_says_at_which_step_and_gpu_hour_its_epochs_end(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", seed=seed, gpus=2) for seed in (0, 1)])
    curve = curves.curves(*frames(sweep), metrics=["test_top1"])
    assert list(curve["step"]) == [10, 20, 30, 40]
    # make_metrics trains for 1.5 s and evaluates for 0.2 s, here on two GPUs.
    assert list(curve["gpu_h"]) == pytest.approx([2 * 1.7 * n / 3600 for n in (1, 2, 3, 4)])


def test_steps_and_hours_that_nobody_recorded_are_missing(sweep: SweepDir) -> None:
    add_imported(sweep)
    curve = curves.curves(*frames(sweep), metrics=["test_top1"])
    assert curve[["step", "gpu_h"]].isna().all(axis=None)
    assert list(curve["mean"]) == [72.0, 73.0, 74.0, 75.0]
    assert curve["seeds"].isna().all()


def test_an_epoch_that_one_run_lacks_is_not_in_the_mean(sweep: SweepDir) -> None:
    add_imported(sweep, "one", epochs=[1, 2, 4])
    add_imported(sweep, "two", epochs=[1, 3, 4])
    curve = curves.curves(*frames(sweep), metrics=["test_top1"])
    assert list(curve["epoch"]) == [1, 4]
    assert list(curve["n"]) == [2, 2]


def test_one_seed_has_no_deviation_however_often_it_ran(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", lr=lr) for lr in (0.1, 0.2)])
    curve = curves.curves(*frames(sweep))
    assert {*zip(curve["n"], curve["seeds"], strict=True)} == {(2, 1)}
    assert curve["std"].isna().all()


def test_an_error_is_what_an_accuracy_lacks(half_finished: SweepDir) -> None:
    runs, epochs = frames(half_finished)
    accuracy = curves.curves(runs, epochs, metrics=["test_top1"])
    error = curves.curves(runs, epochs, metrics=["test_err1"])
    assert list(error["mean"]) == pytest.approx(list(100 - accuracy["mean"]))
    assert list(error["std"].dropna()) == pytest.approx(list(accuracy["std"].dropna()))


def test_an_empty_sweep_has_empty_frames(empty_sweep: SweepDir) -> None:
    runs, epochs = frames(empty_sweep)
    assert curves.curves(runs, epochs).empty
    assert curves.ends(runs, epochs).empty
    assert curves.schedules(runs, epochs).empty
    assert curves.cut_curves(runs).empty


def test_a_run_ends_at_its_last_epoch_and_the_mean_is_over_finished_ones(
    half_finished: SweepDir,
) -> None:
    ends = curves.ends(*frames(half_finished)).set_index(["group", "seed"])
    assert ends["value"].to_dict() == {
        ("resnet_small", 0): 70.0,
        ("resnet_small", 1): 72.0,
        ("sresnet_small", 0): 80.5,
        ("sresnet_small", 1): 50.0,
    }
    assert list(ends["finished"]) == [True, True, True, False]
    assert list(ends["mean"]) == [71.0, 71.0, 80.5, 80.5]
    assert list(ends["n"]) == [2, 2, 1, 1]


def add_rates(run: Any, rates: list[float], attempts: list[int]) -> None:
    for epoch, (lr, attempt) in enumerate(zip(rates, attempts, strict=True), 1):
        run.append_metrics(make_metrics(epoch, 50.0, lr=lr, attempt=attempt))


def test_runs_with_the_same_learning_rates_have_one_schedule(sweep: SweepDir) -> None:
    plain, other, behind, steep = runs = [
        add_run(sweep, "resnet_small", epochs_done=0),
        add_run(sweep, "sresnet_small", epochs_done=0),
        add_run(sweep, "sresnet_small", seed=1, epochs_done=0),
        add_run(sweep, "bam_resnet_small", epochs_done=0),
    ]
    add_rates(plain, [0.3, 0.2, 0.1], [1, 1, 1])
    add_rates(other, [0.3, 0.2, 0.1], [1, 2, 4])
    add_rates(behind, [0.3, 0.2], [1, 1])
    add_rates(steep, [0.3, 0.02], [1, 2])
    name_runs(sweep, runs)
    found = curves.schedules(*frames(sweep))
    names = f"resnet_small{curves.NAMES_APART}sresnet_small"
    assert found.drop(columns="schedule").to_dict("list") == {
        "groups": [names, names, names, "bam_resnet_small", "bam_resnet_small"],
        "epoch": [1, 2, 3, 1, 2],
        "lr": [0.3, 0.2, 0.1, 0.3, 0.02],
        "runs": [3, 3, 2, 1, 1],
        "restarts": [0, 1, 1, 0, 1],
    }


def test_learning_rates_that_nobody_recorded_have_no_schedule(sweep: SweepDir) -> None:
    add_imported(sweep)
    assert curves.schedules(*frames(sweep)).empty


histories = st.lists(st.lists(st.floats(0, 100), min_size=3, max_size=3), min_size=1, max_size=4)


@settings(max_examples=30)
@given(st.lists(histories, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_curves_are_those_of_numpy_whatever_the_order_of_the_rows(
    groups: list[list[list[float]]], random: Any
) -> None:
    runs, epochs = [], []
    for group, of_group in enumerate(groups):
        for seed, history in enumerate(of_group):
            key = {"sweep": "demo", "run_id": f"{group}-{seed}"}
            about = {"model": f"m{group}", "seed": seed, "gpus": 1}
            runs.append(key | about | {"state": "finished", "epochs_done": 3})
            for epoch, value in enumerate(history, 1):
                record = {"epoch": epoch, "step": epoch, "epoch_s": 1.0, "eval_s": 0.0}
                epochs.append(key | record | {"test_top1": value})
    random.shuffle(epochs)
    found = curves.curves(pd.DataFrame(runs), pd.DataFrame(epochs), metrics=["test_top1"])
    found = found.set_index(["group", "epoch"])
    for number, history in enumerate(map(np.array, groups)):
        for epoch in (1, 2, 3):
            point, values = found.loc[(f"m{number}", epoch)], history[:, epoch - 1]
            assert point["mean"] == pytest.approx(values.mean())
            assert (point["min"], point["max"], point["n"]) == (
                *(values.min(), values.max()),
                len(values),
            )
            if len(values) > 1:
                assert point["std"] == pytest.approx(values.std(ddof=1), abs=1e-6)
