"""What all tests share. The tests run on the CPU, where results are equal to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.browser.fixtures import browser, browser_process  # noqa: F401  fixtures for all tests
from tests.slurm_cluster.fixtures import slurm_cluster  # noqa: F401  likewise

# What a shell starts in the background ignores Ctrl-C, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the cluster comes first: nothing else takes so long, and files run in parallel."""
    items.sort(key=lambda item: "slurm_cluster" not in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the folder that the tests were started from."""
    monkeypatch.chdir(tmp_path)
