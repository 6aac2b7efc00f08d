from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from jobs.config import RunConfig
from jobs.data.augment import IMAGENET, Normaliser, cut_out, draw_epoch
from jobs.data.feed import Feed, Part, make_feed
from jobs.data.image_folder import list_images, read_image
from jobs.data.mixing import draw_mixing, mix
from jobs.data.resident import ResidentFeed
from jobs.data.stream import ImageParts, Request, StreamedFeed, training_transform
from jobs.distributed import ALONE, Tasks
from jobs.errors import ExecutionError, InputError, WorkerKilledError
from jobs.seeds import derive_seed
from tests.jobs.conftest import plan_run
from tests.jobs.data.photographs import pieces
from tests.jobs.test_train import outcome, train_once

CPU = torch.device("cpu")
TRAIN, TEST = 22, 9
# Batches of 8 in two parts: 4 + 4, 4 + 4, 4 + 2; test batches of 4, 4, 1.
BATCHES, TEST_BATCHES = 3, 3


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of smooth JPEG images of several sizes."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", TRAIN), ("val", TEST)):
        for number in range(count):
            path = folder / "pets" / split / f"class{number % 2}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            generator = np.random.default_rng([number, count])
            few = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            size = (40 + number, 60 - number)
            few.resize(size, Image.Resampling.BICUBIC).save(path)
    return folder


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """What its fork server started: other children may be a whole cluster, for other tests."""
    servers = [child for child in process.children() if "forkserver" in " ".join(child.cmdline())]
    return [worker for server in servers for worker in server.children(recursive=True)]


@pytest.fixture(autouse=True)
def _workers_end_with_their_feed() -> Iterator[None]:
    yield
    gc.collect()  # pytest.raises keeps frames, and their feeds
    assert workers_of(psutil.Process()) == []


def configure(data_dir: Path, **options: Any) -> RunConfig:
    return RunConfig(
        **{"model": "resnet18", "dataset": "imagefolder", "image_folder": "pets"}
        | {"data_dir": data_dir, "image_px": 24, "batch_size": 8, "accumulate_steps": 2}
        | {"epochs": 3, "workers": 0}
        | options
    )


def feed_of(config: RunConfig, tasks: Tasks = ALONE) -> StreamedFeed:
    feed = make_feed(config, tasks, CPU, torch.contiguous_format)
    assert isinstance(feed, StreamedFeed)
    return feed


def in_order(feed: StreamedFeed, epoch: int = 0, batch: int = 0) -> Iterator[list[Part]]:
    """The parts of every batch that a trainer asks for from there to the end."""
    for now in range(epoch, 3):
        for number in range(batch if now == epoch else 0, len(feed.train_batches)):
            yield list(feed.train_parts(now, number))
        for number in range(len(feed.test_batches)):
            yield list(feed.test_parts(number))


def assert_equal(found: list[list[Part]], wanted: list[list[Part]]) -> None:
    assert [len(batch) for batch in found] == [len(batch) for batch in wanted]
    for batch, wanted_batch in zip(found, wanted, strict=True):
        for part, wanted_part in zip(batch, wanted_batch, strict=True):
            assert torch.equal(part.images, wanted_part.images)
            assert torch.equal(part.labels, wanted_part.labels)


EVERYTHING = {
    "crop": "resized",
    "augment": "randaugment",
    "cutout_px": 5,
    "mixup_alpha": 0.4,
    "cutmix_alpha": 1.0,
}

# ------------------------------------------------------------------------------- the same parts


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_do_not_depend_on_the_number_of_workers(data_dir: Path, workers: int) -> None:
    wanted = list(in_order(feed_of(configure(data_dir, **EVERYTHING))))
    assert len(wanted) == 3 * (BATCHES + TEST_BATCHES)
    found = list(in_order(feed_of(configure(data_dir, **EVERYTHING, workers=workers))))
    assert_equal(found, wanted)


class Contrasts(torch.nn.Module):
    """What RandAugment may do at its strongest."""

    def forward(self, image: Image.Image) -> Tensor:
        pixels = v2.functional.pil_to_tensor(image)
        return torch.cat([v2.functional.adjust_contrast(pixels, factor) for factor in (0.1, 1.9)])


def image_of_mean_127(path: Path, seed: int) -> str:
    """Grey is a little less than its colours; a last bit of its mean moves what is cut off."""
    pixels = np.random.default_rng(seed).integers(1, 256, 512 * 512, dtype=np.uint8)
    too_bright = int(pixels.sum()) - 128 * pixels.size
    pixels[np.flatnonzero(pixels > 1 if too_bright > 0 else pixels < 255)[: abs(too_bright)]] -= (
        np.sign(too_bright).astype(np.uint8)
    )
    Image.fromarray(pixels.reshape(512, 512)).save(path / f"{seed}.png")
    return f"{seed}.png"


def test_images_do_not_depend_on_the_threads_of_the_process_that_loads_them(
    tmp_path: Path, data_dir: Path
) -> None:
    """One thread adds up the pixels of a large image in another order than two."""
    parts = ImageParts(tmp_path, configure(data_dir))
    parts._test = Contrasts()
    request = Request([image_of_mean_127(tmp_path, seed) for seed in range(12)], None)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(parts.load(request))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_goes_on_with_the_same_parts(data_dir: Path, workers: int) -> None:
    config = configure(data_dir, **EVERYTHING, workers=workers)
    whole = list(in_order(feed_of(config)))
    resumed = list(in_order(feed_of(config), epoch=1, batch=2))
    assert_equal(resumed, whole[BATCHES + TEST_BATCHES + 2 :])


def test_a_run_that_is_resumed_in_its_evaluation_goes_on_too(data_dir: Path) -> None:
    config = configure(data_dir, workers=1)
    whole = list(in_order(feed_of(config)))
    feed = feed_of(config)
    found = [list(feed.test_parts(batch)) for batch in (1, 2)]
    found += in_order(feed, epoch=1)
    assert_equal(found, whole[BATCHES + 1 :])


def test_any_batch_can_be_asked_for_at_any_time(data_dir: Path) -> None:
    config = configure(data_dir, **EVERYTHING, workers=1)
    whole = list(in_order(feed_of(config)))
    feed = feed_of(config)
    next(iter(feed.train_parts(2, 1)))  # only a part of it is taken
    found = [list(feed.train_parts(2, 1)), list(feed.train_parts(0, 0)), list(feed.test_parts(1))]
    second = 2 * (BATCHES + TEST_BATCHES)
    assert_equal(found, [whole[second + 1], whole[0], whole[BATCHES + 1]])


def test_how_a_batch_is_divided_changes_no_image(data_dir: Path) -> None:
    options = EVERYTHING | {"accumulate_steps": 1}
    whole = [batch[0] for batch in in_order(feed_of(configure(data_dir, **options)))]
    config = configure(data_dir, **options, gpus=2)
    tasks = [list(in_order(feed_of(config, Tasks(rank, 2)))) for rank in range(2)]
    for batch, shares in zip(whole, zip(*tasks, strict=True), strict=True):
        parts = [part for share in shares for part in share]
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)


def test_random_generators_are_left_as_they_were(data_dir: Path) -> None:
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    for workers in (0, 1):
        feed = feed_of(configure(data_dir, **EVERYTHING, workers=workers))
        list(feed.train_parts(0, 0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_that_is_stopped_everywhere_ends_as_one_that_is_not(
    tmp_path: Path, data_dir: Path, workers: int
) -> None:
    options = configure(data_dir, image_px=16, epochs=2, workers=workers).model_dump()
    outcomes = []
    for stop_at in (None, 1):
        run = plan_run(tmp_path / str(stop_at), **options | {"model": "resnet_small"})
        while not train_once(run, stop_at)[0]:
            # Nobody waits for them when a job has to leave.
            assert workers_of(psutil.Process()) == []
        outcomes.append(outcome(run))
    assert outcomes[0] == outcomes[1]


# ------------------------------------------------------------------------------- the right parts


def test_a_training_image_is_what_the_transforms_make_of_its_seed(data_dir: Path) -> None:
    config = configure(data_dir, **EVERYTHING, seed=5)
    listing, transform = list_images(config), training_transform(config)
    draw = draw_epoch(config, 1, TRAIN, CPU)
    index = draw.order[8:12]
    pixels = []
    for image in index.tolist():
        torch.manual_seed(derive_seed(5, f"image/{image}", 1))
        pixels.append(transform(read_image(listing.paths[image])))
    images = Normaliser(IMAGENET, CPU)(torch.stack(pixels).permute(0, 2, 3, 1))
    assert draw.holes is not None
    images = cut_out(images, draw.holes[index], 5)
    wanted = mix(images, listing.train.labels[index], index, draw_mixing(config, 1, TRAIN))
    found = next(iter(feed_of(config).train_parts(1, 1)))
    assert torch.equal(found.images, wanted.images)
    assert torch.equal(found.labels, wanted.labels)
    assert found.own is not None
    assert torch.equal(found.own, wanted.own)


def test_a_test_image_is_the_centre_of_the_resized_file(data_dir: Path) -> None:
    config = configure(data_dir, test_px=32, test_crop=0.875, interpolation="bicubic")
    listing, feed = list_images(config), feed_of(config)
    (part,) = feed.test_parts(2)
    image = v2.functional.pil_to_tensor(read_image(listing.folder / listing.test.paths[8]))
    image = v2.functional.resize(image, [37], v2.InterpolationMode.BICUBIC)
    image = v2.functional.center_crop(image, [32])
    wanted = v2.functional.normalize(image / 255, *map(list, IMAGENET))
    assert torch.allclose(part.images[0], wanted, atol=1e-5)
    assert part.labels.tolist() == listing.test.labels[8:].tolist()


def seeded(transform: torch.nn.Module, image: Image.Image) -> Tensor:
    torch.manual_seed(0)
    return transform(image)


def test_each_option_changes_the_images(data_dir: Path) -> None:
    image = read_image(list_images(configure(data_dir)).paths[0])
    made = {}
    for name, options in {
        "default": {},
        "padding": {"crop_padding_px": 0},
        "bicubic": {"interpolation": "bicubic"},
        "size": {"image_px": 16},
        "resized": {"crop": "resized"},
        "scale": {"crop": "resized", "crop_scale_min": 0.9},
        "ratio": {"crop": "resized", "crop_ratio_max": 3.0},
        "flip": {"flip": False},
        "randaugment": {"augment": "randaugment"},
        "magnitude": {"augment": "randaugment", "randaugment_magnitude": 2},
        "operations": {"augment": "randaugment", "randaugment_ops": 6},
        "imagenet": {"augment": "autoaugment_imagenet"},
        "cifar10": {"augment": "autoaugment_cifar10"},
        "svhn": {"augment": "autoaugment_svhn"},
    }.items():
        config = configure(data_dir, **options)
        transform = training_transform(config)
        draws = []
        for seed in range(8):
            torch.manual_seed(seed)
            draws.append(transform(image))
        made[name] = torch.stack(draws)
        assert made[name].dtype == torch.uint8
        assert made[name].shape == (8, 3, config.image_px, config.image_px)
    distinct = {draws.numpy().tobytes() for draws in made.values()}
    assert len(distinct) == len(made)


@pytest.mark.parametrize("loading", ["auto", "stream"])
def test_the_size_of_streamed_images_must_be_given(data_dir: Path, loading: str) -> None:
    with pytest.raises(InputError, match=r"^image_px: pets is streamed, .*=224$"):
        feed_of(configure(data_dir, image_px=None, loading=loading))


def test_the_first_images_are_taken_and_memory_agrees_on_the_order(data_dir: Path) -> None:
    config = configure(data_dir, train_images=10, test_images=5)
    feed, listing = feed_of(config), list_images(config)
    assert torch.equal(feed.train_labels, listing.train.labels[:10])
    assert torch.equal(feed.test_labels, listing.test.labels[:5])
    order = draw_epoch(config, 2, 10, CPU).order
    labels = torch.cat([part.labels for batch in range(2) for part in feed.train_parts(2, batch)])
    assert torch.equal(labels, feed.train_labels[order])


# ------------------------------------------------------------------------------- memory or stream


@pytest.fixture(scope="module")
def of_one_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs of 40x30 pixels, which can be kept in memory and streamed."""
    folder = tmp_path_factory.mktemp("one_size")
    for split in ("train", "val"):
        for number, pixels in enumerate(pieces(12, 30, 40).numpy()):
            path = folder / "pets" / split / f"class{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


def both_feeds(data_dir: Path, **options: Any) -> tuple[Feed, Feed]:
    config = configure(data_dir, accumulate_steps=1, normalisation="imagenet", **options)
    memory, stream = (
        make_feed(config, ALONE, CPU, torch.contiguous_format, loading=loading)
        for loading in ("memory", "stream")
    )
    assert (memory.loading, stream.loading) == ("memory", "stream")
    return memory, stream


def test_without_anything_random_memory_and_stream_give_the_same_images(of_one_size: Path) -> None:
    for px, test_crop, interpolation in ((24, 0.8, "bilinear"), (36, 1.0, "bicubic")):
        memory, stream = both_feeds(
            of_one_size,
            image_px=px,
            test_crop=test_crop,
            interpolation=interpolation,
            crop_padding_px=0,
            flip=False,
        )
        assert memory.contents == stream.contents != ""
        for batch in range(2):
            (kept,), (streamed,) = memory.train_parts(1, batch), stream.train_parts(1, batch)
            assert torch.equal(kept.images, streamed.images)
            assert torch.equal(kept.labels, streamed.labels)
            (kept,), (streamed,) = memory.test_parts(batch), stream.test_parts(batch)
            assert torch.equal(kept.images, streamed.images)


def test_a_streamed_crop_is_one_that_could_be_cut_in_memory(of_one_size: Path) -> None:
    memory, stream = both_feeds(of_one_size, image_px=24, crop_padding_px=1, flip=False)
    (streamed,) = stream.train_parts(0, 0)
    assert isinstance(memory, ResidentFeed)
    order = draw_epoch(memory._config, 0, 12, CPU).order[:8]
    for image, pixels in zip(streamed.images, memory._train.pixels[order], strict=True):
        crops = pixels.unfold(0, 24, 1).unfold(1, 24, 1).reshape(9, 3, 24, 24)
        crops = Normaliser(IMAGENET, CPU)(crops.permute(0, 2, 3, 1))
        assert any(torch.equal(image, crop) for crop in crops)


def test_no_step_asks_the_device_for_a_number(data_dir: Path) -> None:
    """On a device without values, on which it would fail: a GPU would have to be waited for."""
    feed = make_feed(
        configure(data_dir, **EVERYTHING), ALONE, torch.device("meta"), torch.channels_last
    )
    for part in [*feed.train_parts(0, 0), *feed.test_parts(0)]:
        assert part.images.device == part.labels.device == torch.device("meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_no_step_waits_for_the_gpu(data_dir: Path) -> None:
    device = torch.device("cuda")
    feed = make_feed(configure(data_dir, **EVERYTHING), ALONE, device, torch.channels_last)
    list(feed.train_parts(0, 0))  # what is drawn for the epoch is brought there
    torch.cuda.set_sync_debug_mode("error")
    try:
        parts = [*feed.train_parts(0, 1), *feed.test_parts(0)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(parts) == 3


def test_a_feed_says_how_it_loads_and_a_later_attempt_does_the_same(
    tmp_path: Path, data_dir: Path
) -> None:
    def loading(config: RunConfig, before: Any = None) -> str:
        return make_feed(config, ALONE, CPU, torch.contiguous_format, loading=before).loading

    assert loading(configure(data_dir)) == "stream"
    for split in ("train", "val"):
        (tmp_path / "pets" / split / "cat").mkdir(parents=True)
        for number in range(4):
            path = tmp_path / "pets" / split / "cat" / f"{number}.png"
            Image.new("RGB", (24, 24), (number, 0, 0)).save(path)
    assert loading(configure(tmp_path)) == "memory"
    assert loading(configure(tmp_path), "stream") == "stream"
    assert loading(configure(tmp_path, loading="stream")) == "stream"
    assert loading(RunConfig(model="resnet18", dataset="synthetic")) == "memory"


def test_a_streamed_folder_is_read_from_its_copy_on_the_node(
    tmp_path: Path, data_dir: Path
) -> None:
    said: list[str] = []
    config = configure(data_dir, stage_dir=str(tmp_path))
    feed = make_feed(config, ALONE, CPU, torch.contiguous_format, said.append)
    (copy,) = tmp_path.glob("*/*/pets")
    assert any(str(copy.parent) in line for line in said)
    assert feed.contents == feed_of(configure(data_dir)).contents
    for path in copy.rglob("*.jpg"):
        Image.new("RGB", (30, 30)).save(path)
    black = Normaliser(IMAGENET, CPU)(torch.zeros(4, 24, 24, 3, dtype=torch.uint8))
    assert torch.equal(next(iter(feed.test_parts(0))).images, black)


# ------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_in_one_line(tmp_path: Path, workers: int, data_dir: Path) -> None:
    config = configure(data_dir, workers=workers, stage_dir=str(tmp_path))
    feed = feed_of(config)
    (broken,) = tmp_path.glob(f"*/*/pets/{list_images(config).test.paths[5]}")
    broken.write_bytes(broken.read_bytes()[:100])
    list(feed.test_parts(0))
    with pytest.raises(InputError) as caught:
        list(feed.test_parts(1))
    assert f"{broken} cannot be read as an image" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert workers_of(psutil.Process()) == []
    assert len(list(feed.test_parts(2))) == 1


def test_an_image_that_a_transform_cannot_take_is_named(data_dir: Path) -> None:
    config = configure(data_dir)
    parts = ImageParts(data_dir / "pets", config)
    parts._test = v2.RandomCrop(1000)
    (path,) = list_images(config).test.paths[:1]
    found = parts.load(Request([path], None))
    assert isinstance(found, ExecutionError)
    assert str(found).startswith(f"{data_dir / 'pets' / path}: ")


class Greedy(torch.nn.Module):
    def forward(self, image: Image.Image) -> Tensor:
        raise MemoryError


def test_a_lack_of_memory_is_no_fault_of_an_image(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ImageParts(data_dir / "pets", configure(data_dir))
    parts._test = Greedy()
    request = Request(list_images(configure(data_dir)).test.paths[:1], None)
    with pytest.raises(MemoryError):
        parts.load(request)
    monkeypatch.setattr(Image.Image, "convert", lambda image, mode: Greedy()(image))
    with pytest.raises(MemoryError):
        parts.load(request)


def test_a_worker_that_is_killed_ends_the_stream_with_a_reason(data_dir: Path) -> None:
    feed = feed_of(configure(data_dir, workers=1, epochs=1000))
    list(feed.train_parts(0, 0))
    (worker,) = workers_of(psutil.Process())
    worker.kill()
    with pytest.raises(
        WorkerKilledError, match=r"^a process that loads images has ended\. .*workers$"
    ):
        list(in_order(feed, batch=1))
    assert workers_of(psutil.Process()) == []
    assert len(list(feed.train_parts(1, 0))) == 2


# ------------------------------------------------------------------------------- signals

STREAM = """
import os, signal, sys, torch
from pathlib import Path

NAMES = ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"]
heard = []

def main():
    global feed  # so that it is there until the end
    for name in NAMES:
        signal.signal(getattr(signal, name), lambda number, frame: heard.append(number))
    from jobs.config import RunConfig
    from jobs.distributed import ALONE
    from jobs.data.feed import make_feed

    config = RunConfig(
        model="resnet18", dataset="imagefolder", image_folder="pets", data_dir=Path(sys.argv[1]),
        image_px=24, batch_size=8, epochs=10**6, workers=2,
    )
    feed = make_feed(config, ALONE, torch.device("cpu"), torch.contiguous_format)
    print("built", flush=True)
    batch, since = 0, 0
    while since < 20:
        epoch, number = divmod(batch, len(feed.train_batches))
        list(feed.train_parts(epoch, number))
        batch += 1
        since += len(heard) == 2 * len(NAMES)
        if batch == 3:
            print("streams", flush=True)
    print("heard", sorted(heard), flush=True)
    if sys.argv[2] == "leave":
        os._exit(0)

if __name__ == "__main__":
    main()
"""
NAMES = ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"]


@pytest.fixture
def stream(tmp_path: Path, data_dir: Path) -> Iterator[Any]:
    """Start a process, the leader of a group, that streams until it has heard eight signals."""
    script = tmp_path / "stream.py"
    script.write_text(STREAM)
    started = []

    def start(end: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(script), str(data_dir), end],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def send_all(process: subprocess.Popen[str]) -> None:
    """What SLURM does: each signal goes to all processes."""
    for name in NAMES:
        os.killpg(process.pid, signal.Signals[name])
        time.sleep(0.1)


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"ended before {word}: {process.communicate()}")


def helpers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The server, its helper and two workers, as soon as all are there."""
    found: list[psutil.Process] = []
    deadline_s = time.monotonic() + 60
    while len(found) < 4 and time.monotonic() < deadline_s:
        time.sleep(0.05)
        found = psutil.Process(process.pid).children(recursive=True)
    assert len(found) == 4
    return found


@pytest.mark.parametrize("end", ["return", "leave"])
def test_signals_for_the_whole_job_reach_only_the_trainer(stream: Any, end: str) -> None:
    process = stream(end)
    read_until(process, "built")
    send_all(process)  # while the workers are started
    read_until(process, "streams")
    alive = helpers_of(process)
    send_all(process)
    out, err = process.communicate(timeout=60)
    assert str(sorted(2 * [signal.Signals[name].value for name in NAMES])) in out
    assert err == ""
    assert process.returncode == 0
    _, left = psutil.wait_procs(alive, timeout=10)
    assert left == []


def test_workers_end_with_a_trainer_that_is_killed(stream: Any) -> None:
    process = stream("return")
    read_until(process, "streams")
    alive = helpers_of(process)
    process.kill()
    _, left = psutil.wait_procs(alive, timeout=10)
    assert left == []
