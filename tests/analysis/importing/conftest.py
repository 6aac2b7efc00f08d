"""Logs as other programs write them, small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WriteLog = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteLog:
    """Writes lines to a file of a folder `logs`, and returns its path."""

    def write(name: str, *lines: str, end: str = "\n") -> Path:
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + end)
        return path

    return write
