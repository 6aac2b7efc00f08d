"""The configuration files of the private cluster, as functions of its place and its options.

Most values make a small machine quick (schedule at once, short timers) or keep the cluster inside
its own directory. `/dev/null` plays the GPUs: slurmd only asks that a GPU be a character device,
and then jobs get `CUDA_VISIBLE_DEVICES` as on a real node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CLUSTER_NAME = "lab"
NODES = ("n1", "n2", "n3", "n4")
CPUS_PER_NODE = 8
GPUS_PER_NODE = 4


@dataclass(frozen=True)
class Ports:
    controller: int
    accounting: int
    database: int
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where one cluster lives: every file and port of it."""

    base: Path
    ports: Ports
    user: str
    host: str

    @property
    def munge_socket(self) -> Path:
        return self.base / "munge" / "munge.sock"


@dataclass(frozen=True)
class Options:
    """What differs from site to site and changes how jobs are stopped or restarted."""

    accounting: bool = True
    send_user_signal: bool = True  # a preempted job first gets the signal of its --signal
    job_requeue: bool = True  # may jobs be requeued unless they say otherwise?
    max_array_size: int = 20001
    slurm_conf: Mapping[str, str] = field(default_factory=dict)  # further lines, these win


def slurm_conf(place: Place, options: Options) -> str:
    base, ports = place.base, place.ports
    settings = {
        "ClusterName": CLUSTER_NAME,
        "SlurmctldHost": f"{place.host}(127.0.0.1)",
        "SlurmctldPort": ports.controller,
        "SlurmUser": place.user,
        "SlurmdUser": place.user,
        "AuthType": "auth/munge",
        # A requeued job waits until its old credential has expired: 5 s instead of 2 minutes.
        "AuthInfo": f"socket={place.munge_socket},cred_expire=5",
        "CredType": "cred/munge",
        # The daemons listen on the addresses above, all of them 127.0.0.1, and on no others.
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
        "StateSaveLocation": base / "state",
        "SlurmdSpoolDir": base / "spool" / "%n",
        "SlurmctldPidFile": base / "run" / "slurmctld.pid",
        "SlurmdPidFile": base / "run" / "slurmd.%n.pid",
        "SlurmctldLogFile": base / "log" / "slurmctld.log",
        "SlurmdLogFile": base / "log" / "%n.log",
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
        "LogTimeFormat": "iso8601_ms",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "MpiDefault": "none",
        "SwitchType": "switch/none",
        "PropagateResourceLimits": "NONE",
        # The nodes have the CPUs and the memory written below, whatever the machine has.
        "SlurmdParameters": "config_overrides",
        # With 2, a live node that a test sets down would come back by itself in mid-test.
        "ReturnToService": 1,
        "RebootProgram": "/bin/true",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": 100,
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": (
            "sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1,"
            "bf_yield_interval=100000,max_rpc_cnt=0,partition_job_depth=0,default_queue_depth=1000"
        ),
        "PriorityType": "priority/basic",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": int(options.job_requeue),
        "MaxArraySize": options.max_array_size,
        "MaxJobCount": 30000,
        "MinJobAge": 600,
        "SlurmctldTimeout": 10,
        "SlurmdTimeout": 4,
        "InactiveLimit": 0,
        "KillWait": 2,
        "OverTimeLimit": 0,
        "CompleteWait": 0,
        # A step that ends while the controller is away is reported up to a minute later; with
        # less patience than that the node is drained.
        "UnkillableStepTimeout": 120,
        "MessageTimeout": 10,
        "BatchStartTimeout": 10,
        "EpilogMsgTime": 0,
        "HealthCheckInterval": 0,
        "JobCompType": "jobcomp/none",
        "GresTypes": "gpu",
    }
    if options.send_user_signal:
        settings["SlurmctldParameters"] = "preempt_send_user_signal"
    if options.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": ports.accounting,
            # AuthInfo is not used on this connection; without the socket it asks /run/munge.
            "AccountingStoragePass": place.munge_socket,
            "AccountingStorageTRES": "gres/gpu",
        }
    settings |= options.slurm_conf
    nodes = [
        f"NodeName={name} NodeHostname={place.host} NodeAddr=127.0.0.1 Port={port}"
        f" CPUs={CPUS_PER_NODE} RealMemory=16000 Gres=gpu:v100:{GPUS_PER_NODE} State=UNKNOWN"
        for name, port in zip(NODES, ports.nodes, strict=True)
    ]
    partitions = [
        "PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=5",
        "PartitionName=low0 Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=0",
        "PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF",
    ]
    return _lines(*(f"{key}={value}" for key, value in settings.items()), *nodes, *partitions)


def gres_conf(place: Place) -> str:
    devices = place.base / "dev" / f"nvidia[0-{GPUS_PER_NODE - 1}]"
    return _lines(
        "AutoDetect=off", *(f"NodeName={name} Name=gpu Type=v100 File={devices}" for name in NODES)
    )


def cgroup_conf() -> str:
    return _lines("CgroupAutomount=no")


def slurmdbd_conf(place: Place) -> str:
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={place.munge_socket}",
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": place.ports.accounting,
        "SlurmUser": place.user,
        "LogFile": place.base / "log" / "slurmdbd.log",
        "PidFile": place.base / "run" / "slurmdbd.pid",
        "DebugLevel": "info",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": place.ports.database,
        "StorageUser": "slurm",
        "StoragePass": "slurm",
        "StorageLoc": "slurm_acct_db",
    }
    return _lines(*(f"{key}={value}" for key, value in settings.items()))


def database_init_sql() -> str:
    """What the database runs at every start; it wants one statement on a line."""
    return _lines(
        "CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';",
        "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';",
    )


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
