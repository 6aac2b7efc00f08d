"""Going on with sweeps, each for itself: one that cannot does not keep the others from it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.errors import ExecutionError, InputError, describe_failure
from jobs.sweep_dir import SweepDir
from launcher.cluster import Profile, SlurmProfile
from launcher.plan import Action, Policy, plan
from launcher.show import show_jobs, show_limits, show_plan
from launcher.status import RunStatus
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


@dataclass
class Failures:
    """What kept sweeps from going on, told as it happens where there are others."""

    sweeps: int
    _errors: list[tuple[str, Exception]] = field(default_factory=list)

    @contextlib.contextmanager
    def of(self, sweep: SweepDir) -> Iterator[None]:
        """What is done for one sweep; its failure ends that, and nothing else."""
        try:
            yield
        except (InputError, ExecutionError, OSError) as error:
            self._errors.append((sweep.name, error))
            if self.sweeps > 1:
                print(f"error: {sweep.name}: {describe_failure(error)}", file=sys.stderr)

    def check(self) -> None:
        """Raise the failure of the only sweep, or say which of several failed.

        InputError if nothing but mistakes in the input kept them from going on.
        """
        if not self._errors:
            return
        names, errors = zip(*self._errors, strict=True)
        if self.sweeps == 1:
            raise errors[0]
        kind = InputError if all(isinstance(e, InputError) for e in errors) else ExecutionError
        raise kind(f"{len(names)} of {self.sweeps} sweeps failed: {', '.join(names)}")


def check_records(sweep: SweepDir) -> None:
    """InputError if what says which runs there are, and who has had them, is damaged."""
    sweep.submissions()
    sweep.named_runs()


@dataclass(frozen=True)
class Wishes:
    """What `launcher resume` was asked for."""

    workers: int | None = None
    cancelled: bool = False
    failed: bool = False
    exclude_failed: bool = False
    update_code: bool = False


@dataclass(frozen=True)
class Resumption:
    """What is to be done with a sweep: `gpus` of the runs to start, and the jobs to wait for."""

    sweep: SweepDir
    actions: Sequence[Action]
    profile: Profile
    code_hash: str
    gpus: Mapping[str, int]
    after: Sequence[str]


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
    configs = {run.run_id: sweep.run(run.run_id).read_config() for run in standings}
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
    return Resumption(sweep, actions, profile, code_hash, gpus, after)
