from __future__ import annotations

import pandas as pd
import pytest

from analysis.metrics import METRICS, check_metric, values_of
from jobs.errors import InputError
from jobs.run_records import EpochMetrics


def test_every_metric_is_recorded_or_the_error_of_one_that_is() -> None:
    for name, metric in METRICS.items():
        assert (metric.error_of or name) in EpochMetrics.__annotations__


def test_an_error_is_what_the_accuracy_lacks() -> None:
    epochs = pd.DataFrame({"test_top1": [75.0, float("nan")], "test_loss": [1.0, 2.0]})
    assert values_of(epochs, "test_err1").tolist() == pytest.approx(
        [25.0, float("nan")], nan_ok=True
    )
    assert values_of(epochs, "test_loss").tolist() == [1.0, 2.0]


def test_a_metric_that_nobody_knows_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match="did you mean 'test_err1'"):
        check_metric("tst_err1")
    with pytest.raises(InputError, match="Valid: test_loss"):
        check_metric("test_top1", ["test_loss"])
