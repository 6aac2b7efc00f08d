"""What a cluster says of itself: each of SLURM's commands asked once, and parsed into values.

Any of them may be missing or refuse; what they say then is kept, and the rest still counts.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.errors import ExecutionError
from launcher.slurm import config_values, run_slurm

# sinfo's words for nodes that take no jobs; a `*` at the end means that the node does not answer.
UNUSABLE = (
    "down",
    "drain",
    "fail",
    "inval",
    "maint",
    "unk",
    "future",
    "power_down",
    "powered_down",
)

QOS_COLUMNS = (
    *("Name", "GraceTime", "Preempt", "PreemptMode", "MaxWall", "MaxJobsPU", "MaxSubmitPU"),
    *("MaxTRESPU", "GrpJobs", "GrpSubmit", "GrpTRES"),
)
ASSOCIATION_COLUMNS = (
    *("Account", "User", "ParentName", "Partition", "QOS", "DefaultQOS", "MaxWall", "MaxJobs"),
    *("MaxSubmit", "GrpJobs", "GrpSubmit", "GrpTRES"),
)


@dataclass(frozen=True)
class Partition:
    """A partition; `nodes` are those that belong to it. None stands for no limit of time."""

    name: str
    state: str = "UP"
    is_default: bool = False
    max_time_min: int | None = None
    grace_s: int = 0
    tier: int = 1
    preempt_mode: str = "OFF"
    qos: str = ""
    allowed: Mapping[str, str] = field(default_factory=dict)  # such as AllowAccounts -> a,b
    nodes: Sequence[Node] = ()


@dataclass(frozen=True)
class Node:
    name: str
    partition: str
    state: str
    cpus: int
    mem_mb: int
    gres: Mapping[str, int]  # both {"gpu": 4, "gpu:v100": 4}: a job may ask for either
    features: frozenset[str] = frozenset()

    @property
    def is_usable(self) -> bool:
        return not (self.state.startswith(UNUSABLE) or self.state.endswith("*"))

    @property
    def gpu_types(self) -> list[str]:
        return [name.partition(":")[2] for name in self.gres if name.startswith("gpu:")]


@dataclass(frozen=True)
class Quota:
    """What a quality of service or an association limits, as SLURM writes it; "" for no limit."""

    of: str
    max_wall: str = ""
    max_jobs: str = ""
    max_submit: str = ""
    max_tres: str = ""
    grp_jobs: str = ""
    grp_submit: str = ""
    grp_tres: str = ""


@dataclass(frozen=True)
class Qos:
    name: str
    grace_s: int
    preempts: Sequence[str]
    preempt_mode: str  # "cluster" where it is what the cluster says
    quota: Quota


@dataclass(frozen=True)
class Association:
    """An account's place in the tree, or a user's in an account: then `user` is not empty."""

    account: str
    user: str
    parent: str
    partition: str
    qos: Sequence[str]
    default_qos: str
    quota: Quota


@dataclass(frozen=True)
class Site:
    """Everything that was said. `silent` holds, by command, why one did not answer."""

    config: Mapping[str, str] = field(default_factory=dict)
    partitions: Sequence[Partition] = ()
    qos: Sequence[Qos] = ()
    associations: Sequence[Association] = ()
    default_account: str = ""
    groups: frozenset[str] = frozenset()  # the user's
    silent: Mapping[str, str] = field(default_factory=dict)

    def parameter(self, key: str, name: str) -> str | None:
        """A value within a list such as SchedulerParameters; empty for a word that stands alone."""
        for item in self.config.get(key, "").split(","):
            word, _, value = item.partition("=")
            if word == name:
                return value
        return None

    def seconds(self, key: str) -> int:
        """A value such as `30 sec`, 0 where the configuration does not say."""
        number = self.config.get(key, "").partition(" ")[0]
        return int(number) if number.isdigit() else 0

    def enforces(self, what: str) -> bool:
        """Whether the accounting says no to jobs: what is associations, limits or qos."""
        words = set(self.config.get("AccountingStorageEnforce", "none").lower().split(","))
        implied = {
            "associations": {"limits", "qos", "wckeys", "safe"},
            "limits": {"safe"},
        }
        return bool(words & {what, "all", *implied.get(what, ())})


def read_site() -> Site:
    """Ask the cluster; raises nothing, see `Site.silent`."""
    silent: dict[str, str] = {}

    def ask(*words: str) -> str:
        try:
            return run_slurm(words)
        except ExecutionError as error:
            # Without the options: `sacctmgr show assoc`.
            silent[" ".join([w for w in words if w[0] not in "-%"][:3])] = str(error)
            return ""

    try:
        config = config_values()
    except ExecutionError as error:
        # Nothing else would be answered either, after as long a wait each.
        return Site(silent={"scontrol show config": str(error)})
    nodes = list(parse_nodes(ask("sinfo", "-h", "-N", "-o", "%N|%R|%T|%c|%m|%G|%f")))
    partitions = list(parse_partitions(ask("scontrol", "-o", "show", "partition"), nodes))
    site = Site(config, partitions, groups=_groups(), silent=silent)
    if not config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return site
    user, show = getpass.getuser(), ("sacctmgr", "-n", "-P", "show")
    # Of all users, because limits of the accounts above count as well, up to the root.
    which = (f"cluster={config['ClusterName']}", f"format={','.join(ASSOCIATION_COLUMNS)}")
    return replace(
        site,
        qos=list(parse_qos(ask(*show, "qos", f"format={','.join(QOS_COLUMNS)}"))),
        associations=list(parse_associations(ask(*show, "assoc", *which), user)),
        default_account=ask(*show, "user", user, "format=DefaultAccount").strip(),
    )


def _groups() -> frozenset[str]:
    names = set()
    for number in os.getgroups():
        with contextlib.suppress(KeyError):  # a group without a name, as in some containers
            names.add(grp.getgrgid(number).gr_name)
    return frozenset(names)


def parse_nodes(text: str) -> Iterator[Node]:
    """A line for each node and partition."""
    for line in text.splitlines():
        name, partition, state, cpus, mem_mb, gres, features = line.split("|")
        known = frozenset(features.split(",")) - {"(null)"}
        yield Node(name, partition, state, int(cpus), int(mem_mb), parse_gres(gres), known)


def parse_gres(text: str) -> dict[str, int]:
    """`gpu:v100:4(S:0-1),nvme:1` with what is counted without its type, too."""
    found: dict[str, int] = {}
    for item in text.replace("(null)", "").split(","):
        parts = item.partition("(")[0].split(":")
        if len(parts) > 1 and parts[-1].isdigit():
            for name in {parts[0], ":".join(parts[:-1])}:
                found[name] = found.get(name, 0) + int(parts[-1])
    return found


def parse_partitions(text: str, nodes: Sequence[Node]) -> Iterator[Partition]:
    """A line of `key=value` for each partition; a sentence where the user may see none."""
    for line in text.splitlines():
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if (name := said.get("PartitionName")) is None:
            continue
        yield Partition(
            name,
            said["State"],
            said["Default"] == "YES",
            parse_minutes(said["MaxTime"]),
            int(said["GraceTime"]),
            int(said["PriorityTier"]),
            said["PreemptMode"],
            said["QoS"] if said["QoS"] != "N/A" else "",
            {key: said[key] for key in said if key.startswith(("Allow", "Deny"))},
            [node for node in nodes if node.partition == name],
        )


def parse_qos(text: str) -> Iterator[Qos]:
    for row in _rows(text, QOS_COLUMNS):
        name = row["Name"]
        quota = Quota(
            f"QOS {name}",
            row["MaxWall"],
            row["MaxJobsPU"],
            row["MaxSubmitPU"],
            row["MaxTRESPU"],
            row["GrpJobs"],
            row["GrpSubmit"],
            row["GrpTRES"],
        )
        grace_s = round(60 * _minutes(row["GraceTime"] or "0:0:0"))
        yield Qos(name, grace_s, _list(row["Preempt"]), row["PreemptMode"], quota)


def parse_associations(text: str, user: str) -> Iterator[Association]:
    """Those of accounts, and of one user."""
    for row in _rows(text, ASSOCIATION_COLUMNS):
        account = row["Account"]
        if row["User"] not in ("", user):
            continue
        quota = Quota(
            f"{user} in account {account}" if row["User"] else f"account {account}",
            row["MaxWall"],
            row["MaxJobs"],
            row["MaxSubmit"],
            "",
            row["GrpJobs"],
            row["GrpSubmit"],
            row["GrpTRES"],
        )
        yield Association(
            account,
            row["User"],
            row["ParentName"],
            row["Partition"],
            _list(row["QOS"]),
            row["DefaultQOS"],
            quota,
        )


def parse_minutes(text: str) -> int | None:
    """A limit of time as SLURM prints it, in whole minutes; None where there is none."""
    return None if text in ("", "UNLIMITED", "NONE") else int(_minutes(text))


def _minutes(text: str) -> float:
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _rows(text: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        yield dict(zip(columns, line.split("|"), strict=True))


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
