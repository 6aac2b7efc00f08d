"""What runs still need, reckoned from what other attempts of their sweep were measured to take."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Measured
from jobs.sweep_dir import SweepDir, runs_on_gpu, submission_of

# Options that leave a step as fast as it is; whatever else differs may change it.
_NOT_OF_SPEED = {
    *("seed", "epochs", "optimizer", "lr", "momentum", "nesterov", "weight_decay", "decay"),
    *("clip_norm", "label_smoothing", "ema_decay", "schedule", "lr_min", "restart_epochs"),
    *("restart_factor", "lr_step_epochs", "lr_milestones_epochs", "lr_step_factor"),
    *("warmup_epochs", "flip", "init_from", "data_dir", "log_every_steps", "tensorboard"),
    *("checkpoint_every_s", "progress_every_s", "when_stuck", "stuck_after", "keep"),
}
_OF_WORK = {"model", "model_options", "batch_size"}


@dataclass(frozen=True)
class Known:
    """An attempt that was measured, of which run, and how many runs had its GPU."""

    run_id: str
    config: RunConfig
    attempt: Attempt
    sharing: int

    @property
    def measured(self) -> Measured:
        return self.attempt["measured"]

    @property
    def device(self) -> str:
        return self.attempt["environment"]["device"]


@dataclass(frozen=True)
class Estimate:
    """What a run still needs. `scaled` says that the speed is that of another network or batch.

    `sharing` is how many runs had the GPU when it was measured.
    """

    steps: int
    step_s: float
    evaluations: int
    eval_s: float
    startup_s: float
    scaled: bool = False
    sharing: int = 1

    @property
    def training_s(self) -> float:
        """Without the start-up, of which there is one for each job."""
        return self.steps * self.step_s + self.evaluations * self.eval_s

    def shared_by(self, runs: int) -> Estimate:
        """With so many runs on a GPU: each may be slower by as much as there are more."""
        slower = max(1.0, runs / self.sharing)
        return replace(self, step_s=slower * self.step_s, eval_s=slower * self.eval_s)

    @property
    def formula(self) -> str:
        return (
            f"{self.steps:,} steps x {show_seconds(self.step_s)} + {self.evaluations:,} "
            f"evaluations x {show_seconds(self.eval_s)}"
        )


def show_seconds(seconds: float) -> str:
    """Three digits of it: `0.0213 s`, `42.1 s`, `123 s`."""
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.3g} s"


def read_known(sweep: SweepDir, executor: str) -> list[Known]:
    """Every attempt of a sweep that was measured; a run here and one on SLURM differ in speed.

    Of a run, the last one counts. One whose records are damaged tells nothing.
    """
    submissions = sweep.submissions_of_runs()
    found = []
    for run in sweep.runs():
        with contextlib.suppress(InputError):
            measured = [a for a in run.attempts() if "measured" in a and a["executor"] == executor]
            if measured:
                last = measured[-1]
                sharing = runs_on_gpu(last, submission_of(last, submissions.get(run.run_id, [])))
                found.append(Known(run.run_id, run.read_config(), last, sharing))
    return found


class Estimator:
    """Reckons runs of a sweep from its measured attempts."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._own = {}
        self._alike: dict[Hashable, list[Known]] = defaultdict(list)
        self._same_data: dict[Hashable, list[Known]] = defaultdict(list)
        self._macs: dict[Hashable, int] = {}
        for one in known:
            self._own[one.run_id] = one
            self._alike[_key(one.config)].append(one)
            self._same_data[_key(one.config, _OF_WORK)].append(one)
            self._macs[_key(one.config, {"batch_size"})] = one.attempt["macs"]

    def estimate(self, run: RunDir, config: RunConfig) -> Estimate | None:
        """From the run's own attempts, else from runs that are as fast; None if none is known.

        Of those it takes the median, and of several kinds of GPU the slowest.
        """
        own = self._own.get(run.run_id)
        known = own or _slow_median(self._alike.get(_key(config), []))
        return None if known is None else _reckon(run, config, known)

    def scale(self, run: RunDir, config: RunConfig) -> Estimate | None:
        """The same for another network or batch size: a step takes as long as its MACs x images.

        Roughly: networks differ in how well they use a GPU. None if its MACs are not known.
        """
        known = _slow_median(self._same_data.get(_key(config, _OF_WORK), []))
        macs = self._macs.get(_key(config, {"batch_size"}))
        if known is None or macs is None:
            return None
        return _reckon(run, config, known, macs / known.attempt["macs"])


def _key(config: RunConfig, without: Iterable[str] = ()) -> Hashable:
    """What makes runs equally fast."""
    left_out = _NOT_OF_SPEED | set(without)
    values: Mapping[str, Any] = vars(config)
    return tuple(str(value) for name, value in values.items() if name not in left_out)


def _slow_median(alike: Iterable[Known]) -> Known | None:
    by_place = defaultdict(list)
    for one in alike:
        by_place[one.device, one.sharing].append(one)
    medians = [_median(group) for group in by_place.values()]
    return max(medians, key=lambda one: one.measured["step_s"], default=None)


def _median(group: list[Known]) -> Known:
    return sorted(group, key=lambda one: one.measured["step_s"])[len(group) // 2]


def _reckon(run: RunDir, config: RunConfig, known: Known, work: float = 1.0) -> Estimate:
    """`work` is how many times as many MACs an image takes."""
    measured, batches = known.measured, known.config.batch_size / config.batch_size
    per_epoch = max(1, math.ceil(known.attempt["steps_per_epoch"] * batches))
    progress = run.read_progress()
    done = progress["step"] if progress else 0
    steps = max(0, config.epochs * per_epoch - done)
    # One that is not measured yet is counted as if its batches took as long as in training.
    eval_s = measured["eval_s"]
    if eval_s is None:
        eval_s = measured["eval_steps"] * measured["step_s"]
    return Estimate(
        steps,
        measured["step_s"] * work / batches,
        math.ceil(steps / per_epoch),
        eval_s * work,
        measured["startup_s"],
        scaled=work != 1 or batches != 1,
        sharing=known.sharing,
    )
