"""How much may be submitted and run at a time, by every limit that SLURM has."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.doctor.findings import Finding, Verdict
from launcher.doctor.limits import Limit, accounting, limits, limits_of
from launcher.doctor.site import Site
from tests.launcher.doctor.answers import CONFIG, PARTITIONS, QOS, partition, profile, site


def findings(changes: dict[str, Any] | None = None, **there: Any) -> list[Finding]:
    where = site(**there)
    return list(limits(where, profile(**(changes or {})), [partition(where, "low")]))


def test_limits_of_the_user_and_of_all_accounts_above_count() -> None:
    where = site()
    low = partition(where, "low")
    assert limits_of(where, profile(account="lab2"), low) == [
        Limit("waiting", 50, "MaxSubmitJobs of me in account lab2"),
        Limit("minutes", 720, "MaxWall of me in account lab2"),
        Limit("waiting", 300, "GrpSubmitJobs of account lab1"),
        Limit("gpus", 8, "GrpTRES of account lab1"),
    ]


def test_limits_of_the_jobs_qos_and_of_the_partitions_count() -> None:
    where = site(partitions=PARTITIONS.replace("QoS=N/A", "QoS=scavenger"))
    found = limits_of(where, profile(account="root"), partition(where, "low"))
    assert found == [
        Limit("waiting", 500, "MaxSubmitJobs of QOS scavenger"),
        Limit("gpus", 4, "MaxTRES of QOS scavenger"),
        Limit("minutes", 1440, "MaxWall of QOS scavenger"),
    ]


def test_of_one_persons_limits_a_qos_goes_before_the_accounts() -> None:
    """As where a QOS for long jobs allows more than the account."""
    where = site(qos=QOS + "long|00:00:00||cluster|7-00:00:00|20|||||\n")
    found = limits_of(where, profile(account="lab2", qos="long"), partition(where, "low"))
    assert {(limit.what, limit.value, limit.of) for limit in found if limit.what != "gpus"} == {
        ("minutes", 7 * 1440, "MaxWall of QOS long"),
        ("running", 20, "MaxJobs of QOS long"),
        ("waiting", 50, "MaxSubmitJobs of me in account lab2"),
        ("waiting", 300, "GrpSubmitJobs of account lab1"),
    }


def test_without_enforcement_nothing_is_limited() -> None:
    where = site(config={"AccountingStorageEnforce": "associations,qos"})
    assert limits_of(where, profile(), partition(where, "low")) == []


def test_the_smallest_limit_is_told_and_what_it_means_for_a_sweep() -> None:
    array, waiting, running, gpus = findings()
    assert array.text.startswith("a job array has up to 20,001 tasks (MaxArraySize 20001)")
    assert waiting.text == (
        "at most 300 jobs wait or run at a time (GrpSubmitJobs of account lab1): of a larger sweep "
        "the rest stays planned, and `launcher resume` tops up"
    )
    assert "at most 10 jobs at work at a time (MaxJobs of me" in running.text
    assert gpus.text.endswith("(GrpTRES of account lab1): fewer than array_parallelism 16; the "
                              "others wait")  # fmt: skip
    assert "array_parallelism" not in findings({"array_parallelism": 4})[2].text


def test_the_clusters_own_limits_count_where_there_are_no_others() -> None:
    array, waiting = findings(
        config={"AccountingStorageEnforce": "none", "SchedulerParameters": "max_array_tasks=50"}
    )
    assert array.text.startswith("a job array has up to 50 tasks (max_array_tasks 50)")
    assert "at most 30,000 jobs wait or run at a time (MaxJobCount" in waiting.text
    assert "switched off" in findings(config={"MaxArraySize": "0"})[0].text


@pytest.mark.parametrize(
    ("config", "time", "text"),
    [
        ({}, "2-0", "longer than the 24 h that SLURM plans ahead (bf_window)"),
        ({"SchedulerParameters": "bf_window=4320"}, "4-0", "longer than the 72 h"),
        ({"SchedulerType": "sched/builtin"}, "1h", "the scheduler is sched/builtin"),
    ],
)
def test_what_keeps_short_jobs_from_filling_gaps_is_told(
    config: dict[str, str], time: str, text: str
) -> None:
    last = findings({"time": time}, config=config)[-1]
    assert last.verdict is Verdict.WARNING
    assert text in last.text
    assert findings({"time": "24h"})[-1].verdict is Verdict.OK


def test_what_is_lost_without_accounting_is_told() -> None:
    (known,) = accounting(site())
    assert known.text.endswith("it enforces associations,limits,qos")
    none = CONFIG | {"AccountingStorageType": "accounting_storage/none"}
    (lost,) = accounting(Site(none))
    assert "how a job ended is known for 600 s (MinJobAge)" in lost.text
    (lost,) = accounting(Site(none | {"MinJobAge": "5 sec"}))
    assert "look at `launcher status` soon after" in lost.advice
    (silent,) = accounting(Site(CONFIG, silent={"sacctmgr show assoc": "no route"}))
    assert silent.text.endswith("were not looked at: no route")
