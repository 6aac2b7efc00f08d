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

from tests.benchmarks import lambda_training, networks

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
