"""What stops a run, by the recorded cluster's rules and by others."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.doctor.findings import Finding, Verdict
from launcher.doctor.stops import preemption, stops
from tests.launcher.doctor.answers import PARTITIONS, partition, profile, site


def findings(name: str, changes: dict[str, Any] | None = None, **there: Any) -> list[Finding]:
    where = site(**there)
    return list(stops(where, profile(partition=name, **(changes or {})), partition(where, name)))


def test_the_time_limit_comes_with_the_warning_of_the_profile() -> None:
    said = findings("high", {"time": "2h", "signal_delay_s": 90})[0].text
    assert "at the end of its time, 2h, it hears SIGUSR2 90 s before" in said
    assert said.endswith("enough if a save takes 45 s")


def test_with_grace_a_preempted_run_hears_of_it_and_is_requeued() -> None:
    _, told, after = findings("low")
    assert "preempted by partition high: it hears SIGUSR2, and has about 7 s to save" in told.text
    assert "(GraceTime 5 s and KillWait 2 s)" in told.text
    assert told.verdict is Verdict.WARNING
    assert after.text.endswith("SLURM requeues it after a preemption, and it goes on")


def test_without_grace_killwait_is_all_there_is() -> None:
    _, told, _ = findings("low0", config={"KillWait": "30 sec"})
    assert told.verdict is Verdict.OK
    assert "about 30 s to save (GraceTime 0 s and KillWait 30 s)" in told.text
    assert told.text.endswith("enough if a save takes 15 s")


@pytest.mark.parametrize(
    ("config", "signal"),
    [
        ({"SlurmctldParameters": "(null)"}, "SIGTERM alone, which it heeds as well"),
        ({"SlurmctldParameters": "enable_configless,preempt_send_user_signal"}, "SIGUSR2"),
        ({"SlurmctldParameters": "", "PreemptParameters": "send_user_signal"}, "SIGUSR2"),
    ],
)
def test_the_signal_is_the_one_that_the_site_sends(config: dict[str, str], signal: str) -> None:
    assert f"it hears {signal}, and has" in findings("low", config=config)[1].text


def test_cancelling_with_grace_is_a_requeue_and_without_it_a_stop() -> None:
    """As it was seen to happen: inside the grace the job is RUNNING, and may requeue itself."""
    text = PARTITIONS.replace("PreemptMode=REQUEUE", "PreemptMode=CANCEL")
    graceful = findings("low", partitions=text)[2]
    assert graceful.verdict is Verdict.OK
    assert "within the 5 s of grace the run has itself requeued" in graceful.text
    sudden = findings("low0", partitions=text)[2]
    assert sudden.verdict is Verdict.WARNING
    assert "`launcher resume` goes on with it" in sudden.advice


@pytest.mark.parametrize(
    ("name", "there", "why"),
    [
        ("high", {}, "its PreemptMode is OFF"),
        ("low", {"config": {"PreemptType": "preempt/none"}}, "SLURM preempts no job"),
        (
            "low",
            {"partitions": PARTITIONS.replace("PriorityTier=10", "PriorityTier=1")},
            "no partition with a higher PriorityTier has these nodes",
        ),
        ("low", {"config": {"PreemptType": "preempt/qos"}, "account": "root"}, "no other QOS"),
    ],
)
def test_why_nothing_preempts_a_run_is_told(name: str, there: dict[str, Any], why: str) -> None:
    changes = {"qos": "boss"} if "no other QOS" in why else {}
    (_, found) = findings(name, changes, **there)
    assert found.verdict is Verdict.OK
    assert f"in partition {name} nothing preempts it: {why}" in found.text


def test_a_partition_that_has_other_nodes_does_not_preempt() -> None:
    where = site(nodes="n1|low|idle|8|1|(null)|(null)\nn2|high|idle|8|1|(null)|(null)\n")
    assert preemption(where, profile(), partition(where, "low"))[0] == "OFF"


def test_where_qos_preempt_the_grace_and_the_mode_are_those_of_the_qos() -> None:
    by_qos = {"PreemptType": "preempt/qos"}
    where = site(config=by_qos)
    low = partition(where, "low")
    assert preemption(where, profile(), low) == ("REQUEUE", "QOS boss", 0)
    assert preemption(where, profile(qos="scavenger"), low) == ("REQUEUE", "QOS boss", 60)
    where = site(config=by_qos | {"PreemptMode": "CANCEL"})
    assert preemption(where, profile(), low) == ("CANCEL", "QOS boss", 0)


def test_a_suspended_run_loses_nothing() -> None:
    text = PARTITIONS.replace("PreemptMode=REQUEUE", "PreemptMode=GANG,SUSPEND")
    (_, found) = findings("low", partitions=text)
    assert "it is suspended while partition high runs" in found.text
