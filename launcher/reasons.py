"""Why a job waits: SLURM's words for it, as sentences that say what can be done.

The words are those of `man squeue` (job reason codes) and of SLURM's page on resource limits.
"""

from __future__ import annotations

import functools
import re

CHANGE_PROFILE = (
    "correct the profile in cluster.yaml, `launcher cancel`, and `launcher submit --cancelled`"
)
RELEASE = "`launcher resume` releases it"

REASONS = {
    "None": "SLURM has not looked at it yet",
    "SchedDefer": "SLURM has not looked at it yet",
    "Priority": "other jobs are before it",
    "Resources": "no node has room for it yet",
    "BeginTime": "SLURM lets a requeued job wait for a while, often two minutes",
    "Cleaning": "its last start is still being cleaned up",
    "Prolog": "its node is being made ready",
    "JobArrayTaskLimit": "as many runs at once as array_parallelism in cluster.yaml says",
    "Dependency": "it waits for another job to end",
    "DependencyNeverSatisfied": "the job that it waits for can never end as it has to: "
    "`launcher cancel`, and `launcher submit --cancelled` without --after",
    "JobHeldUser": f"its owner holds it: {RELEASE}",
    "JobHeldAdmin": "an administrator holds it: ask the site why",
    "JobHoldMaxRequeue": f"it was requeued too often: `launcher logs` says why, and {RELEASE}",
    "ReqNodeNotAvail": "nodes that it could take are down or reserved, perhaps for a maintenance: "
    "`scontrol show reservation` says when, and a shorter `time` may fit before it",
    "Reservation": "its reservation has not begun, or is full",
    "NodeDown": "a node that it needs is down",
    "PartitionDown": "its partition takes jobs but starts none now",
    "PartitionInactive": "its partition is switched off",
    "PartitionNodeLimit": f"it asks for more nodes than its partition gives: {CHANGE_PROFILE}",
    "PartitionTimeLimit": f"its time is more than its partition allows: {CHANGE_PROFILE}",
    "PartitionConfig": f"it asks for what its partition does not allow: {CHANGE_PROFILE}",
    "BadConstraints": f"no node is as it asks for: {CHANGE_PROFILE}",
    "Licenses": "licences that it needs are all taken",
    "InvalidAccount": f"its account is not valid: {CHANGE_PROFILE}",
    "InvalidQOS": f"its QOS is not valid: {CHANGE_PROFILE}",
    "AccountNotAllowed": f"its partition does not take its account: {CHANGE_PROFILE}",
    "QOSNotAllowed": f"its partition does not take its QOS: {CHANGE_PROFILE}",
    "QOSUsageThreshold": "your use of the cluster is too high for its QOS: take another one, "
    "or wait",
    "AssociationJobLimit": "as many jobs of your account run as it may have",
    "AssociationResourceLimit": "your account has as much as it may have",
    "AssociationTimeLimit": "the time of your account is used up: ask the site",
    "QOSJobLimit": "as many jobs run as its QOS allows",
    "QOSResourceLimit": "jobs of its QOS have as much as it allows",
    "QOSTimeLimit": "the time of its QOS is used up: take another one, or ask the site",
    "MaxMemPerLimit": f"it asks for more memory than allowed: {CHANGE_PROFILE}",
    "JobLaunchFailure": f"its last start failed on the node, and {RELEASE}",
}

# As AssocGrpGRES, QOSMaxJobsPerUserLimit or AssocMaxWallDurationPerJobLimit.
LIMIT = re.compile(
    r"(?P<owner>Assoc|QOS|)(?P<kind>Grp|Max|Min)"
    r"(?P<what>Cpu|CPU|GRES|Memory|Mem|Node|SubmitJobs?|Jobs?|WallDuration|Wall|Billing|License)"
    r"(?P<time>RunMinutes|Minutes)?(?P<each>PerJob|PerNode|PerUser|PerAccount)?"
    r"(Limit|NotSatisfied)?"
)
OWNERS = {"Assoc": "your account", "QOS": "its QOS", "": "your account"}
RESOURCES = {
    "Cpu": "CPUs",
    "CPU": "CPUs",
    "GRES": "GPUs",
    "Mem": "memory",
    "Memory": "memory",
    "Node": "nodes",
    "Billing": "billing units",
    "License": "licences",
    "Wall": "time",
    "WallDuration": "time",
}


@functools.cache
def explain_reason(reason: str) -> str:
    """A sentence for why a job waits, with SLURM's own word; what has none is given as it is."""
    word = re.match(r"\w*", reason.strip("()"))
    assert word is not None, "it matches anything"
    said = REASONS.get(word[0]) or _explain_limit(word[0])
    return f"{said} ({reason.strip('()')})" if said else reason


def _explain_limit(word: str) -> str:
    """What a limit of an account or a QOS means, by the parts of its name."""
    limit = LIMIT.fullmatch(word)
    if limit is None:
        return ""
    owner, what = OWNERS[limit["owner"]], RESOURCES.get(limit["what"], "jobs")
    if limit["time"]:
        what = f"{what.removesuffix('s')} time"
    if limit["kind"] == "Min":
        return f"it asks for fewer {what} than {owner} wants: {CHANGE_PROFILE}"
    if limit["each"] in ("PerJob", "PerNode"):
        return f"it asks for more {what} than {owner} allows: {CHANGE_PROFILE}"
    if limit["time"] == "Minutes" or (limit["kind"] == "Grp" and limit["what"] == "Wall"):
        return f"the {what} of {owner} is used up: take another one, or ask the site"
    of_all = limit["kind"] == "Grp" or limit["each"] == "PerAccount"
    if what == "jobs":
        return f"as many {'jobs run' if of_all else 'of your jobs run'} as {owner} allows"
    whose = f"all jobs of {owner} together" if of_all else "your jobs"
    return f"{whose} have all the {what} that {owner} allows"
