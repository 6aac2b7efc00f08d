from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.export import to_csv, to_parquet, to_tensorboard, with_types, with_units
from analysis.load import Runs, load_runs
from jobs.errors import InputError
from jobs.event_files import TAGS
from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import add_imported, add_run, name_runs


@pytest.fixture
def loaded(sweep: SweepDir) -> Runs:
    """Two runs of ours, of which one has a list and a number where the other has none."""
    options = {"lr_milestones_epochs": [2, 3], "train_images": 1000}
    name_runs(sweep, [add_run(sweep, "resnet_small"), add_run(sweep, "sresnet_small", **options)])
    add_imported(sweep, epochs=[1, 3])
    return load_runs(sweep)


def test_there_is_a_file_for_each_frame(loaded: Runs, tmp_path: Path) -> None:
    for write, suffix in ((to_csv, "csv"), (to_parquet, "parquet")):
        paths = write(loaded, tmp_path / "new" / suffix)
        assert [path.name for path in paths] == [
            f"{name}.{suffix}" for name in ("runs", "epochs", "attempts")
        ]
        assert all(path.is_file() for path in paths)


def test_names_of_accuracies_say_percent_and_the_others_stay(loaded: Runs) -> None:
    epochs = with_units(loaded.epochs)
    assert {"test_top1_percent", "test_top5_percent", "train_top1_percent"} <= {*epochs}
    assert {"epoch_s", "peak_mem_mb", "test_loss"} <= {*epochs}
    assert "best_test_top1_percent" in with_units(loaded.runs)


def test_parquet_keeps_values_and_types(loaded: Runs, tmp_path: Path) -> None:
    runs_path, epochs_path, _ = to_parquet(loaded, tmp_path)
    epochs = pd.read_parquet(epochs_path)
    pd.testing.assert_frame_equal(epochs, with_units(loaded.epochs), check_categorical=False)
    runs = pd.read_parquet(runs_path).set_index("model")
    assert list(runs["train_images"].dropna()) == [1000]
    assert pd.api.types.is_integer_dtype(runs["train_images"])
    assert pd.api.types.is_bool_dtype(runs["flip"])
    assert runs["lr"].isna().to_dict() == {
        "resnet_small": False,
        "sresnet_small": False,
        "resnet50": True,
    }


def test_csv_keeps_every_digit_and_leaves_out_what_is_not_known(
    loaded: Runs, tmp_path: Path
) -> None:
    _, path, _ = to_csv(loaded, tmp_path)
    epochs = pd.read_csv(path, float_precision="round_trip")
    assert list(epochs["test_loss"]) == list(loaded.epochs["test_loss"])
    assert epochs["lr"].isna().sum() == 2


def test_a_column_of_several_kinds_is_text() -> None:
    mixed = pd.DataFrame({"option": [1, "se", None, True]}, dtype=object)
    typed = with_types(mixed)
    assert list(typed["option"].dropna()) == ["1", "se", "True"]
    assert typed["option"].isna().sum() == 1


def test_event_files_hold_what_a_job_writes(loaded: Runs, tmp_path: Path) -> None:
    folders = to_tensorboard(loaded, tmp_path)
    assert [folder.name for folder in folders] == list(loaded.runs["run_id"])
    for folder, (_, epochs) in zip(
        folders, loaded.epochs.groupby("run_id", observed=True, sort=False), strict=True
    ):
        events = EventAccumulator(str(folder)).Reload()
        assert {*events.Tags()["scalars"]} == {
            tag for tag, name in TAGS.items() if epochs[name].notna().any()
        }
        written = events.Scalars("accuracy/test_top1")
        assert [point.step for point in written] == list(epochs["epoch"])
        assert [point.value for point in written] == pytest.approx(list(epochs["test_top1"]))


def test_an_export_replaces_the_event_files_of_the_one_before(loaded: Runs, tmp_path: Path) -> None:
    for _ in range(2):
        folders = to_tensorboard(loaded, tmp_path)
    assert [len([*folder.iterdir()]) for folder in folders] == [1] * len(folders)


def test_event_files_of_sweeps_of_one_name_do_not_meet(tmp_path: Path) -> None:
    sweeps = [SweepDir(tmp_path / place / "demo") for place in ("here", "there")]
    for sweep in sweeps:
        name_runs(sweep, [add_run(sweep, "resnet_small")])
    folders = to_tensorboard(load_runs(sweeps), tmp_path / "events")
    assert len({*folders}) == 2
    assert all(folder.is_relative_to(tmp_path / "events") for folder in folders)


def test_without_the_package_it_says_what_to_install(
    loaded: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        to_tensorboard(loaded, tmp_path)
