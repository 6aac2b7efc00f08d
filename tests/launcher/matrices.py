"""What tests ask of a matrix."""

from __future__ import annotations

from typing import Any

from launcher.matrix import Matrix


def values(matrix: Matrix, *keys: str) -> list[tuple[Any, ...]]:
    """These options of each run, in order."""
    return [tuple(getattr(config, key) for key in keys) for config in matrix.runs.values()]
