from __future__ import annotations

from pathlib import Path

import pytest

from analysis.importing.log import UnusableError
from analysis.importing.text import files_in, read_text, some_of, to_number
from jobs.errors import InputError


def test_a_folder_stands_for_its_files_and_no_file_is_read_twice(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "inner/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    both = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert files_in([tmp_path]) == both
    assert files_in([*both, tmp_path]) == both
    with pytest.raises(InputError, match=r"there is no file or folder .*\*\.log"):
        files_in([tmp_path / "*.log"])


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "empty"), (b" \n\n", "empty"), (b"PK\0\1", "it is no text")]
)
def test_what_is_no_text_says_so(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnusableError, match=why):
        read_text(tmp_path / "file")


def test_numbers_are_read_as_logs_write_them() -> None:
    assert [to_number(text) for text in ("1.5", " 2 ", "1e-3", "", "abc")] == [
        *(1.5, 2.0, 0.001),
        *(None, None),
    ]
    nan = to_number("nan")
    assert nan is not None
    assert nan != nan


def test_of_much_that_is_wrong_a_little_is_shown() -> None:
    assert some_of(["one", "two"]) == "'one', 'two'"
    assert some_of([*"abcde"]) == "'a', 'b', 'c' and 2 others"
