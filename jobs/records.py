"""What is written about a training, for programs and for people to read."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable

import torch

from attention_models import least_images_per_gpu
from attention_models.count import Counts
from jobs.config import RunConfig
from jobs.data.feed import Feed
from jobs.distributed import Tasks
from jobs.loop_state import LoopState
from jobs.run_records import Attempt, Environment, EpochMetrics, Progress
from jobs.watch import is_stuck

# ------------------------------------------------------------------------------- environment


def describe_environment(device: torch.device, tasks: Tasks) -> Environment:
    return Environment(
        gpus=tasks.world,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        versions={"python": platform.python_version(), "torch": str(torch.__version__)},
    )


def warn_of_differences(before: Environment, now: Environment, say: Callable[[str], None]) -> None:
    changes = [
        f"{name} was {before.get(name)} and is {is_now}"
        for name, is_now in now.items()
        if before.get(name) != is_now
    ]
    if changes:
        say(
            f"resumed on something else: {'; '.join(changes)}. "
            "The result may differ in the last digits from that of an undisturbed run"
        )


def peak_memory_mb(device: torch.device) -> float:
    """Of the device's allocations on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


# ------------------------------------------------------------------------------- records


def make_metrics(
    attempt: Attempt,
    loop: LoopState,
    lr: float,
    train_sums: list[float],
    test_sums: list[float],
    device: torch.device,
) -> EpochMetrics:
    """The record of an epoch; in an evaluation alone there is nothing of training."""
    train_loss, train_top1, train_images = train_sums
    test_loss, test_top1, test_top5, test_images = test_sums
    trained = train_images > 0
    return EpochMetrics(
        attempt=attempt["attempt"],
        epoch=loop.epoch + 1,
        step=loop.step,
        lr=lr,
        train_loss=train_loss / train_images if trained else None,
        train_top1=100 * train_top1 / train_images if trained else None,
        test_loss=test_loss / test_images,
        test_top1=100 * test_top1 / test_images,
        test_top5=100 * test_top5 / test_images,
        epoch_s=loop.epoch_s,
        eval_s=loop.eval_s,
        throughput_img_s=train_images / loop.epoch_s if trained else test_images / loop.eval_s,
        data_wait_share=loop.wait_s / loop.epoch_s if trained else 0.0,
        peak_mem_mb=peak_memory_mb(device),
        time_unix_s=time.time(),
    )


def make_progress(
    attempt: Attempt,
    config: RunConfig,
    loop: LoopState,
    elapsed_s: float,
) -> Progress:
    steps = config.epochs * attempt["steps_per_epoch"]
    done = loop.step - attempt["first_step"]
    return Progress(
        attempt=attempt["attempt"],
        epoch=loop.epoch,
        epochs=config.epochs,
        step=loop.step,
        steps=steps,
        eta_s=elapsed_s / done * (steps - loop.step) if done else None,
        test_top1=loop.final_test_top1 if loop.epoch else None,
        stuck_at_chance=is_stuck(config, loop.chance_epochs),
        time_unix_s=time.time(),
    )


def describe_start(
    config: RunConfig,
    feed: Feed,
    counts: Counts,
    environment: Environment,
    precision: str,
    loop: LoopState,
) -> str:
    begin = "from the beginning"
    if loop.step:
        begin = f"from step {loop.step} (epoch {loop.epoch + 1})"
    elif config.init_from:
        begin = f"{'evaluating' if config.eval_only else 'from'} the weights of {config.init_from}"
    network = " ".join([config.model, *(f"{k}={v}" for k, v in config.model_options.items())])
    device = environment["device"]
    if environment["gpus"] > 1:
        device = f"{environment['gpus']} x {device}"
    return (
        f"{network} ({counts.params:,} parameters) on {config.image_folder or config.dataset} "
        f"({len(feed.train_labels):,} + {len(feed.test_labels):,} images of {feed.input_size} px"
        f"{', streamed' if feed.loading == 'stream' else ''}), seed {config.seed}, "
        f"{plural(config.epochs, 'epoch')}, in {precision} on {device} with "
        f"{plural(environment['threads'], 'thread')}, {begin}"
    )


def describe_steps(
    loop: LoopState,
    config: RunConfig,
    batches: int,
    before: list[float],
    now: list[float],
    took_s: float,
) -> str:
    """A line within an epoch, about the steps between two states of the sums of training."""
    loss, top1, images = (after - then for after, then in zip(now, before, strict=True))
    return (
        f"epoch {loop.epoch + 1:>{len(str(config.epochs))}}/{config.epochs}  "
        f"step {loop.batch:>{len(str(batches))}}/{batches}  "
        f"train loss {loss / images:.4f} top-1 {100 * top1 / images:6.2f} %  "
        f"{images / took_s:,.0f} images/s"
    )


def plural(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def describe_stuck(
    loop: LoopState, config: RunConfig, train_guess: float, test_guess: float
) -> str:
    return (
        f"the top-1 of the last {loop.chance_epochs} of {config.epochs} epochs was never above "
        f"what guessing reaches, {train_guess:.2f} % in training and {test_guess:.2f} % in the test"
    )


def describe_epoch(metrics: EpochMetrics, epochs: int) -> str:
    tested = (
        f"test loss {metrics['test_loss']:.4f} top-1 {metrics['test_top1']:6.2f} %  "
        f"{metrics['throughput_img_s']:,.0f} images/s"
    )
    if metrics["train_loss"] is None:
        return tested
    return (
        f"epoch {metrics['epoch']:>{len(str(epochs))}}/{epochs}  lr {metrics['lr']:.4f}  "
        f"train loss {metrics['train_loss']:.4f} top-1 {metrics['train_top1']:6.2f} %  {tested} "
        f"({100 * metrics['data_wait_share']:.0f} % waiting for images)"
    )


def describe_few_images(config: RunConfig) -> str:
    """A warning if a GPU sees fewer images at once than the network's source demands."""
    least = least_images_per_gpu(config.model)
    at_once = config.batch_size // config.gpus // config.accumulate_steps
    if at_once >= least:
        return ""
    return (
        f"warning: {at_once} images at once on a GPU, and for {config.model} its source asks for "
        f"at least {least}; raise batch_size, or lower gpus or accumulate_steps"
    )
