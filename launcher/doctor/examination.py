"""The examination: everything that can be said of a cluster without sending a job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launcher.cluster import Cluster, SlurmProfile
from launcher.doctor.findings import Finding, Verdict, ok, plural, problem, warning
from launcher.doctor.fit import fit, partitions_of
from launcher.doctor.folders import folders
from launcher.doctor.kernels import ask_torch, gpu_types, kernels
from launcher.doctor.limits import accounting, limits
from launcher.doctor.site import Site, read_site
from launcher.doctor.stops import stops
from launcher.local import local_gpus, make_workers

TOPIC = "cluster"


def examine(cluster: Cluster, profile_name: str | None, runs: Path) -> list[Finding]:
    """What is right and wrong with submitting from here, with the default profile or a named one.

    Unless one is named, it is also looked at whether the others fit.
    """
    if not has_slurm():
        return list(_this_machine())
    chosen = cluster.profile(profile_name, "slurm")
    assert isinstance(chosen, SlurmProfile), "that is the executor asked for"
    site = read_site()
    if not site.config:
        return [_no_answer(site)]
    partitions = partitions_of(site, chosen)
    types = gpu_types(partitions) if chosen.gres else []
    name = profile_name or cluster.default or ""
    others = {
        other: profile
        for other, profile in cluster.profiles.items()
        if isinstance(profile, SlurmProfile) and other != name and not profile_name
    }
    return [
        _cluster(site),
        *_silent(site),
        *fit(site, name, chosen),
        *(found for other, profile in others.items() for found in _aside(site, other, profile)),
        *(finding for one in partitions for finding in stops(site, chosen, one)),
        *limits(site, chosen, partitions),
        *accounting(site),
        *kernels(ask_torch(types), types, needs_gpu=(chosen.gres or "").startswith("gpu")),
        *folders(runs),
    ]


def has_slurm() -> bool:
    return shutil.which("sbatch") is not None


def _aside(site: Site, name: str, profile: SlurmProfile) -> Iterator[Finding]:
    """Another profile than the one asked about: what is wrong with it is a mere warning."""
    for finding in fit(site, name, profile):
        is_problem = finding.verdict is Verdict.PROBLEM
        yield replace(finding, verdict=Verdict.WARNING) if is_problem else finding


def _cluster(site: Site) -> Finding:
    nodes = {node.name: node for one in site.partitions for node in one.nodes}
    down = sum(not node.is_usable for node in nodes.values())
    version = site.config.get("SLURM_VERSION", "of unknown version")
    out = f", {down} of them out of service" if down else ""
    return ok(
        TOPIC,
        f"{site.config.get('ClusterName')}, SLURM {version}: "
        f"{plural(len(site.partitions), 'partition')}, {plural(len(nodes), 'node')}{out}",
    )


def _silent(site: Site) -> Iterator[Finding]:
    for command, said in site.silent.items():
        if not command.startswith("sacctmgr"):  # the accounting says so itself
            advice = "what it would have said was not looked at"
            yield warning(TOPIC, f"`{command}`: {said}", advice)


def _no_answer(site: Site) -> Finding:
    said = next(iter(site.silent.values()))
    return problem(
        TOPIC,
        f"SLURM does not answer: {said}",
        "try again later; nothing can be submitted meanwhile, and `launcher status` shows what "
        "the files say",
    )


def _this_machine() -> Iterator[Finding]:
    topic = "this machine"
    yield ok(topic, "there is no SLURM here (no sbatch): `launcher submit` trains on this machine")
    gpus, workers = local_gpus(), len(make_workers(None))
    has = f"{plural(len(gpus), 'GPU')} and " if gpus else "no GPU that nvidia-smi shows, and "
    yield ok(
        topic,
        f"it has {has}{plural(os.cpu_count() or 1, 'CPU')}: {plural(workers, 'run')} at a time, "
        "unless --workers says otherwise",
    )
