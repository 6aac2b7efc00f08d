from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.foreground import FOREGROUND_SWEEP, main, parse_arguments, usage
from jobs.sweep_dir import SweepDir


def test_by_hand_a_training_runs_and_a_second_call_shows_its_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["resnet_small", "dataset=synthetic", "epochs=1", "train_images=40", "threads=1"]
    main(words)
    assert "finished: best test top-1" in capsys.readouterr().out
    main(words)
    again = capsys.readouterr().out
    assert "finished: best test top-1" in again
    assert "trained already; to train it again, remove runs/foreground/resnet_small" in again
    assert "epoch 1/1" not in again


def test_arguments_are_json_or_bare_words() -> None:
    values = parse_arguments(
        ["resnet18", "lr=1e-3", "flip=false", "dataset=digits", "model_options.stem=cifar"]
    )
    assert values == {
        "model": "resnet18",
        "lr": 1e-3,
        "flip": False,
        "dataset": "digits",
        "model_options": {"stem": "cifar"},
    }
    with pytest.raises(InputError, match="'lr' is not of the form key=value"):
        parse_arguments(["resnet18", "lr"])


def test_the_usage_names_every_option_with_its_default() -> None:
    for text in ("epochs=150", "keep=final", "\n  threads  ", "flip=true", "sresnet50_skips"):
        assert text in usage()


def test_a_training_that_is_interrupted_saves_and_the_same_command_goes_on() -> None:
    words = ["resnet_small", "dataset=synthetic", "epochs=100000", "threads=1"]
    command = [sys.executable, "-m", "jobs.train", *words, "progress_every_s=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    config = RunConfig(model=words[0], dataset="synthetic", epochs=100000, threads=1)
    run = SweepDir(FOREGROUND_SWEEP).run(config.run_id)
    while process.poll() is None and run.read_progress() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped and saved; the same command goes on from there" in said
    assert run.attempts()[0]["cause"] == "stopped"


def test_a_mistake_in_the_words_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="lr is given twice"):
        parse_arguments(["resnet18", "lr=1", "lr=2"])
    with pytest.raises(InputError, match="gpus: 2, but this command trains on one"):
        main(["resnet_small", "dataset=synthetic", "gpus=2"])
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        main(["resnet19"])
    main(["--help"])
    assert "usage: python -m jobs.train MODEL" in capsys.readouterr().out
