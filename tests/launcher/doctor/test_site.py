"""Parsing what SLURM's commands say of the cluster, and what is known where they say nothing."""

from __future__ import annotations

import pytest

from jobs.errors import ExecutionError
from launcher.doctor import site as module
from launcher.doctor.site import Site, parse_gres, parse_minutes, parse_nodes, read_site
from tests.launcher.doctor.answers import (
    ASSOCIATIONS,
    CONFIG,
    NODES,
    PARTITIONS,
    QOS,
    partition,
    site,
)


def test_partitions_have_their_own_nodes_and_rules() -> None:
    low, low0, high = site().partitions
    assert (low.name, low.is_default, low.grace_s, low.tier) == ("low", True, 5, 1)
    assert (low0.grace_s, low0.preempt_mode, low0.max_time_min) == (0, "REQUEUE", None)
    assert (high.tier, high.preempt_mode, high.qos) == (10, "OFF", "")
    assert [node.name for node in high.nodes] == ["n1", "n2", "n3", "n4"]
    text = PARTITIONS.replace("MaxTime=UNLIMITED", "MaxTime=2-00:00:00").replace("QoS=N/A", "QoS=a")
    changed = partition(site(partitions=text), "low")
    assert (changed.max_time_min, changed.qos) == (2880, "a")
    assert site(partitions="No partitions in the system\n").partitions == [], "none that he may see"


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        *((word, True) for word in ("idle", "mixed", "allocated", "idle~", "planned", "reserved")),
        *((word, False) for word in ("down", "down*", "idle*", "drained", "draining", "maint")),
    ],
)
def test_whether_a_node_takes_jobs_is_told_by_its_state(state: str, usable: bool) -> None:
    (node,) = parse_nodes(f"n1|low|{state}|8|16000|(null)|(null)\n")
    assert node.is_usable is usable
    assert (node.gres, node.features) == ({}, frozenset())


@pytest.mark.parametrize(
    ("text", "gres"),
    [
        ("gpu:v100:4(S:0-1)", {"gpu": 4, "gpu:v100": 4}),
        ("gpu:4", {"gpu": 4}),
        (
            "gpu:a100:2(S:0),gpu:v100:4(S:1),nvme:1",
            {"gpu": 6, "gpu:a100": 2, "gpu:v100": 4, "nvme": 1},
        ),
        ("craynetwork:4", {"craynetwork": 4}),
        ("(null)", {}),
    ],
)
def test_gres_are_counted_with_and_without_their_type(text: str, gres: dict[str, int]) -> None:
    assert parse_gres(text) == gres


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1-00:30:00", 1470), ("12:00:00", 720), ("00:01:30", 1), ("UNLIMITED", None), ("", None)],
)
def test_limits_of_time_are_read_as_slurm_prints_them(text: str, minutes: int | None) -> None:
    assert parse_minutes(text) == minutes


def test_of_associations_the_users_and_the_accounts_own_are_kept() -> None:
    found = [(one.account, one.user, one.quota.max_submit) for one in site().associations]
    assert ("lab2", "me", "50") in found
    assert ("lab1", "", "") in found
    assert not any(user == "you" for _, user, _ in found)


@pytest.mark.parametrize(
    ("said", "enforced"),
    [
        ("none", []),
        ("associations", ["associations"]),
        ("associations,limits,qos,safe", ["associations", "limits", "qos"]),
        ("safe", ["associations", "limits"]),
        ("all", ["associations", "limits", "qos"]),
    ],
)
def test_what_is_enforced_follows_slurms_own_rules(said: str, enforced: list[str]) -> None:
    there = Site({"AccountingStorageEnforce": said})
    assert [what for what in ("associations", "limits", "qos") if there.enforces(what)] == enforced


class Answers:
    """Recorded answers instead of SLURM's commands, of which some may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *silent: str) -> None:
        self.asked: list[str] = []
        self.silent = silent
        monkeypatch.setattr(module, "run_slurm", self)
        monkeypatch.setattr(module, "config_values", lambda: self(["scontrol", "show", "config"]))
        monkeypatch.setattr(module.getpass, "getuser", lambda: "me")

    def __call__(self, words: list[str]) -> object:
        line = " ".join(words)
        self.asked.append(line)
        if any(command in line for command in self.silent):
            raise ExecutionError(f"`{words[0]}` failed: no")
        answers = {
            "show config": CONFIG,
            "show partition": PARTITIONS,
            "sinfo": NODES,
            "show assoc": ASSOCIATIONS,
            "show qos": QOS,
            "show user": "lab1\n",
        }
        return next(answer for command, answer in answers.items() if command in line)


def test_each_command_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch)
    there = read_site()
    assert there.partitions == site().partitions
    assert (there.default_account, there.silent) == ("lab1", {})
    assert len(answers.asked) == 6


def test_what_does_not_answer_is_named_and_the_rest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    Answers(monkeypatch, "sacctmgr", "sinfo")
    there = read_site()
    assert [one.name for one in there.partitions] == ["low", "low0", "high"]
    assert there.silent == {
        "sinfo": "`sinfo` failed: no",
        "sacctmgr show qos": "`sacctmgr` failed: no",
        "sacctmgr show assoc": "`sacctmgr` failed: no",
        "sacctmgr show user": "`sacctmgr` failed: no",
    }


def test_when_the_controller_does_not_answer_nothing_else_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers(monkeypatch, "show config")
    assert read_site() == Site(silent={"scontrol show config": "`scontrol` failed: no"})
    assert len(answers.asked) == 1
