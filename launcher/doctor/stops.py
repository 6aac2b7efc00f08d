"""Whether a stop reaches a run, how long it then has, and whether it comes back by itself."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.cluster import SlurmProfile
from launcher.doctor.findings import Finding, ok, warning
from launcher.doctor.limits import association_chain, qos_of
from launcher.doctor.site import Partition, Qos, Site

TOPIC = "what stops a run, and what happens then"

# Two checkpoints must fit in, one that is just being written and the last, and a step before it.
ENOUGH_S = 20


def stops(site: Site, profile: SlurmProfile, partition: Partition) -> Iterator[Finding]:
    """What is to be expected of preemption and of the time limit."""
    yield _time_limit(profile)
    where = f"in partition {partition.name}"
    mode, by, grace_s = preemption(site, profile, partition)
    if mode == "OFF":
        yield ok(TOPIC, f"{where} nothing preempts it: {by}")
    elif mode == "SUSPEND":
        yield ok(
            TOPIC,
            f"{where} it is suspended while {by} runs, and goes on in memory afterwards; its "
            "heartbeat stops meanwhile",
        )
    else:
        yield _warning_time(site, where, by, grace_s)
        yield _afterwards(where, mode, grace_s)


def _time_limit(profile: SlurmProfile) -> Finding:
    delay_s = profile.signal_delay_s
    return ok(
        TOPIC,
        f"at the end of its time, {profile.time_words}, it hears SIGUSR2 {delay_s} s before (or "
        f"up to a minute earlier), saves, is requeued and goes on: enough if a save "
        f"takes {delay_s // 2} s",
    )


def preemption(site: Site, profile: SlurmProfile, partition: Partition) -> tuple[str, str, int]:
    """How SLURM preempts jobs (its own word), who does so or why nobody, and the grace in s."""
    kind = site.config.get("PreemptType", "preempt/none").removeprefix("preempt/")
    if kind == "none":
        return "OFF", "SLURM preempts no job on this cluster (PreemptType)", 0
    if partition.preempt_mode.startswith("OFF"):
        return "OFF", "its PreemptMode is OFF", 0
    if kind == "qos":
        return _by_qos(site, profile, partition)
    mine = {node.name for node in partition.nodes}
    above = [
        other.name
        for other in site.partitions
        if other.tier > partition.tier and mine & {node.name for node in other.nodes}
    ]
    if not above:
        return "OFF", "no partition with a higher PriorityTier has these nodes", 0
    mode = _word(partition.preempt_mode)
    return mode, f"partition {' or '.join(above)}", partition.grace_s


def _by_qos(site: Site, profile: SlurmProfile, partition: Partition) -> tuple[str, str, int]:
    name = qos_of(association_chain(site, profile, partition), profile)
    above = [qos.name for qos in site.qos if name in qos.preempts]
    mine = next((qos for qos in site.qos if qos.name == name), None)
    if mine is None or not above:
        return "OFF", f"no other QOS preempts {name}", 0
    return _qos_mode(site, mine), f"QOS {' or '.join(above)}", mine.grace_s


def _qos_mode(site: Site, qos: Qos) -> str:
    if qos.preempt_mode in ("", "cluster"):
        return _word(site.config.get("PreemptMode", "OFF"))
    return _word(qos.preempt_mode)


def _word(mode: str) -> str:
    """`GANG,SUSPEND` is a way to suspend."""
    words = [word for word in mode.upper().split(",") if word not in ("GANG", "WITHIN")]
    return words[0] if words else "OFF"


def _warning_time(site: Site, where: str, by: str, grace_s: int) -> Finding:
    kill_s = site.seconds("KillWait")
    left_s = grace_s + kill_s
    told = site.parameter("SlurmctldParameters", "preempt_send_user_signal") is not None
    by_user_signal = told or site.parameter("PreemptParameters", "send_user_signal") is not None
    signal = "SIGUSR2" if by_user_signal else "SIGTERM alone, which it heeds as well"
    text = (
        f"{where} it is preempted by {by}: it hears {signal}, and has about {left_s} s to save "
        f"(GraceTime {grace_s} s and KillWait {kill_s} s): enough if a save takes {left_s // 2} s"
    )
    if left_s >= ENOUGH_S:
        return ok(TOPIC, text)
    return warning(
        TOPIC,
        text,
        "where saves take longer, what was trained since the last checkpoint is lost: set "
        "checkpoint_every_s in the matrix, which is 600 s otherwise",
    )


def _afterwards(where: str, mode: str, grace_s: int) -> Finding:
    if mode == "REQUEUE":
        return ok(TOPIC, f"{where} SLURM requeues it after a preemption, and it goes on")
    if grace_s:
        return ok(
            TOPIC,
            f"{where} preemption cancels (PreemptMode {mode}); within the {grace_s} s of grace the "
            "run has itself requeued, and goes on",
        )
    return warning(
        TOPIC,
        f"{where} preemption cancels (PreemptMode {mode}) and leaves no time to ask for a requeue: "
        "what was preempted has saved, and stays stopped",
        "`launcher resume` goes on with it; a partition or QOS with a GraceTime does so by itself",
    )
