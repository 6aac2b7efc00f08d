"""Whether profiles fit the recorded cluster, and the same cluster changed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.cluster import Layout
from launcher.doctor.findings import Finding, Verdict, worst
from launcher.doctor.fit import fit, nodes_for, show_minutes
from tests.launcher.doctor.answers import NODES, PARTITIONS, partition, profile, site


def findings(changes: dict[str, Any], **there: Any) -> list[Finding]:
    return list(fit(site(**there), "lab", profile(**changes)))


def not_ok(found: list[Finding]) -> list[tuple[Verdict, str, str]]:
    return [(one.verdict, one.text, one.advice) for one in found if one.verdict is not Verdict.OK]


def test_a_profile_that_fits_is_told_with_the_nodes_that_can_take_it() -> None:
    found = findings({})
    assert [one.text for one in found] == [
        "partition low: 4 of 4 nodes can take a run, and 3 of those are in service (1 drained); "
        "4 nodes with 4 v100, 8 CPUs, 15.6 GB",
        "account lab1, your default one",
    ]
    assert worst(found) is Verdict.OK


@pytest.mark.parametrize(
    ("changes", "text", "advice"),
    [
        ({"partition": "gpu"}, "there is no partition gpu", "low, low0, high"),
        ({"partition": "low,gpu"}, "there is no partition gpu", "low, low0, high"),
        ({"gres": "gpu:a100:1"}, "gpu:a100:1 is asked for, and they have gpu:4, gpu:v100:4", ""),
        ({"gres": "gpu:5"}, "gpu:5 is asked for", "another `gres`, or less"),
        ({"cpus_per_task": 9}, "9 CPUs are asked for, and they have 8", "`cpus_per_task: 8`"),
        ({"mem": "16G"}, "mem 16G is asked for, and they have 15.6 GB", "`mem: 15G` or less"),
        ({"constraint": "a100"}, "their features are: nvlink, v100_32g", "another `constraint`"),
        ({"constraint": "nvlink&a100"}, "constraint nvlink&a100 is asked for", ""),
        ({"account": "lab3"}, "account lab3 is not one of yours", "one of lab1, lab2"),
        ({"qos": "boss"}, "qos boss is not open to account lab1", "one of normal, scavenger"),
        ({"account": "lab2", "time": "13h"}, "more than MaxWall of me in account lab2", "12:00:00"),
        ({"qos": "scavenger", "time": "2-0"}, "more than MaxWall of QOS scavenger", "1-00:00:00"),
    ],
)
def test_what_does_not_fit_is_a_problem_with_what_is_there(
    changes: dict[str, Any], text: str, advice: str
) -> None:
    ((verdict, said, do),) = not_ok(findings(changes))
    assert verdict is Verdict.PROBLEM
    assert text in said
    assert advice in do


@pytest.mark.parametrize(
    "changes",
    [
        {"constraint": "nvlink&v100_32g"},
        {"constraint": "a100|nvlink"},
        {"constraint": "[nvlink*2&v100_32g*1]"},
        {"gres": "gpu:4", "gpus_per_node": 1},
        {"gres": None},
        {"gres": "gpu:v100"},
        {"gres": "gpu:v100:2", "gpus_per_node": 2},
        {"partition": "low,high"},
        {"account": "lab2", "time": "12:00:00"},
        {"mem": "16000M", "gpus_per_node": 1},
        {"account": "lab2", "time": "auto"},
        {"account": "lab2", "time": "auto", "slice": "24:00:00"},
    ],
)
def test_what_fits_is_no_problem(changes: dict[str, Any]) -> None:
    assert not_ok(findings(changes)) == []


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("State=UP", "State=DOWN", "partition low is DOWN: jobs are not started there"),
        ("MaxTime=UNLIMITED", "MaxTime=08:00:00", "time 12:00:00 is more than partition low"),
        ("AllowAccounts=ALL", "AllowAccounts=a,b", "partition low does not take account lab1"),
        ("AllowGroups=ALL", "AllowGroups=staff", "partition low is for members of staff"),
        ("AllowAccounts=ALL", "DenyAccounts=lab1", "partition low does not take account lab1"),
    ],
)
def test_what_a_partition_forbids_is_a_problem(old: str, new: str, text: str) -> None:
    ((verdict, said, _),) = not_ok(findings({}, partitions=PARTITIONS.replace(old, new)))
    assert verdict is Verdict.PROBLEM
    assert text in said


def test_every_mistake_is_told_at_once() -> None:
    text = PARTITIONS.replace("MaxTime=UNLIMITED", "MaxTime=08:00:00")
    found = not_ok(findings({"mem": "16G", "account": "lab3"}, partitions=text))
    assert [said.split()[0] for _, said, _ in found] == ["no", "time", "account"]


def test_members_of_a_partitions_group_may_use_it() -> None:
    text = PARTITIONS.replace("AllowGroups=ALL", "AllowGroups=staff,lab")
    assert not_ok(findings({}, partitions=text, groups=frozenset({"lab"}))) == []


def test_without_a_partition_the_ones_that_have_the_gpus_are_lines_to_copy() -> None:
    ((verdict, said, advice),) = not_ok(findings({"partition": None}))
    assert (verdict, said) == (Verdict.WARNING, "no partition is set: SLURM takes low")
    assert "\n  partition: high  # 4 nodes with 4 v100, 8 CPUs" in advice
    text = PARTITIONS.replace("Default=YES", "Default=NO")
    ((verdict, said, _),) = not_ok(findings({"partition": None}, partitions=text))
    assert verdict is Verdict.PROBLEM
    a100 = {"partition": None, "gres": "gpu:a100:1"}
    assert "no partition that you see has gpu:a100:1" in not_ok(findings(a100))[0][2]


def test_nodes_that_are_all_out_of_service_are_a_problem() -> None:
    broken = NODES.replace("idle", "down*").replace("mixed", "down*").replace("allocated", "maint")
    ((_, said, _),) = not_ok(findings({}, nodes=broken))
    assert said.endswith("that fits is out of service (2 down*, 1 maint, 1 drained)")


def test_gpus_per_node_is_compared_with_the_nodes_and_so_is_what_a_full_node_takes() -> None:
    ((verdict, said, advice),) = not_ok(findings({"gpus_per_node": 8}))
    assert verdict is Verdict.WARNING
    assert "gpus_per_node 8, but these nodes take 4" in said
    assert advice == "`gpus_per_node: 4`"
    ((verdict, said, advice),) = not_ok(findings({"mem": "4G"}))
    assert verdict is Verdict.WARNING
    assert "gpus: 4 would not fit a node: mem 16G is asked for" in said
    assert advice.startswith("`mem: 3G` or less")


def test_an_account_counts_only_where_the_accounting_enforces_it() -> None:
    nothing = {"AccountingStorageEnforce": "none"}
    changes = {"account": "lab3", "qos": "boss", "time": "3-0"}
    ((verdict, said, _),) = not_ok(findings(changes, config=nothing))
    assert verdict is Verdict.WARNING
    assert "SLURM does not check it here" in said
    strict = {"AccountingStorageEnforce": "associations"}
    alone = site(config=strict)
    alone = type(alone)(alone.config, alone.partitions)
    ((_, said, _),) = not_ok(list(fit(alone, "lab", profile())))
    assert "you have no account on this cluster" in said


def test_a_node_takes_what_its_tasks_ask_for_together() -> None:
    nodes = partition(site(), "low").nodes
    assert len(nodes_for(profile(), Layout(1, 4), nodes).nodes) == 4
    assert nodes_for(profile(cpus_per_task=4), Layout(1, 4), nodes).advice == (
        "`cpus_per_task: 2` or less"
    )
    shared = profile(cpus_per_task=2, runs_per_gpu=9)
    assert nodes_for(shared, shared.layout(1), nodes).advice == (
        "`cpus_per_task: 1` or less, or fewer `runs_per_gpu`"
    )


@pytest.mark.parametrize(("minutes", "text"), [(480, "8:00:00"), (2880 + 65, "2-01:05:00")])
def test_minutes_are_shown_as_slurm_reads_them(minutes: int, text: str) -> None:
    assert show_minutes(minutes) == text
    assert profile(time=text).time_min == minutes
