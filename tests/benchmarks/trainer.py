"""What the trainer costs beside a bare loop and a customary one, and what stopping it costs.

    python -m tests.benchmarks.trainer
    python -m tests.benchmarks.trainer --only throughput --threads 1 --repeats 15
    python -m tests.benchmarks.trainer --only stops checkpoints --folder /scratch/me

throughput   Images per second of an epoch, as the trainer writes them in metrics.jsonl, over those
             of two other loops, on the same network in the same precision: a bare one (forward,
             loss, backward, step of the optimizer, clearing of the gradients) whose only batch is
             on the device already, and a customary one, which does the same with what a DataLoader
             gives it: PIL images, cropped, mirrored and normalised by torchvision in --workers
             processes. Neither computes an accuracy. The images are made, of CIFAR's size.
checkpoints  How long saving a ResNet-50 with its momentum blocks the loop, as a share of the time
             between two checkpoints. Beside it the same for the whole write: the share that would
             be lost if the training stood still for as long as the thread is at work.
stops        A training in a process of its own is stopped by SIGUSR2 at random moments: how many
             steps are repeated, and how long a resumed one takes from its start to the end of its
             first step, over `python -c "import torch"`. Then it is killed: how old was the newest
             checkpoint?
bits         A training that is stopped --stops times ends with the weights of an undisturbed one.

A ratio is ours / other: the median over the repeats, with their range in brackets. The sides take
turns in one process, an epoch each, so that the noise of a shared machine meets all of them; the
first epoch warms up and does not count. --threads 1 makes it quieter. The aims stand beside the
figures and are asserted nowhere: on a CPU, the customary loop is there for information. All of it
takes three minutes on two cores of a CPU.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from attention_models import create_model
from jobs.checkpoint import CheckpointWriter
from jobs.config import RunConfig
from jobs.data.augment import Normaliser
from jobs.data.datasets import DataSet, Images
from jobs.device import autocast, find_device
from jobs.foreground import FOREGROUND_SWEEP
from jobs.optim import make_optimizer
from jobs.run_dir import RunDir
from jobs.run_records import Attempt
from jobs.sweep_dir import SweepDir
from jobs.train import train

TOP = Path(__file__).parents[2]
LARGE, SMALL = "resnet18", "preact_resnet_small"
SIZE_PX = 32
INTERVAL_S = RunConfig.model_fields["checkpoint_every_s"].default
KILL_INTERVAL_S = 1.0
# Long enough that nobody sees its end.
ENDLESS = {"dataset": "synthetic", "batch_size": 32, "epochs": 100_000, "when_stuck": "go_on"}


def print_row(what: str, figure: str, aim: str = "") -> None:
    print(f"  {what:<58} {figure:>24}   {aim}".rstrip(), flush=True)


def middle_and_range(numbers: Sequence[float], unit: str = "") -> str:
    low, high = min(numbers), max(numbers)
    return f"{statistics.median(numbers):.3f}{unit} ({low:.3f}-{high:.3f})"


# ------------------------------------------------------------------------------- trainings


@dataclass
class StopAtLook:
    """A stop flag that is set when it has been looked at so often."""

    looks_left: float = math.inf

    @property
    def is_set(self) -> bool:
        self.looks_left -= 1
        return self.looks_left < 0


def plan(folder: Path, config: RunConfig) -> RunDir:
    run = SweepDir(folder).run(config.run_id)
    run.write_config(config)
    return run


def train_once(run: RunDir, stop: StopAtLook, say: Callable[[str], None]) -> bool:
    record = Attempt(
        attempt=run.next_attempt(),
        started_unix_s=time.time(),
        executor="benchmark",
        job_id="",
        restart=0,
        host="",
        pid=os.getpid(),
        user="",
        code="",
    )
    return train(run, run.read_config(), record, stop, say)


# ------------------------------------------------------------------------------- throughput


def made_images(count: int, test_count: int) -> DataSet:
    def draw(count: int) -> Images:
        pixels = torch.randint(256, (count, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8)
        return Images(pixels, torch.randint(10, (count,)))

    return DataSet(draw(count), draw(test_count), 10, mean=(0.5,) * 3, std=(0.25,) * 3)


class Step:
    """One training step as anybody would write it, with our network and optimizer."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self._format = torch.channels_last if config.channels_last else torch.contiguous_format
        self._device = device
        network = create_model(config.model, 10, SIZE_PX).to(device)
        self._network = network.to(memory_format=self._format).train()  # type: ignore[call-overload]
        self._optimizer = make_optimizer(self._network, config)
        self._computing = autocast(config.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        images = images.to(self._device, memory_format=self._format, non_blocking=True)
        labels = labels.to(self._device, non_blocking=True)
        with self._computing:
            logits = self._network(images).float()
        loss = F.cross_entropy(logits, labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def images_per_s(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        _synchronize()
        start, images = time.perf_counter(), 0
        for batch in batches:
            self(*batch)
            images += len(batch[0])
        _synchronize()
        return images / (time.perf_counter() - start)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class PilImages(Dataset[tuple[Tensor, int]]):
    """A data set as torchvision's for CIFAR give it, with the customary transforms."""

    def __init__(self, data: DataSet) -> None:
        self._pixels, self._labels = data.train.pixels.numpy(), data.train.labels.tolist()
        self._transform = v2.Compose(
            [
                v2.RandomCrop(SIZE_PX, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


@dataclass
class Rates:
    """Images per second of each epoch but the first."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    customary: list[float] = field(default_factory=list)


def measure_rates(config: RunConfig, data: DataSet, workers: int, device: torch.device) -> Rates:
    """Train, and after each epoch let the two others do one."""
    steps = len(data.train) // config.batch_size
    first = data.train.first(config.batch_size).to(device)
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    batch = Normaliser(data, device, memory_format)(first.pixels), first.labels
    bare, customary = Step(config, device), Step(config, device)
    rates = Rates()

    def take_turns(line: str) -> None:
        """What the trainer says, an epoch's end among it, comes when none of its clocks runs."""
        epochs = run.read_metrics()
        if len(epochs) > len(rates.ours):
            rates.ours.append(epochs[-1]["throughput_img_s"])
            rates.bare.append(bare.images_per_s([batch] * steps))
            rates.customary.append(customary.images_per_s(loader))

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("jobs.data.feed.load_dataset", return_value=data),
        warnings.catch_warnings(),
    ):
        # There may be fewer CPUs here than workers, on which the DataLoader has its views.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = DataLoader(
            PilImages(data),
            config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )
        run = plan(Path(folder), config)
        train_once(run, StopAtLook(), take_turns)
    return Rates(rates.ours[1:], rates.bare[1:], rates.customary[1:])


def report_throughput(given: argparse.Namespace, device: torch.device) -> None:
    on_gpu = device.type == "cuda"
    for model, steps in ((LARGE, given.steps), (SMALL, given.small_steps)):
        data = made_images(steps * given.batch_size, given.batch_size)
        for precision in ("fp32", "bf16", "fp16") if on_gpu else ("fp32",):
            config = RunConfig(
                model=model,
                dataset="synthetic",  # whose place the made images take
                batch_size=given.batch_size,
                epochs=1 + given.repeats,
                lr=0.01,
                precision=precision,
                channels_last=on_gpu,
                threads=given.threads,
                when_stuck="go_on",
                keep="none",
            )
            rates = measure_rates(config, data, given.workers, device)
            name = f"{model}, {precision}"
            print_row(f"{name}: images/s", middle_and_range(rates.ours))
            aim = "" if model == SMALL else f"aim >= {0.95 if on_gpu else 0.98}"
            print_row(f"{name}: over a bare loop", _ratio(rates.ours, rates.bare), aim)
            what = f"{name}: over a DataLoader's, {given.workers} workers"
            print_row(what, _ratio(rates.ours, rates.customary))


def _ratio(ours: list[float], others: list[float]) -> str:
    return middle_and_range([our / other for our, other in zip(ours, others, strict=True)])


# ------------------------------------------------------------------------------- checkpoints


def report_checkpoints(given: argparse.Namespace, device: torch.device) -> None:
    config = RunConfig(model="resnet50", lr=0.01)
    model = create_model(config.model, 10, SIZE_PX).to(device)
    optimizer = make_optimizer(model, config)
    model(torch.randn(2, 3, SIZE_PX, SIZE_PX, device=device)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    blocked_s, written_s = [], []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        run = RunDir(folder)
        writer = CheckpointWriter(run, print)
        for _ in range(given.repeats):
            _synchronize()
            start = time.perf_counter()
            writer.save(state)
            blocked_s.append(time.perf_counter() - start)
            writer.finish()
            written_s.append(time.perf_counter() - start)
        size_mb = run.checkpoint.stat().st_size / 2**20
    print_row(f"resnet50, {size_mb:.0f} MiB: saving blocks", middle_and_range(blocked_s, " s"))
    print_row("until it is on disk", middle_and_range(written_s, " s"))
    for what, seconds in (("blocked", blocked_s), ("until on disk", written_s)):
        share = statistics.median(seconds) / INTERVAL_S
        print_row(f"share lost: {what} / {INTERVAL_S:g} s between two", f"{share:.4%}", "aim < 2 %")


# ------------------------------------------------------------------------------- stops


class Trainings:
    """One training, in one process after the other."""

    def __init__(self, folder: str, **options: Any) -> None:
        self._folder, self._options = folder, options
        config = RunConfig(model="resnet_small", **options)
        self.run = SweepDir(Path(folder) / FOREGROUND_SWEEP).run(config.run_id)

    @contextmanager
    def attempt(self) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
        """The process of the next one, and the seconds from its start to its first step."""
        number = self.run.next_attempt() if self.run.is_planned() else 1
        start = time.perf_counter()
        process = start_python(
            "-m",
            "jobs.train",
            "resnet_small",
            *(f"{name}={value}" for name, value in self._options.items()),
            folder=self._folder,
        )
        try:
            while not self._has_stepped(number):
                if process.poll() is not None:
                    raise SystemExit(f"the training ended with status {process.returncode}")
                time.sleep(0.001)
            yield process, time.perf_counter() - start
        finally:
            process.kill()  # it would not end by itself
            process.wait()

    def _has_stepped(self, number: int) -> bool:
        progress = self.run.read_progress()
        if progress is None or progress["attempt"] != number:
            return False
        return progress["step"] > self.run.attempts()[-1]["first_step"]


def start_python(*arguments: str, folder: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def report_stops(given: argparse.Namespace, device: torch.device) -> None:
    moment = random.Random(given.seed)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        # Progress is written at each step, so that steps can be seen from outside.
        options = ENDLESS | {"threads": given.threads, "progress_every_s": 0}
        trainings = Trainings(folder, **options)
        resumed_s, torch_s = [], []
        for _ in range(1 + given.repeats):
            with trainings.attempt() as (process, seconds):
                resumed_s.append(seconds)
                time.sleep(moment.uniform(0, 1))
                process.send_signal(signal.SIGUSR2)
                process.wait()
            start = time.perf_counter()
            start_python("-c", "import torch", folder=folder).wait()
            torch_s.append(time.perf_counter() - start)
        attempts = trainings.run.attempts()
        repeated = sum(
            before["last_step"] - after["first_step"] for before, after in pairwise(attempts)
        )
        killed = Trainings(folder, **options, checkpoint_every_s=KILL_INTERVAL_S)
        ages_s = list(kill_ages_s(killed, given.repeats, moment))
    print_row(f"steps repeated after {given.repeats} stops by SIGUSR2", f"{repeated}", "aim 0")
    print_row("start of a resumed run to its first step", middle_and_range(resumed_s[1:], " s"))
    ratios = [ours_s / their_s for ours_s, their_s in zip(resumed_s[1:], torch_s[1:], strict=True)]
    print_row('  over python -c "import torch"', middle_and_range(ratios), "aim <= 1.5")
    what = f"age of the checkpoint at {given.repeats} kills, one every {KILL_INTERVAL_S:g} s"
    print_row(what, middle_and_range(ages_s, " s"), f"aim <= {KILL_INTERVAL_S:g} s")


def kill_ages_s(trainings: Trainings, kills: int, moment: random.Random) -> Iterator[float]:
    """How old the newest checkpoint was at each kill, some intervals after the start."""
    for _ in range(kills):
        with trainings.attempt() as (process, _):
            time.sleep(moment.uniform(2, 4) * KILL_INTERVAL_S)
            killed_unix_s = time.time()
            process.kill()
        yield killed_unix_s - trainings.run.checkpoint.stat().st_mtime


# ------------------------------------------------------------------------------- bits


def report_bits(given: argparse.Namespace, device: torch.device) -> None:
    moment = random.Random(given.seed)
    config = RunConfig(
        model="resnet_small",
        dataset="synthetic",
        train_images=128,
        test_images=64,
        batch_size=32,
        epochs=given.stops,
        lr=0.05,
        threads=given.threads,
        when_stuck="go_on",
    )
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, stopped = (plan(Path(folder) / name, config) for name in ("a", "b"))
        train_once(undisturbed, StopAtLook(), lambda line: None)
        # An epoch has four steps of training and two of evaluation, so the stops fit in.
        for _ in range(given.stops):
            train_once(stopped, StopAtLook(moment.randrange(6)), lambda line: None)
        train_once(stopped, StopAtLook(), lambda line: None)
        results = [run.read_result() for run in (undisturbed, stopped)]
    equal = results[0]["weights_sha256"] == results[1]["weights_sha256"]
    what = f"weights after {results[1]['attempts'] - 1} stops, seed {given.seed}, fp32 on {device}"
    print_row(what, "equal" if equal else "DIFFERENT", "aim equal")


PARTS = {
    "throughput": report_throughput,
    "checkpoints": report_checkpoints,
    "stops": report_stops,
    "bits": report_bits,
}


def main(arguments: Sequence[str] | None = None) -> None:
    device = find_device()
    on_gpu = device.type == "cuda"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=5, help="of all that has a median")
    parser.add_argument("--stops", type=int, default=20, help="of part bits")
    parser.add_argument(
        "--long", dest="times", action="store_const", const=5, default=1, help="five times as many"
    )
    parser.add_argument("--batch-size", type=int, default=128 if on_gpu else 32)
    parser.add_argument(
        "--steps", type=int, default=100 if on_gpu else 4, help=f"of an epoch of {LARGE}"
    )
    parser.add_argument(
        "--small-steps", type=int, default=400 if on_gpu else 40, help=f"of an epoch of {SMALL}"
    )
    parser.add_argument(
        "--workers", type=int, default=4, help="of the DataLoader (default: 4, the V100 profile's)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the stops")
    parser.add_argument("--folder", type=Path, help="whose disk is measured (default: a temporary)")
    given = parser.parse_args(arguments)
    if min(given.repeats, given.stops, given.steps, given.small_steps, given.batch_size - 1) < 1:
        parser.error("batch norm needs a batch of 2 or more, and everything else 1 or more")
    if given.folder and not given.folder.is_dir():
        parser.error(f"--folder: {given.folder} is not a folder")
    given.repeats, given.stops = given.times * given.repeats, given.times * given.stops
    torch.set_num_threads(given.threads)
    name = torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability()
    print(
        f"{'GPU' if on_gpu else 'CPU'} ({name}), {given.threads} threads, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}, {given.repeats} repeats, "
        f"batches of {given.batch_size}, seed {given.seed}."
    )
    for part in given.only:
        print(part)
        PARTS[part](given, device)


if __name__ == "__main__":
    main()
