from __future__ import annotations

import io

import numpy as np
import pandas as pd

from analysis import published
from analysis.tables.columns import choose
from analysis.tables.raw import to_csv

HEADINGS = [
    *("model", "finished_runs", "planned_runs", "seeds"),
    *("best_test_top1_mean_percent", "best_test_top1_std_percent"),
    *("final_test_top1_mean_percent", "final_test_top1_std_percent"),
    *("final_train_top1_mean_percent", "final_train_minus_test_mean_percent"),
    *("params", "macs", "epoch_s", "throughput_img_s", "attempts"),
    *("restarts", "gpu_h", "gpu_h_useful", "gpu_h_lost"),
    *("queue_first_s", "queue_total_s", "hours_of"),
]


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_the_csv_has_the_raw_numbers_under_names_with_units(summary: pd.DataFrame) -> None:
    table = read(to_csv(summary))
    assert list(table.columns) == HEADINGS
    first, second = table.to_dict("records")
    assert first["best_test_top1_std_percent"] == np.std([71.0, 73.0], ddof=1)
    assert second["params"] == 1_234_567
    assert np.isnan(second["final_test_top1_std_percent"])
    assert "best_test_loss_mean" in read(to_csv(summary, metric="test_loss"))
    assert to_csv(summary.iloc[:0]).strip() == ",".join(HEADINGS)


def test_columns_that_were_asked_for_come_alone_and_whole(summary: pd.DataFrame) -> None:
    table = read(to_csv(summary, columns=choose("runs,final,gpu_h", summary)))
    assert list(table.columns) == [
        *("model", "finished_runs", "planned_runs"),
        *("final_test_top1_mean_percent", "final_test_top1_std_percent", "gpu_h"),
    ]


def test_differences_to_the_baseline_stand_in_the_rows(
    summary: pd.DataFrame, compared: pd.DataFrame
) -> None:
    of_one = compared.iloc[:1].assign(group="sresnet_small")
    first, second = read(to_csv(summary, comparison=of_one)).to_dict("records")
    assert np.isnan(first["difference_percent"])
    assert (second["difference_percent"], second["shared_seeds"]) == (0.82, 5)
    assert second["verdict"] == "better"


def test_published_numbers_are_numbers_with_their_source_beside(summary: pd.DataFrame) -> None:
    printed = pd.DataFrame(
        {"name": ["N"], "value": ["91.7"], "citation": ["a post"], "group": ["resnet_small"]}
    )
    whole, _ = published.add_to(summary, printed)
    first, second = read(to_csv(whole)).to_dict("records")
    assert (first["published_test_top1_percent"], first["published_in"]) == (91.7, "a post")
    assert np.isnan(second["published_test_top1_percent"])
    assert first["finished_runs"] == 2
