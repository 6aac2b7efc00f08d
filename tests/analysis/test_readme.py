from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.sweep_dir import SweepDir
from tests.analysis.conftest import damage

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_what_the_readme_types_in_a_notebook_works(
    half_finished: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(half_finished.runs()[0])
    part = README.partition("In a notebook:")[2]
    *lines, last = re.findall(r"```python\n(.*?)```", part, re.DOTALL)[0].strip().split("\n")
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert " is left out: " in capsys.readouterr().out
    over_seeds = eval(last, names)
    assert list(over_seeds.columns) == ["mean", "std", "size"]
    assert over_seeds.loc[("sresnet_small", 2), "size"] == 2
