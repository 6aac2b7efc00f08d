"""The combinations of a matrix: the product of its axes, without some and with more."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any


def product(axes: Sequence[Mapping[str, Sequence[Any]]]) -> list[dict[str, Any]]:
    """Every combination; an axis is an option with its values, or several whose values go together.

    The values of the last axis change fastest.
    """
    names = [name for axis in axes for name in axis]
    points = itertools.product(*(list(zip(*axis.values(), strict=True)) for axis in axes))
    return [dict(zip(names, itertools.chain(*point), strict=True)) for point in points]


def combine(
    combinations: Sequence[Mapping[str, Any]],
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The combinations without some and with more, as the `matrix` of GitHub Actions has them."""
    originals = [cell for cell in combinations if not any(has_all(cell, out) for out in exclude)]
    cells = [dict(cell) for cell in originals]
    new = []
    for entry in include:
        fitting = [
            cell
            for original, cell in zip(originals, cells, strict=True)
            if all(original.get(key, value) == value for key, value in entry.items())
        ]
        for cell in fitting:
            cell |= entry
        if not fitting:
            new.append(dict(entry))
    return cells + new


def has_all(cell: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return entry.items() <= cell.items()
