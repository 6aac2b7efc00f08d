from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.figures import curves, files
from analysis.figures.looks import looks_of
from analysis.figures.style import look
from jobs.errors import InputError
from tests.analysis.figures.frames import FINAL, PAGE, make_curves

DATA = make_curves(epochs=8)


def drawn() -> files.Drawn:
    with look(PAGE):
        figure = curves.draw(DATA, looks_of(list(FINAL)), PAGE)
    return files.Drawn("curves_test_top1", figure, DATA, PAGE)


def test_the_files_are_written_and_the_data_beside_them(tmp_path: Path) -> None:
    written = files.write([drawn()], tmp_path / "new" / "folder", ["png", "pdf"])
    names = ["curves_test_top1.png", "curves_test_top1.pdf", "curves_test_top1.csv"]
    assert [path.name for path in written] == names
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(written[2]), DATA)


@pytest.mark.parametrize("format", files.FORMATS)
def test_the_same_data_gives_the_same_bytes(format: str) -> None:
    assert files.to_bytes(drawn(), format) == files.to_bytes(drawn(), format)


def test_formats_are_read_from_a_list_with_commas() -> None:
    assert files.formats_of("png, .svg,pdf") == ["png", "svg", "pdf"]
    with pytest.raises(InputError, match=r"'jpg' is not a known format of figures.*pdf, png, svg"):
        files.formats_of("png,jpg")
