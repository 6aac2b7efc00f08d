"""Runs, epochs and attempts as files for other tools: CSV, Parquet, TensorBoard's event files.

Of CSV and Parquet there is a file for each frame, with the unit in a column's name where the frame
leaves it out. Of event files there is a folder for each run, with the tags of jobs/event_files.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.load import Runs
from jobs.errors import InputError
from jobs.event_files import TAGS

_TABLES = ("runs", "epochs", "attempts")


def to_csv(loaded: Runs, folder: Path) -> list[Path]:
    """Write `runs.csv`, `epochs.csv` and `attempts.csv`; returns their paths.

    Numbers have all their digits, and what is not known is empty.
    """
    return _write_tables(
        loaded, folder, ".csv", lambda table, path: table.to_csv(path, index=False)
    )


def to_parquet(loaded: Runs, folder: Path) -> list[Path]:
    """Write `runs.parquet`, `epochs.parquet` and `attempts.parquet`; returns their paths."""
    return _write_tables(
        loaded, folder, ".parquet", lambda table, path: table.to_parquet(path, index=False)
    )


def to_tensorboard(loaded: Runs, folder: Path) -> list[Path]:
    """Write `<sweep>/<run>/events...` of each run with epochs; returns the runs' folders.

    What an earlier export wrote of a run is replaced. Raises InputError if TensorBoard is not
    installed.
    """
    written = []
    by_run = loaded.epochs.groupby(["sweep", "run_id"], observed=True, sort=False)
    for (sweep, run_id), epochs in by_run:
        # Sweeps of one name are told apart by their paths.
        place = folder / sweep.strip("/").replace("/", "-") / run_id
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        _write_events(place, epochs)
        written.append(place)
    return written


def _write_events(place: Path, epochs: pd.DataFrame) -> None:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise InputError(
            "event files are written by the package tensorboard, which is not installed: "
            "pip install tensorboard, or export to csv or parquet"
        ) from None
    writer = EventFileWriter(str(place))
    for record in epochs.to_dict("records"):
        values = [
            Summary.Value(tag=tag, simple_value=record[name])
            for tag, name in TAGS.items()
            if not pd.isna(record[name])
        ]
        event = Event(step=record["epoch"], summary=Summary(value=values))
        if not pd.isna(record["time_unix_s"]):
            event.wall_time = record["time_unix_s"]
        writer.add_event(event)
    writer.close()


def with_units(table: pd.DataFrame) -> pd.DataFrame:
    """The table, where the names of accuracies say that they are in percent."""
    names = {name: f"{name}_percent" for name in table if name.endswith(("_top1", "_top5"))}
    return table.rename(columns=names)


def with_types(table: pd.DataFrame) -> pd.DataFrame:
    """The table, where each column has one type that knows of missing values.

    A column that holds several kinds of values is text, as a matrix spells them.
    """
    return table.assign(
        **{name: _typed(table[name]) for name in table if table[name].dtype == object}
    )


def _typed(values: pd.Series) -> pd.Series:
    typed = values.convert_dtypes(convert_floating=False)
    if typed.dtype != object:
        return typed
    return values.map(str, na_action="ignore").astype("string")


def _write_tables(
    loaded: Runs, folder: Path, suffix: str, write: Callable[[pd.DataFrame, Path], object]
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in _TABLES:
        path = folder / f"{name}{suffix}"
        write(with_units(with_types(getattr(loaded, name))), path)
        paths.append(path)
    return paths
