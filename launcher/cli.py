"""The command line of the launcher. Imports wait until a command needs them: help is fast."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from jobs.errors import ExecutionError, InputError, run_app

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobs.sweep_dir import SweepDir
    from launcher.cluster import Profile
    from launcher.plan import Action

LISTED_RUNS = 40  # in a terminal; a pipe gets all

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn an experiment matrix into runs, and keep them going until all are finished.",
)


class Executor(StrEnum):
    AUTO = "auto"
    SLURM = "slurm"
    LOCAL = "local"


Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="folder of all sweeps")]
Sweeps = Annotated[
    list[str] | None,
    typer.Argument(metavar="SWEEP", help="names under --runs, or paths; all if none is given"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="local runs at a time, where one on several GPUs counts as several [default: as the "
        "matrix or profile says, else one per GPU, or one for two CPUs]",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="EXPR",
        help="runs for which this is true, of their options and of state, epoch, top1, attempts "
        "and cause",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and change nothing")]
RetryFailed = Annotated[
    bool,
    typer.Option("--failed", help="retry also what failed in a way that would come again"),
]
Cancelled = Annotated[bool, typer.Option("--cancelled", help="release what was cancelled, too")]
ShowAll = Annotated[bool, typer.Option("--all", help="list every run of the plan, not only 20")]


@app.command()
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
    from launcher.cluster import read_cluster
    from launcher.labels import label_runs
    from launcher.matrix import read_matrix
    from launcher.pilot import STEPS, choose_pilot, fly_pilot
    from launcher.selected import select_actions
    from launcher.show import (
        make_console,
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
        settle_wishes,
    )

    asked = read_matrix(matrix, [*(overrides or ()), *_mail_override(mail)])
    known = read_cluster(cluster)
    chosen = choose_profile(known, executor, profile, asked.resources)
    fitting, name = choose_name(known, executor, profile, asked.resources)
    asked = settle_wishes(asked, known.profile(name, fitting))
    profiles = run_profiles(asked, chosen)
    _check_slurm_options(chosen, {"--after": after, "--mail": mail, "--test-only": test_only})
    jobs = jobs_to_wait_for(_find_sweeps([after], runs)[0]) if after else []
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
    labels = label_runs(asked.runs)
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
    if after and gpus:
        print(
            f"  they wait for job {' and '.join(jobs)} of {after}"
            if jobs
            else f"  {after} has nothing under way, so there is nothing to wait for"
        )
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


@app.command()
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
    from launcher.resume import Failures, Wishes, check_records, plan_resumption
    from launcher.selected import Selected
    from launcher.status import status_of_sweeps
    from launcher.submit import note_released, nothing_submitted_yet

    named = _find_sweeps(sweeps, runs, started_by_hand=False)
    failures, found = Failures(len(named)), []
    for sweep in named:
        with failures.of(sweep):
            check_records(sweep)
            found.append(sweep)
    if not found:
        failures.check()
    with nothing_submitted_yet():
        all_statuses = status_of_sweeps(found)
    selected = Selected(only)(found, all_statuses)
    wishes = Wishes(workers, cancelled, failed, exclude_failed, update_code)
    plans = []
    for sweep, statuses in zip(found, selected, strict=True):
        if statuses or not only:
            with failures.of(sweep):
                plans.append(plan_resumption(sweep, statuses, wishes, show_all=show_all))
    for one in [] if dry_run else plans:
        with failures.of(one.sweep):
            note_released(one.sweep, one.actions)
            _carry_out(
                one.sweep, one.actions, one.profile, workers, one.gpus, one.code_hash, one.after
            )
    failures.check()


@app.command()
def status(
    sweeps: Sweeps = None,
    runs: Runs = Path("runs"),
    only: Only = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="until all is at rest, or q, or Ctrl-C")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON list, for programs")] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="list every run of a sweep, not only 40")
    ] = False,
) -> None:
    """Where every run stands: works from any shell, at any time, without the launching process.

    Examples:

        launcher status demo --watch

        launcher status --only 'state == failed or top1 < 50'

        launcher status --json | jq '.[] | select(.state == "failed")'
    """
    from launcher.selected import Selected
    from launcher.show import make_console, print_json, status_or_files
    from launcher.table import SweepTable
    from launcher.watch import Watch

    found = _find_sweeps(sweeps, runs)
    selected = Selected(only)
    console = make_console()
    if watch and not as_json:
        Watch(found, selected, console, show_all=show_all).follow()
        return
    all_statuses = selected(found, status_or_files(found))
    if only:
        found = [sweep for sweep, statuses in zip(found, all_statuses, strict=True) if statuses]
        all_statuses = list(filter(None, all_statuses))
    if as_json:
        print_json(found, all_statuses)
        return
    limit = None if show_all or not console.is_terminal else LISTED_RUNS
    for sweep, statuses in zip(found, all_statuses, strict=True):
        console.print(SweepTable(sweep.name, statuses, limit))


@app.command()
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
    from launcher.selected import Selected
    from launcher.show import status_or_files

    found = _find_own_sweep(sweep, runs)
    chosen = Selected(only)([found], status_or_files([found]))[0] if only else None
    cancel_sweep(found, print, chosen)


@app.command("list")
def list_command(
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="one JSON list, for programs")] = False,
) -> None:
    """All sweeps, the newest first: how many runs are in which state, and the last change.

    The files alone tell, so that it is quick; `launcher status` asks SLURM too.

    Example:

        launcher list --json | jq '.[] | select(.states.failed) | .sweep'
    """
    from dataclasses import asdict

    from launcher.show import make_console, print_records
    from launcher.sweeps import summarise_sweeps, sweeps_table

    summaries = summarise_sweeps(_find_sweeps(None, runs, imported=True))
    if as_json:
        print_records([asdict(summary) for summary in summaries])
    else:
        make_console().print(sweeps_table(summaries))


@app.command()
def doctor(
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="of cluster.yaml [default: the one it names]"),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="instead of ./cluster.yaml or the project's own"),
    ] = None,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="one JSON list, for programs")] = False,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="send one tiny job through a stop and a resume instead of reading"
        ),
    ] = False,
    wait: Annotated[
        str, typer.Option(metavar="TIME", help="rehearsal: how long the job may wait in the queue")
    ] = "30m",
    keep: Annotated[
        bool, typer.Option("--keep", help="rehearsal: keep its folder also if all went well")
    ] = False,
) -> None:
    """Will it work here? Look at the cluster before a sweep does.

    Reads what SLURM says of itself, and tells in plain words whether the profiles of cluster.yaml
    fit, what stops a run and whether it comes back by itself, which limits a sweep meets, and
    whether torch and the folders suit the nodes. Changes nothing; ends with status 1 if a sweep
    with the profile cannot work.

    With --rehearse, a tiny training is submitted, stopped as SLURM stops jobs, requeued, resumed
    and finished, each step with its time. Ctrl-C cancels it.

    Examples:

        launcher doctor

        launcher doctor --profile v100 --rehearse --wait 2h
    """
    from launcher.cluster import parse_time_min, read_cluster
    from launcher.doctor.examination import examine
    from launcher.doctor.findings import Verdict, print_json, report, summary, worst
    from launcher.show import make_console

    found = read_cluster(cluster)
    if rehearse:
        from launcher.doctor.rehearsal import rehearse as rehearse_with

        rehearse_with(found, profile, runs, 60 * parse_time_min(wait), keep=keep)
        return
    findings = examine(found, profile, runs)
    if as_json:
        print_json(findings)
    else:
        make_console().print(report(findings))
        print(summary(findings))
    if worst(findings) is Verdict.PROBLEM:
        raise typer.Exit(1)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def models(context: typer.Context) -> None:
    """Every network with its size, beside what its source says."""
    # Counting needs torch, which this process never loads. -P: not a folder of that name here.
    command = [sys.executable, "-P", "-m", "attention_models", *context.args]
    os.execv(sys.executable, command)


@app.command()
def logs(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="a run's name or label, or a part of it that is unique"),
    ] = "",
    runs: Runs = Path("runs"),
    only: Only = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on until the run is at rest")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", help="the Nth start of the run [default: the last]")
    ] = None,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="list its starts instead: where, and why each ended")
    ] = False,
    tail: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="the last N lines only")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="the last lines of each failed run, here of a SWEEP")
    ] = False,
) -> None:
    """What a run said, or with --attempts how each start of it ended.

    With --follow, why it waits and what each attempt begins after stand between the attempts.

    Examples:

        launcher logs resnet_small-digits-s0 --follow

        launcher logs demo/sresnet_small-digits-s1 --attempt 1

        launcher logs demo/ --only 'lr == 0.05 and seed == 0'

        launcher logs demo/sresnet_small-digits-s1 --attempts

        launcher logs 'sresnet_small lr=0.05 s1' --tail 20

        launcher logs --failed demo
    """
    from jobs.sweep_dir import sweep_of
    from launcher.logs import attempts_table, find_run, print_failures, print_log
    from launcher.selected import Selected
    from launcher.show import make_console, status_or_files

    if failed:
        sweeps = _find_sweeps([run] if run else None, runs)
        print_failures(sweeps, Selected(only)(sweeps, status_or_files(sweeps)), tail)
        return
    found = find_run(run, runs, only)
    if attempts:
        status_or_files([sweep_of(found)])  # why some were killed, SLURM may have to be asked
        make_console().print(attempts_table(found))
    else:
        print_log(found, attempt, follow=follow, tail=tail)


def _find_sweeps(
    names: Sequence[str] | None, runs: Path, *, started_by_hand: bool = True, imported: bool = False
) -> list[SweepDir]:
    """The named sweeps, or all; `started_by_hand` counts runs in that belong to no matrix, and
    `imported` sweeps of which no run is trained here."""
    from jobs.sweep_dir import all_sweeps

    if names:
        return [_find_own_sweep(name, runs) for name in names]
    found = [
        sweep
        for sweep in all_sweeps(runs)
        if (started_by_hand or sweep.newest_matrix()) and (imported or sweep.is_own())
    ]
    if not found:
        raise InputError(
            f"there is no sweep in {runs}; submit a matrix first, or give the folder with --runs"
        )
    return found


def _find_own_sweep(name: str, runs: Path) -> SweepDir:
    from jobs.sweep_dir import find_sweep

    sweep = find_sweep(name, runs)
    if not sweep.is_own():
        raise InputError(
            f"the runs of {sweep.name} were imported, and none is trained here; "
            f"`analysis table {sweep.name}` compares them"
        )
    return sweep


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
        from launcher.local import make_workers
        from launcher.show import train_here

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


def main() -> NoReturn:
    run_app(app, "launcher")
