"""What a real SLURM 22.05 answered, shortened, and the site that is read from it.

Four nodes, one of them drained, two with features; an account with limits and one below it.
"""

from __future__ import annotations

from typing import Any

from launcher.cluster import SlurmProfile
from launcher.doctor.site import (
    Partition,
    Site,
    parse_associations,
    parse_nodes,
    parse_partitions,
    parse_qos,
)

CONFIG = {
    "AccountingStorageEnforce": "associations,limits,qos",
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "ClusterName": "lab",
    "KillWait": "2 sec",
    "MaxArraySize": "20001",
    "MaxJobCount": "30000",
    "MinJobAge": "600 sec",
    "PreemptMode": "REQUEUE",
    "PreemptType": "preempt/partition_prio",
    "SLURM_VERSION": "22.05.8",
    "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,max_rpc_cnt=0",
    "SchedulerType": "sched/backfill",
    "SlurmctldParameters": "preempt_send_user_signal",
}

PARTITION = (
    "PartitionName={} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default={}"
    " QoS=N/A DefaultTime=NONE GraceTime={} Hidden=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED"
    " Nodes=n[1-4] PriorityJobFactor=1 PriorityTier={} OverTimeLimit=NONE PreemptMode={} State=UP"
    " TotalCPUs=32 TotalNodes=4 JobDefaults=(null) TRES=cpu=32,mem=62.50G,node=4,gres/gpu=16\n"
)
PARTITIONS = (
    PARTITION.format("low", "YES", 5, 1, "REQUEUE")
    + PARTITION.format("low0", "NO", 0, 1, "REQUEUE")
    + PARTITION.format("high", "NO", 0, 10, "OFF")
)

NODES = "".join(
    f"{node}|{partition}|{state}|8|16000|gpu:v100:4|{features}\n"
    for node, state, features in [
        ("n1", "idle", "nvlink,v100_32g"),
        ("n2", "mixed", "nvlink,v100_32g"),
        ("n3", "allocated", "(null)"),
        ("n4", "drained", "(null)"),
    ]
    for partition in ("low", "low0", "high")
)

QOS = """\
normal|00:00:00||cluster|||||||
scavenger|00:01:00||requeue|1-00:00:00||500|gres/gpu=4|||
boss|00:00:00|normal,scavenger|cluster|||||||
"""

ASSOCIATIONS = """\
root||||normal|||||||
lab1||root||normal||||||300|gres/gpu=8
lab1|me|||normal,scavenger|||10||||
lab2||lab1||normal|||||||
lab2|me|||normal,scavenger||12:00:00||50|||
lab2|you|||normal||1:00:00||5|||
"""


def site(
    *,
    config: dict[str, str] | None = None,
    partitions: str = PARTITIONS,
    nodes: str = NODES,
    qos: str = QOS,
    account: str = "lab1",
    **more: Any,
) -> Site:
    """The recorded cluster, with what a test changes."""
    return Site(
        CONFIG | (config or {}),
        list(parse_partitions(partitions, list(parse_nodes(nodes)))),
        list(parse_qos(qos)),
        list(parse_associations(ASSOCIATIONS, "me")),
        account,
        **more,
    )


def partition(there: Site, name: str) -> Partition:
    return next(one for one in there.partitions if one.name == name)


def profile(**changes: Any) -> SlurmProfile:
    given = {"partition": "low", "gres": "gpu:v100:1", "mem": "3G", "time": "12:00:00"}
    return SlurmProfile.model_validate({**given, "gpus_per_node": 4, **changes})
