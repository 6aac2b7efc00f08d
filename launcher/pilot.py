"""A pilot: a few steps of one run, to tell what its sweep costs and which time limits suit it.

The pilot is the run's own next attempt, stopped as if it had been preempted, so that nothing of it
is lost: when the sweep is submitted, the run goes on from there.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.causes import Cause
from jobs.config import RunConfig
from jobs.errors import ExecutionError, InputError
from jobs.run_dir import RunDir
from jobs.run_records import Attempt
from jobs.sweep_dir import SweepDir
from launcher.cluster import LocalProfile, Profile, SlurmProfile, write_minutes
from launcher.durations import format_duration
from launcher.estimates import Estimate, Estimator, read_known, show_seconds
from launcher.fitting import short_id
from launcher.plan import STARTING, State
from launcher.submit import (
    Submission,
    check_data,
    gpus_to_start,
    run_profiles,
    submit_to_slurm,
)

if TYPE_CHECKING:
    from launcher import slurm

STEPS = 50
POLL_S = 3.0
CANCEL_WAIT_S = 30.0

# So much of a slice may go into its start; shorter ones than this find no more gaps.
START_SHARE = 0.05
SHORTEST_SLICE_MIN = 60


def choose_pilot(submission: Submission) -> Submission:
    """The same submission with the first of its runs alone that is to be started."""
    first = next((action for action in submission.actions if action.verb in STARTING), None)
    if first is None:
        raise InputError("--pilot: no run is to be started; without it, the plan says why")
    return replace(submission, actions=[first])


def fly_pilot(
    submission: Submission,
    profile: Profile,
    workers: int | None,
    after: Sequence[str],
    console: Console,
) -> Report:
    """Train a few steps of the only run of a submission, and wait for them.

    On Ctrl-C the job is cancelled, and the run stays free to be submitted. Raises ExecutionError if
    nothing was measured.
    """
    submission.write()
    sweep, run = submission.sweep, submission.sweep.run(submission.actions[0].run_id)
    before, began_unix_s = len(run.attempts()), time.time()
    if isinstance(profile, SlurmProfile):
        _fly_on_slurm(submission, run, profile, after, console)
    else:
        _fly_here(sweep, run, profile, workers)
    flights = run.history()[before:]
    if not flights or "measured" not in flights[-1]:
        raise ExecutionError(f"the pilot measured nothing: {_why_unmeasured(run, flights)}")
    waited_s = flights[0]["started_unix_s"] - began_unix_s
    return Report(submission, run, flights[-1], profile, waited_s)


def _why_unmeasured(run: RunDir, flights: Sequence[Attempt]) -> str:
    last = flights[-1] if flights else None
    if last and last.get("cause") == Cause.FINISHED:
        return f"the run was finished before step {STEPS}; one so short needs no pilot"
    if last is None:
        why = "it did not begin"
    elif "cause" in last:
        why = f"{last['cause']}: {last.get('message', '')}"
    else:
        why = "it was killed, and SLURM has not said why; `launcher status` asks again"
    return f"{why}; `launcher logs {run.run_id}` shows its output"


def _fly_here(sweep: SweepDir, run: RunDir, profile: LocalProfile, workers: int | None) -> None:
    from launcher.local import LocalQueue, make_workers

    check_data(sweep, [run.run_id])
    gpus = run.read_config().gpus
    # As many as the sweep will have: `resume` goes on with the number of the last submission.
    places = make_workers(workers or profile.workers, gpus, profile.runs_per_gpu)
    queue = LocalQueue(sweep, {run.run_id: gpus}, places, print, pilot_steps=STEPS)
    queue.work()
    if queue.stopping:
        raise KeyboardInterrupt


def _fly_on_slurm(
    submission: Submission,
    run: RunDir,
    profile: SlurmProfile,
    after: Sequence[str],
    console: Console,
) -> None:
    """Submit the job and wait until it has ended."""
    from launcher.arrays import SubmitLimitError
    from launcher.tasks import tasks_of_runs

    sweep = submission.sweep
    gpus = gpus_to_start(submission.actions, submission.matrix.runs)
    jobs: list[str] = []
    with _cancelled_on_ctrl_c(sweep, run, jobs):
        try:
            for job_id in submit_to_slurm(
                sweep, submission.actions, profile, gpus, after=after, pilot_steps=STEPS
            ):
                print(f"submitted job {job_id}, a pilot of {STEPS} steps; Ctrl-C cancels it")
                jobs.append(job_id)
        except SubmitLimitError as limit:
            raise ExecutionError(
                f"the pilot was not submitted: SLURM takes no more jobs now ({limit.said}); give "
                "the command again when some of yours have ended"
            ) from None
        if not jobs:
            raise ExecutionError("somebody else has just started this run: no pilot is needed")
        _wait(jobs[0], run, console)
        with contextlib.suppress(ExecutionError):  # then it is not known why it was killed
            tasks_of_runs([sweep])


def _wait(job_id: str, run: RunDir, console: Console) -> None:
    """Until the job has ended; what it waits for is told in a terminal, and else as it changes."""
    from launcher import slurm

    began_s, told, seen_over = time.monotonic(), "", 0
    with console.status("") as live:
        # Between two starts, a job is for a moment neither here nor there.
        while seen_over < 2:
            with contextlib.suppress(ExecutionError):  # a busy controller may not answer
                job = slurm.ask_job(job_id)
                seen_over = seen_over + 1 if job is None or job.is_over else 0
                if job is not None and (news := _say(job, run)) != told:
                    told = news
                    if not console.is_terminal:
                        console.print(f"  {told}", highlight=False, markup=False, soft_wrap=True)
            live.update(f"{told}; {format_duration(time.monotonic() - began_s)} so far")
            time.sleep(POLL_S)


def _say(job: slurm.Job, run: RunDir) -> str:
    if job.state is State.QUEUED or job.state is State.HELD:
        expected = time.strftime("%a %H:%M", time.localtime(job.start_unix_s))
        start = f"; SLURM expects it to start {expected}" if job.start_unix_s else ""
        why = "" if job.reason == "None" else f" ({job.reason})"
        return f"the job waits{why}{start}"
    progress = run.read_progress()
    return f"the job runs: step {progress['step']}" if progress else "the job runs: it starts up"


@contextlib.contextmanager
def _cancelled_on_ctrl_c(sweep: SweepDir, run: RunDir, jobs: Sequence[str]) -> Iterator[None]:
    from launcher import slurm
    from launcher.tasks import tasks_of_runs

    try:
        yield
    except KeyboardInterrupt:
        if jobs:
            print("cancelling the pilot", flush=True)
            slurm.scancel(jobs)
            _until(lambda: (job := slurm.ask_job(jobs[0])) is None or job.is_over)
            # Its cancellation is known before it is taken back, or it would be found out later.
            tasks_of_runs([sweep])
            run.observe("released")
        raise


def _until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + CANCEL_WAIT_S
    while not is_so() and time.monotonic() < give_up_s:
        time.sleep(1.0)


@dataclass(frozen=True)
class Report:
    """What a pilot has shown, and what follows for its sweep, which has `profile`."""

    submission: Submission
    run: RunDir
    attempt: Attempt
    profile: Profile
    waited_s: float

    def lines(self) -> Iterator[str]:
        measured, config = self.attempt["measured"], self.run.read_config()
        device = self.attempt["environment"]["device"]
        where = f"{config.gpus} x {device}" if config.gpus > 1 else device
        steps = f"{measured['steps']} step{'' if measured['steps'] == 1 else 's'}"
        yield f"{short_id(self.run.run_id)}: {steps} measured on {where}"
        yield f"  waited     {format_duration(self.waited_s)}"
        yield f"  start-up   {show_seconds(measured['startup_s'])}"
        speed = config.batch_size / measured["step_s"]
        yield f"  a step     {show_seconds(measured['step_s'])} ({speed:,.0f} images/s)"
        yield f"  memory     {measured['peak_mem_mb'] / 1024:.1f} GiB at most"
        profiles = run_profiles(self.submission.matrix, self.profile)
        costs = Costs(self.submission, profiles)
        yield from costs.lines(self.run)
        own = profiles[self.run.run_id]
        if isinstance(own, SlurmProfile) and costs.longest:
            yield from self._advice(own, costs.longest)

    def _advice(self, profile: SlurmProfile, longest: Estimate) -> Iterator[str]:
        """Which time and slice to ask for, as lines that can be copied."""
        from launcher.time_limits import (
            MARGIN,
            longest_time,
            needed_time_s,
            round_up_min,
            shortest_slice_min,
        )

        delay_s = profile.signal_delay_s
        needed_min = round_up_min(needed_time_s(longest, delay_s))
        allowed_min, of = longest_time(profile)
        allowed = (
            f"{of} allows {write_minutes(allowed_min)}" if allowed_min else "no limit is known"
        )
        slice_min = shortest_slice_min(longest.startup_s, delay_s, START_SHARE)
        slice_min = max(SHORTEST_SLICE_MIN, slice_min)
        slice_min = min(slice_min, allowed_min) if allowed_min else slice_min
        wishes = {"time": "auto"}
        if needed_min > slice_min:
            wishes["slice"] = write_minutes(slice_min)
        yield (
            f"  a job      {write_minutes(needed_min)} for the longest run ({longest.formula}, "
            f"x {MARGIN}, and the start); {allowed}"
        )
        pairs = ", ".join(f"{key}: {value}" for key, value in wishes.items())
        yield f"  ask for    resources: {{{pairs}}}    in the matrix, or"
        yield "             " + " ".join(f"--set resources.{key}={wishes[key]}" for key in wishes)


class Costs:
    """What the unfinished runs of a sweep will take, by what is known of each.

    The estimates are those of runs that share a GPU with as many others as they are going to.
    """

    def __init__(self, submission: Submission, profiles: Mapping[str, Profile]) -> None:
        self._configs = submission.matrix.runs
        runs = [submission.sweep.run(run_id) for run_id in self._configs]
        unfinished = [run for run in runs if not run.is_finished()]
        asked = {run.run_id: profiles[run.run_id] for run in unfinished}
        self._sharing = count_sharing(asked, self._configs)
        executor = next(iter(profiles.values())).executor
        estimator = Estimator(read_known(submission.sweep, executor))
        self.alike: dict[str, Estimate] = {}
        self.scaled: dict[str, Estimate] = {}
        self.unknown: list[RunConfig] = []
        for run in unfinished:
            config, sharing = self._configs[run.run_id], self._sharing[run.run_id]
            if estimate := estimator.estimate(run, config):
                self.alike[run.run_id] = estimate.shared_by(sharing)
            elif estimate := estimator.scale(run, config):
                self.scaled[run.run_id] = estimate.shared_by(sharing)
            else:
                self.unknown.append(config)

    @property
    def longest(self) -> Estimate | None:
        """Of the runs whose speed was measured."""
        return max(self.alike.values(), key=lambda one: one.training_s, default=None)

    def lines(self, run: RunDir) -> Iterator[str]:
        if own := self.alike.get(run.run_id):
            hours = self._gpu_hours({run.run_id: own})
            shared = f", with {runs} on a GPU" if (runs := self._sharing[run.run_id]) > 1 else ""
            yield f"  this run   {hours} left, by estimate: {own.formula}{shared}"
        parts = [f"{_count(self.alike)} as fast as measured: {self._gpu_hours(self.alike)}"]
        if self.scaled:
            hours = self._gpu_hours(self.scaled)
            parts.append(f"{_count(self.scaled)} roughly, by MACs x images: {hours}")
        if self.unknown:
            names = ", ".join(dict.fromkeys(_name(config) for config in self.unknown))
            parts.append(f"{_count(self.unknown)} not covered ({names}): a pilot with --only tells")
        yield f"  the sweep  {'; '.join(parts)}"

    def _gpu_hours(self, estimates: Mapping[str, Estimate]) -> str:
        """Each run's part of its GPUs, for as long as it has them.

        At most so much where fewer runs had the GPU when it was measured: with more, each is
        reckoned to be slower by as much, as if sharing gained nothing.
        """
        hours = sum(
            one.training_s / 3600 * self._configs[run_id].gpus / self._sharing[run_id]
            for run_id, one in estimates.items()
        )
        more = any(one.sharing < self._sharing[run_id] for run_id, one in estimates.items())
        number = f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"
        return f"{'at most ' if more else ''}{number} GPU-h"


def count_sharing(
    profiles: Mapping[str, Profile], configs: Mapping[str, RunConfig]
) -> dict[str, int]:
    """How many runs will have the GPU of each run, itself included; 1 on this machine."""
    groups: dict[Profile, list[str]] = defaultdict(list)
    for run_id, profile in profiles.items():
        groups[profile].append(run_id)
    sharing = dict.fromkeys(profiles, 1)
    for profile, run_ids in groups.items():
        alone = [run_id for run_id in run_ids if configs[run_id].gpus == 1]
        size = profile.sharing(1) if isinstance(profile, SlurmProfile) else 1
        for place, run_id in enumerate(alone):
            sharing[run_id] = min(size, len(alone) - place // size * size)
    return sharing


def _count(runs: Sequence[object] | Mapping[str, object]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _name(config: RunConfig) -> str:
    options = [str(value) for value in config.model_options.values()]
    return " ".join([config.model, *options, f"batch {config.batch_size}"])
