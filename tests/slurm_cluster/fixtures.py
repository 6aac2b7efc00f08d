"""The cluster as a pytest fixture; tests/conftest.py imports it from here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm_cluster.cluster import SlurmCluster, available


def require_slurm() -> None:
    """Skips the test without SLURM, or fails it where SLURM_TESTS=required promises one."""
    if reason := available():
        message = f"No private SLURM cluster: {reason}"
        if os.environ.get("SLURM_TESTS") == "required":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """One cluster for the whole session. A test that breaks it calls `reset` at its end."""
    require_slurm()
    with SlurmCluster() as cluster:
        yield cluster
