"""Looking at several sweeps of which one is damaged; for going on with them, see test_resume.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.errors import ExecutionError, InputError
from jobs.sweep_dir import SweepDir
from launcher.failures import Failures
from tests.launcher.conftest import Desk, add_attempt


@pytest.fixture
def damaged(desk: Desk) -> tuple[Desk, Path]:
    """Sweeps a and b with a failed run each, and the file of a that is damaged."""
    Path("sweep.yaml").write_text("base: {model: resnet_small, dataset: digits}\n")
    for name in "ab":
        desk.launcher("submit", "sweep.yaml", "--set", f"name={name}")
        [run] = SweepDir(f"runs/{name}").runs()
        job_id = desk.jobs()[-1]
        add_attempt(run, executor="slurm", job_id=job_id, cause="code_error", message="no")
        desk.fake.set(job_id, "FAILED", start=1, end=2)
    [names] = Path("runs/a/matrices").glob("*.runs.json")
    names.write_text("7")
    return desk, names


def test_a_damaged_sweep_hides_no_other_one(damaged: tuple[Desk, Path]) -> None:
    desk, names = damaged
    for words, shown in (
        (["status"], "b: failed 1"),
        (["status", "--watch"], "b: failed 1"),
        (["list"], "failed 1"),
        (["logs", "--failed"], "==> b: resnet_small s0"),
    ):
        said = desk.launcher(*words, status=2)
        assert shown in said
        assert f"error: a: {names} is missing or damaged; " in said
        assert said.endswith("error: 1 of 2 sweeps failed: a\n")


def test_programs_get_the_other_sweeps_and_the_status(damaged: tuple[Desk, Path]) -> None:
    said = damaged[0].launcher("status", "--json", status=2)
    rows = json.loads(said[: said.index("error: a: ")])
    assert [row["sweep"] for row in rows] == ["b"]


def test_what_is_wrong_with_the_only_sweep_is_said_once(damaged: tuple[Desk, Path]) -> None:
    desk, names = damaged
    for words in (["status", "a"], ["logs", "--failed", "a"]):
        said = desk.launcher(*words, status=2)
        assert said.startswith(f"error: {names} is missing or damaged; remove it and ")
        assert said.count("\n") == 1


def test_what_the_error_of_a_damaged_sweep_advises_mends_it(damaged: tuple[Desk, Path]) -> None:
    desk, names = damaged
    matrix = names.with_name("1.yaml")
    advice = f"remove it and {matrix}, and submit the matrix again"
    submit = ("submit", "sweep.yaml", "--set", "name=a")
    assert advice in desk.launcher(*submit, status=2)
    names.unlink()
    matrix.unlink()
    desk.launcher(*submit)
    assert desk.launcher("status", "a").startswith("a: queued 1")


def test_a_damaged_run_stands_as_failed_and_hides_no_other_one(desk: Desk) -> None:
    desk.submit(runs=3)
    first, second, _ = desk.sweep.runs()
    add_attempt(first)
    (first.path / "attempts" / "1.json").write_text("{")
    second.result.write_text("{}")
    assert desk.states() == ["failed", "failed", "queued"]
    assert "attempts/1.json is damaged" in desk.rows()[0]["detail"]
    said = desk.launcher("resume", "--dry-run", status=2)
    assert "leave 3" in said
    assert "error: damaged runs were left:\n" in said
    assert said.count("attempts/1.json is damaged") == 2  # in the plan, and in the end


def test_mistakes_alone_are_input_errors_and_anything_else_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = Failures(3)
    failures.check()
    with failures.of(SweepDir("a")):
        raise InputError("edited")
    with pytest.raises(InputError, match=r"^1 of 3 sweeps failed: a$"):
        failures.check()
    with failures.of(SweepDir("b")):
        raise PermissionError(13, "Permission denied", "b/submissions/claim")
    assert "error: b: b/submissions/claim: Permission denied\n" in capsys.readouterr().err
    with pytest.raises(ExecutionError, match=r"^2 of 3 sweeps failed: a, b$"):
        failures.check()
    with pytest.raises(ZeroDivisionError), failures.of(SweepDir("c")):
        1 / 0  # noqa: B018  a bug is not hidden
