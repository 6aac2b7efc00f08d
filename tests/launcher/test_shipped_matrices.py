"""The shipped experiments: each can be submitted as it is, and its header says what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.matrix import read_matrix

TOP = Path(__file__).parents[2]
MATRICES = sorted((TOP / "jobs" / "matrices").glob("*.yaml"))


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_a_shipped_matrix_is_valid_and_named_like_its_file(path: Path) -> None:
    matrix = read_matrix(path)
    assert matrix.name == path.stem
    assert matrix.configs


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_the_header_says_command_cost_and_expected_number(path: Path) -> None:
    header = path.read_text().partition("\nname:")[0]
    for word in ("command", "cost", "expected", f"jobs/matrices/{path.name}"):
        assert word in header


def test_the_comparison_on_cifar100_is_fair() -> None:
    """Nothing differs between its runs but the network and the seed."""
    configs = read_matrix(TOP / "jobs" / "matrices" / "attention_cifar100.yaml").configs
    assert len({config.model for config in configs}) == 5
    assert len(configs) == 15
    assert (
        len({repr(config.model_copy(update={"model": "", "seed": 0})) for config in configs}) == 1
    )
    assert {config.dataset for config in configs} == {"cifar100"}
