"""How fast a training is: what a pilot prints, and what `time: auto` reckons with."""

from __future__ import annotations

import time

import torch

from jobs.records import peak_memory_mb
from jobs.run_records import Attempt, Measured

# The first steps choose kernels, fill caches and wait for the first images.
WARM_UP_STEPS = 5


class Pace:
    """Measures one attempt: its start-up, and the mean of its steps after the first few."""

    def __init__(self, attempt: Attempt, device: torch.device, eval_steps: int) -> None:
        self._started_unix_s, self._device = attempt["started_unix_s"], device
        self._eval_steps = eval_steps
        self._startup_s = 0.0
        self._steps = 0
        self._train_s = 0.0
        self._since_s: float | None = None
        self._evals_s: list[float] = []

    def begin(self) -> None:
        """Training begins, or goes on after an evaluation."""
        self._since_s = time.monotonic()

    def count_step(self) -> None:
        self._steps += 1
        if self._steps == 1:
            self._startup_s = time.time() - self._started_unix_s
        if self._steps == WARM_UP_STEPS:
            self._train_s, self._since_s = 0.0, self._now_s()

    def pause(self) -> None:
        """Training ends, or an evaluation comes."""
        if self._since_s is not None:
            self._train_s += self._now_s() - self._since_s
        self._since_s = None

    def count_evaluation(self, eval_s: float) -> None:
        self._evals_s.append(eval_s)

    def read(self) -> Measured | None:
        """What was measured; None after too few steps. Nothing is measured any more then."""
        self.pause()
        steps = self._steps - WARM_UP_STEPS
        if steps <= 0:
            return None
        return Measured(
            startup_s=self._startup_s,
            steps=steps,
            step_s=self._train_s / steps,
            eval_steps=self._eval_steps,
            eval_s=sum(self._evals_s) / len(self._evals_s) if self._evals_s else None,
            peak_mem_mb=peak_memory_mb(self._device),
        )

    def _now_s(self) -> float:
        """Once the GPU has done what it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.monotonic()
