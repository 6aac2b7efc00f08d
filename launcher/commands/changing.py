"""The commands that change something: `launcher submit`, `resume` and `cancel`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.errors import ExecutionError, InputError
from launcher.commands.options import (
    Cancelled,
    DryRun,
    Only,
    RetryFailed,
    Runs,
    ShowAll,
    Sweeps,
    Workers,
    find_own_sweep,
    find_sweeps,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobs.sweep_dir import SweepDir
    from launcher.cluster import Profile
    from launcher.plan import Action


class Executor(StrEnum):
    AUTO = "auto"
    SLURM = "slurm"
    LOCAL = "local"


def submit(
    matrix: Annotated[Path, typer.Argument(metavar="MATRIX", help="a matrix file (YAML)")],
    executor: Annotated[
        Executor, typer.Option(help="auto takes SLURM where there is one")
    ] = Executor.AUTO,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="of cluster.yaml")] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="instead of ./cluster.yaml or the project's own"),
    ] = None,
    runs: Runs = Path("runs"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="replace a value of the matrix"),
    ] = None,
    workers: Workers = None,
    only: Only = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="wait until the jobs of another sweep have ended"),
    ] = None,
    mail: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="SLURM writes a mail when an array ends or fails"),
    ] = None,
    test_only: Annotated[
        bool, typer.Option("--test-only", help="ask SLURM when it would start; change nothing")
    ] = False,
    pilot: Annotated[
        bool,
        typer.Option("--pilot", help="only a few steps of one run, to tell what the sweep costs"),
    ] = False,
    cancelled: Cancelled = False,
    failed: RetryFailed = False,
    dry_run: DryRun = False,
    show_all: ShowAll = False,
) -> None:
    """Start what a matrix asks for and is not there yet.

    Submitting again starts only what is missing or was stopped. A changed matrix of the same name
    extends its sweep: new cells are added, and cells no longer named are left alone. With --only,
    all cells are planned, and those for which the expression is true are started.

    With --pilot, the first of these runs does a few steps, which are not lost: it goes on from
    there when the matrix is submitted. The launcher waits for it, and says what one run and the
    sweep would cost, and which time and slice to ask for.

    Examples:

        launcher submit jobs/matrices/demo.yaml --dry-run

        launcher submit my.yaml --set epochs=2 --set seeds=[0,1] --workers 2

        launcher submit my.yaml --only 'model == resnet50 and seed in [0, 1]'

        launcher submit my.yaml --pilot --only 'model == resnet50'

        launcher submit my.yaml --after demo --mail me@example.org
    """
    from jobs.config import changed_options
    from launcher.cluster import read_cluster
    from launcher.labels import label_runs
    from launcher.matrix import read_matrix
    from launcher.pilot import STEPS, choose_pilot, fly_pilot
    from launcher.printing import make_console
    from launcher.selected import select_actions
    from launcher.show import (
        show_jobs,
        show_limits,
        show_missing_data,
        show_plan,
        show_start_times,
    )
    from launcher.submit import (
        check_gpus,
        choose_name,
        choose_profile,
        gpus_to_start,
        jobs_to_wait_for,
        plan_submission,
        run_profiles,
        runs_without_a_job,
        settle_wishes,
    )

    asked = read_matrix(matrix, [*(overrides or ()), *_mail_override(mail)])
    known = read_cluster(cluster)
    chosen = choose_profile(known, executor, profile, asked.resources)
    fitting, name = choose_name(known, executor, profile, asked.resources)
    asked = settle_wishes(asked, known.profile(name, fitting))
    profiles = run_profiles(asked, chosen)
    _check_slurm_options(chosen, {"--after": after, "--mail": mail, "--test-only": test_only})
    before = find_sweeps([after], runs)[0] if after else None
    jobs = jobs_to_wait_for(before) if before else []
    planned = plan_submission(
        asked, runs, chosen.executor, release_cancelled=cancelled, retry_failed=failed
    )
    submission = select_actions(only, planned)
    if pilot and test_only:
        raise InputError("--pilot trains, and --test-only changes nothing; give one of them")
    if pilot:
        submission = choose_pilot(submission)
    gpus = gpus_to_start(submission.actions, asked.runs)
    check_gpus(gpus, chosen, workers)
    labels = label_runs({run_id: changed_options(run) for run_id, run in asked.runs.items()})
    show_plan(
        submission.sweep,
        submission.actions,
        labels,
        chosen,
        gpus,
        profile_name=name or known.default or "",
        show_all=show_all,
    )
    profiles = {run_id: profiles[run_id] for run_id in gpus}
    show_missing_data(profiles, asked.runs)
    if pilot:
        print(f"  a pilot: it does {STEPS} steps, which are not lost, and stops")
    else:
        profiles = show_limits(submission.sweep, profiles, asked.runs)
        show_jobs(profiles, gpus)
    if (left_out := len(asked.runs) - len(submission.actions)) and not pilot:
        print(f"  {left_out} more in the matrix, which --only leaves as they are, or planned")
    if before and gpus:
        print(
            f"  they wait for job {' and '.join(jobs)} of {after}"
            if jobs
            else f"  {after} has nothing under way, so there is nothing to wait for"
        )
        if jobs and (count := runs_without_a_job(before)):
            print(f"  but not for {count} of its runs, which have no job yet")
    if submission.unnamed:
        count = len(submission.unnamed)
        verb = "run of this sweep is" if count == 1 else "runs of this sweep are"
        left = "is left alone" if count == 1 else "are left alone"
        print(f"  {count} {verb} no longer in the matrix and {left}")
    if test_only:
        show_start_times(submission.sweep, profiles, gpus, jobs)
    elif pilot and not dry_run:
        console = make_console()
        for line in fly_pilot(submission, chosen, workers, jobs, console).lines():
            print(line)
    elif not dry_run:
        submission.write()
        _carry_out(submission.sweep, submission.actions, chosen, workers, gpus, after=jobs)


def resume(
    sweeps: Sweeps = None,
    runs: Runs = Path("runs"),
    workers: Workers = None,
    only: Only = None,
    cancelled: Cancelled = False,
    failed: RetryFailed = False,
    exclude_failed: Annotated[
        bool,
        typer.Option("--exclude-failed", help="on SLURM: not on nodes that failed, or do not suit"),
    ] = False,
    update_code: Annotated[
        bool, typer.Option("--update-code", help="on SLURM: with today's code, not the frozen one")
    ] = False,
    dry_run: DryRun = False,
    show_all: ShowAll = False,
) -> None:
    """Go on with what stopped, and start what is planned. Never adds a run.

    What failed and would fail again, by an error in the code or for want of memory, is left unless
    --failed is given, or the code is another one now; and so is what was started again and again
    without a step of progress.

    A sweep goes on where it was submitted last: on SLURM, with the profile and the frozen code of
    that submission, or on this machine. One that cannot go on does not keep the others from it.

    Examples:

        launcher resume

        launcher resume demo --cancelled

        launcher resume --only 'state == failed and model != resnet50'
    """
    from launcher.failures import Failures, intact_sweeps
    from launcher.resume import Wishes, plan_resumption
    from launcher.selected import Selected
    from launcher.status import status_of_sweeps
    from launcher.submit import note_released, nothing_submitted_yet

    named = find_sweeps(sweeps, runs, started_by_hand=False)
    failures = Failures(len(named))
    found = intact_sweeps(named, failures)
    with nothing_submitted_yet():
        all_statuses = status_of_sweeps(found)
    selected = Selected(only)(found, all_statuses)
    wishes = Wishes(workers, cancelled, failed, exclude_failed, update_code)
    plans = []
    for sweep, statuses in zip(found, selected, strict=True):
        if statuses or not only:
            with failures.of(sweep):
                plans.append(plan_resumption(sweep, statuses, wishes, show_all=show_all))
    for one in plans:
        with failures.of(one.sweep):
            if not dry_run:
                note_released(one.sweep, one.actions)
                _carry_out(
                    one.sweep, one.actions, one.profile, workers, one.gpus, one.code_hash, one.after
                )
            one.check_intact()
    failures.check()


def cancel(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="a name under --runs, or a path")],
    runs: Runs = Path("runs"),
    only: Only = None,
) -> None:
    """Stop every unfinished run of a sweep. Running ones save first.

    What was cancelled stays cancelled until `launcher resume SWEEP --cancelled`.

    Examples:

        launcher cancel demo

        launcher cancel demo --only 'lr > 0.1 and state == queued'
    """
    from launcher.cancel import cancel_sweep
    from launcher.printing import status_or_files
    from launcher.selected import Selected

    found = find_own_sweep(sweep, runs)
    chosen = Selected(only)([found], status_or_files([found]))[0] if only else None
    cancel_sweep(found, print, chosen)


def _carry_out(
    sweep: SweepDir,
    actions: Sequence[Action],
    profile: Profile,
    workers: int | None,
    gpus: Mapping[str, int],
    code_hash: str = "",
    after: Sequence[str] = (),
) -> None:
    """Do what the plan says; ExecutionError if runs that were trained here did not finish."""
    from launcher.submit import release_held, submit_to_slurm

    released = False
    try:
        released = release_held(sweep, actions)
    except ExecutionError as error:
        if not gpus:
            raise
        print(f"warning: {error}; the other runs are started", file=sys.stderr)
    if not gpus:
        if released or any(action.state.is_under_way for action in actions):
            print(f"under way: `launcher status {sweep.name} --watch` shows how the runs get on")
        return
    if profile.executor == "local":
        from launcher.live import train_here
        from launcher.local import make_workers

        places = make_workers(workers or profile.workers, max(gpus.values()), profile.runs_per_gpu)
        if not train_here(sweep, gpus, places):
            raise ExecutionError(_how_to_go_on(sweep))
        return
    from launcher.arrays import SubmitLimitError

    try:
        for job_id in submit_to_slurm(sweep, actions, profile, gpus, code_hash, after):
            print(f"submitted job {job_id}")
    except SubmitLimitError as limit:
        if not limit.submitted and not any(action.state.is_under_way for action in actions):
            raise
        print(limit)
    print(f"`launcher status {sweep.name} --watch` shows how the runs get on")


def _mail_override(address: str | None) -> list[str]:
    return [f"resources.mail_user={address}"] if address else []


def _check_slurm_options(profile: Profile, options: Mapping[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if profile.executor == "local" and given:
        raise InputError(
            f"{given[0]} is for SLURM, and these runs would train on this machine; leave it out, "
            "or name a slurm profile with --profile"
        )


def _how_to_go_on(sweep: SweepDir) -> str:
    return (
        f"not all runs of {sweep.name} finished: `launcher logs ID` says why, and "
        f"`launcher resume {sweep.name}` tries again; what would fail again needs --failed"
    )
