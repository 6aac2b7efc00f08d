"""Images that are read while the network trains: an image folder that does not fit in memory.

Other processes read, decode and transform the images, in the order in which the trainer will ask
for them: the training batches of an epoch, the test batches, the next epoch. What happens to an
image follows from the seed, the epoch and its place in the listing alone, so that it does not
matter how many processes there are, how a batch is divided, or where an epoch was resumed.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import cycle
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

import torch
import torch.multiprocessing  # teaches pipes to hand tensors over in shared memory
from torch import Tensor, nn
from torchvision.transforms import v2

from jobs.config import RunConfig
from jobs.data.augment import IMAGENET, Normaliser, cut_out, draw_epoch
from jobs.data.feed import Batches, Loading, Part, evaluation_batches, training_batches
from jobs.data.image_folder import Listing, read_image
from jobs.data.mixing import MixingDraw, draw_mixing, mix
from jobs.distributed import Tasks
from jobs.errors import ExecutionError, InputError, WorkerKilledError
from jobs.seeds import derive_seed

# A worker whose pipe has closed has ended, or will be seen to have ended, within this time.
WORKER_ENDS_WITHIN_S = 5.0

# So many parts each worker is asked for at once: one to work on, and one to go on with.
PARTS_AHEAD = 2

# SLURM sends the signals that stop a job to all of its processes. A worker that died of one would
# take the run down before it has saved.
JOB_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

# ------------------------------------------------------------------------------- what is asked for


class Step(NamedTuple):
    """A batch, as the trainer asks for it; the epoch is None for a test batch without one."""

    epoch: int | None
    training: bool
    batch: int


NO_STEP = Step(None, False, -1)


class Request(NamedTuple):
    """A part, as a worker is asked for it: image files, and in training a seed for each."""

    paths: list[str]
    seeds: list[int] | None


class Schedule:
    """Which images each step needs, and which step follows."""

    def __init__(self, listing: Listing, config: RunConfig, tasks: Tasks) -> None:
        self.train = listing.train.first(config.train_images)
        self.test = listing.test.first(config.test_images)
        self.train_batches = training_batches(config, len(self.train), tasks)
        self.test_batches = evaluation_batches(config, len(self.test), tasks)
        self._config = config
        cpu, images = torch.device("cpu"), len(self.train)
        # Two, as the workers are in the next epoch already when this one is tested.
        self.draw = lru_cache(maxsize=2)(lambda epoch: draw_epoch(config, epoch, images, cpu))

    def steps(self, step: Step) -> Iterator[Step]:
        """This step and all that follow."""
        epoch, training, batch = step
        while True:
            if training:
                for number in range(batch, len(self.train_batches)):
                    yield Step(epoch, True, number)
                batch = 0
            for number in range(batch, len(self.test_batches)):
                yield Step(epoch, False, number)
            if epoch is None or epoch + 1 >= self._config.epochs:
                return
            epoch, training, batch = epoch + 1, True, 0

    def parts(self, step: Step) -> list[Tensor]:
        """The images of each part of this task, as places in the listing, each (B,)."""
        batches: Batches = self.train_batches if step.training else self.test_batches
        cuts = batches.parts_of(step.batch)
        if not step.training:
            return [torch.arange(cut.start, cut.stop) for cut in cuts]
        return [self.draw(step.epoch).order[cut] for cut in cuts]

    def requests(self, step: Step) -> Iterator[Request]:
        """The parts of this step and of all that follow."""
        for epoch, training, batch in self.steps(step):
            for part in self.parts(Step(epoch, training, batch)):
                index = part.tolist()
                if training:
                    paths = [self.train.paths[i] for i in index]
                    yield Request(paths, [self._seed(i, epoch or 0) for i in index])
                else:
                    yield Request([self.test.paths[i] for i in index], None)

    def _seed(self, index: int, epoch: int) -> int:
        return derive_seed(self._config.seed, f"image/{index}", epoch)


# ------------------------------------------------------------------------------- what workers do

Loaded = Tensor | InputError | ExecutionError


class ImageParts:
    """What a worker answers to a request: bytes (B, 3, H, W), or what went wrong."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self._folder = folder
        self._train = training_transform(config)
        self._test = evaluation_transform(config)

    def load(self, request: Request) -> Loaded:
        try:
            with _one_thread():
                return self._load_all(request)
        except (InputError, ExecutionError) as error:
            return error

    def _load_all(self, request: Request) -> Tensor:
        if request.seeds is None:
            return torch.stack([self._load(path, self._test) for path in request.paths])
        # In the trainer's own process, the network's dropout draws from the same generator.
        items = zip(request.paths, request.seeds, strict=True)
        with torch.random.fork_rng(devices=[]):
            return torch.stack([self._load_at_random(*item) for item in items])

    def _load_at_random(self, path: str, seed: int) -> Tensor:
        # Not torch.manual_seed, which seeds the GPU's generators too.
        torch.default_generator.manual_seed(seed)
        return self._load(path, self._train)

    def _load(self, path: str, transform: nn.Module) -> Tensor:
        image = read_image(self._folder / path)
        try:
            return transform(image)
        except MemoryError:
            raise
        except Exception as error:
            raise ExecutionError(f"{self._folder / path}: {error}") from None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Several would add in another order, and some operations ask for an image's mean."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_transform(config: RunConfig) -> nn.Module:
    """An image to random bytes (3, image_px, image_px), drawn from torch's global generator.

    As in memory, shifted crops are cut from the central square of the resized image.
    """
    size = side_px(config)
    interpolation = v2.InterpolationMode(config.interpolation)
    steps: list[nn.Module] = [v2.PILToTensor()]
    if config.crop == "resized":
        area, ratio = (config.crop_scale_min, 1.0), config.crop_ratio_max
        steps.append(v2.RandomResizedCrop(size, area, (1 / ratio, ratio), interpolation))
    else:
        steps += [v2.Resize(size, interpolation), v2.CenterCrop(size)]
        steps.append(v2.RandomCrop(size, padding=config.crop_padding_px))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.augment == "randaugment":
        steps.append(v2.RandAugment(config.randaugment_ops, config.randaugment_magnitude))
    elif config.augment != "none":
        policy = v2.AutoAugmentPolicy(config.augment.removeprefix("autoaugment_"))
        steps.append(v2.AutoAugment(policy))
    return v2.Compose(steps)


def side_px(config: RunConfig) -> int:
    assert config.image_px, "a streamed image has a size of its own"
    return config.image_px


def evaluation_transform(config: RunConfig) -> nn.Module:
    """An image to the bytes (3, test_px, test_px) of its centre, test_crop of the shorter side."""
    size = config.test_px or side_px(config)
    interpolation = v2.InterpolationMode(config.interpolation)
    resize = v2.Resize(round(size / config.test_crop), interpolation)
    return v2.Compose([v2.PILToTensor(), resize, v2.CenterCrop(size)])


# ------------------------------------------------------------------------------- the workers
#
# Not those of torch's DataLoader: what it shares with its workers are queues and locks. A worker
# that is killed can leave these locked, so it must be asked to end and waited for, which a job that
# has seconds to leave cannot do; and the signals that end a job reach its workers.


def load_in_workers(
    images: ImageParts, requests: Iterable[Request], workers: int
) -> Iterator[Loaded]:
    """The answer to each request, in order; ExecutionError if a worker ends unasked.

    A worker answers to one pipe, shares nothing else, and lives as long as the trainer holds it.
    The workers end with this iterator.
    """
    processes: list[ForkServerProcess] = []
    end = partial(_kill, processes)
    atexit.register(end)  # comes before multiprocessing's, which would wait for them
    try:
        pipes = [_start_worker(images, processes) for _ in range(workers)]
        asked = deque[Connection]()
        for request, pipe in zip(requests, cycle(pipes), strict=False):
            if len(asked) == workers * PARTS_AHEAD:
                yield asked.popleft().recv()
            pipe.send(request)
            asked.append(pipe)
        while asked:
            yield asked.popleft().recv()
    except (EOFError, OSError):
        kind = WorkerKilledError if _was_killed(processes) else ExecutionError
        raise kind(
            "a process that loads images has ended. If memory was short, or what /dev/shm may "
            "hold, ask for more, or for fewer workers"
        ) from None
    finally:
        atexit.unregister(end)
        end()


def _was_killed(processes: Sequence[ForkServerProcess]) -> bool:
    """Whether one was ended as the system does it where memory, or shared memory, is short."""
    connection.wait([process.sentinel for process in processes], timeout=WORKER_ENDS_WITHIN_S)
    return any(process.exitcode in (-signal.SIGKILL, -signal.SIGBUS) for process in processes)


def _start_worker(images: ImageParts, processes: list[ForkServerProcess]) -> Connection:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, images), daemon=True)
    process.start()
    processes.append(process)
    theirs.close()
    return ours


def _answer(pipe: Connection, images: ImageParts) -> None:
    with contextlib.suppress(EOFError, OSError):  # the trainer is gone
        while True:
            pipe.send(images.load(pipe.recv()))


def _kill(processes: list[ForkServerProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _start_fork_server() -> None:
    """Start the process that workers are forked from, if it is not there yet.

    It imports this module, while the trainer goes on, and nothing else; a fork of it takes some
    milliseconds. A fork of the trainer itself, which has threads and a GPU, would be in no defined
    state.
    """
    multiprocessing.set_forkserver_preload([__name__])
    # What is blocked now stays so in the server and its forks, without a moment in between.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, JOB_SIGNALS)
    try:
        # This helper of the server's unblocks some of them when it starts.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, JOB_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ------------------------------------------------------------------------------- the feed


class _Drawn(NamedTuple):
    """What is drawn for an epoch, as it is used on the device; None for what is not used."""

    epoch: int
    holes: Tensor | None
    mixing: MixingDraw | None


class StreamedFeed:
    """An image folder that is read while the network trains; see jobs.data.feed.Feed.

    The workers crop, mirror and apply RandAugment or AutoAugment; the device normalises, blanks by
    cutout, and mixes.
    """

    loading: Loading = "stream"

    def __init__(
        self,
        listing: Listing,
        config: RunConfig,
        tasks: Tasks,
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        self._schedule = schedule = Schedule(listing, config, tasks)
        self.num_classes, self.input_size = len(listing.classes), side_px(config)
        self.contents = listing.contents
        self.train_labels, self.test_labels = schedule.train.labels, schedule.test.labels
        self.train_batches, self.test_batches = schedule.train_batches, schedule.test_batches
        self._config, self._device = config, device
        self._normalise = Normaliser(IMAGENET, device, memory_format)
        self._train_labels, self._test_labels = (
            labels.to(device) for labels in (self.train_labels, self.test_labels)
        )
        self._drawn: _Drawn | None = None
        self._images = ImageParts(listing.folder, config)
        self._workers = len(os.sched_getaffinity(0)) if config.workers is None else config.workers
        self._steps: Iterator[Step] = iter(())
        self._loaded: Iterator[Loaded] = iter(())
        self._next = NO_STEP
        if self._workers:
            _start_fork_server()

    def train_parts(self, epoch: int, batch: int) -> Iterator[Part]:
        drawn = self._draw(epoch)
        for pixels, index in self._load(Step(epoch, True, batch)):
            images = self._normalise(pixels)
            if drawn.holes is not None:
                images = cut_out(images, drawn.holes[index], self._config.cutout_px)
            yield mix(images, self._train_labels[index], index, drawn.mixing)

    def test_parts(self, batch: int) -> Iterator[Part]:
        for pixels, index in self._load(Step(None, False, batch)):
            yield Part(self._normalise(pixels), self._test_labels[index])

    def _draw(self, epoch: int) -> _Drawn:
        if self._drawn is None or self._drawn.epoch != epoch:
            holes = self._schedule.draw(epoch).holes
            mixing = draw_mixing(self._config, epoch, len(self.train_labels))
            self._drawn = _Drawn(
                epoch,
                None if holes is None else holes.to(self._device),
                mixing.to(self._device) if mixing else None,
            )
        return self._drawn

    def _load(self, step: Step) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each part of a step, on the device: bytes (B, H, W, 3), and places in the listing."""
        if step not in (self._next, self._next._replace(epoch=None)):
            self._start(step)
        self._next = NO_STEP  # until all parts of this one are taken
        for index in self._schedule.parts(step):
            loaded = next(self._loaded)
            if isinstance(loaded, Exception):
                self._loaded = iter(())  # the workers end now, and not when the error is forgotten
                raise loaded
            yield self._send(loaded).permute(0, 2, 3, 1), self._send(index)
        self._next = next(self._steps, NO_STEP)

    def _send(self, tensor: Tensor) -> Tensor:
        """To the device, without waiting for it: from memory that is not pinned it would."""
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _start(self, step: Step) -> None:
        """Load this step and what follows from now on."""
        self._steps = self._schedule.steps(step)
        self._next = next(self._steps)
        requests = self._schedule.requests(step)
        if self._workers:
            self._loaded = load_in_workers(self._images, requests, self._workers)
        else:
            self._loaded = map(self._images.load, requests)
