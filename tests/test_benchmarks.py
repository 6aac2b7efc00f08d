"""The scripts in benchmarks/ run. What they measure is asserted nowhere."""

from __future__ import annotations

import re
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.io import encode_jpeg

from tests.benchmarks import (
    lambda_training,
    launcher,
    networks,
    scheduler,
    trainer,
    unpack_cifar10,
)

TINY = ["--batch-size", "2", "--repeats", "1"]
ROW = r"fp32 +{} +[\d.]+ ms +time +[\d.]+ \([\d.]+-[\d.]+\) +[\d.]+ MiB +memory +[\d.]+\n"


@pytest.mark.parametrize("reference", ["lambda-networks", "conv3d"])
def test_a_row_holds_the_ratios_of_time_and_memory(reference, capsys):
    networks.main(["--only", f"512@4*{reference}", *TINY])
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    assert f"/ {reference}, 2x512x4x4: the same function" in out
    for run in ("training", "inference"):
        assert len(re.findall(ROW.format(run), out)) == 1


def test_the_slowest_operators_are_listed_and_autocast_is_measured(capsys):
    networks.main(["--only", "512@4*conv3d", *TINY, "--autocast", "bf16", "--profile"])
    out = capsys.readouterr().out
    assert "bf16          training" in out
    assert len(re.findall(r"\d% +[\d.]+ ms  ", out)) == 2 * networks.TOP_OPERATORS


@pytest.mark.parametrize(
    ("only", "package"),
    [("resnest", "timm"), ("resnet50", "torchvision.models"), ("512@4*net", "lambda_networks")],
)
def test_a_pair_without_its_package_is_skipped(only, package, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    networks.main(["--only", only, *TINY])
    out = capsys.readouterr().out
    assert f"skipped, import of {package}" in out
    assert "MiB" not in out


def _shifted(ours: nn.Module) -> nn.Module:
    return nn.Sequential(ours, nn.Softshrink(1e-3))


def test_another_function_is_not_measured(capsys, monkeypatch):
    make_input = partial(torch.randn, 2, 3, 4, 4)
    pair = networks.Pair("a / b", partial(nn.Conv2d, 3, 3, 1), _shifted, make_input)
    monkeypatch.setattr(networks, "pairs", lambda batch, input_size: [pair])
    with pytest.raises(SystemExit, match="a / b: not the same function, output differs by"):
        networks.main(TINY)
    assert "MiB" not in capsys.readouterr().out


def test_a_name_that_no_pair_has_is_answered_with_all_names():
    with pytest.raises(SystemExit, match="resnest50d / timm\n"):
        networks.main(["--only", "resnset"])


def test_without_its_images_the_training_is_skipped(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["lambda_training", "--data-dir", str(tmp_path)])
    lambda_training.main()
    assert "skipped: the files of cifar10 are not in" in capsys.readouterr().out


def test_every_setting_trains_on_images_from_an_archive(capsys, monkeypatch, tmp_path):
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    encoded = [encode_jpeg(image) for image in images]
    offsets = np.cumsum([0, *map(len, encoded)])
    path = tmp_path / "images.npz"
    np.savez(path, train_jpeg=torch.cat(encoded), train_offsets=offsets, train_labels=range(4))
    command = ["lambda_training", "--cifar10", str(path), "--steps", "2", "--batch-size", "2"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(lambda_training, "TENTHS", 2)
    lambda_training.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:34].strip() for line in lines[1:]] == list(lambda_training.SETTINGS)


BRIEF = ["--repeats", "1", "--stops", "2", "--steps", "1", "--small-steps", "2", "--seed", "0"]
NUMBER = r"[\d.]+( s)? \([\d.]+-[\d.]+\)"


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        (
            "throughput",
            [
                f"{name}, fp32: {what} +{NUMBER}"
                for name in (trainer.LARGE, trainer.SMALL)
                for what in ("images/s", "over a bare loop", "over a DataLoader's, 1 workers")
            ],
        ),
        (
            "checkpoints",
            [
                rf"resnet50, 18\d MiB: saving blocks +{NUMBER}",
                f"until it is on disk +{NUMBER}",
                r"share lost: blocked / 600 s between two +[\d.]+%",
                r"share lost: until on disk / 600 s between two +[\d.]+%",
            ],
        ),
        (
            "stops",
            [
                r"steps repeated after 1 stops by SIGUSR2 +\d+",
                f"start of a resumed run to its first step +{NUMBER}",
                f'over python -c "import torch" +{NUMBER}',
                f"age of the checkpoint at 1 kills, one every 1 s +{NUMBER}",
            ],
        ),
        ("bits", ["weights after 2 stops, seed 0, fp32 on cpu +equal"]),
    ],
)
def test_each_part_of_the_trainers_costs_is_measured(part, rows, capfd):
    tiny = ["--batch-size", "4", "--workers", "1", "--threads", "1"]
    trainer.main(["--only", part, *BRIEF, *tiny])
    out = capfd.readouterr().out.splitlines()
    assert out[1] == part
    assert len(out) == 2 + len(rows)
    for line, row in zip(out[2:], rows, strict=True):
        assert re.match(rf" +{row}( +aim .*)?$", line), line


def test_a_mistaken_size_is_answered_before_anything_is_measured(capfd):
    with pytest.raises(SystemExit, match="2"):
        trainer.main(["--repeats", "0"])
    said = capfd.readouterr()
    assert "batch norm needs a batch of 2 or more" in said.err
    assert not said.out


def test_the_launcher_is_measured_beside_the_least_that_could_be_had(capfd):
    launcher.main(["--repeats", "1", "--runs", "1000"])
    out = capfd.readouterr().out.splitlines()
    rows = {line[2:60].strip(): line[60:].split("aim")[0].strip() for line in out[1:] if line[2:]}
    assert all(re.fullmatch(NUMBER, figure) for figure in rows.values() if figure)
    assert [what for what, figure in rows.items() if figure] == [
        "expanding and planning 1000 runs",
        'over python -c "import pydantic"',
        "launcher --help",
        "over the help of a typer app of one command",
    ]
    with pytest.raises(SystemExit, match="2"):
        launcher.main(["--runs", "7"])


def test_an_archive_of_images_is_unpacked_once_and_loaded_twice(capsys, tmp_path):
    arrays = {"classes": np.array(["cat", "dog"])}
    for split, count in (("train", 5), ("test", 3)):
        images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
        encoded = [encode_jpeg(image) for image in images]
        arrays[f"{split}_jpeg"] = torch.cat(encoded).numpy()
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, encoded)])
        arrays[f"{split}_labels"] = np.arange(count) % 2
    np.savez(tmp_path / "images.npz", **arrays)
    folder = tmp_path / "data" / "images"
    for written in (8, 0):
        unpack_cifar10.main([str(tmp_path / "images.npz"), str(folder)])
        out = capsys.readouterr().out
        assert f"unpacked {written} images in" in out
        assert ("decoding the 8 images" in out) == bool(written)
        assert "5 training and 3 test images of 32 pixels in 2 classes" in out
    image = (folder / "val" / "dog" / "1.jpg").read_bytes()
    begin, end = arrays["test_offsets"][1:3]
    assert image == arrays["test_jpeg"][begin:end].tobytes()


def test_few_commands_of_the_scheduler_are_run_for_many_runs(capfd):
    scheduler.main(["--runs", "20", "--repeats", "1"])
    out = capfd.readouterr().out.splitlines()
    assert out[0].startswith("20 runs")
    for line, commands in zip(out[1:], (1, 1, 1, 0, 0, 0, 0), strict=True):
        assert re.search(rf" {commands} commands, -?[\d.]+ s beyond .* aim ", line), line
