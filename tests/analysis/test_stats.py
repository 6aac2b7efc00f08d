from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import stats
from analysis.groups import GROUP_KEYS
from analysis.load import load_runs
from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import EPOCHS, add_imported, add_run, make_metrics, name_runs


def frames(sweep: SweepDir) -> tuple[pd.DataFrame, pd.DataFrame]:
    loaded = load_runs([sweep])
    return loaded.runs, loaded.epochs


def row_of(summary: pd.DataFrame, group: str) -> Any:
    return summary.set_index("group").loc[group]


def test_best_and_final_are_the_mean_and_sample_deviation_over_seeds(sweep: SweepDir) -> None:
    finals = [70.0, 71.5, 74.0]
    name_runs(
        sweep, [add_run(sweep, "resnet_small", seed=n, final=x) for n, x in enumerate(finals)]
    )
    row = row_of(stats.summarise(*frames(sweep)), "resnet_small")
    assert row["final_mean"] == pytest.approx(np.mean(finals))
    assert row["final_std"] == pytest.approx(np.std(finals, ddof=1))
    assert row["best_mean"] == pytest.approx(np.mean(finals) + 1)
    assert row["best_std"] == pytest.approx(np.std(finals, ddof=1))
    assert (row["finished"], row["planned"], row["attempts"]) == (3, 3, 3)
    assert row["epoch_s"] == pytest.approx(1.5)


def test_only_finished_runs_count_in_the_numbers(half_finished: SweepDir) -> None:
    summary = stats.summarise(*frames(half_finished))
    assert list(summary["group"]) == ["resnet_small", "sresnet_small"]
    row = row_of(summary, "sresnet_small")
    assert (row["finished"], row["planned"], row["attempts"]) == (1, 3, 3)
    assert (row["best_mean"], row["final_mean"]) == (81.5, 80.5)
    assert pd.isna(row["best_std"])
    assert pd.isna(row["final_std"])
    assert (row["params"], row["macs"]) == (1_234_567, 1_300_000_000)


def test_the_best_loss_is_the_lowest(half_finished: SweepDir) -> None:
    row = row_of(stats.summarise(*frames(half_finished), metric="test_loss"), "resnet_small")
    assert row["best_mean"] == row["final_mean"] == pytest.approx(3 * np.exp(-(EPOCHS - 1)))


def test_a_group_without_a_finished_run_has_no_numbers(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", epochs_done=2)])
    row = row_of(stats.summarise(*frames(sweep)), "resnet_small")
    assert (row["finished"], row["planned"]) == (0, 1)
    assert row[["best_mean", "best_std", "final_mean", "final_std"]].isna().all()


def test_a_diverged_run_does_not_fall_out_of_the_mean(sweep: SweepDir) -> None:
    runs = [add_run(sweep, "resnet_small", seed=seed) for seed in range(2)]
    runs[0].append_metrics(make_metrics(EPOCHS, 10.0, test_loss=float("nan")))
    name_runs(sweep, runs)
    row = row_of(stats.summarise(*frames(sweep), metric="test_loss"), "resnet_small")
    assert pd.isna(row["final_mean"])
    assert not pd.isna(row["best_mean"])


def test_the_different_sizes_of_a_group_are_counted(half_finished: SweepDir) -> None:
    add_imported(half_finished)
    runs, _ = frames(half_finished)
    assert stats.sizes(runs).to_dict("index") == {
        "resnet_small": {"params": 1, "macs": 1},
        "sresnet_small": {"params": 1, "macs": 1},
        "resnet50": {"params": 0, "macs": 0},
    }
    assert stats.sizes(runs, "sweep").loc["demo"].tolist() == [2, 2]


def test_one_seed_has_no_deviation_even_over_several_runs(sweep: SweepDir) -> None:
    runs = [add_run(sweep, "resnet_small", lr=lr, final=final) for lr, final in ((1, 60), (2, 70))]
    name_runs(sweep, runs)
    row = row_of(stats.summarise(*frames(sweep)), "resnet_small")
    assert (row["finished"], row["seeds"], row["final_mean"]) == (2, 1, 65.0)
    assert pd.isna(row["final_std"])
    assert pd.isna(row["best_std"])


def test_seeds_that_are_not_known_are_not_counted(sweep: SweepDir) -> None:
    for name, final in (("one", 74.0), ("two", 76.0)):
        add_imported(sweep, name, final=final)
    row = row_of(stats.summarise(*frames(sweep)), "resnet50")
    assert pd.isna(row["seeds"])
    assert (row["final_mean"], row["final_std"]) == (75.0, pytest.approx(np.sqrt(2)))


def test_the_gap_is_between_training_and_test_in_the_final_epoch(sweep: SweepDir) -> None:
    name_runs(sweep, [add_run(sweep, "resnet_small", final=70.0)])
    row = row_of(stats.summarise(*frames(sweep)), "resnet_small")
    assert (row["train_mean"], row["gap_mean"]) == (75.0, 5.0)
    error = row_of(stats.summarise(*frames(sweep), metric="test_err1"), "resnet_small")
    assert (error["final_mean"], error["train_mean"], error["gap_mean"]) == (30.0, 25.0, -5.0)
    assert error["best_mean"] == 29.0, "the best error is the smallest"
    top5 = row_of(stats.summarise(*frames(sweep), metric="test_top5"), "resnet_small")
    assert pd.isna(top5["gap_mean"]), "training records no top-5"


def test_the_mean_of_the_last_epochs_is_averaged_over_runs(sweep: SweepDir) -> None:
    finals = [70.0, 72.0]
    name_runs(
        sweep, [add_run(sweep, "resnet_small", seed=n, final=x) for n, x in enumerate(finals)]
    )
    assert "last_mean" not in stats.summarise(*frames(sweep))
    row = row_of(stats.summarise(*frames(sweep), last=2), "resnet_small")
    assert (row["last_mean"], row["last_std"]) == (71.5, pytest.approx(np.sqrt(2)))


def test_runs_can_be_grouped_by_any_option_and_by_several(sweep: SweepDir) -> None:
    runs = [
        add_run(sweep, model, lr=lr, nesterov=True)
        for model, lr in itertools.product(["sresnet_small", "resnet_small"], [0.1, 0.01])
    ]
    name_runs(sweep, runs)
    runs_frame, epochs = frames(sweep)
    for key in GROUP_KEYS:
        assert stats.summarise(runs_frame, epochs, key)["planned"].sum() == 4
    by_rate = stats.summarise(runs_frame, epochs, "lr")
    assert list(by_rate["group"]) == ["0.1", "0.01"]
    assert by_rate["params"].isna().all(), "a rate has no number of parameters"
    both = stats.summarise(runs_frame, epochs, "model,lr")["group"]
    assert list(both)[:2] == ["sresnet_small, lr=0.1", "sresnet_small, lr=0.01"]
    assert list(stats.summarise(runs_frame, epochs, "nesterov")["group"]) == ["true"]
    assert list(stats.summarise(runs_frame, epochs, "train_images")["group"]) == ["not set"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "modle"}, "did you mean 'model'? Valid: model, "),
        ({"by": "model,"}, "'' is not a known option"),
        ({"metric": "tst_top1"}, "did you mean 'test_top1'? Valid: test_err1, "),
    ],
)
def test_a_misspelt_name_is_answered_with_the_valid_ones(
    half_finished: SweepDir, arguments: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as error:
        stats.summarise(*frames(half_finished), **arguments)
    assert said in str(error.value)


def test_a_run_of_two_sweeps_counts_once_where_it_got_further(tmp_path: Path) -> None:
    first, second = SweepDir(tmp_path / "first"), SweepDir(tmp_path / "second")
    name_runs(first, [add_run(first, "resnet_small", final=60.0, epochs_done=3)])
    name_runs(second, [add_run(second, "resnet_small", final=80.0)])
    loaded = load_runs([first, second])
    row = row_of(stats.summarise(loaded.runs, loaded.epochs), "resnet_small")
    assert (row["finished"], row["planned"], row["final_mean"]) == (1, 1, 80.0)
    by_sweep = stats.summarise(loaded.runs, loaded.epochs, "sweep")
    assert list(by_sweep["finished"]) == [0, 1]


def test_missing_runs_are_named_with_how_far_they_are(half_finished: SweepDir) -> None:
    runs, _ = frames(half_finished)
    missing = stats.missing(runs)
    assert list(missing["name"]) == ["sresnet_small seed 1", "sresnet_small seed 2"]
    assert list(missing["state"]) == ["unfinished", "planned"]
    assert list(missing["epochs_done"]) == [2, 0]
    assert list(missing["epochs"]) == [EPOCHS, EPOCHS]


def test_missing_runs_that_share_a_name_are_called_by_their_id(sweep: SweepDir) -> None:
    runs = [add_run(sweep, "resnet_small", lr=lr, epochs_done=1) for lr in (0.1, 0.2)]
    name_runs(sweep, runs)
    frame, _ = frames(sweep)
    assert list(stats.missing(frame)["name"]) == [run.run_id for run in runs]
    by_rate = stats.missing(frame, "lr")["name"]
    assert list(by_rate) == ["resnet_small, lr=0.1 seed 0", "resnet_small, lr=0.2 seed 0"]
    assert list(stats.missing(frame, "model,lr")["name"]) == list(by_rate)


def test_an_empty_sweep_has_empty_statistics(sweep: SweepDir) -> None:
    name_runs(sweep, [])
    runs, epochs = frames(sweep)
    assert stats.summarise(runs, epochs).empty
    assert stats.missing(runs).empty


percent = st.floats(0, 100, allow_nan=False)
histories = st.lists(
    st.lists(st.lists(percent, min_size=3, max_size=3), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)


def as_frames(groups: list[list[list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finished runs with these accuracies, by group, run and epoch."""
    options = dict.fromkeys(RunConfig.model_fields, 0)
    runs, epochs = [], []
    for group, histories in enumerate(groups):
        for seed, history in enumerate(histories):
            key = {"sweep": "demo", "run_id": f"{group}-{seed}"}
            about = {"model": f"m{group}", "seed": seed, "epochs_done": 3, "attempts": 1}
            facts = {"state": "finished", "params": 1, "macs": 1}
            runs.append({**options, **key, **about, **facts})
            for epoch, value in enumerate(history, 1):
                epochs.append({**key, "epoch": epoch, "test_top1": value, "train_top1": 99.0})
    return pd.DataFrame(runs), pd.DataFrame(epochs)


@settings(max_examples=30)
@given(histories, st.randoms(use_true_random=False))
def test_the_statistics_are_those_of_numpy_whatever_the_order_of_the_rows(
    groups: list[list[list[float]]], random: Any
) -> None:
    runs, epochs = as_frames(groups)
    order = list(range(len(epochs)))
    random.shuffle(order)
    epochs = epochs.iloc[order].reset_index(drop=True)
    summary = stats.summarise(runs, epochs).set_index("group")
    for number, history in enumerate(map(np.array, groups)):
        row = summary.loc[f"m{number}"]
        assert row["finished"] == len(history)
        assert row["best_mean"] == pytest.approx(history.max(axis=1).mean())
        assert row["final_mean"] == pytest.approx(history[:, -1].mean())
        if len(history) > 1:
            assert row["final_std"] == pytest.approx(history[:, -1].std(ddof=1), abs=1e-6)
        assert row["best_mean"] >= row["final_mean"] - 1e-9
