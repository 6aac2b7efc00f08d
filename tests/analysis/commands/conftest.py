"""`analysis` as it is typed, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from analysis.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: object
    out: str
    err: str


Analysis = Callable[..., Ended]


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Analysis:
    """Runs `analysis` with some arguments in the folder of the test."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["analysis", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(end.value.code, *capsys.readouterr())

    return run
