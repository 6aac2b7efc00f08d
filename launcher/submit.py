"""From a matrix to a sweep on disk, and from a plan to whoever carries it out."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobs.causes import Cause
from jobs.config import RunConfig, missing_data, missing_weights, mistakes
from jobs.errors import ExecutionError, InputError
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from launcher.cluster import (
    Cluster,
    Executor,
    LocalProfile,
    P,
    Profile,
    Resources,
    SlurmProfile,
)
from launcher.matrix import Matrix
from launcher.plan import STARTING, Action, Policy, Standing, State, Verb, plan
from launcher.run_status import RunStatus
from launcher.status import sweep_status


def choose_profile(
    cluster: Cluster, executor: str, name: str | None, resources: Resources
) -> Profile:
    """The profile of a submission, with the matrix's wishes."""
    fitting, name = choose_name(cluster, executor, name, resources)
    return with_wishes(cluster.profile(name, fitting), resources)


def choose_name(
    cluster: Cluster, executor: str, name: str | None, resources: Resources
) -> tuple[Executor, str | None]:
    """The executor of a submission, and which profile is meant; None where that is the default.

    `auto` is the named profile's executor, else SLURM where there is an sbatch, else this machine.
    A profile named in the matrix gives way where it does not fit the executor, so that a matrix
    written for a cluster also runs on a workstation; one named on the command line does not.
    """
    asked = cluster.profiles.get(name) if name else None
    if executor == "auto":
        fallback = "slurm" if shutil.which("sbatch") else "local"
        executor = asked.executor if asked else fallback
    fitting: Executor = "slurm" if executor == "slurm" else "local"
    wished = cluster.profiles.get(resources.profile) if resources.profile else None
    if name is None and (wished is None or wished.executor == fitting):
        name = resources.profile
    return fitting, name


def run_profile(run: RunDir, profile: P) -> P:
    """What a run asks for: the profile of its submission, with the wishes of this run alone."""
    try:
        return _with_own_wishes(profile, Resources.model_validate(run.read_resources()))
    except ValidationError as error:
        wrong = "; ".join(mistakes(error))
        raise InputError(f"what {run.run_id} asks for is damaged: {wrong}") from None


def with_wishes(profile: P, resources: Resources) -> P:
    """InputError if the profile cannot be had with these wishes."""
    profile = profile.with_resources(resources)
    if isinstance(profile, SlurmProfile) and 2 * profile.signal_delay_s > 60 * profile.time_min:
        raise InputError(
            f"time {profile.time_words} with signal_delay_s {profile.signal_delay_s}: the warning "
            "would come before half of the time is over; take a longer time, or a shorter delay"
        )
    return profile


def run_profiles(matrix: Matrix, profile: P) -> dict[str, P]:
    """What each run of a matrix asks for; InputError if the profile cannot be had so."""
    own = matrix.resources_of
    return {
        run_id: _with_own_wishes(profile, own.get(run_id, Resources())) for run_id in matrix.runs
    }


def _with_own_wishes(profile: P, own: Resources) -> P:
    """The sweep's profile with what one run asks for; null is what this run shall not have."""
    known = type(profile).model_fields
    none = {key: None for key, value in _given(own).items() if value is None and key in known}
    return with_wishes(profile.model_copy(update=none), own)


def settle_wishes(matrix: Matrix, profile: Profile) -> Matrix:
    """The matrix with what `profile`, of which nobody has wished anything, says for the wishes that
    `overrides` take back with a null."""
    settled = {
        run_id: Resources.model_validate(
            {
                key: getattr(profile, key, None) if value is None else value
                for key, value in _given(own).items()
            }
        )
        for run_id, own in matrix.resources_of.items()
    }
    return replace(matrix, resources_of=settled)


def _given(resources: Resources) -> dict[str, Any]:
    return resources.model_dump(exclude_unset=True)


@dataclass(frozen=True)
class Submission:
    """What submitting a matrix would do to a sweep. Nothing is planned on disk before `write`."""

    sweep: SweepDir
    matrix: Matrix
    standings: Sequence[Standing]
    actions: Sequence[Action]
    unnamed: Sequence[str]

    def write(self) -> None:
        """Plan every run of the matrix on disk, and keep this version of the matrix.

        What was cancelled and is to go on is released.
        """
        wishes = {
            run_id: _given(resources) for run_id, resources in self.matrix.resources_of.items()
        }
        self.sweep.write_configs(self.matrix.runs, wishes)
        self.sweep.add_matrix(self.matrix.text, self.matrix.runs)
        note_released(self.sweep, self.actions)


def note_released(sweep: SweepDir, actions: Iterable[Action]) -> None:
    """Write down that runs that were cancelled are to go on, where a plan says so."""
    for action in actions:
        if action.state is State.CANCELLED and action.verb in STARTING:
            sweep.run(action.run_id).observe("released")


@contextlib.contextmanager
def nothing_submitted_yet() -> Iterator[None]:
    """Says so, and what to do, where SLURM does not answer."""
    try:
        yield
    except ExecutionError as error:
        raise ExecutionError(
            f"{error}\nNothing was submitted: give the command again when SLURM answers. "
            "`launcher status` shows what the files say"
        ) from None


@nothing_submitted_yet()
def plan_submission(
    matrix: Matrix,
    runs: Path,
    executor: Executor = "local",
    *,
    release_cancelled: bool = False,
    retry_failed: bool = False,
) -> Submission:
    """Compare a matrix with what is there; InputError if a run's configuration was edited."""
    sweep = SweepDir(runs / matrix.name)
    known = {status.run_id: status for status in sweep_status(sweep)}
    for run_id in matrix.runs:
        if run_id in known and known[run_id].state is State.FAILED:
            sweep.run(run_id).read_config()  # one that was edited stands as failed
    standings = [known.get(run_id, Standing(run_id, State.PLANNED)) for run_id in matrix.runs]
    unnamed = sorted(known.keys() - matrix.runs)
    code = code_to_run(standings, executor)
    actions = plan(standings, Policy(release_cancelled, retry_failed, code=code))
    return Submission(sweep, matrix, standings, actions, unnamed)


def code_to_run(standings: Iterable[Standing], executor: Executor, code_hash: str = "") -> str:
    """What runs would be started with: the frozen code of that hash, or the code as it is now.

    Empty where it does not matter, since no run has failed by an error in the code.
    """
    if all(run.cause is not Cause.CODE_ERROR for run in standings):
        return ""
    from jobs.source_code import code_version, hash_of_code

    return code_hash or hash_of_code() if executor == "slurm" else code_version()


def exclude_nodes(profile: SlurmProfile, nodes: Iterable[str]) -> SlurmProfile:
    """This profile without these nodes, and without those that it excludes already."""
    known = (profile.exclude or "").split(",")
    new = sorted({node for node in nodes if node not in known})
    return profile.model_copy(update={"exclude": ",".join([*filter(None, known), *new]) or None})


def advise_on_nodes(statuses: Iterable[RunStatus], profile: Profile, sweep: SweepDir) -> str | None:
    """What to do about nodes that have failed more than once, if there is anything to do."""
    if not isinstance(profile, SlurmProfile):
        return None
    known = (profile.exclude or "").split(",")
    counts = Counter(node for status in statuses for node in status.failed_nodes)
    bad = [node for node, count in counts.items() if count > 1 and node not in known]
    if not bad:
        return None
    return (
        f"  {', '.join(sorted(bad))} failed more than once; "
        f"`launcher resume {sweep.name} --exclude-failed` takes other nodes"
    )


def check_was_submitted(sweep: SweepDir) -> None:
    """InputError for a sweep of which nobody has ordered more than a pilot.

    Also for a matrix's sweep that nobody has had, where there is a SLURM to have it.
    """
    submitted = sweep.submissions().values()
    if submitted and all("pilot_steps" in record for record in submitted):
        raise InputError(
            f"{sweep.name} has had a pilot, but was never submitted: `launcher submit` its matrix "
            "without --pilot starts all of its runs"
        )
    if sweep.newest_matrix() is not None and not submitted and shutil.which("sbatch"):
        raise InputError(
            f"{sweep.name} was planned, but never submitted: `launcher submit` its matrix again, "
            "or give --workers to train here"
        )


def last_profile(sweep: SweepDir) -> tuple[Profile, str]:
    """The profile of a sweep's last submission, and the hash of the code that it froze.

    Of one that was refused, or never got there, only where none was accepted. InputError if this
    version cannot read it.
    """
    record = _last_submission(sweep)
    if record is None or record["executor"] == "local":
        return LocalProfile(workers=record.get("workers") if record else None), ""
    # Older records know one profile: there, no run had wishes of its own.
    profile = record.get("base_profile", record["profile"])
    try:
        return SlurmProfile.model_validate(profile), record["code"]
    except ValidationError as error:
        wrong = "; ".join(mistakes(error))
        raise InputError(
            f"the profile that {sweep.name} was submitted with cannot be had any more: {wrong}; "
            "`launcher submit MATRIX` takes today's"
        ) from None


def _last_submission(sweep: SweepDir) -> dict[str, Any] | None:
    submitted = list(sweep.submissions().values())
    accepted = [record for record in submitted if "refused" not in record]
    return next(reversed(accepted or submitted), None)


@nothing_submitted_yet()
def jobs_still_awaited(sweep: SweepDir) -> list[str]:
    """Of the jobs that a sweep's last submission waits for, those that have not ended yet."""
    after = (_last_submission(sweep) or {}).get("after")
    if not after:
        return []
    from launcher import slurm

    return slurm.open_jobs(after)


def submit_to_slurm(
    sweep: SweepDir,
    actions: Sequence[Action],
    profile: SlurmProfile,
    gpus: Mapping[str, int],
    code_hash: str = "",
    after: Sequence[str] = (),
    pilot_steps: int | None = None,
) -> Iterator[str]:
    """Carry out a plan on SLURM; yields the id of each job that is submitted.

    `gpus` are those of `gpus_to_start`. `code_hash` names the frozen code to go on with; without it
    the code is frozen as it is now. The new jobs wait until those in `after` have ended; with
    `pilot_steps` they are short, and end after so many steps. Raises SubmitLimitError when SLURM
    takes no more now, and ExecutionError while another launcher submits runs of this sweep.
    """
    from launcher.arrays import submit_arrays
    from launcher.freeze import check_frozen, freeze_code
    from launcher.tasks import give_up_lost
    from launcher.time_limits import apply_limits, for_pilot, set_limits

    with sweep.claim():
        now: dict[str, State] = {}
        if sweep.submissions():
            # Another launcher may have been faster between the plan and the claim.
            with nothing_submitted_yet():
                now = {status.run_id: status.state for status in sweep_status(sweep)}
        new = [action.run_id for action in actions if action.verb in STARTING]
        taken = (State.RUNNING, State.QUEUED, State.HELD, State.FINISHED)
        new = [run_id for run_id in new if now.get(run_id) not in taken]
        if not new:
            return
        if now:
            give_up_lost(sweep, new)
        if code_hash:
            check_frozen(sweep.code_folder(code_hash))
        else:
            code_hash = freeze_code(sweep).name
        profiles = {run_id: run_profile(sweep.run(run_id), profile) for run_id in new}
        if pilot_steps:
            profiles = {run_id: for_pilot(own) for run_id, own in profiles.items()}
        else:
            limits = set_limits(sweep, profiles, lambda run_id: sweep.run(run_id).read_config())
            profiles = apply_limits(profiles, limits)
        yield from submit_arrays(sweep, profiles, gpus, profile, code_hash, after, pilot_steps)


def release_held(sweep: SweepDir, actions: Iterable[Action]) -> bool:
    """Let jobs that are held in SLURM wait for their turn again, if a plan says so.

    Raises ExecutionError where SLURM refuses: what an administrator holds, he alone releases.
    """
    wanted = {sweep.run(action.run_id) for action in actions if action.verb is Verb.RELEASE}
    if not wanted:
        return False
    from launcher import slurm
    from launcher.tasks import tasks_of_runs

    tasks = tasks_of_runs([sweep])
    # Runs that share a GPU are one job, and a colleague may have been faster.
    held = {task.id for run, task in tasks.items() if run in wanted and task.state is State.HELD}
    if held:
        slurm.release(sorted(held))
    return True


@nothing_submitted_yet()
def jobs_to_wait_for(sweep: SweepDir) -> list[str]:
    """The ids of the jobs of a sweep that have not ended yet."""
    from launcher.tasks import open_tasks

    return sorted({task.job_id for task in open_tasks(sweep)}, key=int)


def runs_without_a_job(sweep: SweepDir) -> int:
    """How many runs of a sweep were never submitted: who waits for it does not wait for them."""
    submitted = sweep.submissions_of_runs()
    return sum(run.run_id not in submitted and not run.is_finished() for run in sweep.runs())


def check_data(sweep: SweepDir, run_ids: Sequence[str]) -> None:
    """InputError if files that runs begin with are missing on this machine, once for all runs."""
    for run in map(sweep.run, run_ids):
        config = run.read_config()
        # One that has begun has its weights in its checkpoint.
        weights = "" if run.attempts() else missing_weights(config)
        if missing := missing_data(config) or weights:
            raise InputError(missing)


def gpus_to_start(actions: Sequence[Action], configs: Mapping[str, RunConfig]) -> dict[str, int]:
    """How many GPUs each run takes that is to be started."""
    return {
        action.run_id: configs[action.run_id].gpus for action in actions if action.verb in STARTING
    }


def check_gpus(gpus: Mapping[str, int], profile: Profile, workers: int | None) -> None:
    """InputError if a run would not fit the profile's nodes, or this machine."""
    if isinstance(profile, SlurmProfile):
        if workers:
            raise InputError(
                f"--workers {workers}: on SLURM, array_parallelism in cluster.yaml says how many "
                "runs train at once; `launcher submit ... --executor local` trains here"
            )
        for count in gpus.values():
            profile.layout(count)
    else:
        from launcher.local import make_workers

        make_workers(
            workers or profile.workers, max(gpus.values(), default=1), profile.runs_per_gpu
        )
