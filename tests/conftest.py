"""What all tests share. The tests run on the CPU, where results are equal to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.browser.fixtures import browser, browser_process  # noqa: F401  fixtures for all tests
from tests.slurm_cluster.fixtures import slurm_cluster  # noqa: F401  likewise

# What a shell starts in the background ignores Ctrl-C, and what `nohup` starts a closed terminal.
# What the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"

# Who builds programs may have set it. Then each process that a test starts compiles ours anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How fast a machine is, which others may use as well, no test asserts.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--records",
        type=lambda path: Path(path).resolve(),
        help="folder with the records of the comparison of 2019: cifar_100_SResNet50_test.txt ...",
    )


@pytest.fixture
def records(request: pytest.FixtureRequest) -> Path:
    """The folder that `--records` names; without it, what needs it is skipped."""
    folder: Path | None = request.config.getoption("--records")
    if folder is None:
        pytest.skip("needs the records of the comparison of 2019: --records DIR")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the cluster comes first: nothing else takes so long, and files run in parallel."""
    items.sort(key=lambda item: "slurm_cluster" not in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the folder that the tests were started from."""
    monkeypatch.chdir(tmp_path)
