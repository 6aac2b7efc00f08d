"""What the launcher prints before it acts: the plan, its jobs, their limits and when they start."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jobs.config import RunConfig, missing_data
from jobs.sweep_dir import SweepDir
from launcher.cluster import AUTO, Profile, SlurmProfile
from launcher.fitting import short_id
from launcher.plan import Action, summarise
from launcher.run_status import FAR_S

if TYPE_CHECKING:
    from launcher.arrays import Array

SHOWN_ROWS = 20


def show_plan(
    sweep: SweepDir,
    actions: Sequence[Action],
    labels: Mapping[str, str],
    profile: Profile,
    gpus: Mapping[str, int],
    *,
    profile_name: str = "",
    show_all: bool,
) -> None:
    """Print what is going to be done with each run, why, and on what if that is several GPUs."""
    where = "on this machine"
    if isinstance(profile, SlurmProfile):
        named = f" profile {profile_name}," if profile_name else ""
        hours, minutes = divmod(profile.time_min, 60)
        parts = [f"{hours:,} h" if hours else "", f"{minutes} min" if minutes else ""]
        time_limit = " ".join(filter(None, parts))
        each = f"time {profile.time_words}" if AUTO in profile.time else f"{time_limit} each"
        where = f"on SLURM,{named} {each}"
    print(f"{sweep.path}  {summarise(actions)} {where}")
    shown = actions if show_all else actions[:SHOWN_ROWS]
    width = max((len(labels[action.run_id]) for action in shown), default=0)
    for action in shown:
        name = f"{labels[action.run_id]:<{width}}  {short_id(action.run_id)}"
        on = _where(profile, gpus.get(action.run_id, 1))
        print(f"  {action.verb:<8}  {name}  {action.reason}{on}")
    if len(shown) < len(actions):
        print(f"  and {len(actions) - len(shown)} more; --all lists them")


def _where(profile: Profile, gpus: int) -> str:
    if gpus == 1:
        return ""
    if not isinstance(profile, SlurmProfile):
        return f", in {gpus} processes"
    layout = profile.layout(gpus)
    nodes = f"{layout.nodes} node{'' if layout.nodes == 1 else 's'}"
    return f", on {nodes} x {layout.tasks_per_node} {'GPUs' if profile.gres else 'tasks'}"


def show_jobs(profiles: Mapping[str, Profile], gpus: Mapping[str, int]) -> None:
    """Print how many jobs a submission is, where runs share a GPU."""
    from launcher.arrays import MAX_TASKS, cut

    asked = {run_id: profiles[run_id] for run_id in gpus}
    on_slurm = {run_id: own for run_id, own in asked.items() if isinstance(own, SlurmProfile)}
    if all(profile.runs_per_gpu == 1 for profile in on_slurm.values()):
        return
    sizes = Counter(runs for a in cut(on_slurm, gpus, MAX_TASKS) for runs in a.runs_of_jobs)
    parts = [
        f"{jobs} job{'' if jobs == 1 else 's'} of {runs} run{'' if runs == 1 else 's'}"
        for runs, jobs in sorted(sizes.items(), reverse=True)
    ]
    print(f"  {' and '.join(parts)}; those of a job share its GPU")


def show_limits(
    sweep: SweepDir, profiles: Mapping[str, Profile], configs: Mapping[str, RunConfig]
) -> dict[str, Profile]:
    """Print how long the jobs of these runs would be, where `time: auto` or a slice says so.

    Returns the profiles with these limits.
    """
    asked = {key: profile for key, profile in profiles.items() if isinstance(profile, SlurmProfile)}
    if not asked:
        return dict(profiles)
    from launcher.time_limits import apply_limits, explain_limits, set_limits

    limits = set_limits(sweep, asked, configs.__getitem__)
    for line in explain_limits(limits):
        print(f"  {line}")
    return {**profiles, **apply_limits(asked, limits)}


def show_missing_data(profiles: Mapping[str, Profile], configs: Mapping[str, RunConfig]) -> None:
    """Print what of the data of SLURM's runs is not on this machine; their nodes may have it."""
    on_slurm = [key for key, profile in profiles.items() if isinstance(profile, SlurmProfile)]
    for missing in dict.fromkeys(missing_data(configs[key]) for key in on_slurm):
        if missing:
            print(f"  warning: seen from here, {missing}")


def show_start_times(
    sweep: SweepDir,
    profiles: Mapping[str, Profile],
    gpus: Mapping[str, int],
    after: Sequence[str],
) -> None:
    """Print when SLURM thinks that each array of a submission would begin; changes nothing.

    It is not asked what the jobs in `after` mean for that, because it does not reckon with them.
    Raises ExecutionError in SLURM's own words if it would refuse one.
    """
    from launcher.arrays import estimate_starts

    asked = {
        run_id: profile for run_id in gpus if isinstance(profile := profiles[run_id], SlurmProfile)
    }
    for array, start_unix_s, nodes in estimate_starts(sweep, asked, gpus):
        when = time.strftime("%a %d %b %Y at %H:%M", time.localtime(start_unix_s))
        if start_unix_s > time.time() + FAR_S:
            when = "at a time that it cannot tell"
        first = "the first" if array.jobs > 1 else "it"
        print(f"  {_describe_jobs(array)}: SLURM would start {first} {when} on {nodes}")
    if after and gpus:
        print(f"  but not before job {' and '.join(after)} has ended, which SLURM leaves out here")
    if not gpus:
        print("  nothing would be submitted")


def _describe_jobs(array: Array) -> str:
    """Such as `1 run`, `1 job of 4 runs`, `an array of 8 runs`, `an array of 2 jobs for 7 runs`."""
    runs = f"{len(array.run_ids)} run{'' if len(array.run_ids) == 1 else 's'}"
    if array.jobs == 1:
        return runs if array.layout.runs_per_job == 1 else f"1 job of {runs}"
    if array.layout.runs_per_job == 1:
        return f"an array of {runs}"
    return f"an array of {array.jobs} jobs for {runs}"
