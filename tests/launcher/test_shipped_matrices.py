"""The shipped experiments: each can be submitted as it is, and its header says what it costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

from attention_models import least_images_per_gpu
from jobs.config import RunConfig
from launcher.matrix import Matrix, read_matrix
from launcher.plan import Verb
from launcher.submit import plan_submission
from tests.jobs.conftest import plan_run
from tests.jobs.test_train import train_once

FOLDER = Path(__file__).parents[2] / "jobs" / "matrices"
RUNS = {
    "attention_cifar100": 15,
    "attention_cpu": 12,
    "demo": 6,
    "lambda_ablation": 16,
    "lambda_cifar10": 24,
    "lambda_collapse": 16,
    "residual_attention_imagenet": 3,
    "resnest_imagenet": 8,
}
IMAGENET_IMAGES = 1_281_167


def header_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text().partition("\nname:")[0]


def read(name: str, *overrides: str) -> Matrix:
    return read_matrix(FOLDER / f"{name}.yaml", overrides)


def by_model(name: str) -> dict[str, RunConfig]:
    return {config.model: config for config in read(name).runs.values()}


def images_per_gpu(config: RunConfig) -> int:
    return config.batch_size // config.gpus // config.accumulate_steps


def test_the_matrices_are_all_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_submitting_a_shipped_matrix_starts_its_runs(name: str, tmp_path: Path) -> None:
    matrix = read(name)
    assert matrix.name == name
    actions = plan_submission(matrix, tmp_path).actions
    assert [action.verb for action in actions] == [Verb.START] * RUNS[name]


@pytest.mark.parametrize("name", RUNS)
def test_the_header_says_command_data_cost_and_expected_number(name: str) -> None:
    header = header_of(name)
    words = re.findall(r"^#   (\w+) {2,}\S", header, re.MULTILINE)
    assert words[:4] == ["command", "data", "cost", "expected"]
    assert f"launcher submit jobs/matrices/{name}.yaml" in header
    assert "(measured)" in header or "An ESTIMATE, not measured:" in header


@pytest.mark.parametrize("name", [name for name in RUNS if "--set" in header_of(name)])
def test_what_the_header_says_to_set_can_be_set(name: str) -> None:
    overrides = re.findall(r"--set ([^\s,;]+)", header_of(name))
    changed = read(name, *overrides)
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in ("name", "seeds"):
            assert {str(getattr(config, key)) for config in changed.runs.values()} <= {
                value,
                f"{value}.0",
            }


@pytest.mark.parametrize("name", RUNS)
def test_a_gpu_sees_as_many_images_as_the_source_of_its_network_asks_for(name: str) -> None:
    for config in read(name).runs.values():
        assert images_per_gpu(config) >= least_images_per_gpu(config.model)


def test_the_comparison_on_cifar100_is_fair() -> None:
    """Nothing differs between its runs but the network and the seed."""
    configs = list(read("attention_cifar100").runs.values())
    assert len({config.model for config in configs}) == 5
    assert (
        len({repr(config.model_copy(update={"model": "", "seed": 0})) for config in configs}) == 1
    )
    assert {config.dataset for config in configs} == {"cifar100"}


def test_the_ablation_has_the_rows_of_its_table() -> None:
    rows = [
        tuple(config.model_options.get(option, default)
              for option, default in {"k": 16, "heads": 4, "u": 1, "m": 23}.items())
        for config in read("lambda_ablation").runs.values()
        if config.model == "lambda_resnet50"
    ]  # fmt: skip
    assert len(set(rows)) == 15
    assert all(m == (23 if u == 1 else 7) for _, _, u, m in rows)


def test_the_resnests_are_trained_and_tested_at_the_sizes_of_timm() -> None:
    for model, config in by_model("resnest_imagenet").items():
        theirs = timm.get_pretrained_cfg(model)
        assert theirs is not None
        assert config.image_px == theirs.input_size[1]
        assert config.test_px is None
        assert config.test_crop == theirs.crop_pct
        assert config.interpolation == theirs.interpolation


def test_the_resnests_have_the_rate_of_their_batch_and_the_parts_of_64_gpus() -> None:
    for model, config in by_model("resnest_imagenet").items():
        assert config.lr == pytest.approx(0.1 * config.batch_size / 256)
        assert images_per_gpu(config) == config.batch_size / 64
        assert config.model_options["drop_block"] == 0.1
        assert ("dropout" in config.model_options) == (model in ("resnest200e", "resnest269e"))


def test_the_residual_attention_networks_drop_their_rate_after_the_steps_of_the_paper() -> None:
    steps = [200_000, 400_000, 500_000, 530_000]
    for config in read("residual_attention_imagenet").runs.values():
        epochs = [round(step * config.batch_size / IMAGENET_IMAGES) for step in steps]
        assert [*config.lr_milestones_epochs, config.epochs] == epochs
        assert config.test_px == (320 if config.model == "attention92" else None)


# ---- that they can be trained


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet's layout with two classes of a few images, which differ in size as there."""
    folder = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 4), ("val", 2)):
        for label in ("n01440764", "n01443537"):
            (folder / "imagenet" / part / label).mkdir(parents=True)
            for number in range(count):
                shape = (48 + 8 * number, 40, 3)
                pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
                path = folder / "imagenet" / part / label / f"{number}.jpg"
                Image.fromarray(pixels.numpy()).save(path)
    return folder


def shrunk(name: str, data_dir: Path) -> list[RunConfig]:
    """The first run of a matrix, and one with the last's recipe, made so small that they end."""
    first, last = (
        config.model_dump() for config in (list(read(name).runs.values())[i] for i in (0, -1))
    )
    on_folder = first["dataset"] == "imagefolder"
    changes: dict[str, Any] = {
        "model": first["model"],
        "model_options": first["model_options"],
        "dataset": "imagefolder" if on_folder else "synthetic",
        "data_dir": data_dir,
        "train_images": 8,
        "test_images": 4,
        "epochs": 1,
        "batch_size": 4,
        "gpus": 1,
        "accumulate_steps": min(2, first["accumulate_steps"]),
        "lr": 1e-3,  # of lambda_collapse, one initialisation is there because it diverges
        "seed": 0,
        "threads": 1,
        "workers": 0,
        "keep": "none",
        "image_px": 32 if on_folder else None,
    }
    small = [
        RunConfig(**(recipe | changes | {"test_px": recipe["test_px"] and 40}))
        for recipe in (first, last)
    ]
    return list({config.run_id: config for config in small}.values())


@pytest.mark.parametrize("name", RUNS)
def test_a_shipped_recipe_trains(name: str, data_dir: Path, tmp_path: Path) -> None:
    for config in shrunk(name, data_dir):
        run = plan_run(tmp_path, **config.model_dump())
        finished, _ = train_once(run)
        (metrics,) = run.read_metrics()
        assert finished
        assert metrics["step"] == 2
        assert 0 < metrics["train_loss"] < 1e6
