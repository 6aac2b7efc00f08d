"""The local executor: a bounded queue in the foreground, each run in a process of its own.

submitit starts every job at once, all of them on the first GPU, and a stopped job is not started
again. So the queue gives it a run once as many workers are free as the run takes GPUs, and puts one
that was preempted back in. The files are the truth here too: how a run ended is read from its
directory, and the queue keeps nothing that a later `resume` would need.
"""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import submitit
from submitit.core.utils import pickle_load

from jobs.causes import Cause, describe_idle, idle_attempts, is_given_up
from jobs.errors import InputError
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from jobs.train_job import TrainJob
from launcher.plan import State
from launcher.run_status import run_status

POLL_S = 0.1
REPEAT_STOP_S = 1.0

# submitit ends a local job after `timeout_min`; a run here may take as long as it needs.
NO_TIMEOUT_MIN = 60 * 24 * 365

# Tasks that wait in vain for one that died are ended; those that notice it get time to say so,
# also one that is writing a checkpoint.
LOST_TASK_S = 60.0


@dataclass(frozen=True, eq=False)
class Worker:
    """A place for one task at a time, with its GPU if there are GPUs."""

    gpu: int | None = None


@dataclass(eq=False)
class Training:
    """A run that is being trained, with a task for each of its workers."""

    run: RunDir
    job: submitit.Job[str]
    workers: Sequence[Worker]
    began: bool = False  # all tasks were seen
    torn_s: float | None = None

    @property
    def controller(self) -> psutil.Process:
        """The parent of the tasks; the job's id is its process id."""
        return psutil.Process(int(self.job.job_id))

    def is_torn(self) -> bool:
        """Whether a task died on the others, which may wait for it for ever."""
        with contextlib.suppress(psutil.NoSuchProcess):
            alive = len(self.controller.children())  # counted first: a task may end meanwhile
            done = sum(_returned(self.job.task(rank)) for rank in range(len(self.workers)))
            self.began = self.began or alive == len(self.workers)
            return self.began and 0 < alive < len(self.workers) - done
        return False

    def end_now(self) -> None:
        """Kill the tasks; the controller ends by itself, but not before they are gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in self.controller.children(recursive=True) or [self.controller]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _returned(task: submitit.Job[str]) -> bool:
    """Whether a task ended by itself and without an error."""
    result = task.paths.result_pickle
    return result.exists() and pickle_load(result)[0] == "success"


@dataclass
class LocalQueue:
    """Runs that wait, each for so many GPUs, and workers that train them.

    `report` is told what happens, a line each. With `pilot_steps`, each run is a pilot of so many
    steps.
    """

    sweep: SweepDir
    gpus: Mapping[str, int]
    workers: list[Worker]
    report: Callable[[str], None]
    refresh: Callable[[], None] = lambda: None
    labels: Mapping[str, str] = field(default_factory=dict)
    pilot_steps: int | None = None
    stopping: bool = False
    _submission: dict[str, Any] = field(init=False)
    _submission_path: Path = field(init=False)
    _waiting: deque[str] = field(init=False)
    _trainings: list[Training] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._waiting = deque(self.gpus)

    def work(self) -> None:
        """Train until nothing waits; on Ctrl-C let the runs save, on a second one end them."""
        token = secrets.token_hex(4)
        self._submission = {
            "token": token,
            "executor": "local",
            "runs": list(self.gpus),
            "let_go": [],
            "submitted_unix_s": time.time(),
            "workers": len(self.workers),
            "runs_per_gpu": self._runs_per_gpu(),
            **({"pilot_steps": self.pilot_steps} if self.pilot_steps else {}),
            "user": getpass.getuser(),
            **this_process(),
        }
        self._submission_path = self.sweep.write_submission(self._submission)
        try:
            with self._stop_on_signals():
                self._work(self.sweep.job_folder(token))
        finally:
            self._submission["ended_unix_s"] = time.time()
            self._write_submission()

    def _write_submission(self) -> None:
        # A full disk is no reason to leave trainings alone; who looks knows a little less.
        with contextlib.suppress(OSError):
            self.sweep.write_submission(self._submission, self._submission_path)

    def _let_go(self, run: RunDir) -> None:
        """Let whoever looks know that this queue will not start an unfinished run any more."""
        self._submission["let_go"].append(run.run_id)
        self._write_submission()

    def _runs_per_gpu(self) -> int:
        """How many runs have the same GPU, where there are GPUs, before the last ones end."""
        on = Counter(worker.gpu for worker in self.workers if worker.gpu is not None)
        if not on:
            return 1
        return min(max(on.values()), math.ceil(sum(self.gpus.values()) / len(on)))

    def _work(self, folder: Path) -> None:
        last_stop_s = 0.0
        while True:
            for training in list(self._trainings):
                if training.job.done():
                    self._collect(training)
                elif len(training.workers) > 1:
                    self._end_if_torn(training)
            while not self.stopping and (workers := self._workers_for_next()):
                self._start(workers, folder)
            if not self._trainings and (self.stopping or not self._waiting):
                return
            if self.stopping and time.monotonic() - last_stop_s > REPEAT_STOP_S:
                # Repeated, since a process that is just starting may not have heard the first.
                self._signal()
                last_stop_s = time.monotonic()
            self.refresh()
            time.sleep(POLL_S)

    def _workers_for_next(self) -> list[Worker]:
        """Free workers for the run that waits first, no two on one GPU; none if they are too few.

        No run overtakes it: one that takes many GPUs would wait for as long as smaller ones come.
        """
        if not self._waiting:
            return []
        taken = {worker for training in self._trainings for worker in training.workers}
        free: dict[object, Worker] = {}
        for worker in self.workers:
            if worker not in taken:
                free.setdefault(worker if worker.gpu is None else worker.gpu, worker)
        needed = self.gpus[self._waiting[0]]
        return list(free.values())[:needed] if len(free) >= needed else []

    def _start(self, workers: Sequence[Worker], folder: Path) -> None:
        run = self.sweep.run(self._waiting.popleft())
        status = run_status(run, queued=set())
        if status.state in (State.FINISHED, State.RUNNING, State.CANCELLED):
            self.report(f"{self._name(run)} is {status.state} by now and was left alone")
            self._let_go(run)
            return
        executor = submitit.LocalExecutor(folder=folder)
        gpus = [worker.gpu for worker in workers if worker.gpu is not None]
        executor.update_parameters(
            timeout_min=NO_TIMEOUT_MIN,
            stderr_to_stdout=True,
            tasks_per_node=len(workers),
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
        )
        with _environment_of_a_job(threads=_cpus() // len(self.workers)):
            job = executor.submit(TrainJob(run.path.resolve(), self.pilot_steps))
        self._trainings.append(Training(run, job, workers))
        where = f" on GPU {', '.join(map(str, gpus))}" if gpus else ""
        self.report(f"{self._name(run)} started{where}")

    def _end_if_torn(self, training: Training) -> None:
        if not training.is_torn():
            return
        if training.torn_s is None:
            training.torn_s = time.monotonic()
            self.report(f"{self._name(training.run)} has lost a task: the others must end")
        if time.monotonic() - training.torn_s > LOST_TASK_S:
            training.end_now()

    def _collect(self, training: Training) -> None:
        """Read from the run directory how a training ended, and what is to come of the run."""
        run, job = training.run, training.job
        self._trainings.remove(training)
        status = run_status(run, queued=set())
        if status.state is State.FINISHED:
            self.report(f"{self._name(run)} finished: test top-1 {status.test_top1:.2f} %")
        elif status.state is State.STOPPED and not self.stopping and self._goes_on(run):
            self.report(f"{self._name(run)} was preempted ({status.detail}) and waits to go on")
            self._waiting.append(run.run_id)
            return
        elif status.state is State.PLANNED:
            # It died before it could say a word; submitit kept what was printed.
            self.report(f"{self._name(run)} did not begin; see {job.paths.stdout}")
        else:
            detail = f": {status.detail}" if status.detail else ""
            self.report(f"{self._name(run)} {status.state}{detail}")
        if status.state is not State.FINISHED:
            self._let_go(run)

    def _name(self, run: RunDir) -> str:
        return self.labels.get(run.run_id, run.run_id)

    def _goes_on(self, run: RunDir) -> bool:
        """Whether a stopped run is started again: if it was asked to stop, and gets on.

        One that was killed without a word is left to the person: it may be killed again.
        """
        history = run.history()
        if history[-1].get("cause") != Cause.STOPPED or self.pilot_steps:
            return False
        if given_up := is_given_up(idle := idle_attempts(history)):
            self.report(f"{self._name(run)} is not started again: {describe_idle(idle)}")
        return not given_up

    @contextlib.contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """Ctrl-C, TERM and a closed terminal stop gracefully; a second one ends the runs."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}

        def stop(number: int, frame: FrameType | None) -> None:
            if not self.stopping:
                self.stopping = True
                self.report("stopping: the runs save first; once more ends them at once")
            else:
                self._end_now()

        for number in numbers:
            if before[number] is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signal(self) -> None:
        for training in self._trainings:
            with contextlib.suppress(psutil.NoSuchProcess):
                training.controller.terminate()  # it passes the signal on to every task

    def _end_now(self) -> None:
        for training in self._trainings:
            training.end_now()


def make_workers(count: int | None, largest: int = 1, runs_per_gpu: int = 1) -> list[Worker]:
    """`count` workers, spread over the GPUs; by default `runs_per_gpu`, or one for two CPUs.

    InputError unless the largest run, on `largest` GPUs, finds enough of them.
    """
    gpus = local_gpus()
    if count is None:
        count = len(gpus) * runs_per_gpu or max(largest, _cpus() // 2)
    if count < 1:
        raise InputError(f"--workers {count}: at least one is needed")
    if gpus and largest > len(gpus):
        raise InputError(
            f"gpus {largest} are more than this machine has ({', '.join(map(str, gpus))}). "
            f"Valid: 1 to {len(gpus)}"
        )
    if largest > count:
        raise InputError(
            f"gpus {largest} take a worker each, and there are to be {count}; "
            f"give --workers {largest} or more"
        )
    return [Worker(gpus[place % len(gpus)] if gpus else None) for place in range(count)]


def local_gpus() -> list[int]:
    """The GPUs that this process may use, found without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        try:
            return [int(item) for item in visible.split(",") if item.strip()]
        except ValueError:
            raise InputError(
                f"CUDA_VISIBLE_DEVICES={visible}: the local executor needs GPU numbers, as in 0,1"
            ) from None
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()] if found.returncode == 0 else []


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def _environment_of_a_job(threads: int) -> Iterator[None]:
    """What a job inherits: its share of the CPUs, and the signals that it must not hear.

    Ctrl-C goes to every process of the terminal, but here it is for the launcher alone, and a
    closed terminal likewise. USR2 waits until the job's own handler stands.
    """
    before_threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = before_threads or str(max(1, threads))
    blocked = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if before_threads is None:
            del os.environ["OMP_NUM_THREADS"]
