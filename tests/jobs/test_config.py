from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import RunConfig, make_config, make_run_id, read_document
from jobs.errors import InputError

GOLDEN_IDS = json.loads((Path(__file__).parent / "golden_run_ids.json").read_text())


@pytest.mark.parametrize("case", GOLDEN_IDS, ids=lambda case: case["run_id"])
def test_an_id_that_was_once_given_out_stays_the_same(case: dict[str, Any]) -> None:
    assert RunConfig(**case["config"]).run_id == case["run_id"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"epochs": 3}, {"epochs": 3.0}),
        ({"epochs": 150}, {}),
        ({"model_options": {"stem": "auto"}}, {}),
        ({"flip": "no"}, {"flip": False}),
        ({"lr_milestones_epochs": [3.0, 5]}, {"lr_milestones_epochs": [3, 5]}),
        ({"optimizer": "sgd", "decay": "all", "accumulate_steps": 1, "ema_decay": 0}, {}),
        ({"lr_milestones_epochs": [], "label_smoothing": 0}, {}),
        ({"precision": "fp32", "channels_last": False, "compile": "no"}, {}),
    ],
)
def test_two_ways_to_write_one_value_are_one_run(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert RunConfig(model="resnet18", **one).run_id == RunConfig(model="resnet18", **other).run_id


@pytest.mark.parametrize(
    "change",
    [
        {"keep": "best"},
        {"data_dir": "/elsewhere"},
        {"checkpoint_every_s": 1},
        {"progress_every_s": 1},
        {"when_stuck": "go_on"},
        {"stuck_after": 1},
        {"stage_dir": "$SLURM_TMPDIR"},
        {"workers": 3},
        {"log_every_steps": 10},
        {"tensorboard": True},
    ],
)
def test_an_option_that_cannot_change_the_result_does_not_count(change: dict[str, Any]) -> None:
    assert RunConfig(model="resnet18", **change).run_id == RunConfig(model="resnet18").run_id


def test_the_number_of_gpus_counts_only_where_each_has_batch_norm_of_its_own() -> None:
    plain = RunConfig(model="resnet18")
    assert RunConfig(model="resnet18", gpus=4).run_id != plain.run_id
    synced = [RunConfig(model="resnet18", bn="sync", gpus=gpus) for gpus in (1, 2, 4)]
    assert len({config.run_id for config in synced}) == 1
    assert synced[0].run_id != plain.run_id


def test_the_id_of_an_image_folder_begins_with_the_folders_name() -> None:
    config = RunConfig(model="resnet18", dataset="imagefolder", image_folder="flowers")
    assert config.run_id.startswith("resnet18-flowers-s0-")


def test_an_evaluation_is_the_same_whatever_the_training_would_have_been() -> None:
    once = RunConfig(model="resnet18", init_from="w.pt", eval_only=True)
    assert (once.epochs, once.init_path) == (1, Path("data/w.pt"))
    assert RunConfig(model="resnet18", init_from="w.pt", eval_only=True, epochs=9) == once


@given(st.sampled_from(["epochs", "batch_size", "seed", "threads"]), st.integers(2, 100))
def test_every_other_change_gives_another_run(name: str, value: int) -> None:
    plain = RunConfig(model="resnet18")
    changed = RunConfig(model="resnet18", **{name: value})
    assert (changed.run_id == plain.run_id) == (getattr(changed, name) == getattr(plain, name))


def test_the_id_begins_with_what_a_person_wants_to_read() -> None:
    run_id = RunConfig(model="bam_resnet50", dataset="cifar100", seed=3).run_id
    assert run_id.startswith("bam_resnet50-cifar100-s3-")
    assert len(run_id.rpartition("-")[2]) == 12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "resnet19"}, "'resnet19' is not a known network; did you mean 'resnet18'?"),
        (
            {"model": "resnet18", "epoch": 2},
            "'epoch' is not a known option; did you mean 'epochs'?",
        ),
        ({"model": "resnet18", "dataset": "cifar"}, "did you mean 'cifar10'?"),
        ({"model": "resnet18", "epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ({"model": "resnet18", "epochs": 1.5}, "epochs: "),
        ({"model": "resnet18", "epochs": True}, "true is not a value of epochs"),
        ({"model": "resnet18", "lr": float("nan")}, "lr: Input should be a finite number"),
        (
            {"model": "resnet18", "schedule": "cos"},
            "schedule: Input should be 'cosine', 'restarts', 'step' or 'multistep'",
        ),
        ({"model": "resnet18", "lr": 0.1, "lr_min": 0.2}, "lr_min: 0.2 is above lr, which is 0.1"),
        (
            {"model": "resnet18", "batch_size": 7, "accumulate_steps": 4},
            "accumulate_steps: 4 parts of a batch of 7 have less than two images; at most 3",
        ),
        (
            {"model": "resnet18", "schedule": "multistep"},
            "lr_milestones_epochs: schedule multistep needs some, as in [60, 90]",
        ),
        (
            {"model": "resnet18", "lr_milestones_epochs": [90, 60]},
            "lr_milestones_epochs: [90, 60] do not rise",
        ),
        (
            {"model": "resnet18", "lr_milestones_epochs": [True, 2]},
            "true is not a value of lr_milestones_epochs",
        ),
        (
            {"model": "resnet18", "batch_size": 64, "gpus": 16, "accumulate_steps": 4},
            "4 parts of a batch of 64 on each of 16 GPUs have less than two images; at most 2",
        ),
        (
            {"model": "resnet18", "dataset": "imagefolder"},
            "image_folder: '' does not go with dataset imagefolder; it names the folder",
        ),
        (
            {"model": "resnet18", "image_folder": "flowers"},
            "image_folder: 'flowers' does not go with dataset cifar10",
        ),
        (
            {"model": "resnet18", "loading": "stream"},
            "loading: only an imagefolder is streamed, not cifar10",
        ),
        ({"model": "resnet18", "eval_only": True}, "eval_only: needs init_from"),
        ({"model": "resnet18", "optimizer": "adam"}, "Input should be 'sgd' or 'adamw'"),
        (
            {"model": "resnet18", "model_options": {"stm": "cifar"}},
            "'stm' is not a known option of network 'resnet18'; did you mean 'stem'?",
        ),
        ({"epochs": 1}, "model: is missing"),
    ],
)
def test_a_mistake_is_told_with_what_is_valid(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_config(values)
    assert message in str(caught.value)


def test_a_stored_configuration_reads_back_the_same() -> None:
    config = RunConfig(
        model="bam_resnet50",
        model_options={"combine": "sum"},
        lr=0.2,
        schedule="multistep",
        lr_milestones_epochs=[60, 90],
        seed=4,
        weight_decay=1e-5,
        init_from="für/weights.pt",
        data_dir=Path("some/data"),
    )
    document = json.loads(json.dumps(config.to_document()))
    assert read_document(document, config.run_id) == config


def test_a_stored_option_that_this_version_does_not_have_is_named() -> None:
    config = RunConfig(model="resnet18")
    document = json.loads(json.dumps(config.to_document()))
    document["config"]["of_tomorrow"] = 1
    text = json.dumps(document["config"], sort_keys=True, separators=(",", ":"))
    document["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(InputError, match="options that this version does not know: of_tomorrow"):
        read_document(document, config.run_id)


@pytest.mark.parametrize("edit", ["config", "identity", "run_id", "sha256"])
def test_an_edited_configuration_is_refused(edit: str) -> None:
    config = RunConfig(model="resnet18", lr=0.2)
    document = json.loads(json.dumps(config.to_document()))
    document[edit] = "x" if isinstance(document[edit], str) else document[edit] | {"lr": 0.3}
    with pytest.raises(InputError, match="was edited"):
        read_document(document, config.run_id)


def test_a_stored_run_keeps_its_name_though_a_default_of_today_differs() -> None:
    """The stored identity is checked, and not derived again through today's code."""
    config = RunConfig(model="resnet18")
    document = json.loads(json.dumps(config.to_document()))
    document["identity"]["some_old_option"] = 1
    document["run_id"] = make_run_id(document["identity"])
    assert read_document(document, document["run_id"]).model == "resnet18"


def test_configuration_and_run_directory_load_neither_torch_nor_pandas() -> None:
    code = "import sys, jobs.config, jobs.run_dir, jobs.train_job; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"torch", "pandas", "matplotlib"} & set(loaded)
