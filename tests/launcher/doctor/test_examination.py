"""The examination as a whole: what counts, what is shown, and with which status it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer
from rich.console import Console

from launcher.cluster import Cluster, LocalProfile
from launcher.commands import looking
from launcher.doctor import examination
from launcher.doctor.examination import examine
from launcher.doctor.findings import Finding, Verdict, ok, problem, report, summary, warning, worst
from launcher.doctor.site import Site
from tests.launcher.doctor.answers import profile, site

HAVE = {"version": "2.10.0", "kernels": ["sm_70"], "unfit": {}}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded cluster, seen from this machine."""
    monkeypatch.setattr(examination, "has_slurm", lambda: True)
    monkeypatch.setattr(examination, "read_site", site)
    monkeypatch.setattr(examination, "ask_torch", lambda types: HAVE)


def cluster(**profiles: object) -> Cluster:
    return Cluster({"lab": profile(), "local": LocalProfile(), **profiles}, "lab")  # type: ignore[dict-item]


@pytest.mark.usefixtures("there")
def test_everything_is_looked_at_under_its_heading() -> None:
    found = examine(cluster(), None, Path("runs"))
    assert list(dict.fromkeys(one.topic for one in found)) == [
        "cluster",
        "does profile lab fit?",
        "what stops a run, and what happens then",
        "limits",
        "accounting",
        "torch",
        "files",
    ]
    assert found[0].text == ("lab, SLURM 22.05.8: 3 partitions, 4 nodes, 1 of them out of service")
    assert worst(found) is not Verdict.PROBLEM


@pytest.mark.usefixtures("there")
def test_only_the_profile_that_is_asked_about_decides() -> None:
    profiles = cluster(other=profile(partition="nosuch"))
    found = examine(profiles, None, Path("runs"))
    assert worst(found) is Verdict.WARNING
    assert any("there is no partition nosuch" in one.text for one in found)
    found = examine(profiles, "other", Path("runs"))
    assert worst(found) is Verdict.PROBLEM
    assert not any("profile lab" in one.topic for one in found)


def test_a_controller_that_does_not_answer_is_the_only_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(examination, "has_slurm", lambda: True)
    silent = {"scontrol show config": "Unable to contact slurm controller"}
    monkeypatch.setattr(examination, "read_site", lambda: Site(silent=silent))
    (found,) = examine(cluster(), None, Path("runs"))
    assert found.verdict is Verdict.PROBLEM
    assert "Unable to contact" in found.text


def test_commands_that_refuse_are_named(monkeypatch: pytest.MonkeyPatch, there: None) -> None:
    monkeypatch.setattr(examination, "read_site", lambda: site(silent={"sinfo": "not allowed"}))
    found = examine(cluster(), None, Path("runs"))
    assert any(one.text == "`sinfo`: not allowed" for one in found)


def test_without_slurm_it_is_told_what_this_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "has_slurm", lambda: False)
    found = examine(Cluster({"local": LocalProfile()}), None, Path("runs"))
    assert "no SLURM here" in found[0].text
    assert "no GPU that nvidia-smi shows" in found[1].text
    assert worst(found) is Verdict.OK


@pytest.mark.parametrize(("verdict", "status"), [("warning", 0), ("problem", 1)])
def test_the_command_ends_with_1_where_a_sweep_cannot_work(
    verdict: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Finding("files", Verdict(verdict), "the text", "the advice")
    monkeypatch.setattr(examination, "examine", lambda *given: [found])
    ended = 0
    try:
        looking.doctor(profile=None, cluster=None, as_json=True)
    except typer.Exit as end:
        ended = end.exit_code
    assert ended == status
    assert json.loads(capsys.readouterr().out) == [
        {"topic": "files", "verdict": verdict, "text": "the text", "advice": "the advice"}
    ]


def test_lines_stay_beside_their_verdict_in_a_narrow_terminal() -> None:
    found = [
        ok("one", "all is well"),
        warning("one", "something that is longer than the line", "so\nthen"),
        problem("two", "no", "yes"),
    ]
    shown = io.StringIO()
    Console(file=shown, width=40).print(report(found))
    assert [line.rstrip() for line in shown.getvalue().splitlines()] == [
        "one",
        "  ok       all is well",
        "  warning  something that is longer than",
        "           the line",
        "           → so",
        "           then",
        "",
        "two",
        "  problem  no",
        "           → yes",
        "",
    ]
    assert summary(found) == "1 problem, 1 warning: jobs would not run like this"
    assert summary(found[:1]) == "no problem, 0 warnings"
