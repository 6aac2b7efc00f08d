"""The storm: faults one after the other, somebody who resumes, and the judgement in the end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from random import Random

import psutil

from jobs.sweep_dir import SweepDir
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.judge import Outcome, Witness, judge_sweep
from tests.chaos.lab import Command, Lab, background
from tests.slurm_cluster import SlurmClusterError, wait_for

MEAN_GAP_S = 2.0  # between two faults
STALL_TIMEOUT_S = 300.0  # for one epoch at least, of all that is left to do after the storm
ACCOUNTING_LAG_S = 15.0
REST_TIMEOUT_S = 90.0

ASKED_FOR = ("--cancelled", "--failed")

# A fault that meets a cluster which is broken already does not always come about.
FIZZLES = (SlurmClusterError, TimeoutError, psutil.Error)


def choose(seed: str, number: int) -> tuple[float, Fault, Random]:
    """The gap before a fault in seconds, the fault, and what it makes its own choices with.

    They depend on nothing that has happened, so that a storm can be had again.
    """
    random = Random(f"{seed}/{number}")
    gap_s = random.expovariate(1 / MEAN_GAP_S)
    (fault,) = random.choices(list(FAULTS), list(FAULTS.values()))
    return gap_s, fault, random


class Log:
    """What happened, with the seconds since the beginning."""

    def __init__(self, show: Callable[[str], None] = lambda line: None) -> None:
        self.lines: list[str] = []
        self._show, self._began_s = show, time.monotonic()

    def __call__(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {time.monotonic() - self._began_s:7.1f}  {text}"
        self.lines.append(line)
        self._show(line)


class Operator:
    """A person who submits, and then calls `launcher resume` until all is finished."""

    def __init__(self, lab: Lab, seed: str, log: Log) -> None:
        self._lab, self._random, self._log = lab, Random(f"{seed}/operator"), log
        self._is_done = threading.Event()
        self._thread = background(self._work)

    def stop(self) -> None:
        self._is_done.set()
        self._thread.result()

    def _work(self) -> None:
        for sweep in self._lab.sweeps:
            while not self._is_done.is_set() and not self._submit(sweep):
                pass
        options: list[str] = []
        while not self._is_done.wait(self._random.uniform(2, 8)):
            said = self._wait(self._lab.start("resume", *options))[1]
            # What is not done without asking is told, and how to ask for it.
            options = [asked for asked in ASKED_FOR if f"without {asked}" in said]

    def _submit(self, sweep: SweepDir) -> bool:
        """Together with somebody else, at the same moment; whether it went well."""
        both = [self._lab.submit(sweep) for _ in range(2)]
        ended = [self._wait(command)[0] for command in both]
        return ended == [0, 0]

    def _wait(self, command: Command) -> tuple[int, str]:
        status, said = command.wait()
        last = said.strip().rpartition("\n")[2]
        self._log(f"operator: `launcher {' '.join(command.words)}` ended with {status}: {last}")
        return status, said


class Storm:
    """One round on fresh sweeps; `number` is that of the first fault, counted over all rounds."""

    def __init__(self, lab: Lab, seed: str, log: Log, number: int = 1) -> None:
        self.lab, self.seed, self.log, self.number = lab, seed, log, number
        self.counts: Counter[str] = Counter()

    def rage(self, seconds: float, undisturbed: Mapping[str, Outcome]) -> list[str]:
        """Faults for so long, or until all runs are finished; then the judge's complaints."""
        operator = Operator(self.lab, f"{self.seed}/{self.number}", self.log)
        try:
            wait_for(self._is_planned, REST_TIMEOUT_S, "the sweeps to be planned")
            with Witness(self.lab.runs()) as witness:
                end_s = time.monotonic() + seconds
                while time.monotonic() < end_s and not self._is_finished():
                    self._one_fault()
                self._calm_down()
                complaints = self._wait_for_the_end(operator)
        finally:
            operator.stop()
        complaints += sorted(witness.complaints)
        complaints += self._judge_commands()
        for sweep in self.lab.sweeps:
            complaints += judge_sweep(sweep, undisturbed)
        return complaints + self._submit_again()

    # ---- the faults

    def _one_fault(self) -> None:
        gap_s, fault, random = choose(self.seed, self.number)
        self._pause(gap_s)
        try:
            done = fault(self.lab, random)
        except FIZZLES as error:
            done = None
            self.log(f"#{self.number} {fault.__name__} fizzled out: {error}")
        if done is not None:
            self.log(f"#{self.number} {fault.__name__}: {done}")
            self.counts[fault.__name__] += 1
        self.number += 1

    def _pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            self._mend(now_s)
            time.sleep(min(0.1, end_s - now_s))

    def _mend(self, now_s: float) -> None:
        for mend in [mend for mend in self.lab.mends if mend.due_s <= now_s]:
            self.lab.mends.remove(mend)
            try:
                mend.do()
                self.log(f"mended: {mend.what}")
            except FIZZLES as error:
                self.log(f"not mended: {mend.what}: {error}")

    def _calm_down(self) -> None:
        self._mend(float("inf"))
        self.lab.cluster.restore_nodes()
        self.log("the storm is over")

    # ---- the end

    def _is_planned(self) -> bool:
        return all(sweep.newest_matrix() for sweep in self.lab.sweeps)

    def _is_finished(self) -> bool:
        return all(run.read_result() for run in self.lab.runs())

    def _is_explained(self) -> bool:
        """The accounting never hears of what a controller forgot."""
        return all("cause" in attempt for run in self.lab.runs() for attempt in run.history())

    def _wait_for_the_end(self, operator: Operator) -> list[str]:
        """Complaints about what does not end by itself."""
        try:
            self._wait_until_finished()
            with contextlib.suppress(TimeoutError):
                wait_for(self._is_explained, ACCOUNTING_LAG_S, "the accounting to tell the rest")
            operator.stop()
            self.lab.resume_much_later().wait()
            self._release_what_is_held()
            wait_for(lambda: not self.lab.jobs(), REST_TIMEOUT_S, "no job is in squeue")
            wait_for(lambda: not self.lab.processes(), REST_TIMEOUT_S, "no process is left")
        except TimeoutError as error:
            shown = self.lab.slurm("squeue", "-r", "-o", "%i %j %T %r %N")
            return [f"{error}\n{shown}{self.lab.processes()}"]
        return []

    def _wait_until_finished(self) -> None:
        """TimeoutError if nothing gets done any more: how long it takes is the machine's affair."""
        while True:
            before = self._epochs_done()
            try:
                wait_for(self._is_finished, STALL_TIMEOUT_S, "all runs are finished")
                return
            except TimeoutError:
                if self._epochs_done() == before:
                    raise

    def _epochs_done(self) -> int:
        return sum(len(run.read_metrics()) for run in self.lab.runs())

    def _release_what_is_held(self) -> None:
        """Who has held a job of a run that was just finishing lets it go; it has nothing to do."""
        if jobs := self.lab.jobs("PENDING"):
            self.lab.slurm("scontrol", "release", ",".join(jobs))

    def _judge_commands(self) -> Iterator[str]:
        """Complaints about what people were told: a failure is one sentence, and no mistake."""
        for command in self.lab.commands:
            status, said = command.wait()
            if status not in (0, 1, -signal.SIGKILL) or "Traceback" in said:
                yield f"`{' '.join(command.words)}` ended with {status}, and said: {said}"

    def _submit_again(self) -> list[str]:
        """Complaints if SLURM is asked anything, or anything is started."""
        before = self.lab.calls()
        said = [self.lab.submit(sweep).wait()[1] for sweep in self.lab.sweeps]
        if self.lab.calls() != before:
            return ["`submit` of what is finished asked SLURM"]
        return [
            f"`submit` of what is finished said {text!r}" for text in said if ": leave" not in text
        ]
