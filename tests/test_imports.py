"""Who may import whom, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PACKAGES = ("attention_models", "jobs", "launcher", "analysis")

# A package may import itself, and these modules of others (a package's name stands for all of it).
ALLOWED = {
    "attention_models": [],
    "jobs": ["attention_models"],
    "launcher": [
        "attention_models",
        "jobs.causes",
        "jobs.config",
        "jobs.errors",
        "jobs.events",
        "jobs.lease",
        "jobs.look",
        "jobs.processes",
        "jobs.run_dir",
        "jobs.run_records",
        "jobs.selection",
        "jobs.slurm_job",
        "jobs.source_code",
        "jobs.sweep_dir",
        "jobs.train_job",
    ],
    "analysis": [
        "attention_models",
        "jobs.causes",
        "jobs.config",
        "jobs.errors",
        "jobs.event_files",
        "jobs.events",
        "jobs.files",
        "jobs.run_dir",
        "jobs.run_records",
        "jobs.selection",
        "jobs.sweep_dir",
    ],
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere; `from jobs import x` counts as jobs.x."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = node.module in PACKAGES
            found.update(f"{node.module}.{alias.name}" for alias in node.names if inside)
            found.update(set() if inside else {node.module})
    return found


FILES = sorted(path for package in PACKAGES for path in (TOP / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TOP)))
def test_a_file_imports_only_what_its_package_may(path: Path) -> None:
    package = path.relative_to(TOP).parts[0]
    for module in imports(path):
        top = module.partition(".")[0]
        if top not in PACKAGES or top == package:
            continue
        assert any(module == ok or module.startswith(f"{ok}.") for ok in ALLOWED[package]), module


@pytest.mark.parametrize("package", ["launcher", "analysis"])
def test_the_login_node_never_imports_torch(package: str) -> None:
    for path in (TOP / package).rglob("*.py"):
        assert not {name for name in imports(path) if name.partition(".")[0] == "torch"}, path


def test_the_inits_of_the_commands_define_nothing() -> None:
    for package in ("jobs", "launcher", "analysis"):
        assert (TOP / package / "__init__.py").read_text() == ""
