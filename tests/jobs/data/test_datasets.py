from __future__ import annotations

import gc
import gzip
import hashlib
import http.server
import io
import os
import pickle
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import datasets

from jobs.config import RunConfig, missing_data
from jobs.data.__main__ import main
from jobs.data.augment import Normaliser
from jobs.data.datasets import load_dataset
from jobs.data.files import FILE_SETS
from jobs.errors import ExecutionError, InputError, run_command

CPU = torch.device("cpu")


def test_digits_are_the_real_images_split_without_overlap() -> None:
    data = load_dataset(RunConfig(model="resnet18", dataset="digits"))
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.pixels.shape == (1437, 8, 8, 3)
    assert data.train.pixels.dtype == torch.uint8
    assert int(data.train.pixels.max()) == 255


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_normalised_training_images_have_mean_0_and_deviation_1(name: str) -> None:
    data = load_dataset(RunConfig(model="resnet18", dataset=name))
    images = Normaliser(data, CPU)(data.train.pixels)
    assert images.shape == (len(data.train), 3, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=0.05)
    assert images.std().item() == pytest.approx(1, abs=0.1)


def test_a_part_of_a_data_set_is_its_first_images() -> None:
    whole = load_dataset(RunConfig(model="resnet18", dataset="digits"))
    config = RunConfig(model="resnet18", dataset="digits", train_images=100, test_images=10)
    part = load_dataset(config)
    assert (len(part.train), len(part.test)) == (100, 10)
    assert torch.equal(part.train.pixels, whole.train.pixels[:100])


def test_the_synthetic_images_are_always_the_same() -> None:
    config = RunConfig(model="resnet18", dataset="synthetic")
    first, second = load_dataset(config), load_dataset(config)
    assert torch.equal(first.train.pixels, second.train.pixels)
    assert not torch.equal(first.train.pixels[:256], first.test.pixels)


# ------------------------------------------------------------------------------- made archives
#
# Archives like the published ones, but for their size: 5 training and 3 test images.

COUNTS = {"train": 5, "test": 3}
MNIST_PARTS = {"train": "train", "test": "t10k"}
PATIENCE_S = 200  # of tests that wait for processes, on a machine with much else to do


def made_pixels(name: str, part: str) -> np.ndarray:
    """Images (N, H, W, 3), or (N, H, W) where they are grey."""
    shape = (28, 28) if "mnist" in name else (32, 32, 3)
    seed = [*FILE_SETS].index(name), len(part)
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (COUNTS[part], *shape), dtype=np.uint8)


def made_labels(name: str, part: str) -> list[int]:
    return [
        (7 * number + len(part)) % FILE_SETS[name].num_classes for number in range(COUNTS[part])
    ]


def mnist_files(name: str) -> dict[str, bytes]:
    files = {}
    for part, prefix in MNIST_PARTS.items():
        pixels, labels = made_pixels(name, part), made_labels(name, part)
        images = struct.pack(">4I", 0x803, *pixels.shape) + pixels.tobytes()
        files[f"{prefix}-images-idx3-ubyte"] = images
        files[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, len(labels)) + bytes(
            labels
        )
    return files


def cifar_files(name: str) -> dict[str, bytes]:
    def batch(part: str, images: slice) -> bytes:
        rows = made_pixels(name, part)[images].transpose(0, 3, 1, 2).reshape(-1, 3 * 32 * 32)
        key = "labels" if name == "cifar10" else "fine_labels"
        return pickle.dumps({"data": rows, key: made_labels(name, part)[images]})

    everything = slice(None)
    if name == "cifar100":
        meta = pickle.dumps({"fine_label_names": ["apple"]})
        return {
            "train": batch("train", everything),
            "test": batch("test", everything),
            "meta": meta,
        }
    return {
        **{
            f"data_batch_{place + 1}": batch("train", slice(place, place + 1)) for place in range(5)
        },
        "test_batch": batch("test", everything),
        "batches.meta": pickle.dumps({"label_names": ["plane"]}),
    }


def make_archives(folder: Path, name: str) -> None:
    """The files that a server offers for a data set."""
    if name == "svhn":
        for part in COUNTS:
            pixels = made_pixels(name, part).transpose(1, 2, 3, 0)
            # The files call the digit 0 the class 10.
            labels = np.array([[label or 10] for label in made_labels(name, part)], dtype=np.uint8)
            scipy.io.savemat(folder / f"{part}_32x32.mat", {"X": pixels, "y": labels})
    elif "mnist" in name:
        for file, content in mnist_files(name).items():
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
    else:
        made = getattr(datasets, FILE_SETS[name].torchvision)
        with tarfile.open(folder / made.filename, "w:gz") as archive:
            for file, content in cifar_files(name).items():
                info = tarfile.TarInfo(f"{made.base_folder}/{file}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def changes(name: str, folder: Path, url: str) -> Iterator[tuple[Any, str, Any]]:
    """(class, attribute, value): torchvision asks `url` for the archives, and knows their sums."""
    made = getattr(datasets, FILE_SETS[name].torchvision)
    sums = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    if name == "svhn":
        yield (
            made,
            "split_list",
            {
                part: [url + file, file, sums[file]]
                for part, file in (("train", "train_32x32.mat"), ("test", "test_32x32.mat"))
            },
        )
    elif "mnist" in name:
        yield made, "mirrors", [url]
        yield made, "resources", [(file, sums[file]) for file, _ in made.resources]
    else:
        files = {file: md5(content) for file, content in cifar_files(name).items()}
        yield made, "url", url + made.filename
        yield made, "tgz_md5", sums[made.filename]
        yield made, "train_list", [(file, files[file]) for file, _ in made.train_list]
        yield made, "test_list", [(file, files[file]) for file, _ in made.test_list]
        yield made, "meta", made.meta | {"md5": files[made.meta["filename"]]}


class Server:
    """The archives of a data set on this machine, and torchvision that knows no others."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.asked = folder, []
        self.was_asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()
        self._monkeypatch = monkeypatch
        folder.mkdir()
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.was_asked.set()
                server.answers.wait(PATIENCE_S)
                super().do_GET()

            def log_message(self, *args: object) -> None:
                pass

        def handler(*args: Any) -> Handler:
            return Handler(*args, directory=str(folder))

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def offer(self, name: str) -> None:
        make_archives(self.folder, name)
        for change in changes(name, self.folder, self.url):
            self._monkeypatch.setattr(*change)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server(tmp_path / "served", monkeypatch)
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.answers.set()
    made.http.shutdown()
    thread.join()
    made.http.server_close()
    socket.setdefaulttimeout(None)


def config_of(name: str, **options: Any) -> RunConfig:
    return RunConfig(model="resnet18", dataset=name, data_dir=Path("data"), **options)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


# ------------------------------------------------------------------------------- downloads

every_file_set = pytest.mark.parametrize("name", FILE_SETS)


@every_file_set
def test_what_is_downloaded_is_read_as_bytes_with_labels(
    name: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.offer(name)
    main([name, "data"])
    assert f"{name}: 5 training and 3 test images in data" in capsys.readouterr().out
    data = load_dataset(config_of(name))
    for part, images in (("train", data.train), ("test", data.test)):
        pixels = torch.from_numpy(made_pixels(name, part))
        grey = pixels.ndim == 3
        wanted = torch.stack([pixels] * 3, dim=-1) if grey else pixels
        assert images.pixels.dtype == torch.uint8
        assert torch.equal(images.pixels, wanted)
        assert images.labels.dtype == torch.int64
        assert images.labels.tolist() == made_labels(name, part)
    assert data.num_classes == FILE_SETS[name].num_classes
    assert data.input_size == (28 if "mnist" in name else 32)
    assert Normaliser(data, torch.device("cpu"))(data.train.pixels).shape[1] == 3


@every_file_set
def test_what_is_there_is_not_downloaded_again(name: str, server: Server) -> None:
    server.offer(name)
    main([name, "data"])
    asked = len(server.asked)
    assert asked > 0
    main([name, "data"])
    assert len(server.asked) == asked
    files = {str(path.relative_to("data")) for path in Path("data").rglob("*") if path.is_file()}
    assert files == {*FILE_SETS[name].files, ".download.lock"}


@every_file_set
def test_missing_files_are_told_with_where_to_put_them(name: str, server: Server) -> None:
    with pytest.raises(InputError) as caught:
        load_dataset(config_of(name))
    message = str(caught.value)
    assert f"the files of {name} are not in data" in message
    assert FILE_SETS[name].by_hand in message
    assert f"python -m jobs.data {name} data" in message
    server.offer(name)
    main([name, "data"])
    for file in FILE_SETS[name].files:
        away = Path("data", file).rename("away")
        assert f"there is no {file}. " in missing_data(config_of(name))
        away.rename(Path("data", file))
    assert missing_data(config_of(name)) == ""


@every_file_set
def test_damaged_files_are_told_and_replaced_on_request(
    name: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.offer(name)
    main([name, "data"])
    for file in FILE_SETS[name].files:
        cut(Path("data", file))
        with pytest.raises(InputError, match=rf"the files of {name} in data are damaged; run"):
            load_dataset(config_of(name))
        main([name, "data"])
        assert "are damaged and are replaced" in capsys.readouterr().out
        load_dataset(config_of(name))


@every_file_set
def test_without_a_network_one_sentence_says_so(
    name: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.url = "http://127.0.0.1:1/"
    server.offer(name)
    with pytest.raises(SystemExit) as left:
        run_command(lambda: main([name, "data"]))
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {name} could not be downloaded: ")
    assert "Connection refused" in said
    assert said.count("\n") == 1
    assert os.listdir("data") == [".download.lock"]


@every_file_set
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # torchvision leaves the answer open
def test_a_server_without_the_files_is_one_sentence_too(name: str, server: Server) -> None:
    server.offer(name)
    for archive in server.folder.iterdir():
        archive.unlink()
    with pytest.raises(ExecutionError, match=rf"{name} could not be downloaded: .*Not Found|not f"):
        main([name, "data"])
    gc.collect()


@every_file_set
def test_a_torn_download_is_not_taken(name: str, server: Server) -> None:
    server.offer(name)
    for archive in server.folder.iterdir():
        cut(archive)
    with pytest.raises(ExecutionError, match=rf"{name} could not be downloaded: .*corrupted"):
        main([name, "data"])
    assert os.listdir("data") == [".download.lock"]


# A command with the changed torchvision, as in this process.
DOWNLOAD = """
import sys
from pathlib import Path
from tests.jobs.data.test_datasets import changes
from jobs.data.__main__ import main
name, folder, url = sys.argv[1:]
for change in changes(name, Path(folder), url):
    setattr(*change)
main([name, "data"])
"""


def start_download(server: Server, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DOWNLOAD, name, str(server.folder), server.url]
    top = str(Path(__file__).parents[3])
    path = {"PYTHONPATH": os.pathsep.join([top, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | path)


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_download_waits_and_finds_the_files_or_goes_on_after_a_kill(
    killed: bool, server: Server
) -> None:
    server.offer("svhn")
    main(["svhn", "elsewhere"])
    for_one_download = len(server.asked)
    server.answers.clear()
    server.was_asked.clear()
    with start_download(server, "svhn") as first, start_download(server, "svhn") as second:
        # Which is first is open: the other says that it waits, while the server waits too.
        waiting = wait_for_line([first, second])
        working = second if waiting is first else first
        assert server.was_asked.wait(PATIENCE_S)
        if killed:
            working.send_signal(signal.SIGKILL)
            working.wait()
        server.answers.set()
        said = waiting.communicate()[0]
        working.communicate()
    assert "svhn: 5 training and 3 test images in data" in said
    assert waiting.returncode == 0
    assert working.returncode == (-signal.SIGKILL if killed else 0)
    assert len(server.asked) == 2 * for_one_download + killed
    load_dataset(config_of("svhn"))


def wait_for_line(processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """The process that says it waits for the other."""
    pipes = {process.stdout: process for process in processes}
    ready, _, _ = select.select(list(pipes), [], [], PATIENCE_S)
    assert len(ready) == 1
    assert ready[0].readline() == "waiting for another download to data\n"
    return pipes[ready[0]]


def test_asking_for_a_download_wrongly_shows_the_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong in (["cifar", "data"], ["cifar10"], []):
        with pytest.raises(SystemExit) as left:
            main(wrong)
        assert left.value.code == 2
        assert "usage: python -m jobs.data" in capsys.readouterr().err


def test_help_names_the_data_sets_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in FILE_SETS)
    assert "python -m jobs.data cifar100 data" in said


# ------------------------------------------------------------------------------- damage


@given(
    st.sampled_from(sorted(mnist_files("mnist"))),
    st.integers(0, 2000),
    st.one_of(st.none(), st.integers(1, 255)),
)
def test_no_damage_of_grey_files_is_more_than_a_mistake(
    file: str, place: int, flipped: int | None
) -> None:
    """These have no checksums: damage to pixels cannot be seen, but lengths and heads can."""
    folder = Path("data/MNIST/raw")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in mnist_files("mnist").items():
        (folder / name).write_bytes(content)
    content = bytearray((folder / file).read_bytes())
    place %= len(content)
    content[place:] = b"" if flipped is None else [content[place] ^ flipped, *content[place + 1 :]]
    (folder / file).write_bytes(content)
    said = damage_of_mnist()
    if not said:
        assert flipped is not None, "a cut file was read"
        assert place >= 8, "a damaged head was read"
        assert int(load_dataset(config_of("mnist")).train.labels.max()) < 10
    else:
        assert "the files of mnist in data are damaged" in said


def damage_of_mnist() -> str:
    try:
        load_dataset(config_of("mnist"))
    except InputError as error:
        return str(error)
    return ""


def test_labels_of_other_images_are_damage(server: Server) -> None:
    server.offer("mnist")
    main(["mnist", "data"])
    labels = Path("data/MNIST/raw/t10k-labels-idx1-ubyte")
    labels.with_name("train-labels-idx1-ubyte").write_bytes(labels.read_bytes())
    assert "damaged" in damage_of_mnist()


# ------------------------------------------------------------------------------- staging


@every_file_set
def test_staged_files_are_copied_without_others_and_read_from_there(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.offer(name)
    main([name, "data"])
    Path("data/other").write_bytes(b"x")
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    config, said = config_of(name, stage_dir="$SCRATCH"), []
    direct = load_dataset(config_of(name))
    staged = load_dataset(config, said.append)
    assert torch.equal(staged.train.pixels, direct.train.pixels)
    assert said[0].startswith(f"copying {tmp_path / 'data'} to {tmp_path / 'scratch'}/")
    copies = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    copy = next(path for path in copies if str(path).endswith(FILE_SETS[name].files[0]))
    assert len(copies) == len(FILE_SETS[name].files) + 1  # the lock
    damaged = bytearray(copy.read_bytes())
    damaged[:8] = bytes(8)
    copy.write_bytes(damaged)
    again = load_dataset(config, said.append)
    assert torch.equal(again.train.pixels, direct.train.pixels)
    assert f"is damaged and is removed: reading {config.data_dir}" in said[-1]
    load_dataset(config, said.append)
    assert said[-1].startswith("copied in "), "a new copy is whole"


@every_file_set
def test_of_damaged_files_the_copy_is_removed_and_never_themselves(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.offer(name)
    main([name, "data"])
    damaged = Path("data", FILE_SETS[name].files[0])
    cut(damaged)
    before = damaged.read_bytes()
    scratch = tmp_path / "scratch"
    for room in ("enough", "none"):
        if room == "none":  # the files are read where they are
            monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
        with pytest.raises(InputError, match=rf"the files of {name} in data are damaged; run"):
            load_dataset(config_of(name, stage_dir=str(scratch)))
        assert damaged.read_bytes() == before
        assert not [path for path in scratch.glob("*/*") if path.is_dir()]


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_what_is_in_no_file_is_never_staged(name: str) -> None:
    load_dataset(RunConfig(model="resnet18", dataset=name, stage_dir="$NO_SUCH_VARIABLE"))
