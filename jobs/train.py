"""The trainer. It reads from top to bottom, and everything that it changes is saved and restored.

A stop only sets a flag; the loop looks at it between two steps, in training and in evaluation,
saves and leaves. On the CPU a run that was stopped and resumed any number of times ends with the
same metrics and weights, to the bit, as one that was not.

    python -m jobs.train MODEL [key=value ...]      train one network here, for debugging
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from attention_models import create_model
from attention_models.count import count
from jobs.checkpoint import CheckpointWriter, load_checkpoint, save_weights, weights_sha256
from jobs.config import RunConfig
from jobs.data.feed import Batches, Feed, make_feed
from jobs.data.mixing import mixed_cross_entropy
from jobs.device import autocast, find_device, gpu_capability, resolve_precision
from jobs.distributed import ALONE, Tasks
from jobs.errors import DeviceError, InputError, StoppedError, StuckError, run_command
from jobs.event_files import EventFiles
from jobs.loop_state import LoopState, restore_generators, save_generators, take_up_loop
from jobs.optim import (
    AveragedWeights,
    fill_momentum,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from jobs.pace import Pace
from jobs.records import (
    describe_environment,
    describe_epoch,
    describe_few_images,
    describe_start,
    describe_steps,
    describe_stuck,
    make_metrics,
    make_progress,
    warn_of_differences,
)
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Resolved, Result
from jobs.seeds import derive_seed
from jobs.watch import CHECK_EVERY_STEPS, best_by_chance, check_loss, is_stuck
from jobs.weights import load_weights

# What a task wishes to do between two steps; the highest wish of all tasks is what all do.
GO_ON, SAVE, LEAVE = range(3)


class StopFlag(Protocol):
    """Set by a signal handler, looked at between two steps."""

    @property
    def is_set(self) -> bool: ...


# Shows a person how far an epoch is: what is done, and so many batches of so many.
Display = Callable[[str, int, int], None]


def train(
    run: RunDir,
    config: RunConfig,
    attempt: Attempt,
    stop: StopFlag,
    say: Callable[[str], None],
    tasks: Tasks = ALONE,
    display: Display = lambda what, done, batches: None,
) -> bool:
    """Train until the end or until `stop` is set; True if the run is finished.

    Of several tasks, all call it with the same run, and the first alone writes in its directory.
    Fills in `attempt` (what was found, first and last step) and writes it when training begins.
    Raises InputError when the data set's files are missing, and a TrainingError when training
    cannot go on.
    """
    with contextlib.ExitStack() as at_end:
        at_end.callback(tasks.leave)
        return _train(run, config, attempt, stop, say, tasks, display, at_end)


def _train(
    run: RunDir,
    config: RunConfig,
    attempt: Attempt,
    stop: StopFlag,
    say: Callable[[str], None],
    tasks: Tasks,
    display: Display,
    at_end: contextlib.ExitStack,
) -> bool:
    # --------------------------------------------------------------------------- where we are
    # The first task reads for all: on a network file system the others may see older files.
    read = (load_checkpoint(run, say), run.read_resolved()) if tasks.leads else None
    saved, kept = tasks.share(read)
    device = find_device(tasks.local_rank)
    found = kept["precision"] if kept and config.precision == "auto" else None
    precision = resolve_precision(config.precision, found, gpu_capability(device))
    # Another number of threads adds in another order: what the first attempt had is kept.
    threads = config.threads or (saved["environment"]["threads"] if saved else None)
    if threads:
        torch.set_num_threads(threads)
    environment = describe_environment(device, tasks)
    if saved and "tasks" not in saved:
        raise InputError(
            "the checkpoint was written by an older version; finish the run with that one, or "
            "remove its folder and submit it again"
        )
    if saved:
        warn_of_differences(saved["environment"], environment, say)

    # --------------------------------------------------------------------------- what we train
    # Order: data, weights, their average, optimizer. Only the weights draw from the global
    # generator. Where there is an average, it is what is evaluated and kept as the best.
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    loading = kept.get("loading") if kept else None
    feed: Feed | None = None
    with contextlib.suppress(StoppedError):
        feed = make_feed(config, tasks, device, memory_format, say, loading, lambda: stop.is_set)
    if tasks.agree(GO_ON if feed else LEAVE) == LEAVE or feed is None:
        return False
    if saved:
        check_contents(saved["contents"], feed, config)
    batches, eval_batches = feed.train_batches, feed.test_batches
    torch.manual_seed(derive_seed(config.seed, "weights"))
    model = create_model(
        config.model, feed.num_classes, feed.input_size, **config.model_options
    ).to(device)
    model.to(memory_format=memory_format)  # type: ignore[call-overload]
    counts = count(model, feed.input_size)
    if config.init_from and not saved:
        load_weights(model, config.init_path, say, whole=config.eval_only)
    average = AveragedWeights(model, config.ema_decay) if config.ema_decay else None
    evaluated = average.model if average else model
    optimizer = make_optimizer(model, config)
    distributed = distribute(model, config, tasks, device, batches) if tasks.world > 1 else None
    # Each size of a batch is compiled for itself: what is computed must not depend on which of
    # them an attempt sees first.
    network: Callable[[Tensor], Tensor] = distributed or model
    if config.compile:
        network = torch.compile(network, dynamic=False)
    computing = autocast(precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    if precision == "fp16":
        fill_momentum(optimizer)
    train_guess, test_guess = best_by_chance(feed.train_labels), best_by_chance(feed.test_labels)
    if tasks.rank:  # each task drops out other features
        torch.manual_seed(derive_seed(config.seed, f"task {tasks.rank} of {tasks.world}"))
    # Layers whose strength follows the training, such as DropBlock.
    following: list[Any] = [layer for layer in model.modules() if hasattr(layer, "follow")]
    total_steps = config.epochs * len(batches)

    # --------------------------------------------------------------------------- where we were
    loop = LoopState()
    if saved:
        loop = take_up_loop(saved["tasks"], tasks)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if average:
            average.model.load_state_dict(saved["average"])
        if scaler.is_enabled():
            scaler.load_state_dict(saved["scaler"])
        restore_generators(saved["tasks"], tasks, device, config.seed, loop.step)
        del saved
    attempt["environment"], attempt["precision"] = environment, precision
    attempt["params"], attempt["macs"] = counts.params, counts.macs
    attempt["steps_per_epoch"], attempt["first_step"] = len(batches), loop.step
    if loop.eval_batch:
        attempt["first_eval_batch"] = loop.eval_batch
    if tasks.leads:
        run.write_attempt(attempt)
        if not kept and config.says_auto:
            run.write_resolved(Resolved(precision=precision, loading=feed.loading))
    say(describe_start(config, feed, counts, environment, precision, loop))
    if config.compile:
        say("compiling: the first steps take a minute or more")
    if few := describe_few_images(config):
        say(few)
    events = None
    if config.tensorboard and tasks.leads:
        events = at_end.enter_context(EventFiles(run, loop.epoch))
    writer = at_end.enter_context(CheckpointWriter(run, say))
    train_sums = torch.tensor(loop.train_sums, dtype=torch.float64, device=device)
    test_sums = torch.tensor(loop.test_sums, dtype=torch.float64, device=device)
    wall = Stopwatch(device, loop.wall_s)
    pace = Pace(attempt, device, len(eval_batches))
    checkpoint_timer, progress_timer = (
        Timer(config.checkpoint_every_s),
        Timer(config.progress_every_s),
    )

    def look_at_loss() -> None:
        """Raise if it is not finite; this waits for the GPU."""
        check_loss(
            tasks.sum(train_sums)[0],
            config,
            since=loop.checked_step,
            step=loop.step,
            lr=learning_rate(config, max(loop.step - 1, 0), len(batches)),
            precision=precision,
        )
        loop.checked_step = loop.step

    def save(*, wait: bool = True) -> None:
        """Without `wait` the file is written while training goes on."""
        look_at_loss()
        loop.train_sums, loop.test_sums = train_sums.tolist(), test_sums.tolist()
        loop.wall_s = wall.read()
        of_tasks = tasks.gather({"loop": asdict(loop), "generators": save_generators(device)})
        if not tasks.leads:
            return
        state = {
            "tasks": of_tasks,
            "contents": feed.contents,
            "model": model.state_dict(),
            "average": average.model.state_dict() if average else None,
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "environment": environment,
        }
        writer.save(state, wait=wait)

    def show_progress() -> None:
        if tasks.leads:
            with contextlib.suppress(OSError):  # a full disk is no reason to stop training
                run.write_progress(make_progress(attempt, config, loop, wall.elapsed_s()))

    def write_pace() -> None:
        if measured := pace.read():
            attempt["measured"] = measured

    def must_leave() -> bool:
        """Between two steps: leave if asked to, save and show progress if it is time."""
        attempt["last_step"] = loop.step
        wish = SAVE if tasks.leads and checkpoint_timer.is_due() else GO_ON
        agreed = tasks.agree(LEAVE if stop.is_set else wish)
        if agreed == LEAVE:
            if loop.eval_batch:
                attempt["last_eval_batch"] = loop.eval_batch
            write_pace()
            save()
            show_progress()
            return True
        if agreed == SAVE:
            save(wait=False)
        if progress_timer.is_due():
            show_progress()
        return False

    show_progress()
    while loop.epoch < config.epochs:
        # ----------------------------------------------------------------------- is it learning
        if config.when_stuck == "stop" and is_stuck(config, loop.chance_epochs):
            attempt["last_step"] = loop.step
            save()
            raise StuckError(
                f"{describe_stuck(loop, config, train_guess, test_guess)}. Submit it with "
                "--set when_stuck=go_on --failed to train it to its end, from here"
            )

        # ----------------------------------------------------------------------- train an epoch
        model.train()
        watch = Stopwatch(device, loop.epoch_s)
        told, told_s = tasks.sum(train_sums), time.monotonic()
        pace.begin()
        while loop.batch < len(batches) and not config.eval_only:
            if must_leave():
                return False
            set_learning_rate(optimizer, learning_rate(config, loop.step, len(batches)))
            for layer in following:
                layer.follow(loop.step / total_steps)
            asked_s = time.monotonic()
            left = len(batches.parts_of(loop.batch))
            if not left:
                take_part_without_images(network, feed.input_size, device)
            for part in feed.train_parts(loop.epoch, loop.batch):
                loop.wait_s += time.monotonic() - asked_s
                left -= 1
                # Gradients are exchanged once a step, while the last part goes backward.
                with distributed.no_sync() if distributed and left else contextlib.nullcontext():
                    with computing:
                        logits = network(part.images).float()
                    loss = mixed_cross_entropy(logits, part, config.label_smoothing)
                    share = tasks.world * len(part) / batches.size_of(loop.batch)
                    scaler.scale(loss * share).backward()
                train_sums += torch.stack(
                    [
                        loss.detach().double() * len(part),
                        hits(logits, part.labels, 1),
                        count_of(part.labels),
                    ]
                )
                asked_s = time.monotonic()
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
            pace.count_step()
            if loop.step - loop.checked_step >= CHECK_EVERY_STEPS:
                look_at_loss()
            loop.epoch_s = watch.read()
            display(f"epoch {loop.epoch + 1}/{config.epochs}", loop.batch, len(batches))
            if config.log_every_steps and loop.batch % config.log_every_steps == 0:
                so_far, now_s = tasks.sum(train_sums), time.monotonic()
                say(describe_steps(loop, config, len(batches), told, so_far, now_s - told_s))
                told, told_s = so_far, now_s
        look_at_loss()
        loop.epoch_s = watch.read(wait=True)
        pace.pause()

        # ----------------------------------------------------------------------- evaluate it
        evaluated.eval()
        tasks.spread(evaluated.buffers())  # the statistics of batch norm are those of one task
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
            display("test", loop.eval_batch, len(eval_batches))
        loop.eval_s = watch.read(wait=True)
        pace.count_evaluation(loop.eval_s)

        # ----------------------------------------------------------------------- record it
        lr = 0.0 if config.eval_only else learning_rate(config, loop.step - 1, len(batches))
        metrics = make_metrics(
            attempt, loop, lr, tasks.sum(train_sums), tasks.sum(test_sums), device
        )
        if tasks.leads:
            run.append_metrics(metrics)
        if events:
            events.add(metrics)
        say(describe_epoch(metrics, config.epochs))
        loop.final_test_top1, loop.final_test_top5 = metrics["test_top1"], metrics["test_top5"]
        if metrics["test_top1"] > loop.best_test_top1:
            loop.best_test_top1, loop.best_epoch = metrics["test_top1"], metrics["epoch"]
            if config.keep == "best" and tasks.leads:
                save_weights(run.best, evaluated.state_dict())
        # Training counts too: an average of the weights, say, may only be late.
        guesses = metrics["test_top1"] <= test_guess and (metrics["train_top1"] or 0) <= train_guess
        was_stuck = is_stuck(config, loop.chance_epochs)
        loop.chance_epochs = loop.chance_epochs + 1 if guesses else 0
        if is_stuck(config, loop.chance_epochs) and not was_stuck:
            say(f"stuck at chance: {describe_stuck(loop, config, train_guess, test_guess)}")
        loop.epoch += 1
        loop.batch = loop.eval_batch = 0
        loop.epoch_s = loop.wait_s = loop.eval_s = 0.0
        train_sums.zero_()
        test_sums.zero_()
        show_progress()

    # --------------------------------------------------------------------------- finish
    attempt["last_step"] = loop.step
    write_pace()
    save()
    if not tasks.leads:
        return True
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


def check_contents(before: str, feed: Feed, config: RunConfig) -> None:
    """InputError if the order of the images is not the one that the run began with."""
    if feed.contents != before:
        raise InputError(
            f"the images of {config.image_folder} are not those that this run began with: files "
            "were added, removed or renamed. Put them back, or train another run, such as with "
            "another seed, on what is there"
        )


def distribute(
    model: nn.Module, config: RunConfig, tasks: Tasks, device: torch.device, batches: Batches
) -> DistributedDataParallel:
    """The network with gradients that are averaged over the tasks of the job.

    Raises DeviceError for batch norm over tasks without GPUs, and InputError if the last batch is
    too small for it.
    """
    if config.bn == "sync":
        norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        if norms and device.type != "cuda":
            raise DeviceError("bn sync needs GPUs, and torch finds none here; choose bn local")
        last = batches.size_of(len(batches) - 1)
        # Each must have images at each exchange, or the others would wait for it.
        if norms and last < (least := 2 * tasks.world * config.accumulate_steps):
            raise InputError(
                f"batch_size {config.batch_size}: the last batch of an epoch has {last} images, "
                f"and with bn sync, {tasks.world} GPUs and accumulate_steps "
                f"{config.accumulate_steps} it needs {least}; choose another batch_size"
            )
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    # Else each task would get the first one's statistics of batch norm before each step; they are
    # needed before an evaluation.
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,
    )


def take_part_without_images(
    network: Callable[[Tensor], Tensor], input_size: int, device: torch.device
) -> None:
    """A task for which the last batch has no images adds nothing to the gradients of the others."""
    nothing = torch.zeros(2, 3, input_size, input_size, device=device)
    (0 * network(nothing).float().sum()).backward()


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


if __name__ == "__main__":
    from jobs.foreground import main

    run_command(lambda: main(sys.argv[1:]))
