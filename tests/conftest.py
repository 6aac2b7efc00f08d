"""What all tests share. The tests run on the CPU, where results are equal to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.slurm_cluster.fixtures import slurm_cluster  # noqa: F401  a fixture for all tests

# What a shell starts in the background ignores Ctrl-C, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(tryfirst=True)  # xdist looks for the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, each test file is one worker's, and so is what shares the cluster.

    That comes first, as nothing else takes so long.
    """

    def needs_cluster(item: pytest.Item) -> bool:
        return "slurm_cluster" in getattr(item, "fixturenames", ())

    items.sort(key=lambda item: not needs_cluster(item))
    for item in items:
        group = "slurm" if needs_cluster(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the folder that the tests were started from."""
    monkeypatch.chdir(tmp_path)
