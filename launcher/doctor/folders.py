"""Whether the nodes see the runs folder and the Python; without sending a job, these are hints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from launcher.doctor.findings import Finding, ok, problem, warning

TOPIC = "files"

SHARED = {
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "wekafs", "panfs", "afs"),
    *("cifs", "smb3", "9p", "pvfs2", "orangefs", "daos", "virtiofs"),
}
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs", "overlay"}


def folders(runs: Path) -> Iterator[Finding]:
    """The folders that nodes must see under the same path as this machine."""
    mounts = {disk.mountpoint: disk.fstype for disk in psutil.disk_partitions(all=True)}
    runs = runs.resolve()
    there = next(path for path in (runs, *runs.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield problem(TOPIC, f"{there} cannot be written by you", "give another folder with --runs")
    yield _seen("the runs folder", runs, mounts)
    yield _seen("Python", Path(sys.prefix).resolve(), mounts)


def _seen(what: str, path: Path, mounts: Mapping[str, str]) -> Finding:
    kind = file_system(path, mounts)
    if kind in SHARED or kind.startswith("fuse."):
        return ok(TOPIC, f"{what}, {path}, is on a network file system ({kind})")
    if kind in IN_MEMORY:
        return warning(
            TOPIC,
            f"{what}, {path}, is on {kind}, which only this machine sees",
            "move it to a file system that the nodes share",
        )
    return warning(
        TOPIC,
        f"{what}, {path}, is on a disk of this machine ({kind}), which nodes see only if it is "
        "exported to them under the same path",
        "`launcher doctor --rehearse` tries it",
    )


def file_system(path: Path, mounts: Mapping[str, str]) -> str:
    """The type of the file system that holds a path, by the mount points and their types."""
    for folder in (path, *path.parents):
        if str(folder) in mounts:
            return mounts[str(folder)]
    return "unknown"
