"""The trainer's promises, above all: stopped anywhere and resumed, it is as if nothing happened."""

from __future__ import annotations

import itertools
import math
import re
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attention_models import create_model
from attention_models.count import count
from jobs.causes import Cause, idle_attempts
from jobs.checkpoint import load_checkpoint, unpack, weights_sha256
from jobs.config import RunConfig
from jobs.distributed import ALONE
from jobs.errors import DeviceError, InputError, NonFiniteLossError, StoppedError, StuckError
from jobs.records import describe_environment, describe_few_images
from jobs.run_dir import RunDir
from jobs.run_records import NOT_REPRODUCED, Attempt
from jobs.seeds import derive_seed
from jobs.train import train
from tests.jobs.conftest import TINY, plan_run

# The tiny training: 3 epochs of 3 training and 2 test batches.
BOUNDARIES = 3 * (3 + 2)


class StopAt:
    """A stop flag that is set when it is looked at for the nth time between two steps."""

    def __init__(self, look: int | None) -> None:
        self.looks_left = look

    @property
    def is_set(self) -> bool:
        # While images are decoded it is looked at as often as it takes.
        if self.looks_left is None or sys._getframe(1).f_code.co_name == "<lambda>":
            return False
        self.looks_left -= 1
        return self.looks_left < 0


class InterruptAt(StopAt):
    """Ends the training without a word when it is looked at for the nth time."""

    @property
    def is_set(self) -> bool:
        if StopAt.is_set.fget(self):  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return False


def attempt_of(run: RunDir) -> Attempt:
    return Attempt(
        attempt=run.next_attempt(),
        started_unix_s=0.0,
        executor="test",
        job_id="1",
        restart=0,
        host="here",
        pid=1,
        user="me",
        code="",
    )


def train_once(run: RunDir, stop_at: int | None = None) -> tuple[bool, list[str]]:
    said: list[str] = []
    finished = train(run, run.read_config(), attempt_of(run), StopAt(stop_at), said.append)
    return finished, said


def outcome(run: RunDir) -> tuple[list[dict[str, Any]], str]:
    """All that must be equal: the metrics without their timing, and the weights."""
    result = run.read_result()
    assert result is not None
    metrics = [
        {key: value for key, value in record.items() if key not in NOT_REPRODUCED}
        for record in run.read_metrics()
    ]
    return metrics, result["weights_sha256"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = plan_run(tmp_path_factory.mktemp("undisturbed"))
    train_once(run)
    return run


def test_a_run_learns_and_writes_a_record_per_epoch(undisturbed: RunDir) -> None:
    metrics = undisturbed.read_metrics()
    assert [record["epoch"] for record in metrics] == [1, 2, 3]
    assert [record["step"] for record in metrics] == [3, 6, 9]
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert set(metrics[0]) == NOT_REPRODUCED | {
        "epoch", "step", "lr", "train_loss", "train_top1", "test_loss", "test_top1", "test_top5",
    }  # fmt: skip
    assert all(record["throughput_img_s"] > 0 for record in metrics)
    assert all(record["test_top5"] >= record["test_top1"] for record in metrics)


def test_the_result_agrees_with_the_metrics_and_the_network(undisturbed: RunDir) -> None:
    metrics, result = undisturbed.read_metrics(), undisturbed.read_result()
    assert result is not None
    best = max(metrics, key=lambda record: record["test_top1"])
    assert (result["best_test_top1"], result["best_epoch"]) == (best["test_top1"], best["epoch"])
    assert result["final_test_top1"] == metrics[-1]["test_top1"]
    counts = count(create_model(TINY["model"], 10, 8), 8)
    assert (result["params"], result["macs"]) == (counts.params, counts.macs)
    assert result["attempts"] == 1


def test_the_metrics_are_those_of_a_plain_evaluation(undisturbed: RunDir) -> None:
    """The final accuracy again, from the kept weights, with none of the trainer's code."""
    state = load_checkpoint(undisturbed, print)
    assert state is not None
    model = create_model(TINY["model"], 10, 8)
    model.load_state_dict(state["model"])
    model.eval()
    from jobs.data.augment import Normaliser
    from jobs.data.datasets import load_dataset

    data = load_dataset(undisturbed.read_config())
    with torch.inference_mode():
        logits = model(Normaliser(data, torch.device("cpu"))(data.test.pixels))
    top1 = 100 * (logits.argmax(1) == data.test.labels).double().mean().item()
    assert undisturbed.read_metrics()[-1]["test_top1"] == pytest.approx(top1)


def test_the_weights_begin_as_the_seed_says(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "seeded", seed=7)
    train_once(run, stop_at=0)
    state = load_checkpoint(run, print)
    assert state is not None
    torch.manual_seed(derive_seed(7, "weights"))
    for name, tensor in create_model(TINY["model"], 10, 8).state_dict().items():
        assert torch.equal(state["model"][name], tensor), name


@settings(max_examples=20)
@given(st.lists(st.integers(0, BOUNDARIES - 1), min_size=1, max_size=6))
def test_stopped_anywhere_any_number_of_times_it_ends_the_same_to_the_bit(
    undisturbed: RunDir, stops: list[int]
) -> None:
    """Stops in training and in evaluation, in the first step and in the last."""
    with tempfile.TemporaryDirectory() as folder:
        run = plan_run(Path(folder))
        for stop_at in stops:
            train_once(run, stop_at)
        if run.read_result() is None:
            assert train_once(run)[0]
        assert outcome(run) == outcome(undisturbed)


@settings(max_examples=15)
@given(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(["resnet_small", "preact_resnet_small"]),
            "model_options.attention": st.sampled_from(["none", "bam", "spatial"]),
            "model_options.dropout": st.sampled_from([0.0, 0.3]),
            "optimizer": st.sampled_from(["sgd", "adamw"]),
            "schedule": st.sampled_from(["cosine", "restarts", "step", "multistep"]),
            "restart_epochs": st.just(1),
            "lr_milestones_epochs": st.just([1]),
            "clip_norm": st.sampled_from([0, 0.5]),
            "nesterov": st.booleans(),
            "decay": st.sampled_from(["all", "weights"]),
            "label_smoothing": st.sampled_from([0, 0.1]),
            "accumulate_steps": st.sampled_from([1, 3]),
            "ema_decay": st.sampled_from([0, 0.9]),
            "precision": st.sampled_from(["fp32", "bf16"]),
            "channels_last": st.booleans(),
            "crop": st.sampled_from(["shift", "resized"]),
            "image_px": st.sampled_from([None, 9]),
            "test_crop": st.sampled_from([1.0, 0.8]),
            "augment": st.sampled_from(["none", "randaugment", "autoaugment_cifar10"]),
            "cutout_px": st.sampled_from([0, 3]),
            "mixup_alpha": st.sampled_from([0, 0.2]),
            "cutmix_alpha": st.sampled_from([0, 1.0]),
            "batch_size": st.sampled_from([16, 89]),
            "epochs": st.just(2),
        }
    ),
    st.data(),
)
def test_whatever_the_configuration_a_stop_changes_nothing(
    options: dict[str, Any], data: st.DataObject
) -> None:
    of_network = {key: options.pop(f"model_options.{key}") for key in ("attention", "dropout")}
    options["model_options"] = of_network
    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = (plan_run(Path(folder) / name, **options) for name in ("a", "b"))
        train_once(whole)
        train_once(stopped, data.draw(st.integers(0, 12)))
        train_once(stopped)
        assert outcome(stopped) == outcome(whole)


def test_dropout_goes_on_after_a_stop_with_the_draws_it_would_have_had(tmp_path: Path) -> None:
    network = {
        "model": "lambda_resnet18",
        "model_options": {"k": 2, "m": 3, "stem": "imagenet"},
        "train_images": 32,
        "epochs": 1,
    }
    whole, stopped = (plan_run(tmp_path / name, **network) for name in ("a", "b"))
    train_once(whole)
    train_once(stopped, stop_at=1)
    train_once(stopped)
    assert outcome(stopped) == outcome(whole)


def test_in_lower_precision_it_learns_much_the_same(tmp_path: Path, undisturbed: RunDir) -> None:
    run = plan_run(tmp_path / "bf16", precision="bf16")
    _, said = train_once(run)
    assert "in bf16 on " in said[0]
    exact, rounded = undisturbed.read_metrics(), run.read_metrics()
    assert rounded[-1]["train_loss"] == pytest.approx(exact[-1]["train_loss"], rel=0.05)
    assert rounded[-1]["train_loss"] != exact[-1]["train_loss"]
    state = load_checkpoint(run, print)
    assert state is not None
    assert {tensor.dtype for tensor in state["model"].values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("clip_norm", [0, 0.5])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_scale_of_the_loss_goes_on_after_a_stop(
    optimizer: str, clip_norm: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU in place of a GPU; the scale is too large at first and shrinks, then grows."""
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**24, growth_interval=2)
    monkeypatch.setattr("torch.amp.GradScaler", scaler)
    monkeypatch.setattr("jobs.train.resolve_precision", lambda *_: "fp16")
    options = {"precision": "fp16", "optimizer": optimizer, "clip_norm": clip_norm, "lr": 0.01}
    whole, stopped = (plan_run(tmp_path / name, **options) for name in ("a", "b"))
    train_once(whole)
    for stop_at in (1, 2, 5):
        train_once(stopped, stop_at)
    train_once(stopped)
    assert outcome(stopped) == outcome(whole)
    scales = [load_checkpoint(run, print)["scaler"] for run in (whole, stopped)]  # type: ignore[index]
    assert scales[0] == scales[1]
    assert 2**10 < scales[0]["scale"] < 2**24


def test_clipping_sees_the_gradients_of_the_loss_and_not_of_the_scaled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.train.resolve_precision", lambda *_: "fp16")
    norms = []
    real = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        "torch.nn.utils.clip_grad_norm_",
        lambda parameters, norm: norms.append(real(parameters, norm).item()),
    )
    train_once(plan_run(tmp_path / "clipped", precision="fp16", clip_norm=1))
    finite = [norm for norm in norms if norm < float("inf")]
    assert finite
    assert max(finite) < 100


def test_what_auto_means_is_written_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.train.find_device", lambda local_rank: torch.device("cpu"))
    run = plan_run(tmp_path / "auto", precision="auto")
    assert run.read_resolved() is None
    _, said = train_once(run, stop_at=2)
    assert "in fp32 on cpu" in said[0]
    assert run.read_resolved() == {"precision": "fp32", "loading": "memory"}
    monkeypatch.setattr("jobs.train.gpu_capability", lambda device: (8, 0))
    _, said = train_once(run)
    assert "in fp32 on cpu" in said[1]


def test_only_auto_is_resolved(undisturbed: RunDir) -> None:
    assert undisturbed.read_resolved() is None


def test_half_precision_on_a_cpu_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.train.find_device", lambda local_rank: torch.device("cpu"))
    run = plan_run(tmp_path / "fp16", precision="fp16")
    with pytest.raises(DeviceError, match="needs a GPU"):
        train_once(run)
    assert run.attempts() == []


@pytest.mark.filterwarnings("ignore")  # torch's compiler is not free of warnings
def test_a_compiled_network_goes_on_after_a_stop_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the last batch of an epoch, which is smaller, is what the second attempt sees first"""

    def small(*_: Any, **__: Any) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.Dropout(0.5), torch.nn.Flatten(), torch.nn.Linear(72, 10),
        )  # fmt: skip

    monkeypatch.setattr("jobs.train.create_model", small)
    whole, stopped = (plan_run(tmp_path / name, compile=True, epochs=2) for name in ("a", "b"))
    train_once(whole)
    train_once(stopped, stop_at=2)
    torch._dynamo.reset()
    train_once(stopped)
    assert outcome(stopped) == outcome(whole)
    state = load_checkpoint(whole, print)
    assert state is not None
    assert state["model"].keys() == small().state_dict().keys()


def test_gradients_are_scaled_down_to_the_largest_norm(tmp_path: Path) -> None:
    """With a tiny norm, one step moves the weights by at most lr times that norm."""
    moved = {}
    for clip_norm in (0.0, 1e-3):
        run = plan_run(
            tmp_path / str(clip_norm),
            clip_norm=clip_norm,
            epochs=1,
            weight_decay=0,
            warmup_epochs=0,
        )
        train_once(run, stop_at=1)
        state = load_checkpoint(run, print)
        assert state is not None
        torch.manual_seed(derive_seed(0, "weights"))
        before = dict(create_model(TINY["model"], 10, 8).named_parameters())
        change = torch.stack([(state["model"][name] - old).norm() for name, old in before.items()])
        moved[clip_norm] = change.norm().item() / run.read_config().lr
    assert moved[1e-3] == pytest.approx(1e-3, rel=0.01)
    assert moved[0.0] > 0.1


def test_a_batch_in_parts_makes_the_step_of_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding, with a network whose images do not see each other; clipped as a whole."""

    def without_batch_norm(*_: Any, **__: Any) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(576, 10)
        )

    monkeypatch.setattr("jobs.train.create_model", without_batch_norm)
    weights, losses = [], []
    for parts in (1, 4):
        run = plan_run(tmp_path / str(parts), accumulate_steps=parts, clip_norm=0.5)
        train_once(run)
        state = load_checkpoint(run, print)
        assert state is not None
        weights.append(state["model"])
        losses.append(run.read_metrics()[-1]["train_loss"])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_smoothed_labels_are_for_training_only(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "smooth", label_smoothing=0.5, train_images=512, epochs=8)
    train_once(run)
    last = run.read_metrics()[-1]
    # No loss of smoothed labels is below their entropy: 0.55 for one class and 0.05 for nine.
    assert last["test_loss"] < 1.67 < last["train_loss"]


def test_the_averaged_weights_are_evaluated_and_kept(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "average", ema_decay=0.5, keep="best", epochs=2)
    train_once(run, stop_at=9)
    state = load_checkpoint(run, print)
    assert state is not None
    train_once(run)
    result = run.read_result()
    assert result is not None
    assert result["weights_sha256"] != weights_sha256(state["model"])
    assert result["weights_sha256"] == weights_sha256(state["average"])
    if result["best_epoch"] == 2:
        assert weights_sha256(unpack(run.best.read_bytes())) == result["weights_sha256"]


def test_an_average_that_keeps_everything_stays_where_the_weights_began(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "slow", ema_decay=1 - 1e-9)
    train_once(run)
    losses = [record["test_loss"] for record in run.read_metrics()]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_a_run_that_lost_its_last_checkpoints_trains_those_epochs_again(
    undisturbed: RunDir, tmp_path: Path
) -> None:
    run = plan_run(tmp_path / "lost")
    train_once(run, stop_at=4)
    kept = run.checkpoint.read_bytes()
    train_once(run, stop_at=8)
    run.previous_checkpoint.unlink(missing_ok=True)
    run.checkpoint.write_bytes(kept)
    train_once(run)
    assert outcome(run) == outcome(undisturbed)
    assert [record["attempt"] for record in run.read_metrics()] == [3, 3, 3]


def test_a_damaged_checkpoint_costs_only_the_way_from_the_one_before(
    undisturbed: RunDir, tmp_path: Path
) -> None:
    run = plan_run(tmp_path / "damaged", checkpoint_every_s=0)
    train_once(run, stop_at=9)
    run.checkpoint.write_bytes(b"rubbish")
    _, said = train_once(run)
    assert "is damaged" in said[0]
    assert outcome(run) == outcome(undisturbed)


def test_a_full_disk_at_a_checkpoint_does_not_stop_the_training(
    undisturbed: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan_run(tmp_path / "full", checkpoint_every_s=0)
    from jobs import checkpoint as module

    real, failures = module.write_atomic, []

    def fail_twice(path: Path, content: bytes) -> None:
        if len(failures) < 2:
            failures.append(path.name)
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(module, "write_atomic", fail_twice)
    finished, said = train_once(run)
    assert finished
    assert sum("the checkpoint could not be written" in line for line in said) == 2
    assert outcome(run) == outcome(undisturbed)


@pytest.mark.parametrize(
    ("keep", "left"), [("none", []), ("final", ["checkpoint.pt"]), ("best", ["best.pt"])]
)
def test_the_asked_for_checkpoint_stays(keep: str, left: list[str], tmp_path: Path) -> None:
    run = plan_run(tmp_path / keep, keep=keep)
    train_once(run)
    assert sorted(path.name for path in run.path.glob("*.pt")) == left
    if keep == "best":
        weights = unpack(run.best.read_bytes())
        create_model(TINY["model"], 10, 8).load_state_dict(weights)


def test_a_resume_on_something_else_is_said(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "moved")
    train_once(run, stop_at=3)
    state = unpack(run.checkpoint.read_bytes())
    state["environment"]["cpu_capability"] = "ABACUS"
    from jobs.checkpoint import save_checkpoint

    save_checkpoint(run, state)
    _, said = train_once(run)
    assert any("resumed on something else: cpu_capability was ABACUS" in line for line in said)


def test_the_number_of_threads_is_kept_from_the_first_attempt(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "threads", threads=None)
    torch.set_num_threads(2)
    try:
        train_once(run, stop_at=2)
        torch.set_num_threads(1)
        _, said = train_once(run)
        assert describe_environment(torch.device("cpu"), ALONE)["threads"] == 2
    finally:
        torch.set_num_threads(1)
    assert not any("something else" in line for line in said)
    environments = [attempt["environment"] for attempt in run.attempts()]
    assert [environment["threads"] for environment in environments] == [2, 2]


def test_the_attempt_tells_from_where_to_where_it_came(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "steps")
    train_once(run, stop_at=2)
    attempt = run.attempts()[0]
    assert (attempt["first_step"], attempt["steps_per_epoch"]) == (0, 3)


def test_progress_is_written_while_training(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "progress", progress_every_s=0)
    train_once(run, stop_at=5)
    progress = run.read_progress()
    assert progress is not None
    assert (progress["epoch"], progress["epochs"], progress["steps"]) == (1, 3, 9)
    assert progress["eta_s"] is not None


# A rate at which the weights leave the range of numbers in the first step.
DIVERGING = {"lr": 1e38, "warmup_epochs": 0}


def test_a_loss_that_is_no_number_ends_the_run_at_the_end_of_the_epoch_at_the_latest(
    tmp_path: Path,
) -> None:
    run = plan_run(tmp_path / "diverging", **DIVERGING)
    with pytest.raises(NonFiniteLossError, match=r"somewhere in steps 1 to 3; look at lr \(1e\+38"):
        train_once(run)
    assert run.read_metrics() == []
    assert run.read_result() is None


def test_in_a_long_epoch_the_loss_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.train.CHECK_EVERY_STEPS", 4)
    run = plan_run(tmp_path / "long", **DIVERGING, train_images=512, batch_size=16)
    with pytest.raises(NonFiniteLossError, match="steps 1 to 4;"):
        train_once(run)


def test_no_checkpoint_is_written_after_the_loss_was_lost(tmp_path: Path) -> None:
    """Not when it is time for one, and not on a stop either."""
    run = plan_run(tmp_path / "saving", **DIVERGING, checkpoint_every_s=0)
    with pytest.raises(NonFiniteLossError, match="in step"):
        train_once(run)
    state = load_checkpoint(run, print)
    assert state is not None
    loop = state["tasks"][0]["loop"]
    assert math.isfinite(loop["train_sums"][0])
    assert loop["checked_step"] == loop["step"] < 3
    with pytest.raises(NonFiniteLossError):
        train_once(run, stop_at=3)


# Nothing can be learnt at this rate.
IDLE = {"lr": 1e-12, "epochs": 12, "train_images": 512, "test_images": 256, "batch_size": 128}


def test_a_run_that_only_guesses_is_stopped_and_goes_on_if_it_is_told_to(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "stuck", **IDLE)
    for _ in range(2):  # started again it is not trained again
        with pytest.raises(StuckError, match="the last 10 of 12 epochs was never above what"):
            train_once(run)
        progress = run.read_progress()
        assert progress is not None
        assert (progress["epoch"], progress["stuck_at_chance"]) == (10, True)
        assert len(run.read_metrics()) == 10
    again = plan_run(tmp_path / "stuck", **IDLE, when_stuck="go_on")
    assert again.run_id == run.run_id
    assert train_once(again)[0]
    result = again.read_result()
    assert result is not None
    assert result["stuck_at_chance"]
    undisturbed = plan_run(tmp_path / "on", **IDLE, when_stuck="go_on")
    _, said = train_once(undisturbed)
    told = [line for line in said if line.startswith("stuck at chance: the top-1 of the last 10 ")]
    assert len(told) == 1
    assert outcome(again) == outcome(undisturbed)


def test_a_run_that_learns_is_not_stuck(undisturbed: RunDir, tmp_path: Path) -> None:
    """Even if it is the test alone in which it does no better than guessing."""
    result = undisturbed.read_result()
    assert result is not None
    assert not result["stuck_at_chance"]
    run = plan_run(tmp_path / "late", epochs=11, ema_decay=1 - 1e-9)
    assert train_once(run)[0]


def test_missing_data_is_an_input_error(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "nodata", dataset="cifar10", data_dir=tmp_path)
    with pytest.raises(InputError, match="are not in"):
        train_once(run)


def test_within_an_epoch_there_is_a_line_every_so_many_steps(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "lines", log_every_steps=2, train_images=160, epochs=2)
    _, said = train_once(run)
    lines = [line for line in said if "  step " in line]
    assert [line.split("  train")[0] for line in lines] == [
        "epoch 1/2  step 2/5",
        "epoch 1/2  step 4/5",
        "epoch 2/2  step 2/5",
        "epoch 2/2  step 4/5",
    ]
    assert re.fullmatch(r".* train loss \d\.\d{4} top-1 +\d+\.\d\d %  [\d,]+ images/s", lines[0])


def test_fewer_images_at_once_than_the_source_asks_for_are_warned_of() -> None:
    options = {"model": "attention92", "batch_size": 256}
    assert describe_few_images(RunConfig(**options, gpus=8)) == ""
    assert describe_few_images(RunConfig(**options, gpus=8, accumulate_steps=2)) == (
        "warning: 16 images at once on a GPU, and for attention92 its source asks for at least 32; "
        "raise batch_size, or lower gpus or accumulate_steps"
    )


def test_a_display_is_shown_every_batch(tmp_path: Path) -> None:
    run, shown = plan_run(tmp_path / "shown", epochs=1), []
    train(
        run,
        run.read_config(),
        attempt_of(run),
        StopAt(None),
        lambda text: None,
        display=lambda *what: shown.append(what),
    )
    epoch = [("epoch 1/1", batch, 3) for batch in (1, 2, 3)]
    assert shown == [*epoch, ("test", 1, 2), ("test", 2, 2)]


def test_a_run_may_begin_with_weights_and_needs_them_only_once(
    undisturbed: RunDir, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pt"
    shutil.copy(undisturbed.checkpoint, weights)
    run = plan_run(tmp_path / "begun", init_from="weights.pt", data_dir=tmp_path, lr=1e-6)
    train_once(run, stop_at=2)
    weights.unlink()
    train_once(run)
    before, after = undisturbed.read_metrics()[-1], run.read_metrics()[0]
    assert after["test_top1"] == pytest.approx(before["test_top1"], abs=4.1)
    assert after["test_loss"] == pytest.approx(before["test_loss"], rel=0.05)


def test_a_stop_within_an_evaluation_tells_how_far_that_was(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "stopped")
    first, second, third = attempt_of(run), attempt_of(run), attempt_of(run)
    for attempt, look in ((first, 4), (second, 0), (third, 2)):
        train(run, run.read_config(), attempt, StopAt(look), lambda text: None)
    assert (first["first_step"], first["last_step"]) == (0, 3)
    assert "first_eval_batch" not in first
    assert first["last_eval_batch"] == second["first_eval_batch"] == 1
    assert second["last_eval_batch"] == third["first_eval_batch"] == 1
    assert third["last_step"] == 4
    assert "last_eval_batch" not in third
    assert idle_attempts([record | {"cause": "stopped"} for record in (first, second)]) == [
        Cause.STOPPED
    ]


def test_weights_can_be_evaluated_alone(undisturbed: RunDir, tmp_path: Path) -> None:
    checkpoint = str(undisturbed.checkpoint.resolve())
    run = plan_run(tmp_path / "evaluated", init_from=checkpoint, eval_only=True)
    assert not train_once(run, stop_at=1)[0]
    finished, said = train_once(run)
    assert finished
    assert said[-1].startswith("test loss ")
    (metrics,), result = run.read_metrics(), run.read_result()
    wanted = undisturbed.read_metrics()[-1]
    assert result is not None
    assert (metrics["test_top1"], metrics["test_loss"]) == (
        wanted["test_top1"],
        wanted["test_loss"],
    )
    assert (metrics["train_loss"], metrics["step"]) == (None, 0)
    assert result["final_test_top1"] == wanted["test_top1"]


def test_a_run_does_not_go_on_with_a_folder_of_other_images(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "flowers"
    for place, (part, name) in enumerate(itertools.product(("train", "val"), ("rose", "tulip"))):
        (folder / part / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((8, 8, 3), 30 * place + number, np.uint8)
            Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    options = {"dataset": "imagefolder", "image_folder": "flowers", "data_dir": tmp_path / "data"}
    small = {"train_images": None, "test_images": None, "batch_size": 4, "epochs": 1}
    run = plan_run(tmp_path / "changing", **options, **small)
    train_once(run, stop_at=2)
    moved = folder / "train" / "rose" / "0.png"
    moved.rename(tmp_path / "0.png")
    with pytest.raises(InputError, match="files were added, removed or renamed"):
        train_once(run)
    (tmp_path / "0.png").rename(moved)
    assert train_once(run)[0]


def test_a_stop_before_the_images_are_there_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_for_others(*_: object) -> None:
        raise StoppedError

    monkeypatch.setattr("jobs.train.make_feed", wait_for_others)
    run = plan_run(tmp_path / "waiting")
    assert train_once(run) == (False, [])


def test_event_files_hold_each_epoch_once_although_it_was_trained_twice(
    undisturbed: RunDir, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = plan_run(tmp_path / "events", tensorboard=True)
    # Killed after the first epoch was recorded: nothing was saved, and it is trained again.
    with pytest.raises(KeyboardInterrupt):
        train(run, run.read_config(), attempt_of(run), InterruptAt(7), lambda text: None)
    train_once(run)
    events = EventAccumulator(str(run.event_files))
    events.Reload()
    for tag, name in (("loss/train", "train_loss"), ("accuracy/test_top1", "test_top1")):
        shown = [(event.step, event.value) for event in events.Scalars(tag)]
        metrics = undisturbed.read_metrics()
        assert shown == [
            (record["epoch"], pytest.approx(record[name]))  # type: ignore[literal-required]
            for record in metrics
        ]
    assert outcome(run) == outcome(undisturbed)
