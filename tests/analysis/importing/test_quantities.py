from __future__ import annotations

import pytest

from analysis.importing.quantities import check_accuracies, in_percent, quantities, quantity


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("epoch", "epoch"),
        ("val_acc", "test_top1"),
        ("valAcc", "test_top1"),
        ("Test Accuracy (%)", "test_top1"),
        ("eval_top1", "test_top1"),
        ("test/acc@1", "test_top1"),
        ("val_top-5", "test_top5"),
        ("test_acc_top5", "test_top5"),
        ("test_top1_percent", "test_top1"),
        ("train_loss_epoch", "train_loss"),
        ("Loss/train", "train_loss"),
        ("validation/epoch_loss", "test_loss"),
        ("accuracy/test_top5", "test_top5"),
        ("training/lr", "lr"),
        ("train/epoch_learning_rate", "lr"),
        ("training/throughput_img_s", "throughput_img_s"),
        ("accuracy", "top1"),
    ],
)
def test_usual_names_are_known(name: str, measured: str) -> None:
    assert quantity(name) == measured


@pytest.mark.parametrize(
    "name", ["train_loss_step", "test_f1", "loss_scale", "class_loss", "train_val_loss", "", "%"]
)
def test_other_names_are_not_taken_for_one(name: str) -> None:
    assert quantity(name) == ""


def test_keras_calls_what_is_of_training_by_no_name_of_its_own() -> None:
    found, notes = quantities(["epoch", "accuracy", "loss", "val_accuracy", "val_loss"])
    assert found == {
        "epoch": "epoch",
        "test_top1": "val_accuracy",
        "test_loss": "val_loss",
        "train_top1": "accuracy",
        "train_loss": "loss",
    }
    assert notes == []


def test_an_accuracy_alone_may_be_of_anything() -> None:
    assert quantities(["epoch", "accuracy"])[0] == {"epoch": "epoch"}


def test_of_several_names_for_one_thing_the_first_is_taken_and_told() -> None:
    found, notes = quantities(["test_acc", "val_acc"])
    assert found == {"test_top1": "test_acc"}
    assert notes == ["test_top1 is taken from 'test_acc', not from 'val_acc'"]


def record(top1: float | None, top5: float | None = None) -> dict[str, float | int | None]:
    return {"epoch": 1, "train_top1": None, "test_top1": top1, "test_top5": top5}


def test_accuracies_of_which_none_is_above_1_are_fractions_and_this_is_told() -> None:
    scaled, notes = in_percent([record(0.25, 1.0), record(None)], None)
    assert [(one["test_top1"], one["test_top5"]) for one in scaled] == [(25.0, 100.0), (None, None)]
    assert len(notes) == 1


@pytest.mark.parametrize(("unit", "names"), [("percent", ()), (None, ["top1_percent"])])
def test_a_unit_that_is_told_counts_more(unit: str | None, names: list[str]) -> None:
    assert in_percent([record(0.25)], unit, names) == ([record(0.25)], [])


def test_accuracies_above_1_are_in_percent() -> None:
    assert in_percent([record(0.5), record(1.5)], None) == ([record(0.5), record(1.5)], [])


def test_an_accuracy_that_cannot_be_one_is_told() -> None:
    assert check_accuracies([record(100.0, 0.0), record(None)]) == ""
    assert "test_top5 of epoch 1 is 250 %" in check_accuracies([record(50.0, 250.0)])
