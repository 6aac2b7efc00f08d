"""What the epochs of each run come to: a row per run, before anything is averaged over seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.groups import RUN
from analysis.metrics import METRICS, check_metric, values_of


def per_run(
    runs: pd.DataFrame, epochs: pd.DataFrame, metric: str = "test_top1", last: int | None = None
) -> pd.DataFrame:
    """A row per run, with the index of `runs`, over all of its epochs, be it finished or not.

    `best` epoch, chosen by the metric itself; `final` epoch, and what `train` has there of the same
    quantity; `last`, the mean of the last so many epochs, NaN for a shorter run; `epoch_s`, the
    mean, and `throughput_img_s`, the median over epochs. NaN is what was not recorded. A metric
    that is no number in an epoch is none in `final` and `last`, but the best is of the others.
    """
    check_metric(metric)
    train = metric.replace("test", "train")
    wanted = dict.fromkeys([metric, *([train] if train in METRICS else [])])
    starts, epochs = _blocks(epochs)
    ends = np.append(starts, len(epochs))[1:]
    values = {name: values_of(epochs, name).to_numpy(float) for name in wanted}
    of_metric = values[metric]
    better = np.fmax if METRICS[metric].best == "max" else np.fmin
    found = pd.DataFrame(
        {
            "best": better.reduceat(of_metric, starts) if len(starts) else [],
            "final": of_metric[ends - 1],
            "train": values[train][ends - 1] if train in values else np.nan,
            "last": _tail_means(of_metric, starts, ends, last) if last else np.nan,
            "epoch_s": _of_known(np.mean, epochs.get("epoch_s"), starts, ends),
            "throughput_img_s": _of_known(np.median, epochs.get("throughput_img_s"), starts, ends),
        }
    )
    known = pd.MultiIndex.from_frame(runs[RUN].astype(object))
    found.index = pd.MultiIndex.from_frame(epochs.iloc[starts][RUN].astype(object))
    return found.reindex(known).set_axis(runs.index)


def _blocks(epochs: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Where the records of each run begin, and the records, in the order of runs and epochs."""
    codes = [epochs[key].astype("category").cat.codes.to_numpy() for key in RUN]
    begins = np.ones(len(epochs), bool)
    begins[1:] = np.any([np.diff(code) != 0 for code in codes], axis=0)
    starts = np.flatnonzero(begins)
    numbers = epochs["epoch"].to_numpy()
    rises = numbers[1:] > numbers[:-1]
    runs = {*zip(*(code[starts] for code in codes), strict=True)}
    if len(runs) == len(starts) and (rises | begins[1:]).all():
        return starts, epochs
    return _blocks(epochs.sort_values([*RUN, "epoch"], ignore_index=True))


def _of_known(
    statistic: Callable[[np.ndarray], float],
    column: pd.Series | None,
    starts: np.ndarray,
    ends: np.ndarray,
) -> float | list[float]:
    """A statistic of what each block knows; run by run, since copies of all epochs are large."""
    if column is None:
        return np.nan
    values = column.to_numpy(float)
    blocks = (values[start:end] for start, end in zip(starts, ends, strict=True))
    known = (block[~np.isnan(block)] for block in blocks)
    return [statistic(block) if block.size else np.nan for block in known]


def _tail_means(values: np.ndarray, starts: np.ndarray, ends: np.ndarray, count: int) -> np.ndarray:
    """The mean of the last `count` values of each block; NaN where it has fewer."""
    means = np.full(len(starts), np.nan)
    if (enough := ends - starts >= count).any():
        rows = ends[enough, None] - np.arange(count, 0, -1)
        means[enough] = values[rows].mean(axis=1)
    return means
