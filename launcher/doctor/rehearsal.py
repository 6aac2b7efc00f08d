"""A rehearsal: a tiny training is submitted, stopped, requeued and resumed, as runs of sweeps are.

Everything is done by the functions that submit and follow sweeps, so what works here works there.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.errors import ExecutionError, InputError
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Progress
from jobs.sweep_dir import SweepDir
from launcher.cancel import cancel_sweep
from launcher.cluster import Cluster, Resources, SlurmProfile
from launcher.doctor.findings import COLOURS, Verdict
from launcher.durations import format_duration
from launcher.freeze import remove_read_only
from launcher.matrix import read_matrix
from launcher.plan import Action, State
from launcher.printing import make_console
from launcher.run_status import RunStatus
from launcher.slurm import run_slurm
from launcher.status import sweep_status
from launcher.submit import choose_profile, plan_submission, submit_to_slurm
from launcher.tasks import open_tasks

MATRIX = Path(__file__).with_name("rehearsal.yaml")

# Short, so that it starts early; the warning before a time limit must not take half of it.
LONGEST_MIN = 15

# A cold network file system may need minutes for the import of torch, or to show a new file.
STEP_TIMEOUT_S = 300.0
POLL_S = 0.2
ASK_SLURM_S = 3.0
PATIENCE_S = 10.0
STEPS_BEFORE_STOP = 5
CLOCK_TOLERANCE_S = 10.0
TAIL_LINES = 12

T = TypeVar("T")


class StepError(Exception):
    """A step did not come about: why, and what to do."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.advice = advice


def rehearse(
    cluster: Cluster, profile_name: str | None, runs: Path, wait_s: float, *, keep: bool
) -> None:
    """Play every step and report each; `wait_s` is how long the job may wait in the queue.

    Its folder under `runs` is removed if all went well, unless it is to be kept. Raises
    ExecutionError if a step fails; then, and on Ctrl-C, the job is cancelled and the folder stays.
    """
    if shutil.which("sbatch") is None:
        raise InputError("--rehearse needs SLURM, and there is no sbatch on this machine")
    profile = choose_profile(cluster, "slurm", profile_name, Resources())
    assert isinstance(profile, SlurmProfile), "that is the executor asked for"
    matrix = read_matrix(MATRIX, [f"name=rehearsal-{time.strftime('%Y%m%d-%H%M%S')}"])
    submission = plan_submission(matrix, runs)
    submission.write()
    rehearsal = Rehearsal(submission.sweep, _short(profile), wait_s, make_console())
    name = profile_name or cluster.default
    print(f"profile {name}: a tiny training in {submission.sweep.path}; Ctrl-C cancels it")
    try:
        rehearsal.play(submission.actions)
    except BaseException as error:
        cancel_sweep(submission.sweep, print)
        print(f"what it wrote is in {submission.sweep.path}")
        if isinstance(error, StepError | ExecutionError):
            raise ExecutionError("the rehearsal did not get to its end") from None
        raise
    print(f"sweeps with profile {name} are submitted, stopped and resumed in this way")
    if keep:
        print(f"what it wrote is in {submission.sweep.path}")
    else:
        _remove(submission.sweep.path)


def _remove(folder: Path) -> None:
    try:
        remove_read_only(folder)
    except OSError as error:  # a network file system may keep a file that somebody still reads
        print(f"{folder} could not be removed: {error.strerror}")


def _short(profile: SlurmProfile) -> SlurmProfile:
    longest_min = max(LONGEST_MIN, -(-2 * profile.signal_delay_s // 60))
    return profile.limited_to(min(profile.time_min, longest_min))


@dataclass
class _Step:
    """What is being waited for, and what came of it."""

    name: str
    verdict: Verdict = Verdict.OK
    text: str = ""
    advice: str = ""


class Rehearsal:
    """One run on its way through the steps."""

    def __init__(
        self, sweep: SweepDir, profile: SlurmProfile, wait_s: float, console: Console
    ) -> None:
        self.sweep, self.profile, self.wait_s, self.console = sweep, profile, wait_s, console
        self.run: RunDir = sweep.runs()[0]
        self._told = ""
        self._forget()

    def play(self, actions: Sequence[Action]) -> None:
        with self._step("submit") as step:
            step.text = self._submit(actions)
        with self._step("start") as step:
            first = self._until("it to start", lambda: self._attempt(1), self.wait_s)
            step.text = f"on {first['host']}: it sees the runs folder, and the code came with it"
        with self._step("torch") as step:
            self._check_device(step)
        with self._step("train") as step:
            self._check_clock(step, self._until("the first steps", self._progress))
        with self._step("stop") as step:
            step.text = self._stop()
        with self._step("requeue") as step:
            self._until("it to be requeued", self._is_requeued)
            step.text = "squeue and scontrol work on the node, and SLURM took the job back"
        with self._step("resume") as step:
            step.text = self._resume()
        with self._step("finish") as step:
            self._until("it to finish", self.run.read_result)
            self._until("the job to leave", lambda: not open_tasks(self.sweep), poll_s=1.0)
            step.text = "the result is there, and the job has left the queue"

    # ---- the steps

    def _submit(self, actions: Sequence[Action]) -> str:
        advice = "`launcher doctor` says what fits this cluster"
        try:
            for _ in submit_to_slurm(self.sweep, actions, self.profile, {self.run.run_id: 1}):
                pass
        except ExecutionError as error:
            raise StepError(str(error), advice) from None
        record = self._record()
        if "job_id" not in record:
            raise StepError(f"SLURM did not take it: {record.get('refused')}", advice)
        where = self.profile.partition or "the default partition"
        return f"job {record['job_id']} to {where}, for {self.profile.time}"

    def _check_device(self, step: _Step) -> None:
        environment = self._until("torch", lambda: self._attempt(1, "environment"))["environment"]
        step.text = f"torch {environment['versions']['torch']} computes on {environment['device']}"
        if (self.profile.gres or "").startswith("gpu") and environment["device"] == "cpu":
            step.verdict = Verdict.WARNING
            step.text += f", although the job has {self.profile.gres}"
            step.advice = (
                "runs would train on CPUs: is torch built for CUDA, and does the node's driver "
                "work (`srun --gres=gpu:1 nvidia-smi`)?"
            )

    def _check_clock(self, step: _Step, progress: Progress) -> None:
        late_s = time.time() - progress["time_unix_s"]
        step.text = f"step {progress['step']} of {progress['steps']}"
        if abs(late_s) > CLOCK_TOLERANCE_S:
            how = "ahead of this machine's" if late_s < 0 else "behind, or files are seen late"
            step.verdict = Verdict.WARNING
            step.text += f"; the node's clock is {abs(late_s):.0f} s {how}"
            step.advice = "`launcher status` judges by heartbeats: ask for clocks that agree"

    def _stop(self) -> str:
        for task in open_tasks(self.sweep):
            run_slurm(["scancel", "--signal=USR2", task.id])
        first = self._until("it to save", lambda: self._attempt(1, "ended_unix_s"))
        if first.get("cause") == "finished":
            why = "the training was over before the signal reached it"
            raise StepError(why, "SLURM is slow today: try again")
        if "last_step" not in first or not self.run.checkpoint.exists():
            said = f"{first.get('cause')}: {first.get('message')}"
            raise StepError(f"it left no checkpoint ({said})", "the lines below may say why")
        return f"it heard the signal and saved, after step {first['last_step']}"

    def _resume(self) -> str:
        # The wait in the queue and, after it, the import of torch.
        timeout_s = self.wait_s + STEP_TIMEOUT_S
        second = self._until("it to start again", lambda: self._attempt(2, "first_step"), timeout_s)
        saved = self._attempt(1)
        assert saved is not None, "it has saved"
        if second["first_step"] != saved["last_step"]:
            raise StepError(
                f"it began again at step {second['first_step']}, not at {saved['last_step']}",
                "the node that took it now does not see what the first one wrote",
            )
        return f"on {second['host']}, from step {second['first_step']}: nothing was lost"

    # ---- what the files say

    def _attempt(self, number: int, key: str = "attempt") -> Attempt | None:
        """An attempt, once its record has come as far as this key."""
        attempts = self.run.attempts()[number - 1 : number]
        return attempts[0] if attempts and key in attempts[0] else None

    def _progress(self) -> Progress | None:
        progress = self.run.read_progress()
        return progress if progress and progress["step"] >= STEPS_BEFORE_STOP else None

    def _is_requeued(self) -> bool:
        if self.run.needs_resume.exists():
            raise StepError(
                "the run could not have itself requeued",
                "is there a scontrol on the nodes, and may jobs be requeued? Without it nothing is "
                "lost, but after each stop somebody must type `launcher resume`",
            )
        return self._status.state is State.QUEUED or self._attempt(2) is not None

    def _record(self) -> dict[str, Any]:
        return list(self.sweep.submissions().values())[-1]

    def _tail(self) -> str:
        """The last lines of what the job printed."""
        folder = self.sweep.job_output(self._record())
        outputs = sorted(folder.glob("*_log.out"), key=lambda path: path.stat().st_mtime)
        if not outputs:
            return f"its job printed nothing: the node may not see or not write {folder}"
        lines = outputs[-1].read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"the end of {outputs[-1]}:", *(f"  {line}" for line in lines)])

    # ---- waiting, and telling

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[_Step]:
        step = _Step(name)
        began_s = time.monotonic()
        try:
            yield step
        except (StepError, ExecutionError) as error:
            step.verdict, step.text = Verdict.PROBLEM, str(error)
            step.advice = getattr(error, "advice", "")
            self._tell(step, time.monotonic() - began_s)
            if self.sweep.submissions() and "job_id" in self._record():
                self.console.print(self._tail(), markup=False, highlight=False, soft_wrap=True)
            raise
        self._tell(step, time.monotonic() - began_s)

    def _tell(self, step: _Step, took_s: float) -> None:
        line = Table.grid(padding=(0, 2, 0, 0))
        for width in (9, 7, 6):
            line.add_column(no_wrap=True, width=width)
        line.add_column()
        verdict = Text(f"  {step.verdict}", style=COLOURS[step.verdict])
        line.add_row(verdict, step.name, _short_duration(took_s), Text(step.text))
        if step.advice:
            line.add_row("", "", "", Text(f"→ {step.advice}", style="bold"))
        self.console.print(line)

    def _until(
        self,
        what: str,
        ready: Callable[[], T | None],
        timeout_s: float = STEP_TIMEOUT_S,
        poll_s: float = POLL_S,
    ) -> T:
        """What `ready` comes to say; StepError if the job ends before, or it takes too long."""
        began_s = time.monotonic()
        self._forget()
        with self.console.status("") as live:
            while not (found := ready()):
                waited_s = time.monotonic() - began_s
                self._ask_slurm()
                waiting = f"waiting for {what}: {self._say_status()}"
                live.update(f"{waiting}, {format_duration(waited_s)} so far")
                self._tell_where_nothing_moves(waiting, waited_s)
                if waited_s > timeout_s:
                    raise StepError(
                        f"{waiting}, for {format_duration(waited_s)}",
                        "`--wait` gives it longer; `squeue --start` says when SLURM means to start",
                    )
                time.sleep(poll_s)
        return found

    def _tell_where_nothing_moves(self, waiting: str, waited_s: float) -> None:
        """A line for each reason to wait, where the output is no terminal."""
        is_news = self._status.state is State.QUEUED and waiting != self._told
        if is_news and waited_s > PATIENCE_S and not self.console.is_terminal:
            self._told = waiting
            self.console.print(f"           {waiting}", markup=False, soft_wrap=True)

    def _forget(self) -> None:
        """What SLURM said before a step is not what it says in it."""
        self._asked_s = 0.0
        self._seen_at_rest = 0
        self._status = RunStatus(self.run.run_id, State.PLANNED)

    def _ask_slurm(self) -> None:
        """Look at the job now and then; StepError if it will not go on by itself."""
        if time.monotonic() - self._asked_s < ASK_SLURM_S:
            return
        self._asked_s = time.monotonic()
        try:
            self._status = sweep_status(self.sweep)[0]
        except ExecutionError:
            return  # a busy controller may not answer every time
        at_rest = not self._status.state.is_under_way and self._status.state is not State.FINISHED
        # Between two starts, a job is for a moment neither here nor there.
        self._seen_at_rest = self._seen_at_rest + 1 if at_rest else 0
        if self._seen_at_rest > 1:
            raise StepError(
                f"its job does not go on: {self._say_status()}",
                "the lines below may say why; `setup` in cluster.yaml, the Python and the folders "
                "must work on the node",
            )

    def _say_status(self) -> str:
        state, detail = self._status.state, self._status.detail
        return f"{state}: {detail}" if detail else str(state)


def _short_duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)
