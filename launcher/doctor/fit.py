"""Whether a profile of cluster.yaml fits the cluster, before SLURM is asked to take a job of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.cluster import AUTO, Layout, SlurmProfile
from launcher.doctor.findings import Finding, ok, plural, problem, warning
from launcher.doctor.limits import limits_of
from launcher.doctor.site import Association, Node, Partition, Site

MB_PER = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
FEATURE = re.compile(r"(?<![*\w.:-])[A-Za-z_][\w.:-]*")
TOPIC = "does profile {} fit?"


def fit(site: Site, name: str, profile: SlurmProfile) -> Iterator[Finding]:
    """What is right and wrong with a profile; problems mean that its jobs would never start."""
    topic = TOPIC.format(name)
    partitions = partitions_of(site, profile)
    wanted = profile.partition.split(",") if profile.partition else []
    known = [partition.name for partition in site.partitions]
    for missing in sorted(set(wanted) - set(known)):
        yield problem(
            topic,
            f"there is no partition {missing}, or it is not shown to you",
            f"`partition:` in cluster.yaml; there are {', '.join(known) or 'none'}",
        )
    if not wanted:
        yield from _no_partition(site, topic, profile, partitions)
    for partition in partitions:
        yield from _fit_partition(site, topic, profile, partition)
    yield from _fit_account(site, topic, profile)


def partitions_of(site: Site, profile: SlurmProfile) -> list[Partition]:
    """Where jobs of this profile may go; without a wish, the default partition."""
    if profile.partition is None:
        return [partition for partition in site.partitions if partition.is_default]
    wanted = profile.partition.split(",")
    return [partition for partition in site.partitions if partition.name in wanted]


def _no_partition(
    site: Site, topic: str, profile: SlurmProfile, defaults: Sequence[Partition]
) -> Iterator[Finding]:
    gres = profile.gres_per_node(Layout()) or ""
    having = [one for one in site.partitions if any(_has(node, gres) for node in one.nodes)]
    width = max((len(one.name) for one in having), default=0)
    lines = "".join(f"\n  partition: {one.name:<{width}}  # {_describe(one)}" for one in having)
    advice = f"name one:{lines}" if lines else f"no partition that you see has {gres}"
    if defaults:
        yield warning(topic, f"no partition is set: SLURM takes {defaults[0].name}", advice)
    else:
        yield problem(topic, "no partition is set, and the cluster has no default one", advice)


def _describe(partition: Partition) -> str:
    kinds = Counter(_kind(node) for node in partition.nodes)
    limit = partition.max_time_min
    time = "" if limit is None else f"; at most {show_minutes(limit)}"
    nodes = " and ".join(f"{plural(count, 'node')} with {kind}" for kind, count in kinds.items())
    return f"{nodes or 'no nodes'}{time}"


def _kind(node: Node) -> str:
    """Such as `4 v100, 8 CPUs, 15.6 GB`."""
    types = {kind: node.gres[f"gpu:{kind}"] for kind in node.gpu_types}
    types = types or ({"GPUs": node.gres["gpu"]} if "gpu" in node.gres else {})
    gpus = [f"{count} {kind}" for kind, count in types.items()]
    return ", ".join([*gpus, plural(node.cpus, "CPU"), show_mb(node.mem_mb)])


def _fit_partition(
    site: Site, topic: str, profile: SlurmProfile, partition: Partition
) -> Iterator[Finding]:
    where = f"partition {partition.name}"
    if partition.state != "UP":
        yield problem(
            topic,
            f"{where} is {partition.state}: jobs are not started there",
            "take another, or wait until it is up (`sinfo -s`)",
        )
    one = nodes_for(profile, profile.layout(1), partition.nodes)
    if one.nodes:
        yield _usable(topic, partition, one.nodes)
        yield from _fit_full_node(topic, profile, one.nodes)
    else:
        yield problem(topic, f"no node of {where} can take a run: {one.why}", one.advice)
    yield from _fit_time(site, topic, profile, partition)
    yield from _allowed(site, topic, profile, partition)


def _usable(topic: str, partition: Partition, nodes: Sequence[Node]) -> Finding:
    usable = sum(node.is_usable for node in nodes)
    states = Counter(node.state for node in nodes if not node.is_usable)
    broken = ", ".join(f"{count} {state}" for state, count in states.items())
    where = f"partition {partition.name}"
    if not usable:
        return problem(
            topic,
            f"every node of {where} that fits is out of service ({broken})",
            "jobs wait until one is back: `sinfo -R` says why",
        )
    return ok(
        topic,
        f"{where}: {len(nodes)} of {plural(len(partition.nodes), 'node')} can take a run, and "
        f"{usable} of those are in service{f' ({broken})' if broken else ''}; "
        f"{_describe(partition)}",
    )


@dataclass(frozen=True)
class Fitting:
    """The nodes that fit or, where none does, what the last of them failed at."""

    nodes: Sequence[Node]
    why: str = ""
    advice: str = ""


def nodes_for(profile: SlurmProfile, layout: Layout, nodes: Sequence[Node]) -> Fitting:
    """The nodes that can take the tasks of one run that fall on a node."""
    gres = profile.gres_per_node(layout) or ""
    left = [node for node in nodes if _has(node, gres)]
    if not left:
        offers = sorted({f"{kind}:{count}" for node in nodes for kind, count in node.gres.items()})
        has = ", ".join(offers) or "none"
        return Fitting([], f"{gres} is asked for, and they have {has}", "another `gres`, or less")
    alternatives = [set(FEATURE.findall(part)) for part in (profile.constraint or "").split("|")]
    featured = [node for node in left if any(names <= node.features for names in alternatives)]
    if not featured:
        has = ", ".join(sorted({name for node in left for name in node.features})) or "none"
        why = f"constraint {profile.constraint} is asked for, and their features are: {has}"
        return Fitting([], why, "another `constraint`, or none")
    fewer = ", or fewer `runs_per_gpu`" if layout.runs_per_job > 1 else ""
    cpus = profile.cpus_per_task * layout.tasks_per_node
    wide = [node for node in featured if node.cpus >= cpus]
    if not wide:
        most = max(node.cpus for node in featured)
        why = f"{plural(cpus, 'CPU')} are asked for, and they have {most}"
        each = max(1, most // layout.tasks_per_node)
        return Fitting([], why, f"`cpus_per_task: {each}` or less{fewer}")
    mem = profile.mem_per_node(layout) or "0M"
    large = [node for node in wide if node.mem_mb >= int(mem[:-1]) * MB_PER[mem[-1]]]
    if not large:
        most = max(node.mem_mb for node in wide)
        why = f"mem {mem} is asked for, and they have {show_mb(most)}"
        each_mb = most // layout.tasks_per_node
        words = f"{each_mb // 1024}G" if each_mb >= 1024 else f"{each_mb}M"
        return Fitting([], why, f"`mem: {words}` or less{fewer}")
    return Fitting(large)


def _has(node: Node, gres: str) -> bool:
    name, _, count = gres.rpartition(":")
    return not gres or node.gres.get(name, 0) >= int(count)


def _fit_full_node(topic: str, profile: SlurmProfile, nodes: Sequence[Node]) -> Iterator[Finding]:
    """`gpus_per_node`, which counts for runs on several GPUs, against what the nodes have."""
    size = profile.gpus_per_node
    kind, _, count = (profile.gres_per_node(Layout()) or "").rpartition(":")
    if size is None or not kind:
        return
    most = max(node.gres[kind] // int(count) for node in nodes)
    if size > most:
        text = f"gpus_per_node {size}, but these nodes take {most}: runs on several would not start"
        yield warning(topic, text, f"`gpus_per_node: {most}`")
    elif size < most:
        text = (
            f"gpus_per_node {size} of the {most} that these nodes take: a run on {most} is spread"
        )
        yield ok(topic, text)
    full = nodes_for(profile, Layout(1, min(size, most)), nodes)
    if not full.nodes:
        yield warning(
            topic,
            f"a run with gpus: {min(size, most)} would not fit a node: {full.why}",
            f"{full.advice}, if you train on several; it counts for each GPU",
        )


def longest_times(site: Site, profile: SlurmProfile, partition: Partition) -> list[tuple[int, str]]:
    """The limits that a job's time has there, in minutes and in words, the shortest first."""
    found = [
        (limit.value, limit.of)
        for limit in limits_of(site, profile, partition)
        if limit.what == "minutes"
    ]
    if partition.max_time_min is not None:
        found.append((partition.max_time_min, f"partition {partition.name}"))
    return sorted(found)


def _fit_time(
    site: Site, topic: str, profile: SlurmProfile, partition: Partition
) -> Iterator[Finding]:
    for minutes, of in longest_times(site, profile, partition)[:1]:
        shown = show_minutes(minutes)
        # What `auto` asks for is never longer.
        if minutes < profile.time_min and profile.time != AUTO:
            yield problem(
                topic,
                f"time {profile.time_words} is more than {of} allows, {shown}: the job would "
                "wait for ever, or be refused",
                f'`time: "{shown}"` or less: runs that need longer are requeued and go on',
            )


def _allowed(
    site: Site, topic: str, profile: SlurmProfile, partition: Partition
) -> Iterator[Finding]:
    """The partition's own lists of who may use it."""
    mine = {"Accounts": profile.account or site.default_account, "Qos": profile.qos}
    for kind, name in mine.items():
        allowed = partition.allowed.get(f"Allow{kind}", "ALL")
        denied = partition.allowed.get(f"Deny{kind}", "")
        key = "account" if kind == "Accounts" else "qos"
        if name and allowed != "ALL" and name not in allowed.split(","):
            text = f"partition {partition.name} does not take {key} {name}"
            yield problem(topic, text, f"`{key}:` one of {allowed.replace(',', ', ')}")
        elif name and name in denied.split(","):
            text = f"partition {partition.name} does not take {key} {name}"
            yield problem(topic, text, f"another {key} or partition")
    groups = partition.allowed.get("AllowGroups", "ALL")
    if groups != "ALL" and not site.groups & set(groups.split(",")):
        text = f"partition {partition.name} is for members of {groups.replace(',', ', ')}"
        yield problem(topic, text, "you are in none of these groups: ask for it (`id -Gn`)")


def _fit_account(site: Site, topic: str, profile: SlurmProfile) -> Iterator[Finding]:
    own = [one for one in site.associations if one.user]
    accounts = sorted({one.account for one in own})
    if not site.enforces("associations"):
        if profile.account and accounts and profile.account not in accounts:
            yield warning(
                topic,
                f"account {profile.account} is not one of yours, but SLURM does not check it here",
                f"yours: {', '.join(accounts)}",
            )
        return
    if not own:
        yield from _no_association(site, topic)
        return
    account = profile.account or site.default_account
    if account not in accounts:
        yield problem(
            topic,
            f"account {account or '(none)'} is not one of yours",
            f"`account:` one of {', '.join(accounts)}",
        )
        return
    yield ok(topic, f"account {account}" + ("" if profile.account else ", your default one"))
    yield from _fit_qos(topic, profile, [one for one in own if one.account == account])


def _no_association(site: Site, topic: str) -> Iterator[Finding]:
    if any(command.startswith("sacctmgr") for command in site.silent):
        return
    yield problem(
        topic,
        "you have no account on this cluster, and SLURM takes jobs of accounts only",
        "ask the people who run the cluster for one (`sacctmgr show assoc user=$USER`)",
    )


def _fit_qos(topic: str, profile: SlurmProfile, own: Sequence[Association]) -> Iterator[Finding]:
    valid = sorted({name for one in own for name in one.qos})
    if profile.qos and profile.qos not in valid:
        yield problem(
            topic,
            f"qos {profile.qos} is not open to account {own[0].account}",
            f"`qos:` one of {', '.join(valid) or 'none'}",
        )


def show_minutes(minutes: int) -> str:
    """As SLURM and cluster.yaml write it: `8:00:00`, `2-00:00:00`."""
    days, rest = divmod(minutes, 1440)
    clock = f"{rest // 60}:{rest % 60:02}:00"
    return f"{days}-{clock:0>8}" if days else clock


def show_mb(megabytes: int) -> str:
    return f"{megabytes / 1024:.1f} GB"
