"""The time limit of each job: what `time: auto` and `slice` come to, and why.

A short limit starts early, since SLURM fits the job into gaps of its schedule (backfill). So a job
asks for what its run needs, and no more than a slice: at the end of it the run saves, is requeued
and goes on.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jobs.config import RunConfig
from jobs.slurm_job import EARLY_WARNING_S
from jobs.sweep_dir import SweepDir
from launcher.cluster import AUTO, SlurmProfile, parse_time_min, write_minutes
from launcher.doctor.fit import longest_times, partitions_of
from launcher.doctor.site import Site, read_site
from launcher.estimates import Estimate, Estimator, read_known, show_seconds

# What an estimate is multiplied by: the next node may be slower, and a file system busier.
MARGIN = 1.3

# Few different limits, so that a sweep makes few arrays; above, whole days.
CLASSES_MIN = (10, 20, 30, 60, 120, 240, 480, 720, 1440)

# Data may have to be copied, and networks compiled, before the first step.
PILOT_MIN = 30

# A slice of which the start-up takes more than this share is told, and of that one with a warning.
MUCH, TOO_MUCH = 0.1, 0.5


@dataclass(frozen=True)
class Limit:
    """Of one job, in minutes, with the reason in words."""

    minutes: int
    why: str = ""


def set_limits(
    sweep: SweepDir, profiles: Mapping[str, SlurmProfile], config_of: Callable[[str], RunConfig]
) -> dict[str, Limit]:
    """The limit of each run's job, where its profile has `time: auto` or a slice.

    Asks the cluster for its own limits where a run says `auto`.
    """
    if not any(profile.time == AUTO or profile.slice for profile in profiles.values()):
        return {}
    estimator = Estimator(read_known(sweep, "slurm"))
    limits = {}
    for run_id, profile in profiles.items():
        if profile.time == AUTO or profile.slice:
            config = config_of(run_id)
            estimate = estimator.estimate(sweep.run(run_id), config)
            shared = estimate and estimate.shared_by(profile.sharing(config.gpus))
            limits[run_id] = _limit(profile, shared)
    return limits


def _limit(profile: SlurmProfile, estimate: Estimate | None) -> Limit:
    limit = Limit(profile.time_min)
    if profile.time == AUTO:
        limit = auto_limit(profile, estimate, *longest_time(profile))
    is_slice = profile.slice and limit.minutes == parse_time_min(profile.slice)
    cost = check_slice(profile, estimate.startup_s) if estimate and is_slice else ""
    return Limit(limit.minutes, "; ".join(filter(None, [limit.why, cost])))


def apply_limits(
    profiles: Mapping[str, SlurmProfile], limits: Mapping[str, Limit]
) -> dict[str, SlurmProfile]:
    """The profiles with these limits as their times."""
    return {
        run_id: profile.limited_to(limits[run_id].minutes) if run_id in limits else profile
        for run_id, profile in profiles.items()
    }


def for_pilot(profile: SlurmProfile) -> SlurmProfile:
    """The profile for a job of one run that only does a few steps: short, to start early."""
    least_min = math.ceil(2 * profile.signal_delay_s / 60)
    limit_min = min(profile.time_min, max(PILOT_MIN, least_min))
    return profile.limited_to(limit_min).model_copy(update={"runs_per_gpu": 1})


def auto_limit(
    profile: SlurmProfile, estimate: Estimate | None, longest_min: int | None, of: str = ""
) -> Limit:
    """What `time: auto` means for a run: what it needs, at most a slice and what SLURM allows."""
    if estimate is None:
        why = "nothing measured yet: `launcher submit MATRIX --pilot` measures"
        wanted_min = profile.time_min
    else:
        needed_s = needed_time_s(estimate, profile.signal_delay_s)
        wanted_min = round_up_min(needed_s)
        why = f"estimate: ({estimate.formula}) x {MARGIN} + start-up and warning"
    if profile.slice and (slice_min := parse_time_min(profile.slice)) < wanted_min:
        wanted_min, why = (
            slice_min,
            f"a slice of the {write_minutes(wanted_min)} that it needs; {why}",
        )
    if longest_min is not None and longest_min < wanted_min:
        wanted_min, why = longest_min, f"all that {of} allows; {why}"
    return Limit(wanted_min, why)


def needed_time_s(estimate: Estimate, signal_delay_s: float) -> float:
    """What one job needs for the whole run, with a margin: it must not be warned before it ends."""
    return MARGIN * estimate.training_s + estimate.startup_s + signal_delay_s + EARLY_WARNING_S


def round_up_min(needed_s: float) -> int:
    """The class that it falls into, in minutes."""
    minutes = needed_s / 60
    days_min = 1440 * math.ceil(minutes / 1440)
    return next((limit for limit in CLASSES_MIN if minutes <= limit), days_min)


def longest_time(profile: SlurmProfile) -> tuple[int | None, str]:
    """The longest time that SLURM allows a job of this profile, in minutes, and by whose limit.

    Of several partitions, the shortest one's: the job may go to any. None where there is no limit,
    or SLURM does not tell.
    """
    site = _ask_site()
    times = [
        limit
        for partition in partitions_of(site, profile)
        for limit in longest_times(site, profile, partition)
    ]
    return min(times, default=(None, ""))


@functools.cache
def _ask_site() -> Site:
    """Asked once in a process: it takes several commands."""
    return read_site()


def check_slice(profile: SlurmProfile, startup_s: float) -> str:
    """What a restart costs, if that is much of a slice.

    Nothing is refused for it: what was measured may have prepared data, which is done once.
    """
    assert profile.slice is not None, "only slices are checked"
    slice_min = parse_time_min(profile.slice)
    share = startup_share(slice_min, startup_s, profile.signal_delay_s)
    if share < MUCH:
        return ""
    cost = (
        f"slice {profile.slice}: a start takes {show_seconds(startup_s)} (measured) of the "
        f"{max(0, 60 * slice_min - profile.signal_delay_s)} s before the warning"
    )
    enough = write_minutes(shortest_slice_min(startup_s, profile.signal_delay_s, MUCH))
    if share < TOO_MUCH:
        return f"{cost}; {enough} is spent better"
    return f"{cost}: if the next ones do as well, it hardly trains; take {enough} or more"


def startup_share(slice_min: int, startup_s: float, signal_delay_s: float) -> float:
    """The share of the job's time at work that goes into its start; 1 if nothing is left."""
    at_work_s = 60 * slice_min - signal_delay_s - EARLY_WARNING_S
    return min(1.0, startup_s / at_work_s) if at_work_s > 0 else 1.0


def shortest_slice_min(startup_s: float, signal_delay_s: float, share: float) -> int:
    """The shortest slice of which the start-up takes no more than this share, in minutes."""
    return round_up_min(startup_s / share + signal_delay_s + EARLY_WARNING_S)


def explain_limits(limits: Mapping[str, Limit]) -> Iterator[str]:
    """A line for each length of job: how many runs have it, and why the first one of them."""
    counts = Counter(limit.minutes for limit in limits.values())
    reasons: dict[int, str] = {}
    for limit in limits.values():
        reasons.setdefault(limit.minutes, limit.why)
    for minutes, count in sorted(counts.items()):
        why = f": {reasons[minutes]}" if reasons[minutes] else ""
        runs = "1 run" if count == 1 else f"{count} runs"
        yield f"{runs} in jobs of {write_minutes(minutes)}{why}"
