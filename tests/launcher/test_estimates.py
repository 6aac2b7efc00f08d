from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Measured, Progress
from jobs.sweep_dir import SweepDir
from launcher.estimates import Estimator, read_known
from tests.launcher.conftest import add_attempt

CONFIG: dict[str, Any] = {"model": "resnet18", "dataset": "cifar100", "batch_size": 100}


class Sweep:
    """Planned runs, some with an attempt that was measured, of 500 steps an epoch."""

    def __init__(self, folder: Path) -> None:
        self.dir = SweepDir(folder)

    def plan(self, **changes: Any) -> RunDir:
        config = RunConfig(**(CONFIG | {"epochs": 10} | changes))
        run = self.dir.run(config.run_id)
        run.write_config(config)
        return run

    def measure(
        self, run: RunDir, step_s: float, eval_s: float | None = 9.0, **facts: Any
    ) -> RunDir:
        measured = Measured(
            startup_s=30.0, steps=45, step_s=step_s, eval_steps=100, eval_s=eval_s, peak_mem_mb=1.0
        )
        device = {"environment": {"device": facts.pop("device", "V100")}}
        known = {"executor": "slurm", "steps_per_epoch": 500, "macs": 1000, "first_step": 0}
        add_attempt(run, measured=measured, **(device | known | facts))
        return run

    @property
    def estimator(self) -> Estimator:
        return Estimator(read_known(self.dir, "slurm"))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "sweep")


def test_a_run_is_reckoned_from_its_own_last_attempt_and_what_is_left(sweep: Sweep) -> None:
    run = sweep.measure(sweep.measure(sweep.plan(), step_s=7.0), step_s=0.2)
    sweep.measure(sweep.plan(seed=1), step_s=99.0)
    run.write_progress(
        Progress(attempt=2, epoch=2, epochs=10, step=1200, steps=5000, eta_s=None, test_top1=None,
                 time_unix_s=0.0)
    )  # fmt: skip
    estimate = sweep.estimator.estimate(run, run.read_config())
    assert estimate is not None
    assert (estimate.steps, estimate.evaluations) == (3800, 8)
    assert estimate.training_s == pytest.approx(3800 * 0.2 + 8 * 9)
    assert estimate.formula == "3,800 steps x 0.2 s + 8 evaluations x 9 s"


def test_one_that_is_not_measured_has_the_median_of_its_like_on_the_slowest_gpu(
    sweep: Sweep,
) -> None:
    for seed, step_s in enumerate([0.1, 0.2, 5.0]):
        sweep.measure(sweep.plan(seed=seed, lr=0.05), step_s)
    sweep.measure(sweep.plan(seed=8), 0.3, device="T4")
    sweep.measure(sweep.plan(seed=9), 60.0, executor="local")  # another machine
    sweep.measure(sweep.plan(model="resnet50"), 60.0)
    new = sweep.plan(seed=7)
    estimate = sweep.estimator.estimate(new, new.read_config())
    assert estimate is not None
    assert (estimate.step_s, estimate.steps, estimate.scaled) == (0.3, 5000, False)


@pytest.mark.parametrize(
    "changes", [{"model": "resnet50"}, {"batch_size": 50}, {"dataset": "cifar10"}, {"gpus": 2}]
)
def test_another_network_batch_or_hardware_is_not_as_fast(
    changes: dict[str, Any], sweep: Sweep
) -> None:
    sweep.measure(sweep.plan(), 0.1)
    other = sweep.plan(**changes)
    assert sweep.estimator.estimate(other, other.read_config()) is None


def test_an_evaluation_that_was_not_measured_counts_as_training(sweep: Sweep) -> None:
    run = sweep.measure(sweep.plan(), step_s=0.2, eval_s=None)
    estimate = sweep.estimator.estimate(run, run.read_config())
    assert estimate is not None
    assert estimate.eval_s == pytest.approx(100 * 0.2)


def test_another_batch_size_is_scaled_by_its_images_and_another_network_by_its_macs(
    sweep: Sweep,
) -> None:
    sweep.measure(sweep.plan(), 0.1)
    half, large = sweep.plan(batch_size=50), sweep.plan(model="resnet50")
    estimate = sweep.estimator.scale(half, half.read_config())
    assert estimate is not None
    assert (estimate.steps, estimate.step_s, estimate.scaled) == (10_000, 0.05, True)
    assert sweep.estimator.scale(large, large.read_config()) is None  # nobody has counted them
    sweep.measure(sweep.plan(model="resnet50", batch_size=20), 0.06, macs=3000)
    estimate = sweep.estimator.scale(large, large.read_config())
    assert estimate is not None
    assert estimate.step_s == pytest.approx(0.3)
    elsewhere = sweep.plan(dataset="cifar10")
    assert sweep.estimator.scale(elsewhere, elsewhere.read_config()) is None


def test_what_was_measured_on_a_shared_gpu_is_not_slowed_down_again(sweep: Sweep) -> None:
    run = sweep.plan()
    runs = [*(f"r{number}" for number in range(13)), run.run_id]
    facts = {"token": "t1", "executor": "slurm", "job_id": "7", "runs_per_job": 4, "runs": runs}
    sweep.dir.write_submission({**facts, "user": "me", "submitted_unix_s": 1.0, **this_process()})
    sweep.measure(run, 0.3, job_id="7_2")
    estimate = sweep.estimator.estimate(run, run.read_config())
    assert estimate is not None
    assert [estimate.shared_by(runs).step_s for runs in (1, 4, 8)] == [0.3, 0.3, 0.6]
    sweep.measure(run, 0.3, job_id="7_3")
    estimate = sweep.estimator.estimate(run, run.read_config())
    assert estimate is not None
    assert estimate.sharing == 2, "the last job had what was left"


def test_runs_that_shared_a_gpu_of_this_machine_are_known_to_have(sweep: Sweep) -> None:
    run = sweep.plan()
    facts = {"executor": "local", "runs": [run.run_id], "user": "me", **this_process()}
    for began_s, sharing, host in (
        (100.0, 1, "here"),
        (290.0, 3, "here"),
        (295.0, 1, "elsewhere"),
        (310.0, 1, "here"),
    ):
        record = {"submitted_unix_s": began_s, "runs_per_gpu": sharing, "token": str(began_s)}
        sweep.dir.write_submission(facts | record | {"host": host})
    sweep.measure(run, 0.3, executor="local", started_unix_s=300.0)
    estimate = Estimator(read_known(sweep.dir, "local")).estimate(run, run.read_config())
    assert estimate is not None
    assert [estimate.shared_by(runs).step_s for runs in (1, 3, 6)] == [0.3, 0.3, 0.6]
