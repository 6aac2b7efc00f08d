"""How much may be submitted and run at a time, and what that means for a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.cluster import SlurmProfile
from launcher.doctor.findings import Finding, ok, plural, warning
from launcher.doctor.site import Association, Partition, Quota, Site, parse_minutes

TOPIC = "limits"

Counted = Literal["waiting", "running", "gpus"]

# Without an accounting, what squeue has forgotten is forgotten for good.
SHORT_MEMORY_S = 120


@dataclass(frozen=True)
class Limit:
    """A number that SLURM holds jobs to, and in its own words whose limit it is."""

    what: Counted | Literal["minutes"]
    value: int
    of: str


def limits_of(site: Site, profile: SlurmProfile, partition: Partition) -> list[Limit]:
    """Every limit that counts for the jobs of a profile; none where none is enforced.

    Of those of one person's jobs SLURM takes the first that is set, by the partition's QOS, the
    job's, the user's association or those above it. Those of a group's jobs all count.
    """
    if not site.enforces("limits"):
        return []
    chain = association_chain(site, profile, partition)
    named = (partition.qos, qos_of(chain, profile))
    quotas = [qos.quota for name in named for qos in site.qos if qos.name == name]
    quotas += [one.quota for one in chain]
    own: dict[str, Limit] = {}
    for quota in reversed(quotas):
        own |= {limit.what: limit for limit in _of_one_person(quota)}
    return [*own.values(), *(limit for quota in quotas for limit in _of_a_group(quota))]


def qos_of(chain: Sequence[Association], profile: SlurmProfile) -> str:
    """The quality of service that a job gets."""
    default = chain[0].default_qos if chain else ""
    return profile.qos or default or "normal"


def association_chain(site: Site, profile: SlurmProfile, partition: Partition) -> list[Association]:
    """The user's place in the profile's account, then the accounts above it."""
    account = profile.account or site.default_account
    own = [one for one in site.associations if one.user and one.account == account]
    # One that is for this partition alone goes before one for all.
    own = [one for one in own if one.partition == partition.name] or [
        one for one in own if not one.partition
    ]
    above = {one.account: one for one in site.associations if not one.user}
    chain = own[:1]
    while account in above:
        chain.append(above.pop(account))
        account = chain[-1].parent
    return chain


def _of_one_person(quota: Quota) -> Iterator[Limit]:
    yield from _counted("waiting", quota.max_submit, f"MaxSubmitJobs of {quota.of}")
    yield from _counted("running", quota.max_jobs, f"MaxJobs of {quota.of}")
    yield from _counted("gpus", _gpus(quota.max_tres), f"MaxTRES of {quota.of}")
    if (minutes := parse_minutes(quota.max_wall)) is not None:
        yield Limit("minutes", minutes, f"MaxWall of {quota.of}")


def _of_a_group(quota: Quota) -> Iterator[Limit]:
    yield from _counted("waiting", quota.grp_submit, f"GrpSubmitJobs of {quota.of}")
    yield from _counted("running", quota.grp_jobs, f"GrpJobs of {quota.of}")
    yield from _counted("gpus", _gpus(quota.grp_tres), f"GrpTRES of {quota.of}")


def _counted(what: Counted, value: str, of: str) -> Iterator[Limit]:
    if value.isdigit():
        yield Limit(what, int(value), of)


def _gpus(tres: str) -> str:
    """The number of GPUs in `cpu=64,gres/gpu=8`; one of a type counts where there is no total."""
    counts = dict(item.split("=", 1) for item in tres.split(",") if "=" in item)
    typed = [count for name, count in counts.items() if name.startswith("gres/gpu:")]
    return counts.get("gres/gpu", typed[0] if typed else "")


def limits(site: Site, profile: SlurmProfile, partitions: Sequence[Partition]) -> Iterator[Finding]:
    """What a sweep meets when it is large."""
    yield _arrays(site)
    found = {limit for one in partitions for limit in limits_of(site, profile, one)}
    by_what = {what: _smallest(found, what) for what in ("waiting", "running", "gpus")}
    waiting = [limit for limit in (by_what["waiting"], _job_count(site)) if limit]
    least = min(waiting, key=lambda limit: limit.value, default=None)
    if least is not None:
        yield ok(
            TOPIC,
            f"at most {plural(least.value, 'job')} wait or run at a time ({least.of}): of a larger "
            "sweep the rest stays planned, and `launcher resume` tops up",
        )
    yield from _at_once(by_what, profile)
    yield from _backfill(site, profile)


def _smallest(limits: set[Limit], what: str) -> Limit | None:
    fitting = [limit for limit in limits if limit.what == what]
    return min(fitting, key=lambda limit: (limit.value, limit.of), default=None)


def _arrays(site: Site) -> Finding:
    size = int(site.config.get("MaxArraySize", "0"))
    tasks = int(site.parameter("SchedulerParameters", "max_array_tasks") or size)
    if min(size, tasks) < 2:
        return warning(TOPIC, "job arrays are switched off here: each run becomes a job of its own")
    of = f"MaxArraySize {size}" if tasks >= size else f"max_array_tasks {tasks}"
    # The limit is one of the index, and indices begin with 0.
    most = f"{min(size, tasks):,}"
    return ok(TOPIC, f"a job array has up to {most} tasks ({of}); a larger sweep takes several")


def _job_count(site: Site) -> Limit | None:
    count = site.config.get("MaxJobCount", "")
    return Limit("waiting", int(count), "MaxJobCount, of everybody") if count.isdigit() else None


def _at_once(by_what: Mapping[str, Limit | None], profile: SlurmProfile) -> Iterator[Finding]:
    for what, noun in (("running", "job"), ("gpus", "GPU")):
        limit = by_what[what]
        if limit is None:
            continue
        text = f"at most {plural(limit.value, noun)} at work at a time ({limit.of})"
        if limit.value < profile.array_parallelism:
            text += f": fewer than array_parallelism {profile.array_parallelism}; the others wait"
        yield ok(TOPIC, text)


def _backfill(site: Site, profile: SlurmProfile) -> Iterator[Finding]:
    """Whether short jobs start earlier than long ones."""
    if site.config.get("SchedulerType") != "sched/backfill":
        yield warning(
            TOPIC,
            f"the scheduler is {site.config.get('SchedulerType', 'not told')}: without backfill, "
            "short jobs do not start earlier than long ones",
        )
        return
    window_min = int(site.parameter("SchedulerParameters", "bf_window") or 1440)
    if profile.time_min > window_min:
        yield warning(
            TOPIC,
            f"time {profile.time_words} is longer than the {window_min // 60} h that SLURM "
            "plans ahead (bf_window): such jobs find hardly any gap",
            "`slice: 2h` starts earlier; runs are requeued and go on",
        )


def accounting(site: Site) -> Iterator[Finding]:
    """What can be known of jobs that have ended."""
    topic = "accounting"
    if any(command.startswith("sacctmgr") for command in site.silent):
        why = next(said for command, said in site.silent.items() if command.startswith("sacctmgr"))
        yield warning(
            topic,
            f"it does not answer, so your accounts and limits were not looked at: {why}",
            "try again later; submitting needs no accounting",
        )
    elif site.config.get("AccountingStorageType", "").endswith("slurmdbd"):
        enforced = site.config.get("AccountingStorageEnforce", "none")
        said = "it refuses no job" if enforced == "none" else f"it enforces {enforced}"
        yield ok(topic, f"sacct knows how jobs ended (slurmdbd); {said}")
    else:
        memory_s = site.seconds("MinJobAge")
        yield warning(
            topic,
            f"there is none: how a job ended is known for {memory_s} s (MinJobAge), then only from "
            "what the run wrote; a lost node or a lack of memory shows as `unknown`",
            "nothing is lost: `launcher resume` goes on all the same"
            + ("; look at `launcher status` soon after" if memory_s < SHORT_MEMORY_S else ""),
        )
