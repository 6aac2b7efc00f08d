"""Copies of data on a disk of the node, which many jobs read faster than a network file system."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from string import Template

from jobs.data.file_lock import hold_lock
from jobs.errors import InputError, StoppedError
from jobs.processes import this_host

# Of small files on a network, the time goes into waiting for each; large ones need fewer threads.
COPY_THREADS = 16

# name, relative to the source's parent -> size in bytes, time of the last change in ns
Files = dict[str, tuple[int, int]]


def stage(
    source: Path,
    into: str,
    say: Callable[[str], None],
    only: Sequence[str] = (),
    must_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Copy a file or a folder into the folder `into` of this node, once; return the copy's path.

    `into` may hold environment variables, as in `$SLURM_TMPDIR`; InputError if it cannot be
    written. Of a folder, hidden files are left out; `only` names the files to be copied instead.
    Jobs that start together wait for the one that copies. A source with other files, sizes or
    times is copied anew. Where no copy can be made, for want of room or whatever else, `say` is
    told why, and the source itself is returned: it is read where it is. Raises StoppedError, and
    leaves no half of a copy, if it must stop before there is one.
    """
    home = _own_folder(into)
    source = source.resolve()
    try:
        files = _list_files(source, only, must_stop)
        digest = hashlib.sha256(repr((str(source), sorted(files.items()))).encode())
        place = home / f"{source.name}-{digest.hexdigest()[:12]}"

        def say_waiting() -> None:
            say(f"waiting for another job on {this_host()} that copies {source}")

        # The disk is the node's own, so its kernel knows all who copy, and frees the lock of one
        # that was killed. A lease in a file, as for runs, would have to be judged by its age.
        with hold_lock(place.with_name(f".{place.name}.lock"), say_waiting, must_stop):
            if _is_whole(place, files):
                say(f"reading the copy of {source} in {place}")
            else:
                _copy(source, files, place, say, must_stop)
        return place / source.name
    except OSError as error:
        say(f"reading {source} where it is; no copy in {home}: {error.strerror or error}")
        return source


def _own_folder(into: str) -> Path:
    """The folder in `into` that belongs to this user alone: scratch is shared."""
    hint = "Name a folder on the nodes' own disks, or leave stage_dir empty: no copies are made"
    try:
        # An empty variable is no better than none: $EMPTY/data would be /data.
        known = {name: value for name, value in os.environ.items() if value}
        scratch = Path(Template(into).substitute(known))
    except KeyError as error:
        raise InputError(
            f"stage_dir: {into} needs the variable {error.args[0]}, which is not set on "
            f"{this_host()}. {hint}"
        ) from None
    except ValueError:
        raise InputError(
            f"stage_dir: {into} has a $ without a name; write $NAME or ${{NAME}}, or $$ for a "
            "dollar sign"
        ) from None
    if not scratch.is_absolute():
        raise InputError(f"stage_dir: {into} means {scratch}, which does not begin with /. {hint}")
    home = scratch / f"attention-sweeps-{os.getuid()}"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = "" if home.stat().st_uid == os.getuid() else f"{home} is another user's"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise InputError(f"stage_dir: {into} cannot be used on {this_host()}: {problem}. {hint}")
    return home


def discard(copy: Path) -> None:
    """Remove what `stage` returned, which must be a copy; the next job makes another."""
    shutil.rmtree(copy.parent, ignore_errors=True)


def _list_files(source: Path, only: Sequence[str], must_stop: Callable[[], bool]) -> Files:
    if only:
        paths: Iterator[str] = (f"{source}/{name}" for name in only)
    elif source.is_file():
        paths = iter([str(source)])
    else:
        paths = _visible_files(source)
    files = {}
    for path in paths:
        if must_stop():
            raise StoppedError
        found = os.stat(path)
        # os.path.relpath takes ten times as long, which matters for a million files.
        name = path.removeprefix(str(source.parent)).lstrip("/")
        files[name] = found.st_size, found.st_mtime_ns
    if not files:
        raise FileNotFoundError(f"there are no files in {source}")
    return files


def _visible_files(folder: Path) -> Iterator[str]:
    """The files of a folder, also behind links; hidden ones are caches, or half written."""

    def fail(error: OSError) -> None:
        raise error

    for inside, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(inside, name) for name in names if not name.startswith("."))


def _is_whole(place: Path, files: Files) -> bool:
    """Whether all files are there in their sizes: what cleans up scratch may have taken some."""
    try:
        return all(os.stat(place / name).st_size == size for name, (size, _) in files.items())
    except FileNotFoundError:
        return False


def _copy(
    source: Path,
    files: Files,
    place: Path,
    say: Callable[[str], None],
    must_stop: Callable[[], bool],
) -> None:
    """Copy beside and rename: what has its name is whole. Times stay, as they are a fingerprint."""
    beside = place.with_name(f".{place.name}.partial")
    for half in (beside, place):
        shutil.rmtree(half, ignore_errors=True)
    size, free = sum(size for size, _ in files.values()), shutil.disk_usage(place.parent).free
    if size > free:
        raise OSError(f"it needs {_megabytes(size)}, and {_megabytes(free)} are free")
    say(f"copying {source} to {place}: {len(files):,} files, {_megabytes(size)}")
    start = time.monotonic()

    def copy_file(name: str) -> None:
        if must_stop():
            raise StoppedError
        shutil.copyfile(source.parent / name, beside / name)
        os.utime(beside / name, ns=(time.time_ns(), files[name][1]))

    try:
        for folder in {os.path.dirname(name) for name in files}:
            os.makedirs(beside / folder, exist_ok=True)
        with ThreadPool(COPY_THREADS) as pool:
            try:
                for _ in pool.imap_unordered(copy_file, files):
                    pass
            finally:
                # None may still write when what is half done is removed and another job begins.
                pool.terminate()
                pool.join()
        if not _is_whole(beside, files):
            raise OSError("it changed while it was copied")
        os.rename(beside, place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    say(f"copied in {time.monotonic() - start:.1f} s")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
