"""What is recorded of each epoch and can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from attention_models import UnknownNameError
from jobs.errors import InputError


@dataclass(frozen=True)
class Metric:
    """A quantity of an epoch: a column of the records, or what an accuracy lacks to 100 %."""

    label: str
    unit: str
    best: Literal["max", "min"]
    error_of: str = ""  # the accuracy in percent that it is 100 minus

    @property
    def heading(self) -> str:
        """Such as `test top-1 (%)`, of an axis or a column."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS = {
    "test_top1": Metric("test top-1", "%", "max"),
    "test_top5": Metric("test top-5", "%", "max"),
    "test_loss": Metric("test loss", "", "min"),
    "test_err1": Metric("test top-1 error", "%", "min", "test_top1"),
    "test_err5": Metric("test top-5 error", "%", "min", "test_top5"),
    "train_top1": Metric("train top-1", "%", "max"),
    "train_loss": Metric("train loss", "", "min"),
    "train_err1": Metric("train top-1 error", "%", "min", "train_top1"),
}


def check_metric(metric: str, valid: Iterable[str] = METRICS) -> None:
    if metric not in valid:
        raise InputError(str(UnknownNameError("metric", metric, valid)))


def values_of(epochs: pd.DataFrame, metric: str) -> pd.Series:
    """The metric of each record; NaN where it was not recorded, or is not a number."""
    accuracy = METRICS[metric].error_of
    return 100 - epochs[accuracy] if accuracy else epochs[metric]
