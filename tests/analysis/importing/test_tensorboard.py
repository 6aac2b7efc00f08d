from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from analysis.importing.tensorboard import event_files_in, read
from jobs.errors import InputError

# Tag, step and value of a scalar.
Scalar = tuple[str, int, float]
WriteEvents = Callable[..., Path]

TWO_EPOCHS = [
    *(("accuracy/test_top1", 1, 30.5), ("loss/train", 1, 2.5)),
    *(("accuracy/test_top1", 2, 45.32), ("loss/train", 2, 1.5)),
]


@pytest.fixture
def events(tmp_path: Path) -> WriteEvents:
    """Writes scalars to an event file of a folder of `logs`, and returns the file's path."""

    def write(folder: str, scalars: Iterable[Scalar], started: int = 0) -> Path:
        place = tmp_path / "logs" / folder
        writer = EventFileWriter(str(place))
        for tag, step, value in scalars:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(wall_time=1.7e9 + step, step=step, summary=summary))
        writer.close()
        [path] = place.glob("events.out.tfevents.*.*")
        return path.rename(place / f"events.out.tfevents.{started}")

    return write


def test_a_folder_of_event_files_is_a_training(events: WriteEvents, tmp_path: Path) -> None:
    events("resnet18-cifar10-s3", TWO_EPOCHS)
    events("bam/tensorboard", TWO_EPOCHS)
    bam, plain = read(event_files_in([tmp_path / "logs"])).logs
    assert (bam.network, plain.network, plain.seed) == ("bam", "resnet18", 3)
    last = plain.records[-1]
    assert (last["epoch"], last["test_top1"], last["train_loss"]) == (2, 45.32, 1.5)
    assert last["time_unix_s"] == 1.7e9 + 2


def test_a_training_may_have_folders_for_training_and_test(
    events: WriteEvents, tmp_path: Path
) -> None:
    events("net/train", [("epoch_accuracy", 0, 0.25), ("epoch_accuracy", 1, 0.5)])
    events("net/validation", [("epoch_accuracy", 0, 0.125)])
    [log] = read(event_files_in([tmp_path / "logs"])).logs
    assert log.network == "net"
    assert [(one["epoch"], one["train_top1"], one["test_top1"]) for one in log.records] == [
        *((1, 25.0, 12.5), (2, 50.0, None))
    ]
    assert "epoch 2: nothing in test_top1" in log.notes


def test_a_second_start_replaces_what_it_trained_again(events: WriteEvents) -> None:
    first = events("net", [("test_acc", step, 10.0 + step) for step in (1, 2, 3)])
    second = events("net", [("test_acc", step, 20.0 + step) for step in (2, 3, 4)], started=1)
    [log] = read([second, first]).logs
    assert [(one["attempt"], one["test_top1"]) for one in log.records] == [
        *((1, 11.0), (2, 22.0), (2, 23.0), (2, 24.0))
    ]
    assert any("went back from epoch 3 to 2" in note for note in log.notes)


def test_steps_are_epochs_of_as_many_steps_as_lie_between_evaluations(events: WriteEvents) -> None:
    train = [("train_loss", step, 1000.0 - step) for step in (100, 300, 391, 500, 782)]
    path = events("net", [*train, ("val_acc", 391, 30.0), ("val_acc", 782, 40.0)])
    [log] = read([path]).logs
    assert [(one["epoch"], one["train_loss"], one["test_top1"]) for one in log.records] == [
        *((1, 609.0, 30.0), (2, 218.0, 40.0))
    ]
    assert "values are 391 steps apart: so many are taken as an epoch" in log.notes


def test_a_tag_of_the_epoch_says_which_steps_belong_to_it(events: WriteEvents) -> None:
    epochs = [("epoch", 40, 0.0), ("epoch", 97, 0.0), ("epoch", 140, 1.0), ("epoch", 200, 1.0)]
    path = events("net", [*epochs, ("val_acc", 97, 30.0), ("val_acc", 200, 40.0)])
    [log] = read([path]).logs
    assert [(one["epoch"], one["test_top1"]) for one in log.records] == [(1, 30.0), (2, 40.0)]


def test_tags_that_are_named_count_more(events: WriteEvents) -> None:
    path = events("net", [("score", 1, 0.5), ("test_acc", 1, 0.75)])
    [log] = read([path], {"test_top1": "score"}).logs
    assert log.records[0]["test_top1"] == 50.0


def test_a_file_that_ends_within_a_record_is_read_up_to_there_and_told(events: WriteEvents) -> None:
    path = events("net", TWO_EPOCHS)
    path.write_bytes(path.read_bytes()[:-7])
    [log] = read([path]).logs
    assert [(one["test_top1"], one["train_loss"]) for one in log.records] == [
        *((30.5, 2.5), (45.32, None))
    ]
    assert any("ends within a record" in note for note in log.notes)


def test_a_damaged_record_ends_what_can_be_read_of_its_file(events: WriteEvents) -> None:
    path = events("net", TWO_EPOCHS)
    content = bytearray(path.read_bytes())
    content[-60] ^= 0xFF
    path.write_bytes(content)
    [log] = read([path]).logs
    assert log.records[0]["test_top1"] == 30.5
    assert any("is damaged: only the first" in note for note in log.notes)


def test_a_loss_by_step_beside_an_accuracy_by_epoch_is_left_out(events: WriteEvents) -> None:
    losses = [("train_loss", step, 1.0) for step in range(0, 1000, 100)]
    [log] = read([events("net", [*losses, ("test_acc", 1, 30.0), ("test_acc", 2, 40.0)])]).logs
    assert [(one["epoch"], one["train_loss"]) for one in log.records] == [(1, None), (2, None)]
    assert "train_loss is left out: its steps are no epochs" in log.notes


def test_a_tag_that_no_training_has_is_a_mistake(events: WriteEvents) -> None:
    with pytest.raises(InputError, match="'loss/trian' is not a known tag; did you mean"):
        read([events("net", TWO_EPOCHS)], {"train_loss": "loss/trian"})


def test_what_holds_no_accuracy_is_skipped_and_told(events: WriteEvents, tmp_path: Path) -> None:
    events("gan", [("score", 1, 0.5)])
    (tmp_path / "notes.txt").write_text("hello")
    found = read([tmp_path / "notes.txt", *event_files_in([tmp_path / "logs"])])
    assert found.logs == ()
    no_events, no_accuracy = found.skipped
    assert no_events == "notes.txt: it is no event file"
    assert "none of its tags is known to hold a loss or an accuracy (score)" in no_accuracy


def test_a_path_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        event_files_in([tmp_path / "nothing"])


def test_without_the_package_it_says_what_to_install(
    events: WriteEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = events("net", TWO_EPOCHS)
    loader = "tensorboard.backend.event_processing.event_file_loader"
    monkeypatch.setitem(sys.modules, loader, None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        read([path])
