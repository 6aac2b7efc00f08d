from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.config import RunConfig, missing_data
from jobs.data import image_folder
from jobs.data.feed import make_feed
from jobs.data.image_folder import (
    Listing,
    list_images,
    load_image_folder,
    mean_and_std,
    read_image,
    resolve_loading,
)
from jobs.data.resident import ResidentFeed
from jobs.distributed import ALONE
from jobs.errors import ExecutionError, InputError, StoppedError

CPU = torch.device("cpu")
COUNTS = {"train": 6, "val": 4}  # of each class


def write_image(path: Path, width: int = 8, height: int = 8) -> np.ndarray:
    """A random image whose pixels follow from its name; returns them (H, W, 3)."""
    random = np.random.default_rng(list(os.fsencode(path.name)))
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def make_folder(data_dir: Path, **counts: int) -> Path:
    """An image folder `pets` of 8x8 images, most in a format that keeps every pixel."""
    for split, count in (COUNTS | counts).items():
        for label in ("cat", "dog"):
            for number in range(count):
                suffix = "jpg" if number == 0 else "png"
                write_image(data_dir / "pets" / split / label / f"{label}{number}.{suffix}")
    return data_dir / "pets"


def configure(data_dir: Path, **options: object) -> RunConfig:
    return RunConfig(
        **{"model": "resnet18", "dataset": "imagefolder", "image_folder": "pets"}
        | {"data_dir": data_dir}
        | options
    )


def kept_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(".decoded-*"))


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# ------------------------------------------------------------------------------- the listing


def test_images_come_with_the_labels_of_their_folders(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    listing = list_images(configure(tmp_path))
    assert listing.classes == ["cat", "dog"]
    for split, files in (("train", listing.train), ("val", listing.test)):
        on_disk = {str(path.relative_to(folder)) for path in (folder / split).rglob("*.*")}
        assert set(files.paths) == on_disk
        assert len(files) == len(on_disk)
        for path, label in zip(files.paths, files.labels.tolist(), strict=True):
            assert path.split("/")[1] == listing.classes[label]


def test_the_first_images_are_of_all_classes_and_stay_so_when_files_are_added(
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path, train=100)
    before = list_images(configure(tmp_path, seed=0))
    assert 15 < int(before.train.first(50).labels.sum()) < 35
    again = list_images(configure(tmp_path, seed=1))
    assert again.train.paths == before.train.paths
    write_image(folder / "train" / "dog" / "new.png")
    after = list_images(configure(tmp_path)).train.paths
    after.remove("train/dog/new.png")
    assert after == before.train.paths


def test_a_copy_elsewhere_has_the_same_order(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "here")
    shutil.copytree(folder, tmp_path / "there" / "copy")
    here = list_images(configure(tmp_path / "here"))
    there = list_images(configure(tmp_path / "there", image_folder="copy"))
    assert there.train.paths == here.train.paths
    assert there.paths[0] == tmp_path / "there" / "copy" / here.train.paths[0]


def test_the_test_images_may_be_in_a_folder_named_test(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "val").rename(folder / "test")
    assert not missing_data(configure(tmp_path))
    assert len(list_images(configure(tmp_path)).test) == 8


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    data_dir = tmp_path / ".hidden"  # what the folder itself is in counts nothing
    cat = make_folder(data_dir) / "train" / "cat"
    for name in (".hidden.png", "notes.txt", "._cat0.jpg", ".thumbnails/1.jpg", "a/.b/c/2.jpg"):
        (cat / name).parent.mkdir(parents=True, exist_ok=True)
        (cat / name).write_text("no image")
    (cat.parent / ".ipynb_checkpoints").mkdir()
    assert len(list_images(configure(data_dir)).train) == 12
    for path in cat.glob("cat*"):
        path.unlink()
    with pytest.raises(InputError, match="no images are in cat of"):
        list_images(configure(data_dir))


@pytest.mark.parametrize("layout", [[], ["train"], ["val"], ["train", "val", "test"]])
def test_a_folder_of_another_layout_is_told_what_it_must_hold(
    layout: list[str], tmp_path: Path
) -> None:
    for name in layout:
        (tmp_path / "pets" / name).mkdir(parents=True)
    config = configure(tmp_path)
    message = missing_data(config)
    assert f"{tmp_path / 'pets'} is no image folder: it must hold train/CLASS/" in message
    assert ", ".join(layout) in message
    with pytest.raises(InputError, match="is no image folder"):
        make_feed(config, ALONE, CPU, torch.contiguous_format)


def test_classes_that_only_one_set_has_are_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "val" / "dog").rename(folder / "val" / "wolf")
    with pytest.raises(InputError, match=r"only one of them has dog, wolf$"):
        list_images(configure(tmp_path))


def test_a_set_without_classes_or_a_class_without_images_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    for path in (folder / "val" / "dog").iterdir():
        path.unlink()
    (folder / "val" / "dog" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"no images are in dog of .*/val; .* \.png"):
        list_images(configure(tmp_path))
    shutil.rmtree(folder / "val")
    (folder / "val").mkdir()
    with pytest.raises(InputError, match="val holds no folders"):
        list_images(configure(tmp_path))


def test_more_images_than_there_are_cannot_be_asked_for(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with pytest.raises(InputError, match="test_images: 9, but pets has 8"):
        list_images(configure(tmp_path, test_images=9))


# ------------------------------------------------------------------------------- what fits


def test_images_of_one_size_are_kept_in_memory_and_others_streamed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    config = configure(tmp_path)
    assert resolve_loading(config, list_images(config)) == "memory"
    write_image(folder / "val" / "cat" / "wide.png", width=9)
    assert resolve_loading(config, list_images(config)) == "stream"
    with pytest.raises(InputError) as caught:
        resolve_loading(configure(tmp_path, loading="memory"), list_images(config))
    first = list_images(config).paths[0]
    wide = folder / "val" / "cat" / "wide.png"
    assert f"{first} has 8x8 pixels and {wide} 9x8; " in str(caught.value)
    assert "give loading=stream" in str(caught.value)


def test_a_large_folder_is_streamed_after_a_look_at_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path)
    listing = list_images(configure(tmp_path))
    for path in listing.paths[1:]:
        path.write_bytes(b"to open this would be an error")
    monkeypatch.setattr(image_folder, "LARGEST_IN_MEMORY_BYTES", 20 * 8 * 8 * 3 - 1)
    assert resolve_loading(configure(tmp_path), listing) == "stream"
    with pytest.raises(InputError, match=r"its images take 0\.0 GiB, and at most"):
        resolve_loading(configure(tmp_path, loading="memory"), listing)


@pytest.mark.parametrize(
    ("options", "kept_px"),
    [
        ({}, 12 * 16**2 + 8 * 8**2),
        ({"crop_padding_px": 1, "image_px": 10}, 12 * 12**2 + 8 * 10**2),
        ({"crop_padding_px": 0, "test_px": 20, "test_crop": 0.5}, 12 * 8**2 + 8 * 20**2),
        ({"crop": "resized", "image_px": 30, "test_px": 9}, 12 * 8**2 + 8 * 9**2),
        ({"train_images": 2, "image_px": 32, "test_px": 8}, 2 * 40**2 + 8 * 8**2),
        ({"crop_padding_px": 0, "image_px": 2}, 20 * 8**2),  # it is decoded as it is
    ],
)
def test_what_is_kept_of_the_images_counts_and_what_is_decoded(
    options: dict[str, Any], kept_px: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path)
    config = configure(tmp_path, **options)
    for limit, wanted in ((3 * kept_px, "memory"), (3 * kept_px - 1, "stream")):
        monkeypatch.setattr(image_folder, "LARGEST_IN_MEMORY_BYTES", limit)
        assert resolve_loading(config, list_images(config)) == wanted
    feed = make_feed(config, ALONE, CPU, torch.contiguous_format, loading="memory")
    assert isinstance(feed, ResidentFeed)
    pixels = feed._train.pixels.numel() + feed._test.pixels.numel()
    assert pixels == 3 * kept_px or config.image_px == 2


def test_a_feed_lists_its_folder_once_and_a_stream_looks_at_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path)
    listed: list[Path] = []

    def count(config: RunConfig) -> Listing:
        listed.append(tmp_path)
        return list_images(config)

    monkeypatch.setattr(image_folder, "list_images", count)
    for options in ({}, {"loading": "memory"}, {"loading": "stream", "stage_dir": str(tmp_path)}):
        listed.clear()
        config = configure(tmp_path, image_px=8, workers=0, **options)
        if config.loading == "stream":
            for path in list_images(config).paths:
                path.write_bytes(b"to open this would be an error")
        make_feed(config, ALONE, CPU, torch.contiguous_format)
        assert len(listed) == 1


def test_a_feed_stands_for_the_names_in_its_folder(tmp_path: Path) -> None:
    def contents() -> str:
        config = configure(tmp_path, image_px=8)
        return make_feed(config, ALONE, CPU, torch.contiguous_format).contents

    folder = make_folder(tmp_path)
    seen = [contents()]
    assert len(seen[0]) == 64
    (folder / "val" / "dog" / "dog1.png").touch()
    write_image(folder / "train" / "cat" / ".hidden" / "new.png")
    assert contents() == seen[0]
    for change in (
        lambda: (folder / "val" / "dog" / "dog1.png").rename(folder / "val" / "dog" / "other.png"),
        lambda: (folder / "train" / "cat" / "cat1.png").unlink(),
        lambda: write_image(folder / "val" / "cat" / "new.png"),
        lambda: [(folder / split / "dog").rename(folder / split / "wolf") for split in COUNTS],
    ):
        change()
        seen.append(contents())
    assert len(set(seen)) == 5
    built_in = RunConfig(model="resnet18", dataset="synthetic")
    assert make_feed(built_in, ALONE, CPU, torch.contiguous_format).contents == ""


def test_images_that_were_decoded_are_not_looked_at_again(tmp_path: Path) -> None:
    make_folder(tmp_path)
    config = configure(tmp_path)
    before = load_image_folder(config)
    listing = list_images(config)
    for path in listing.paths[1:]:
        found = path.stat()
        path.write_bytes(bytes(found.st_size))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert resolve_loading(config, listing) == "memory"
    assert torch.equal(load_image_folder(config).train.pixels, before.train.pixels)


# ------------------------------------------------------------------------------- decoding


def test_pixels_and_labels_are_those_of_the_files(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    data, listing = load_image_folder(configure(tmp_path)), list_images(configure(tmp_path))
    assert data.num_classes == 2
    for images, files in ((data.train, listing.train), (data.test, listing.test)):
        assert torch.equal(images.labels, files.labels)
        for pixels, path in zip(images.pixels, files.paths, strict=True):
            with Image.open(folder / path) as image:
                assert np.array_equal(pixels, np.asarray(image))
    part = load_image_folder(configure(tmp_path, train_images=5, test_images=3))
    assert torch.equal(part.train.pixels, data.train.pixels[:5])
    assert torch.equal(part.test.labels, data.test.labels[:3])
    assert (part.mean, part.std) == (data.mean, data.std)


def test_the_colours_are_the_folders_own(tmp_path: Path) -> None:
    make_folder(tmp_path)
    data = load_image_folder(configure(tmp_path))
    mean, std = mean_and_std(data.train.pixels.numpy())
    assert (list(data.mean), list(data.std)) == (mean, std)


def test_the_test_images_do_not_keep_those_for_training_in_memory(tmp_path: Path) -> None:
    make_folder(tmp_path)
    test = load_image_folder(configure(tmp_path, test_images=3)).test
    assert test.pixels.untyped_storage().nbytes() == 3 * 8 * 8 * 3


def test_images_need_not_be_square_or_in_colour(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label in ("a", "b"):
            path = tmp_path / "pets" / split / label / "1.png"
            pixels = write_image(path, width=6, height=4)
            Image.fromarray(pixels[..., 0]).save(path)
    data = load_image_folder(configure(tmp_path))
    assert data.train.pixels.shape == (2, 4, 6, 3)
    assert torch.equal(data.train.pixels[0, ..., 0], torch.from_numpy(pixels[..., 0]))
    assert torch.equal(data.train.pixels[0, ..., 0], data.train.pixels[0, ..., 2])


def test_an_image_of_16_bits_is_refused_as_it_would_become_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 30000, dtype=np.uint16)).save(path)
    with pytest.raises(InputError, match=r"deep\.png cannot be read .* more than 8 bits"):
        read_image(path)


@settings(max_examples=20)
@given(st.integers(1, 600), st.integers(0, 255), st.integers(1, 256))
def test_mean_and_deviation_are_those_of_all_pixels(count: int, low: int, width: int) -> None:
    random = np.random.default_rng(count)
    pixels = random.integers(low, min(low + width, 256), (count, 3, 2, 3), dtype=np.uint8)
    mean, std = mean_and_std(pixels)
    assert mean == pytest.approx(pixels.mean((0, 1, 2)) / 255, abs=6e-5)
    assert std == pytest.approx(np.maximum(pixels.std((0, 1, 2)), 1) / 255, abs=6e-5)


@pytest.mark.parametrize("content", [b"", b"no image at all", None])
def test_a_broken_image_is_named(content: bytes | None, tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    broken = folder / "train" / "dog" / "dog0.jpg"
    broken.write_bytes(broken.read_bytes()[:-200] if content is None else content)
    with pytest.raises(InputError, match=f"{broken} cannot be read as an image"):
        load_image_folder(configure(tmp_path))
    assert kept_files(folder) == []
    with pytest.raises(ExecutionError, match=r"gone\.png cannot be read: No such file"):
        read_image(tmp_path / "gone.png")


# ------------------------------------------------------------------------------- what is kept


def test_the_second_load_reads_one_file_and_gives_the_same(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    said: list[str] = []
    first = load_image_folder(configure(tmp_path), said.append)
    assert len(kept_files(folder)) == 1
    assert any("decoded 20 images" in line for line in said)
    said.clear()
    second = load_image_folder(configure(tmp_path), said.append)
    assert said == []
    assert torch.equal(first.train.pixels, second.train.pixels)
    assert torch.equal(first.test.pixels, second.test.pixels)
    assert (first.mean, first.std) == (second.mean, second.std)


def test_a_changed_folder_is_decoded_anew_and_the_old_file_removed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    load_image_folder(configure(tmp_path))
    (old,) = kept_files(folder)
    killed, young = (folder / f".{old.name}.{name}.tmp" for name in ("killed", "young"))
    killed.touch()
    os.utime(killed, (0, time.time() - image_folder.DEAD_AFTER_S - 1))
    young.touch()
    path = folder / "train" / "cat" / "cat1.png"
    Image.new("RGB", (8, 8), "red").save(path)
    data = load_image_folder(configure(tmp_path))
    (new,) = kept_files(folder)
    assert new != old
    assert sorted(folder.glob(".*")) == [young, new]
    place = list_images(configure(tmp_path)).train.paths.index("train/cat/cat1.png")
    assert data.train.pixels[place, 0, 0].tolist() == [255, 0, 0]


@settings(max_examples=25)
@given(st.data())
def test_a_damaged_file_is_told_and_decoded_anew(data: st.DataObject) -> None:
    folder = Path("data") / "pets"
    if not folder.exists():
        make_folder(Path("data"))
    wanted = load_image_folder(configure(Path("data"))).train.pixels
    (kept,) = kept_files(folder)
    content = bytearray(kept.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    kept.write_bytes(content)
    said: list[str] = []
    found = load_image_folder(configure(Path("data")), said.append).train.pixels
    assert torch.equal(found, wanted)
    assert "is damaged: decoding the images anew" in said[0]
    said.clear()
    load_image_folder(configure(Path("data")), said.append)
    assert said == []


@pytest.fixture
def readable_only() -> Iterator[Path]:
    """A folder that this process may not write to; root gives up its rights for as long."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    folder = make_folder(parent)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield parent
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(parent)


def test_beside_images_that_cannot_be_written_to_the_users_cache_is_taken(
    readable_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Path(tempfile.mkdtemp())
    try:
        if os.geteuid() == 65534:
            os.seteuid(0)
            os.chown(cache, 65534, -1)
            os.seteuid(65534)
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        load_image_folder(configure(readable_only))
        assert kept_files(readable_only / "pets") == []
        assert len(list(cache.glob("attention-sweeps/pets-*/.decoded-*"))) == 1
        said: list[str] = []
        load_image_folder(configure(readable_only), said.append)
        assert said == []
    finally:
        shutil.rmtree(cache)


def test_where_nothing_can_be_written_every_job_decodes(
    readable_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(readable_only / "pets" / "cache"))
    said: list[str] = []
    data = load_image_folder(configure(readable_only), said.append)
    assert len(data.train) == 12
    assert "nothing can be written in" in said[0]


# ------------------------------------------------------------------------------- several jobs


def load_slowly(data_dir: Path, delay_s: float, output: Path) -> None:
    """Load a folder, taking so long for each image; write what is said, and in the end a sum."""
    read = image_folder.read_image

    def read_slowly(path: Path) -> Image.Image:
        time.sleep(delay_s)
        return read(path)

    image_folder.read_image, image_folder.WAIT_S = read_slowly, 0.02
    with open(output, "w", buffering=1) as file:
        data = load_image_folder(configure(data_dir), lambda text: print(text, file=file))
        print(int(data.train.pixels.sum()), file=file)


@pytest.fixture
def start_loading(tmp_path: Path) -> Iterator[Callable[..., tuple[BaseProcess, Path]]]:
    """Start processes that load a folder slowly; gives each and the file of what it says."""
    started: list[BaseProcess] = []

    def start(delay_s: float) -> tuple[BaseProcess, Path]:
        output = tmp_path / f"{len(started)}.txt"
        # A fork is there at once, while a process of its own would import torch for seconds.
        process = multiprocessing.get_context("fork").Process(
            target=load_slowly, args=(tmp_path, delay_s, output)
        )
        process.start()
        started.append(process)
        return process, output

    yield start
    for process in started:
        process.kill()
        process.join()


def wait_until(happened: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_of_jobs_that_start_together_one_decodes(
    start_loading: Callable[..., tuple[BaseProcess, Path]], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path)
    jobs = [start_loading(0.1) for _ in range(3)]
    for process, _ in jobs:
        process.join()
    outputs = [output.read_text().splitlines() for _, output in jobs]
    assert len({lines[-1] for lines in outputs}) == 1
    assert sum("decoding the 20 images" in line for lines in outputs for line in lines) == 1
    assert len(list(folder.glob(".*"))) == 1


def test_a_job_takes_over_from_one_that_was_killed(
    start_loading: Callable[..., tuple[BaseProcess, Path]], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path)
    first, _ = start_loading(60)
    wait_until(lambda: list(folder.glob(".decoded-*.building")))
    second, output = start_loading(0)
    wait_until(lambda: output.exists() and output.read_text())
    assert f"waiting for process {first.pid} on" in output.read_text()
    first.kill()
    second.join()
    lines = output.read_text().splitlines()
    assert lines[1].startswith(f"process {first.pid} on")
    assert lines[1].endswith("has died")
    assert lines[-1] == str(int(load_image_folder(configure(tmp_path)).train.pixels.sum()))
    assert len(list(folder.glob(".*"))) == 1


def test_a_job_can_be_asked_to_stop_while_another_decodes(
    start_loading: Callable[..., tuple[BaseProcess, Path]], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path)
    start_loading(60)
    wait_until(lambda: list(folder.glob(".decoded-*.building")))
    said: list[str] = []
    with pytest.raises(StoppedError):
        load_image_folder(configure(tmp_path), said.append, lambda: bool(said))
    assert said[0].startswith("waiting for process ")
    assert len(list(folder.glob(".decoded-*.building"))) == 1, "it is the other's"


@pytest.mark.parametrize("images", [0, 1, 12])
def test_a_job_that_must_stop_while_it_decodes_leaves_nothing(
    images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path)
    read: list[Path] = []
    monkeypatch.setattr(
        image_folder, "read_image", lambda path: (read.append(path), read_image(path))[1]
    )
    said: list[str] = []
    with pytest.raises(StoppedError):
        load_image_folder(
            configure(tmp_path), said.append, lambda: bool(said) and len(read) >= images
        )
    assert len(read) == images
    assert list(folder.glob(".*")) == []


def test_a_feed_can_be_asked_to_stop_while_it_looks_at_the_sizes(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with pytest.raises(StoppedError):
        make_feed(configure(tmp_path), ALONE, CPU, torch.contiguous_format, must_stop=lambda: True)


def test_a_builder_on_another_host_is_believed_as_long_as_it_gives_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = image_folder.Marker(tmp_path / "marker")
    monkeypatch.setattr(image_folder, "this_host", lambda: "elsewhere")
    monkeypatch.setattr(image_folder, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(image_folder, "WAIT_S", 0.05)
    assert marker.take()
    assert not marker.take()
    signs = iter([True] * 20)

    def sleep_and_renew(seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        sleep(seconds)
        if next(signs, False):
            marker.renew()

    monkeypatch.setattr(image_folder.time, "sleep", sleep_and_renew)
    said: list[str] = []
    start = time.monotonic()
    marker.wait(said.append)
    assert time.monotonic() - start > 1.4
    assert "has died" in said[-1]
    assert marker.take()
