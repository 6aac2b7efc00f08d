"""Going on with a sweep where it was submitted last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.errors import InputError
from jobs.sweep_dir import SweepDir
from launcher.cluster import Profile, SlurmProfile
from launcher.plan import STARTING, Action, Policy, plan
from launcher.run_status import RunStatus
from launcher.show import show_jobs, show_limits, show_plan
from launcher.submit import (
    advise_on_nodes,
    check_gpus,
    check_was_submitted,
    code_to_run,
    exclude_nodes,
    gpus_to_start,
    jobs_still_awaited,
    last_profile,
    run_profile,
)


@dataclass(frozen=True)
class Wishes:
    """What `launcher resume` was asked for."""

    workers: int | None = None
    cancelled: bool = False
    failed: bool = False
    exclude_failed: bool = False
    update_code: bool = False

    def for_slurm(self) -> list[str]:
        """The options given that change nothing where a sweep trains on this machine."""
        given = {"--exclude-failed": self.exclude_failed, "--update-code": self.update_code}
        return [name for name, is_given in given.items() if is_given]


@dataclass(frozen=True)
class Resumption:
    """What is to be done with a sweep: `gpus` of the runs to start, and the jobs to wait for.

    `damaged` says what keeps single runs from going on.
    """

    sweep: SweepDir
    actions: Sequence[Action]
    profile: Profile
    code_hash: str
    gpus: Mapping[str, int]
    after: Sequence[str]
    damaged: Sequence[str]

    def check_intact(self) -> None:
        """InputError if there are runs that were left because they are damaged."""
        if self.damaged:
            raise InputError("\n  ".join(["damaged runs were left:", *self.damaged]))


def plan_resumption(
    sweep: SweepDir, statuses: Sequence[RunStatus], wishes: Wishes, *, show_all: bool
) -> Resumption:
    """Plan how a sweep goes on where it was submitted last, and print that; changes nothing.

    Raises InputError or ExecutionError if it cannot go on so.
    """
    standings = [status for status in statuses if status.named]
    profile, code_hash = last_profile(sweep)
    code_hash = "" if wishes.update_code else code_hash
    code = code_to_run(standings, profile.executor, code_hash)
    actions = plan(standings, Policy(wishes.cancelled, wishes.failed, code=code))
    if wishes.exclude_failed and isinstance(profile, SlurmProfile):
        profile = exclude_nodes(profile, (n for run in statuses for n in run.failed_nodes))
        without = f"not on {profile.exclude}" if profile.exclude else "no node has failed"
        print(f"{sweep.name}: {without}")
    if profile.executor == "local" and (ignored := wishes.for_slurm()):
        change = "changes" if len(ignored) == 1 else "change"
        print(
            f"{sweep.name}: trains on this machine, where {' and '.join(ignored)} {change} nothing"
        )
    starting = [action.run_id for action in actions if action.verb in STARTING]
    configs = {run_id: sweep.run(run_id).read_config() for run_id in starting}
    gpus = gpus_to_start(actions, configs)
    if gpus and wishes.workers is None:
        check_was_submitted(sweep)
    check_gpus(gpus, profile, wishes.workers)
    labels = {status.run_id: status.label for status in standings}
    show_plan(sweep, actions, labels, profile, gpus, show_all=show_all)
    own = {run_id: run_profile(sweep.run(run_id), profile) for run_id in gpus}
    show_jobs(show_limits(sweep, own, configs), gpus)
    if advice := advise_on_nodes(statuses, profile, sweep):
        print(advice)
    if after := jobs_still_awaited(sweep) if gpus else []:
        print(f"  they wait for job {' and '.join(after)}, as they were submitted to")
    damaged = [status.detail for status in standings if status.damaged]
    return Resumption(sweep, actions, profile, code_hash, gpus, after, damaged)
