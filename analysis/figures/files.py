"""Figures as files, with what they show beside them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import DPI, Size, look
from attention_models import UnknownNameError
from jobs.errors import InputError

# Without the time at which they were written: the same data gives the same bytes.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


@dataclass(frozen=True)
class Drawn:
    """A figure, the stem of its files' names, and the numbers that are drawn in it.

    `left_out` says what is not, and why.
    """

    stem: str
    figure: Figure
    data: pd.DataFrame
    size: Size
    left_out: Sequence[str] = ()


def formats_of(text: str) -> list[str]:
    """`png,pdf` as a list; InputError for a format that is not one of FORMATS."""
    formats = [word.strip().removeprefix(".") for word in text.split(",")]
    for name in formats:
        if name not in FORMATS:
            raise InputError(str(UnknownNameError("format of figures", name, FORMATS)))
    return formats


def to_bytes(drawn: Drawn, format: str) -> bytes:
    """The figure as a file of this format."""
    stream = io.BytesIO()
    with look(drawn.size):
        drawn.figure.savefig(stream, format=format, dpi=DPI, metadata=FORMATS[format])
    return stream.getvalue()


def write(figures: Iterable[Drawn], out_dir: Path, formats: Iterable[str]) -> list[Path]:
    """Each figure in each format and its data as CSV; returns the paths."""
    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for drawn in figures:
        for format in formats:
            path = out_dir / f"{drawn.stem}.{format}"
            path.write_bytes(to_bytes(drawn, format))
            written.append(path)
        data = out_dir / f"{drawn.stem}.csv"
        drawn.data.to_csv(data, index=False)
        written.append(data)
    return written
