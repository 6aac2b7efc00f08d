"""The local executor: a bounded queue in the foreground, each run in a process of its own.

submitit starts every job at once, all of them on the first GPU, and a stopped job is not started
again. So the queue gives it one run per free worker, each with its own GPU, and puts a run that
was preempted back in. The files are the truth here too: a worker's end is read from the run
directory, and the queue keeps nothing that a later `resume` would need.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import submitit

from jobs.errors import InputError
from jobs.processes import this_process
from jobs.run_dir import RunDir, SweepDir
from jobs.train_job import IDLE_STOPS, TrainJob
from launcher.plan import State
from launcher.status import run_status

POLL_S = 0.1
REPEAT_STOP_S = 1.0

# submitit ends a local job after `timeout_min`; a run here may take as long as it needs.
NO_TIMEOUT_MIN = 60 * 24 * 365


@dataclass
class Worker:
    """A place for one run at a time, with its GPU if there are GPUs."""

    gpu: int | None = None
    run: RunDir | None = None
    job: submitit.Job[str] | None = None


@dataclass
class LocalQueue:
    """Runs that wait, and workers that train them. `report` is told what happens, a line each."""

    sweep: SweepDir
    run_ids: Sequence[str]
    workers: list[Worker]
    report: Callable[[str], None]
    refresh: Callable[[], None] = lambda: None
    labels: Mapping[str, str] = field(default_factory=dict)
    stopping: bool = False
    _waiting: deque[str] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = deque(self.run_ids)

    def work(self) -> None:
        """Train until nothing waits; on Ctrl-C let the runs save, on a second one end them."""
        token = secrets.token_hex(4)
        submission: dict[str, Any] = {
            "token": token,
            "executor": "local",
            "runs": list(self.run_ids),
            "submitted_unix_s": time.time(),
            "workers": len(self.workers),
            "user": getpass.getuser(),
            **this_process(),
        }
        path = self.sweep.write_submission(submission)
        try:
            with self._stop_on_signals():
                self._work(self.sweep.job_folder(token))
        finally:
            self.sweep.write_submission({**submission, "ended_unix_s": time.time()}, path)

    def _work(self, folder: Path) -> None:
        last_stop_s = 0.0
        while True:
            for worker in self.workers:
                if worker.job is not None and worker.job.done():
                    self._collect(worker)
                if worker.job is None and self._waiting and not self.stopping:
                    self._start(worker, folder)
            busy = [worker for worker in self.workers if worker.job is not None]
            if not busy and (self.stopping or not self._waiting):
                return
            if self.stopping and time.monotonic() - last_stop_s > REPEAT_STOP_S:
                # Repeated, since a process that is just starting may not have heard the first.
                self._signal(busy)
                last_stop_s = time.monotonic()
            self.refresh()
            time.sleep(POLL_S)

    def _start(self, worker: Worker, folder: Path) -> None:
        run = self.sweep.run(self._waiting.popleft())
        status = run_status(run, queued=set())
        if status.state in (State.FINISHED, State.RUNNING, State.CANCELLED):
            self.report(f"{self._name(run)} is {status.state} by now and was left alone")
            return
        executor = submitit.LocalExecutor(folder=folder)
        gpus = {} if worker.gpu is None else {"gpus_per_node": 1, "visible_gpus": [worker.gpu]}
        executor.update_parameters(timeout_min=NO_TIMEOUT_MIN, stderr_to_stdout=True, **gpus)
        with _environment_of_a_job(threads=_cpus() // len(self.workers)):
            worker.job = executor.submit(TrainJob(run.path.resolve()))
        worker.run = run
        where = "" if worker.gpu is None else f" on GPU {worker.gpu}"
        self.report(f"{self._name(run)} started{where}")

    def _collect(self, worker: Worker) -> None:
        """Read from the run directory how the worker's run ended, and what is to come of it."""
        run, job = worker.run, worker.job
        worker.run, worker.job = None, None
        assert job is not None, "only a worker with a job is collected"
        assert run is not None, "a worker with a job has a run"
        status = run_status(run, queued=set())
        if status.state is State.FINISHED:
            self.report(f"{self._name(run)} finished: test top-1 {status.test_top1:.2f} %")
        elif status.state is State.STOPPED and not self.stopping and self._goes_on(run):
            self.report(f"{self._name(run)} was preempted ({status.detail}) and waits to go on")
            self._waiting.append(run.run_id)
        elif status.state is State.PLANNED:
            # It died before it could say a word; submitit kept what was printed.
            self.report(f"{self._name(run)} did not begin; see {job.paths.stdout}")
        else:
            detail = f": {status.detail}" if status.detail else ""
            self.report(f"{self._name(run)} {status.state}{detail}")

    def _name(self, run: RunDir) -> str:
        return self.labels.get(run.run_id, run.run_id)

    def _goes_on(self, run: RunDir) -> bool:
        """Whether a stopped run is started again: if it was asked to stop, and gets on.

        One that was killed without a word is left to the person: it may be killed again.
        """
        return run.attempts()[-1].get("cause") == "stopped" and run.idle_stops() < IDLE_STOPS

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

    def _signal(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            assert worker.job is not None
            with contextlib.suppress(ProcessLookupError):
                # The job's id is the process id of submitit's controller, which passes TERM on.
                os.kill(int(worker.job.job_id), signal.SIGTERM)

    def _end_now(self) -> None:
        for worker in self.workers:
            if worker.job is None:
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                controller = psutil.Process(int(worker.job.job_id))
                for process in [*controller.children(recursive=True), controller]:
                    process.kill()


def make_workers(count: int | None) -> list[Worker]:
    """`count` workers, spread over the GPUs; by default one per GPU, or one for two CPUs."""
    gpus: Sequence[int | None] = local_gpus()
    if count is None:
        count = len(gpus) or max(1, _cpus() // 2)
    if count < 1:
        raise InputError(f"--workers {count}: at least one is needed")
    gpus = gpus or [None]
    return [Worker(gpu=gpus[place % len(gpus)]) for place in range(count)]


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
