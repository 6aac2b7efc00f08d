from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.data.staging import stage
from jobs.errors import InputError, StoppedError

STAGE = """
import sys
from pathlib import Path
from jobs.data.staging import stage
print(stage(Path("photos"), sys.argv[1], lambda line: print(line, flush=True)))
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that $SLURM_TMPDIR names; not made yet."""
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", {"a/1.jpg": b"one", "a/2.jpg": b"two", "b/1.jpg": b"3"})


def make_folder(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def start(script: str = STAGE) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, "$SLURM_TMPDIR"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# ------------------------------------------------------------------------------- a copy


def test_a_folder_is_copied_with_its_times_and_without_hidden_files(
    photos: Path, scratch: Path
) -> None:
    expected = content(photos)
    make_folder(photos, {".cache": b"x", "a/.2.jpg.tmp": b"x", ".git/config": b"x"})
    os.utime(photos / "a/1.jpg", ns=(1, 1_000_000_007))
    said: list[str] = []
    copy = stage(photos, "$SLURM_TMPDIR/data", said.append)
    assert copy.name == "photos"
    assert copy.is_relative_to(scratch / "data")
    assert content(copy) == expected
    assert (copy / "a/1.jpg").stat().st_mtime_ns == 1_000_000_007
    assert said[0].startswith(f"copying {photos} to {copy.parent}: 3 files, 0 MB")
    assert said[1].startswith("copied in ")


def test_a_file_is_copied_under_its_name(photos: Path, scratch: Path) -> None:
    copy = stage(photos / "a/2.jpg", str(scratch), print)
    assert (copy.name, copy.read_bytes()) == ("2.jpg", b"two")


def test_only_the_named_files_of_a_folder_are_copied(photos: Path, scratch: Path) -> None:
    copy = stage(photos, str(scratch), print, only=["a/2.jpg", "b/1.jpg"])
    assert content(copy) == {"a/2.jpg": b"two", "b/1.jpg": b"3"}


def test_what_links_lead_to_is_copied(photos: Path, scratch: Path, tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "train").symlink_to(photos)
    (folder / "one").symlink_to(photos / "a/1.jpg")
    copy = stage(folder, str(scratch), print)
    assert (copy / "train/b/1.jpg").read_bytes() == b"3"
    assert not any(path.is_symlink() for path in copy.rglob("*"))


def test_a_copy_is_made_once(photos: Path, scratch: Path) -> None:
    said: list[str] = []
    copy = stage(photos, str(scratch), said.append)
    assert stage(photos, str(scratch), said.append) == copy
    assert said[2:] == [f"reading the copy of {photos} in {copy.parent}"]


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def add(path: Path) -> None:
    path.with_name("new.jpg").write_bytes(b"new")


@pytest.mark.parametrize("change", [grow, touch, add, Path.unlink])
def test_a_changed_source_is_copied_anew(
    photos: Path, scratch: Path, change: Callable[[Path], None]
) -> None:
    before, old = stage(photos, str(scratch), print), content(photos)
    change(photos / "a/2.jpg")
    after = stage(photos, str(scratch), print)
    assert after != before
    assert content(after) == content(photos)
    assert content(before) == old, "another job may still read it"


@given(
    st.dictionaries(
        st.from_regex(r"([a-c]/){0,2}[x-z ä'\n]{1,3}", fullmatch=True), st.binary(), min_size=1
    )
)
def test_any_folder_has_an_equal_copy(files: dict[str, bytes]) -> None:
    number = len(list(Path().iterdir()))
    folder = make_folder(Path(f"source{number}"), files)
    assert content(stage(folder, f"{Path().absolute()}/scratch", print)) == content(folder)


# ------------------------------------------------------------------------------- many jobs


def test_of_four_jobs_that_start_together_only_one_copies(photos: Path, scratch: Path) -> None:
    (photos / "large").write_bytes(bytes(20_000_000))
    jobs = [start() for _ in range(4)]
    said = [job.communicate()[0].splitlines() for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 4
    copies = {lines[-1] for lines in said}
    assert len(copies) == 1
    assert content(Path(copies.pop())) == content(photos)
    assert sum(line.startswith("copying ") for lines in said for line in lines) == 1
    assert sum(line.startswith("reading the copy ") for lines in said for line in lines) == 3


# Copies a file and a half, and waits there for its end.
HANGS = f"""
import shutil, time
import jobs.data.staging
copied = shutil.copyfile
def copy_half(source, target):
    open(target, "wb").write(open(source, "rb").read()[:1])
    print("hanging", flush=True)
    time.sleep(600)
def copy_whole(source, target):
    copied(source, target)
    shutil.copyfile = copy_half
shutil.copyfile = copy_whole
jobs.data.staging.COPY_THREADS = 1
{STAGE}"""


def test_what_a_killed_job_left_is_removed_and_another_copies(photos: Path, scratch: Path) -> None:
    with start(HANGS) as killed:
        assert killed.stdout is not None
        lines = iter(killed.stdout)
        assert next(lines).startswith("copying ")
        assert next(lines) == "hanging\n"
        with start() as waiting:
            assert waiting.stdout is not None
            assert next(waiting.stdout).startswith("waiting for another job on ")
            killed.send_signal(signal.SIGKILL)
            said = waiting.stdout.read().splitlines()
    assert said[0].startswith("copying ")
    copy = Path(said[-1])
    assert content(copy) == content(photos)
    assert not [path for path in copy.parent.parent.iterdir() if path.suffix == ".partial"]


def test_a_copy_that_lost_files_to_a_cleaner_is_made_again(photos: Path, scratch: Path) -> None:
    copy = stage(photos, str(scratch), print)
    (copy / "b/1.jpg").unlink()
    assert stage(photos, str(scratch), print) == copy
    assert content(copy) == content(photos)


def test_a_job_that_must_stop_leaves_no_half_of_a_copy(photos: Path, scratch: Path) -> None:
    make_folder(photos, {f"many/{number}": b"x" for number in range(200)})
    said: list[str] = []
    copied = 0

    def must_stop() -> bool:
        nonlocal copied
        copied += said != []  # now it copies
        return copied > 50

    with pytest.raises(StoppedError):
        stage(photos, str(scratch), said.append, must_stop=must_stop)
    (home,) = scratch.iterdir()
    assert [path.suffix for path in home.iterdir()] == [".lock"]
    assert content(stage(photos, str(scratch), print)) == content(photos)


def test_a_job_can_be_asked_to_stop_while_another_copies(photos: Path, scratch: Path) -> None:
    with start(HANGS) as other:
        assert other.stdout is not None
        assert "hanging\n" in iter(other.stdout)
        said: list[str] = []
        with pytest.raises(StoppedError):
            stage(photos, str(scratch), said.append, must_stop=lambda: bool(said))
        assert said[0].startswith("waiting for another job on ")
        other.kill()


# ------------------------------------------------------------------------------- no copy


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more, as far as one process can have it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_copy_that_fails_midway_leaves_nothing_and_the_source_is_read(
    photos: Path, scratch: Path
) -> None:
    (photos / "large").write_bytes(bytes(2_000_000))
    said: list[str] = []
    with largest_file(1_000_000):
        assert stage(photos, str(scratch), said.append) == photos
    home = scratch / f"attention-sweeps-{os.getuid()}"
    reason = os.strerror(errno.EFBIG)
    assert said[-1] == f"reading {photos} where it is; no copy in {home}: {reason}"
    assert [path.suffix for path in home.iterdir()] == [".lock"]
    assert content(stage(photos, str(scratch), print)) == content(photos)


def test_what_does_not_fit_is_read_where_it_is(photos: Path, scratch: Path) -> None:
    size = shutil.disk_usage(photos).free + 2**40
    with open(photos / "huge", "wb") as file:
        file.truncate(size)  # takes no room, but its copy would
    said: list[str] = []
    assert stage(photos, str(scratch), said.append) == photos
    assert len(said) == 1
    assert f"it needs {size / 1e6:,.0f} MB, and " in said[0]
    assert said[0].endswith(" MB are free")


def test_a_source_that_changes_meanwhile_is_read_where_it_is(photos: Path, scratch: Path) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        grow(photos / "a/1.jpg")

    assert stage(photos, str(scratch), say) == photos
    assert said[-1].endswith("it changed while it was copied")


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_source_without_files_is_left_to_those_who_read_it(
    name: str, tmp_path: Path, scratch: Path
) -> None:
    (tmp_path / "empty").mkdir()
    said: list[str] = []
    assert stage(tmp_path / name, str(scratch), said.append) == tmp_path / name
    assert len(said) == 1


# ------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("into", "said"),
    [
        ("$NO_SUCH/data", "needs the variable NO_SUCH, which is not set"),
        ("${EMPTY}/data", "needs the variable EMPTY, which is not set"),
        ("/scratch/$", r"has a \$ without a name"),
        ("scratch", "does not begin with /"),
        ("/proc/scratch", "cannot be used on .*: No such file or directory"),
        ("/dev/null", "cannot be used on .*: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_mistake(
    into: str, said: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(InputError, match=rf"^stage_dir: .*{said}"):
        stage(photos, into, print)


def test_the_folder_of_another_user_is_not_trusted(
    photos: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.getuid()
    stage(photos, str(scratch), print)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    (scratch / f"attention-sweeps-{owner}").rename(scratch / f"attention-sweeps-{owner + 1}")
    with pytest.raises(InputError, match=r"is another user's"):
        stage(photos, str(scratch), print)


def test_others_cannot_write_to_the_copies(photos: Path, scratch: Path) -> None:
    copy = stage(photos, str(scratch), print)
    assert copy.parents[1].stat().st_mode & 0o777 == 0o700
