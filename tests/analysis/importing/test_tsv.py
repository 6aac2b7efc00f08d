from __future__ import annotations

from pathlib import Path

from analysis.importing.text import files_in
from analysis.importing.tsv import read
from tests.analysis.importing.conftest import WriteLog

TRAIN = ("0\t3.945\t10.108", "1\t3.230\t21.282", "2\t2.779\t29.772")
TEST = ("0\t3.618\t15.350", "1\t3.013\t25.380", "2\t2.760\t30.140")


def test_a_folder_gives_a_training_for_each_pair_of_files(write: WriteLog) -> None:
    write("cifar_100_Plain_train.txt", *TRAIN)
    write("cifar_100_Plain_test.txt", *TEST)
    write("cifar_100_BAM_train.txt", *TRAIN)
    folder = write("cifar_100_BAM_test.txt", *TEST).parent
    found = read(files_in([folder]))
    assert found.skipped == ()
    bam, plain = found.logs
    assert (bam.network, plain.network) == ("BAM", "Plain")
    assert {file.name for file in plain.files} == {
        *("cifar_100_Plain_train.txt", "cifar_100_Plain_test.txt")
    }
    assert plain.options == {"dataset": "cifar100"}
    last = plain.records[-1]
    assert (last["epoch"], last["train_loss"], last["train_top1"]) == (3, 2.779, 29.772)
    assert (last["test_loss"], last["test_top1"]) == (2.760, 30.140)


def test_equal_names_in_two_folders_are_two_trainings(write: WriteLog) -> None:
    paths = [write(f"{folder}/net_test.txt", *TEST) for folder in ("first", "second")]
    assert [log.files for log in read(paths).logs] == [(path,) for path in paths]


def test_junk_is_named_with_what_is_wrong_and_skipped(write: WriteLog) -> None:
    junk = {
        "net_test.txt~": TEST,
        "net_test.txt.bak": TEST,
        "notes.txt": ("remember the milk",),
        "empty_test.txt": (),
        "prose_test.txt": ("It went well.",),
        "commas_test.txt": ("1,2,3",),
        "above_test.txt": ("1\t0.5\t1234.5",),
    }
    for name, lines in junk.items():
        write(name, *lines)
    folder = write("net_test.txt", *TEST).parent
    found = read(files_in([folder]))
    assert [log.network for log in found.logs] == ["net"]
    assert {line.partition(": ")[0] for line in found.skipped} == junk.keys()
    told = dict(line.split(": ", 1) for line in found.skipped)
    assert told["net_test.txt~"].startswith("its name ends in .txt~")
    assert told["notes.txt"] == "its name says neither train nor test"
    assert told["empty_test.txt"] == "it is empty"
    assert "epoch<TAB>loss<TAB>accuracy" in told["prose_test.txt"]


def test_two_files_of_one_half_are_one_too_many(write: WriteLog) -> None:
    found = read([write("net_test.txt", *TEST), write("net_val.txt", *TEST)])
    assert len(found.logs) == 1
    assert found.skipped == ("net_val.txt: net_test.txt is the test file of net",)


def test_half_a_pair_is_imported_and_told(write: WriteLog) -> None:
    [log] = read([write("net_train.txt", *TRAIN)]).logs
    assert log.records[0]["test_top1"] is None
    assert "there is no test file beside the train file" in log.notes


def test_a_last_line_that_is_cut_is_left_out(write: WriteLog) -> None:
    for cut in ("3\t2.5", "3\t2.523\t3", "3\t2.523\t36.3"):
        [log] = read([write("net_test.txt", *TEST, cut, end="")]).logs
        assert len(log.records) == 3
        assert any(repr(cut) in note or cut in note for note in log.notes)


def test_a_last_line_without_an_end_is_kept_if_it_is_whole(write: WriteLog) -> None:
    [log] = read([write("net_test.txt", *TEST, "3\t2.523\t36.340", end="")]).logs
    assert [record["test_top1"] for record in log.records][-1] == 36.34


def test_a_heading_is_no_loss_and_a_damaged_line_is_told(write: WriteLog) -> None:
    lines = ("epoch\tloss\taccuracy", TEST[0], "Traceback (most recent call last):", TEST[1])
    [log] = read([write("net_test.txt", *lines)]).logs
    assert len(log.records) == 2
    assert [note for note in log.notes if "no records" in note] == [
        "lines of the test file that are no records are left out: "
        "'Traceback (most recent call last):'"
    ]


def test_a_loss_that_diverged_is_read(write: WriteLog) -> None:
    [log] = read([write("net_test.txt", "1\tnan\t1.000")]).logs
    loss = log.records[0]["test_loss"]
    assert loss is not None
    assert loss != loss


def test_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "net_test.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*TEST, ""]).encode())
    [log] = read([path]).logs
    assert [record["test_top1"] for record in log.records] == [15.35, 25.38, 30.14]
