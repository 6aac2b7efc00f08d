"""The trainer. It reads from top to bottom, and everything that it changes is saved and restored.

A stop only sets a flag; the loop looks at it between two steps, in training and in evaluation,
saves and leaves. On the CPU a run that was stopped and resumed any number of times ends with the
same metrics and weights, to the bit, as one that was not.

    python -m jobs.train MODEL [key=value ...]      train one network here, for debugging
"""

from __future__ import annotations

import contextlib
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_models import create_model
from attention_models.count import Counts, count
from jobs.checkpoint import load_checkpoint, save_checkpoint, save_weights, weights_sha256
from jobs.config import RunConfig
from jobs.device import autocast, find_device, gpu_capability, resolve_precision
from jobs.distributed import ALONE
from jobs.errors import StuckError, run_command
from jobs.feed import Feed, make_feed
from jobs.optim import (
    AveragedWeights,
    fill_momentum,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from jobs.run_dir import (
    Attempt,
    Environment,
    EpochMetrics,
    Progress,
    Resolved,
    Result,
    RunDir,
)
from jobs.seeds import derive_seed
from jobs.watch import CHECK_EVERY_STEPS, best_by_chance, check_loss, is_stuck


class StopFlag(Protocol):
    """Set by a signal handler, looked at between two steps."""

    @property
    def is_set(self) -> bool: ...


@dataclass
class LoopState:
    """All that the loop changes, but for weights, optimizer and random generators.

    Saved and restored under these names. An epoch is trained from `batch` to its end, then
    evaluated from `eval_batch` to the end, then recorded.
    """

    epoch: int = 0  # finished epochs
    batch: int = 0  # finished training batches of this epoch
    eval_batch: int = 0  # finished test batches of this epoch
    step: int = 0  # optimizer steps in all
    checked_step: int = 0  # until there the loss is known to be finite
    train_sums: list[float] = field(default_factory=lambda: [0.0] * 3)  # loss, top-1, images
    test_sums: list[float] = field(default_factory=lambda: [0.0] * 4)  # loss, top-1, top-5, images
    epoch_s: float = 0.0  # spent training this epoch
    eval_s: float = 0.0  # spent evaluating it
    wall_s: float = 0.0  # spent in the loop, over all attempts
    best_test_top1: float = -1.0
    best_epoch: int = 0
    final_test_top1: float = 0.0
    final_test_top5: float = 0.0
    chance_epochs: int = 0  # in a row and up to now, with accuracies that guessing reaches


def train(
    run: RunDir,
    config: RunConfig,
    attempt: Attempt,
    stop: StopFlag,
    say: Callable[[str], None],
) -> bool:
    """Train until the end or until `stop` is set; True if the run is finished.

    Fills in `attempt` (what was found, first and last step) and writes it when training begins.
    Raises InputError when the data set's files are missing, and a TrainingError when training
    cannot go on.
    """
    # --------------------------------------------------------------------------- where we are
    saved = load_checkpoint(run, say)
    device = find_device()
    resolved = run.read_resolved()
    precision = resolve_precision(
        config.precision, resolved["precision"] if resolved else None, gpu_capability(device)
    )
    # Another number of threads adds in another order: what the first attempt had is kept.
    threads = config.threads or (saved["environment"]["threads"] if saved else None)
    if threads:
        torch.set_num_threads(threads)
    environment = describe_environment(device)
    if saved:
        warn_of_differences(saved["environment"], environment, say)

    # --------------------------------------------------------------------------- what we train
    # Order: data, weights, their average, optimizer. Only the weights draw from the global
    # generator. Where there is an average, it is what is evaluated and kept as the best.
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    feed = make_feed(config, ALONE, device, memory_format)
    torch.manual_seed(derive_seed(config.seed, "weights"))
    model = create_model(
        config.model, feed.num_classes, feed.input_size, **config.model_options
    ).to(device)
    model.to(memory_format=memory_format)  # type: ignore[call-overload]
    counts = count(model, feed.input_size)
    average = AveragedWeights(model, config.ema_decay) if config.ema_decay else None
    evaluated = average.model if average else model
    optimizer = make_optimizer(model, config)
    # Each size of a batch is compiled for itself: what is computed must not depend on which of
    # them an attempt sees first.
    network = torch.compile(model, dynamic=False) if config.compile else model
    computing = autocast(precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    if precision == "fp16":
        fill_momentum(optimizer)
    train_guess, test_guess = best_by_chance(feed.train_labels), best_by_chance(feed.test_labels)
    batches, eval_batches = feed.train_batches, feed.test_batches

    # --------------------------------------------------------------------------- where we were
    loop = LoopState()
    if saved:
        loop = LoopState(**saved["loop"])
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if average:
            average.model.load_state_dict(saved["average"])
        if scaler.is_enabled():
            scaler.load_state_dict(saved["scaler"])
        restore_generators(saved["generators"])
        del saved
    attempt["environment"] = environment
    attempt["params"], attempt["macs"] = counts.params, counts.macs
    attempt["steps_per_epoch"], attempt["first_step"] = len(batches), loop.step
    run.write_attempt(attempt)
    if config.precision == "auto" and not resolved:
        run.write_resolved(Resolved(precision=precision))
    say(describe_start(config, feed, counts, environment, precision, loop))
    train_sums = torch.tensor(loop.train_sums, dtype=torch.float64, device=device)
    test_sums = torch.tensor(loop.test_sums, dtype=torch.float64, device=device)
    wall = Stopwatch(device, loop.wall_s)
    checkpoint_timer, progress_timer = (
        Timer(config.checkpoint_every_s),
        Timer(config.progress_every_s),
    )

    def look_at_loss() -> None:
        """Raise if it is not finite; this waits for the GPU."""
        check_loss(
            train_sums[0].item(),
            config,
            since=loop.checked_step,
            step=loop.step,
            lr=learning_rate(config, max(loop.step - 1, 0), len(batches)),
            precision=precision,
        )
        loop.checked_step = loop.step

    def save() -> None:
        look_at_loss()
        loop.train_sums, loop.test_sums = train_sums.tolist(), test_sums.tolist()
        loop.wall_s = wall.read()
        state = {
            "loop": asdict(loop),
            "model": model.state_dict(),
            "average": average.model.state_dict() if average else None,
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "generators": save_generators(),
            "environment": environment,
        }
        save_checkpoint(run, state)

    def show_progress() -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop training
            run.write_progress(make_progress(attempt, config, loop, wall.elapsed_s()))

    def must_leave() -> bool:
        """Between two steps: leave if asked to, save and show progress if it is time."""
        attempt["last_step"] = loop.step
        if stop.is_set:
            save()
            show_progress()
            return True
        if checkpoint_timer.is_due():
            try:
                save()
            except OSError as error:
                # The one before is untouched, and the next may succeed.
                say(f"the checkpoint could not be written: {error}")
        if progress_timer.is_due():
            show_progress()
        return False

    show_progress()
    while loop.epoch < config.epochs:
        # ----------------------------------------------------------------------- is it learning
        if config.when_stuck == "stop" and is_stuck(config, loop.chance_epochs):
            attempt["last_step"] = loop.step
            save()
            raise StuckError(describe_stuck(loop, config, train_guess, test_guess))

        # ----------------------------------------------------------------------- train an epoch
        model.train()
        watch = Stopwatch(device, loop.epoch_s)
        while loop.batch < len(batches):
            if must_leave():
                return False
            set_learning_rate(optimizer, learning_rate(config, loop.step, len(batches)))
            for part in feed.train_parts(loop.epoch, loop.batch):
                with computing:
                    logits = network(part.images).float()
                loss = F.cross_entropy(logits, part.labels, label_smoothing=config.label_smoothing)
                scaler.scale(loss * (len(part) / batches.size_of(loop.batch))).backward()
                train_sums += torch.stack(
                    [
                        loss.detach().double() * len(part),
                        hits(logits, part.labels, 1),
                        count_of(part.labels),
                    ]
                )
            if config.clip_norm:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            if average:
                average.update()
            loop.batch += 1
            loop.step += 1
            if loop.step - loop.checked_step >= CHECK_EVERY_STEPS:
                look_at_loss()
            loop.epoch_s = watch.read()
        look_at_loss()
        loop.epoch_s = watch.read(wait=True)

        # ----------------------------------------------------------------------- evaluate it
        evaluated.eval()
        watch = Stopwatch(device, loop.eval_s)
        while loop.eval_batch < len(eval_batches):
            if must_leave():
                return False
            for part in feed.test_parts(loop.eval_batch):
                with torch.inference_mode():
                    with computing:
                        logits = evaluated(part.images).float()
                    test_sums += torch.stack(
                        [
                            F.cross_entropy(logits, part.labels, reduction="sum").double(),
                            hits(logits, part.labels, 1),
                            hits(logits, part.labels, 5),
                            count_of(part.labels),
                        ]
                    )
            loop.eval_batch += 1
            loop.eval_s = watch.read()
        loop.eval_s = watch.read(wait=True)

        # ----------------------------------------------------------------------- record it
        lr = learning_rate(config, loop.step - 1, len(batches))
        metrics = make_metrics(attempt, loop, lr, train_sums.tolist(), test_sums.tolist(), device)
        run.append_metrics(metrics)
        say(describe_epoch(metrics, config.epochs))
        loop.final_test_top1, loop.final_test_top5 = metrics["test_top1"], metrics["test_top5"]
        if metrics["test_top1"] > loop.best_test_top1:
            loop.best_test_top1, loop.best_epoch = metrics["test_top1"], metrics["epoch"]
            if config.keep == "best":
                save_weights(run.best, evaluated.state_dict())
        # Training counts too: an average of the weights, say, may only be late.
        guesses = metrics["test_top1"] <= test_guess and metrics["train_top1"] <= train_guess
        loop.chance_epochs = loop.chance_epochs + 1 if guesses else 0
        loop.epoch += 1
        loop.batch = loop.eval_batch = 0
        loop.epoch_s = loop.eval_s = 0.0
        train_sums.zero_()
        test_sums.zero_()
        show_progress()

    # --------------------------------------------------------------------------- finish
    attempt["last_step"] = loop.step
    save()
    run.write_result(
        Result(
            run_id=run.run_id,
            best_test_top1=loop.best_test_top1,
            best_epoch=loop.best_epoch,
            final_test_top1=loop.final_test_top1,
            final_test_top5=loop.final_test_top5,
            params=counts.params,
            macs=counts.macs,
            wall_s=loop.wall_s,
            attempts=attempt["attempt"],
            weights_sha256=weights_sha256(evaluated.state_dict()),
            stuck_at_chance=is_stuck(config, loop.chance_epochs),
            time_unix_s=time.time(),
        )
    )
    run.drop_checkpoints(config.keep)
    return True


class Stopwatch:
    """Seconds since it was made, on top of those of earlier attempts."""

    def __init__(self, device: torch.device, before_s: float) -> None:
        self._device, self._before_s = device, before_s
        self._started_s = time.monotonic()

    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def read(self, *, wait: bool = False) -> float:
        """With `wait`, once the GPU has done what it was given."""
        if wait and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._before_s + self.elapsed_s()


class Timer:
    """Due once per interval; with an interval of zero, always."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last_s = time.monotonic()

    def is_due(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_s < self._interval_s:
            return False
        self._last_s = now_s
        return True


def hits(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """How many of the labels (B,) are among the k highest of logits (B, classes)."""
    k = min(k, logits.shape[1])
    return (logits.topk(k).indices == labels[:, None]).sum().double()


def count_of(labels: Tensor) -> Tensor:
    # Filled in on the device: a copy from the CPU would wait for the GPU at each step.
    return torch.full((), len(labels), dtype=torch.float64, device=labels.device)


# ------------------------------------------------------------------------------- environment


def describe_environment(device: torch.device) -> Environment:
    return Environment(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        versions={"python": platform.python_version(), "torch": str(torch.__version__)},
    )


def warn_of_differences(before: Environment, now: Environment, say: Callable[[str], None]) -> None:
    changes = [
        f"{name} was {was} and is {is_now}"
        for (name, was), is_now in zip(before.items(), now.values(), strict=True)
        if was != is_now
    ]
    if changes:
        say(
            f"resumed on something else: {'; '.join(changes)}. "
            "The result may differ in the last digits from that of an undisturbed run"
        )


def save_generators() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_generators(generators: dict[str, Any]) -> None:
    torch.set_rng_state(generators["cpu"])
    if len(generators["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(generators["cuda"])


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
    train_loss, train_top1, train_images = train_sums
    test_loss, test_top1, test_top5, test_images = test_sums
    return EpochMetrics(
        attempt=attempt["attempt"],
        epoch=loop.epoch + 1,
        step=loop.step,
        lr=lr,
        train_loss=train_loss / train_images,
        train_top1=100 * train_top1 / train_images,
        test_loss=test_loss / test_images,
        test_top1=100 * test_top1 / test_images,
        test_top5=100 * test_top5 / test_images,
        epoch_s=loop.epoch_s,
        eval_s=loop.eval_s,
        throughput_img_s=train_images / loop.epoch_s,
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
    begin = f"from step {loop.step} (epoch {loop.epoch + 1})" if loop.step else "from the beginning"
    return (
        f"{config.model} ({counts.params:,} parameters) on {config.dataset} "
        f"({len(feed.train_labels):,} + {len(feed.test_labels):,} images), seed {config.seed}, "
        f"{config.epochs} epochs, in {precision} on {environment['device']} with "
        f"{environment['threads']} threads, {begin}"
    )


def describe_stuck(
    loop: LoopState, config: RunConfig, train_guess: float, test_guess: float
) -> str:
    return (
        f"the top-1 of the last {loop.chance_epochs} of {config.epochs} epochs was never above "
        f"what guessing reaches, {train_guess:.2f} % in training and {test_guess:.2f} % in the "
        "test. Submit it with when_stuck=go_on to train it to its end, from here"
    )


def describe_epoch(metrics: EpochMetrics, epochs: int) -> str:
    return (
        f"epoch {metrics['epoch']:>{len(str(epochs))}}/{epochs}  lr {metrics['lr']:.4f}  "
        f"train loss {metrics['train_loss']:.4f} top-1 {metrics['train_top1']:6.2f} %  "
        f"test loss {metrics['test_loss']:.4f} top-1 {metrics['test_top1']:6.2f} %  "
        f"{metrics['throughput_img_s']:,.0f} images/s"
    )


if __name__ == "__main__":
    from jobs.foreground import main

    run_command(lambda: main(sys.argv[1:]))
