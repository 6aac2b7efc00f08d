"""What can be said of folders without sending a job to look at them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from launcher.doctor.findings import Verdict
from launcher.doctor.folders import file_system, folders

MOUNTS = {"/": "ext4", "/home": "nfs4", "/home/me/scratch": "lustre", "/tmp": "tmpfs"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/runs", "nfs4"),
        ("/home/me/scratch/runs", "lustre"),
        ("/homes/me", "ext4"),
        ("/tmp", "tmpfs"),
    ],
)
def test_a_path_is_on_the_file_system_that_is_mounted_deepest(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "verdict", "text"),
    [
        ("nfs4", Verdict.OK, "network file system (nfs4)"),
        ("fuse.glusterfs", Verdict.OK, "network file system (fuse.glusterfs)"),
        ("tmpfs", Verdict.WARNING, "which only this machine sees"),
        ("xfs", Verdict.WARNING, "only if it is exported to them"),
    ],
)
def test_where_the_runs_are_is_told_and_judged(
    kind: str, verdict: Verdict, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = type("Disk", (), {"mountpoint": str(tmp_path), "fstype": kind})
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [disk])
    runs, _ = folders(tmp_path / "not" / "there" / "runs")
    assert (runs.verdict, text in runs.text) == (verdict, True)
    assert str(tmp_path / "not" / "there" / "runs") in runs.text


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    first = next(folders(Path("runs")))
    assert first.verdict is Verdict.PROBLEM
    assert first.text.endswith("cannot be written by you")
