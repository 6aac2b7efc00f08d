"""The commands that look: `launcher status`, `list`, `logs`, `doctor` and `models`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import InputError
from launcher.commands.options import Only, Runs, Sweeps, find_sweeps

REHEARSAL_WAIT = "30m"
LISTED_RUNS = 40  # in a terminal; a pipe gets all


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
    from launcher.failures import Failures, intact_sweeps
    from launcher.printing import make_console, print_json, status_or_files
    from launcher.selected import Selected
    from launcher.table import SweepTable

    if watch and as_json:
        raise InputError("--watch shows tables, and --json is one list; give one of them")
    asked = find_sweeps(sweeps, runs)
    failures = Failures(len(asked))
    found = intact_sweeps(asked, failures)
    selected = Selected(only)
    console = make_console()
    if watch:
        from launcher.watch import Watch

        Watch(found, selected, console, show_all=show_all).follow()
        failures.check()
        return
    all_statuses = selected(found, status_or_files(found, remembers=True))
    if only:
        found = [sweep for sweep, statuses in zip(found, all_statuses, strict=True) if statuses]
        all_statuses = list(filter(None, all_statuses))
    if as_json:
        print_json(found, all_statuses)
    else:
        limit = None if show_all or not console.is_terminal else LISTED_RUNS
        for sweep, statuses in zip(found, all_statuses, strict=True):
            # Its lines fit: of thousands, to measure them again takes as long as to write them.
            console.print(SweepTable(sweep.name, statuses, limit), crop=False)
    failures.check()


def list_command(
    runs: Runs = Path("runs"),
    only: Only = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON list, for programs")] = False,
) -> None:
    """All sweeps, the newest first: how many runs are in which state, and the last change.

    The files alone tell, so that it is quick; `launcher status` asks SLURM too.

    Examples:

        launcher list --only 'model == resnet50 and state == failed'

        launcher list --json | jq '.[] | select(.states.failed) | .sweep'
    """
    from dataclasses import asdict

    from launcher.failures import Failures, intact_sweeps
    from launcher.printing import make_console, print_records
    from launcher.sweeps import summarise_sweeps, sweeps_table

    asked = find_sweeps(None, runs, imported=True)
    failures = Failures(len(asked))
    summaries = summarise_sweeps(intact_sweeps(asked, failures), only)
    if as_json:
        print_records([asdict(summary) for summary in summaries])
    else:
        make_console().print(sweeps_table(summaries))
    failures.check()


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
    from launcher.failures import Failures, intact_sweeps
    from launcher.logs import attempts_table, find_run, print_failures, print_log
    from launcher.printing import make_console, status_or_files
    from launcher.selected import Selected

    of_one_log = follow or attempt is not None
    if failed and (of_one_log or attempts):
        raise InputError("--failed shows several logs; with it go --only, --tail and --runs")
    if attempts and (of_one_log or tail is not None):
        raise InputError("--attempts lists all starts; --attempt, --follow, --tail are for a log")
    if failed:
        asked = find_sweeps([run] if run else None, runs)
        failures = Failures(len(asked))
        sweeps = intact_sweeps(asked, failures)
        statuses = status_or_files(sweeps, remembers=True)
        print_failures(sweeps, Selected(only)(sweeps, statuses), tail)
        failures.check()
        return
    found = find_run(run, runs, only)
    if attempts:
        status_or_files([sweep_of(found)])  # why some were killed, SLURM may have to be asked
        make_console().print(attempts_table(found))
    else:
        print_log(found, attempt, follow=follow, tail=tail)


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
    ] = REHEARSAL_WAIT,
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
    and finished, each step with its time. That shows, too, that a node sees the runs folder and can
    write to it. Ctrl-C cancels it.

    Examples:

        launcher doctor

        launcher doctor --profile v100 --rehearse --wait 2h
    """
    from launcher.cluster import parse_time_min, read_cluster
    from launcher.doctor.examination import examine
    from launcher.doctor.findings import Verdict, print_json, report, summary, worst
    from launcher.printing import make_console

    if rehearse and as_json:
        raise InputError("--rehearse tells each step as it happens; --json is for what is read")
    if not rehearse and (keep or wait != REHEARSAL_WAIT):
        raise InputError("--wait and --keep are for --rehearse")
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


def models(context: typer.Context) -> None:
    """Every network with its size, beside what its source says."""
    # Counting needs torch, which this process never loads. -P: not a folder of that name here.
    command = [sys.executable, "-P", "-m", "attention_models", *context.args]
    os.execv(sys.executable, command)
