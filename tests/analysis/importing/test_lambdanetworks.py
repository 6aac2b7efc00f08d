from __future__ import annotations

from analysis.importing.lambdanetworks import read
from tests.analysis.importing.conftest import WriteLog


def batches(epoch: int, batch: int, loss: float, top1: float) -> str:
    """A record of training, as it is printed after some of 391 batches of 128 images."""
    return (
        f"[Epoch:{epoch:3} {batch}/391]  Loss:{loss:7.4f}, Acc:{top1:8.4f}  |  "
        f"Correct {1000:5}/{128 * (batch + 1)}   | 0.13sec/iter  12.77sec/100iter "
    )


def evaluation(top1: float, lr: float, next_lr: float, best: str = "") -> str:
    """What is printed behind the last record of an epoch, on the same line."""
    return (
        f" 52.15sec/epoch | eval | Acc:{top1:7.3f}  |  {round(100 * top1)} / 10000   | "
        f"3.83sec/eval | {best}Learning Rate:[{lr}] -->[{next_lr}]"
    )


def epoch(number: int, top1: float, lr: float, next_lr: float) -> list[str]:
    last = batches(number, 300, 1.5, top1 + 1) + evaluation(top1, lr, next_lr)
    return [batches(number, 100, 2.5, top1), last]


FIRST = [*epoch(1, 10.0, 0.1, 0.09), *epoch(2, 12.5, 0.09, 0.08)]


def test_the_records_that_are_glued_to_a_line_are_told_apart(write: WriteLog) -> None:
    best = "Best Model Saving... | "
    line = batches(1, 300, 15.9862, 10.0135) + evaluation(10.12, 0.1, 0.0975, best)
    [log] = read([write("run.txt", "LambdaResNet50 Model Parameters: 15.00 M Params", line)]).logs
    [record] = log.records
    expected = {
        "epoch": 1,
        "step": 391,
        "lr": 0.1,
        "train_loss": 15.9862,
        "train_top1": 10.0135,
        "test_top1": 10.12,
        "epoch_s": 52.15,
        "eval_s": 3.83,
    }
    assert {name: record[name] for name in expected} == expected
    assert record["test_loss"] is None
    assert log.network == "LambdaResNet50"
    assert log.options == {"batch_size": 128}


def test_line_ends_count_for_nothing(write: WriteLog) -> None:
    [log] = read([write("run.txt", "".join(FIRST))]).logs
    assert [record["test_top1"] for record in log.records] == [10.0, 12.5]


def test_the_numbers_of_training_are_those_printed_last_and_this_is_told(write: WriteLog) -> None:
    [log] = read([write("run.txt", *FIRST)]).logs
    assert [record["train_loss"] for record in log.records] == [1.5, 1.5]
    assert any("over the first 301 of 391 batches" in note for note in log.notes)


def test_without_a_name_in_the_log_the_file_names_the_network(write: WriteLog) -> None:
    [log] = read([write("LambdaResNet18_seed4.txt", *FIRST)]).logs
    assert (log.network, log.seed) == ("LambdaResNet18", 4)


def test_gaps_are_told(write: WriteLog) -> None:
    [log] = read([write("run.txt", *FIRST, "", "...", "", *epoch(9, 50.0, 0.01, 0.0))]).logs
    assert [record["epoch"] for record in log.records] == [1, 2, 9]
    assert "epochs 3-8 are not in the log" in log.notes


def test_a_second_start_with_another_rate_is_a_training_of_its_own(write: WriteLog) -> None:
    again = ["$ python main.py --model_name Net --checkpoints best.pth", *epoch(2, 40.0, 0.1, 0.09)]
    first, second = read([write("run.txt", *FIRST, *again)]).logs
    assert (first.network, second.network) == ("Net", "Net-resumed")
    assert first.records[-1]["test_top1"] == 12.5
    assert [record["epoch"] for record in second.records] == [2]
    assert second.notes[0].startswith(
        "the program was started again at epoch 2 with learning rate 0.1"
    )


def test_a_start_that_goes_on_with_the_rate_is_another_attempt(write: WriteLog) -> None:
    lost = epoch(3, 20.0, 0.08, 0.07)
    again = [*epoch(2, 13.0, 0.09, 0.08), *epoch(3, 21.0, 0.08, 0.07)]
    [log] = read([write("run.txt", *FIRST, *lost, *again)]).logs
    assert [(record["attempt"], record["test_top1"]) for record in log.records] == [
        *((1, 10.0), (2, 13.0), (2, 21.0))
    ]


def test_an_epoch_that_was_cut_before_its_evaluation_is_left_out(write: WriteLog) -> None:
    [log] = read([write("run.txt", *FIRST, batches(3, 100, 1.0, 15.0), end="")]).logs
    assert len(log.records) == 2
    assert "left out, since no evaluation follows in the log: epoch 3" in log.notes


def test_numbers_that_are_none_in_the_prose_around_are_no_records(write: WriteLog) -> None:
    prose = "[Epoch: 1 100/391]  Loss: ..., Acc: ...  |  Correct 5/12928"
    [log] = read([write("run.txt", prose, *FIRST)]).logs
    assert len(log.records) == 2


def test_a_log_without_such_records_is_skipped(write: WriteLog) -> None:
    found = read([write("README.md", "# LambdaNetworks"), write("run.txt", batches(1, 100, 1, 1))])
    assert found.logs == ()
    assert [line.partition(":")[0] for line in found.skipped] == ["README.md", "run.txt"]
