"""A short storm on a real SLURM, and whether its judge would notice. The long form: make chaos."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, EpochMetrics, Result
from jobs.sweep_dir import SweepDir, sweep_of
from tests.chaos.faults import FAULTS
from tests.chaos.judge import Witness, judge_sweep, outcome, train_undisturbed
from tests.chaos.lab import Lab, Size
from tests.chaos.report import describe_failure
from tests.chaos.storm import Log, Storm, choose
from tests.slurm_cluster import SlurmCluster
from tests.slurm_cluster.fixtures import require_slurm

SEED = "41"
STORM_S = 50.0


@pytest.mark.timeout(480)
def test_after_a_storm_every_run_is_finished_once_and_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    require_slurm()
    size = Size(("patient", "packed"), ("resnet_small",), seeds=2, epochs=300)
    undisturbed = train_undisturbed(size, tmp_path / "undisturbed")
    with SlurmCluster() as cluster:
        lab, log = Lab(cluster, tmp_path / "lab", size), Log()
        storm = Storm(lab, SEED, log)
        complaints = storm.rage(STORM_S, undisturbed)
        assert not complaints, describe_failure(lab, log, complaints)
    assert storm.counts.total() >= 10
    assert any(len(run.attempts()) > 2 for run in lab.runs())


# ---- the judge is not asleep


def add_attempt(run: RunDir, number: int, started_unix_s: float, **more: Any) -> None:
    run.write_attempt(
        Attempt(
            attempt=number, started_unix_s=started_unix_s, executor="slurm", job_id="7",
            restart=number - 1, host="n1", pid=os.getpid(), user="me", code="", **more,
        )
    )  # fmt: skip


def add_metrics(run: RunDir, attempt: int, epoch: int, train_loss: float = 1.5) -> None:
    run.append_metrics(
        EpochMetrics(
            attempt=attempt, epoch=epoch, step=4 * epoch, lr=0.1, train_loss=train_loss,
            train_top1=10.0, test_loss=2.0, test_top1=10.0, test_top5=50.0, epoch_s=1.0, eval_s=1.0,
            throughput_img_s=1.0, peak_mem_mb=1.0, time_unix_s=time.time(),
        )
    )  # fmt: skip


def add_result(run: RunDir, weights: str = "abc") -> None:
    run.write_result(
        Result(
            run_id=run.run_id, best_test_top1=10.0, best_epoch=1, final_test_top1=10.0,
            final_test_top5=50.0, params=1, macs=1, wall_s=1.0, attempts=2, weights_sha256=weights,
            time_unix_s=0.0,
        )
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was stopped once, and then finished."""
    config = RunConfig(model="resnet_small", dataset="synthetic", epochs=2)
    run = SweepDir(tmp_path / "sweep").run(config.run_id)
    run.write_config(config)
    add_attempt(run, 1, 10.0, first_step=0, last_step=5, cause="stopped", ended_unix_s=20.0)
    add_attempt(run, 2, 20.5, first_step=5, last_step=8, cause="finished", ended_unix_s=30.0)
    add_metrics(run, 1, 1)
    add_metrics(run, 2, 2)
    add_result(run)
    return run


def judge(run: RunDir) -> list[str]:
    expected = [
        {
            "epoch": epoch, "step": 4 * epoch, "lr": 0.1, "train_loss": 1.5, "train_top1": 10.0,
            "test_loss": 2.0, "test_top1": 10.0, "test_top5": 50.0,
        }
        for epoch in (1, 2)
    ]  # fmt: skip
    return list(judge_sweep(sweep_of(run), {run.run_id: (expected, "abc")}))


def test_the_judge_has_nothing_to_say_of_a_run_that_went_well(run: RunDir) -> None:
    assert judge(run) == []
    assert outcome(run) is not None


def never_finished(run: RunDir) -> None:
    (run.path / "result.json").unlink()


def other_metrics(run: RunDir) -> None:
    add_metrics(run, 2, 2, train_loss=1.5000000000000002)


def other_weights(run: RunDir) -> None:
    add_result(run, weights="abd")


def one_attempt_too_many(run: RunDir) -> None:
    add_attempt(run, 3, 40.0, first_step=8, last_step=8, cause="finished", ended_unix_s=41.0)


def one_attempt_too_few(run: RunDir) -> None:
    (run.path / "attempts" / "1.json").unlink()


def no_cause(run: RunDir) -> None:
    add_attempt(run, 1, 10.0, first_step=0)


def overlap_in_time(run: RunDir) -> None:
    add_attempt(run, 2, 19.0, first_step=5, last_step=8, cause="finished", ended_unix_s=30.0)


def lost_steps(run: RunDir) -> None:
    add_attempt(run, 2, 20.5, first_step=4, last_step=8, cause="finished", ended_unix_s=30.0)


def two_writers(run: RunDir) -> None:
    add_metrics(run, 1, 2)


def a_lease_that_is_held(run: RunDir) -> None:
    run.take_lease("cluster", "7", 0)


def a_marker(run: RunDir) -> None:
    run.needs_resume.touch()


def a_submission_without_an_end(run: RunDir) -> None:
    sweep_of(run).write_submission(
        {
            "token": "t", "executor": "slurm", "runs": [run.run_id], "user": "me", "host": "h",
            "pid": 1, "start_ticks": 1, "boot_id": "b", "submitted_unix_s": 1.0,
        }
    )  # fmt: skip


def a_run_that_nobody_asked_for(run: RunDir) -> None:
    sweep_of(run).add_matrix("", [run.run_id, "another"])


@pytest.mark.parametrize(
    ("breaks", "complaint"),
    [
        (never_finished, "it has no result"),
        (other_metrics, "its metrics are not those of an undisturbed run"),
        (other_weights, "its weights are not those of an undisturbed run"),
        (one_attempt_too_many, "not exactly one of its attempts finished it"),
        (one_attempt_too_many, "there were attempts after it had finished"),
        (one_attempt_too_few, "its attempts are not numbered without a gap"),
        (no_cause, "nobody knows how attempt 1 ended"),
        (overlap_in_time, "attempt 2 began before 1 had ended"),
        (lost_steps, "attempt 2 began at step 4, and 5 was saved"),
        (two_writers, "two attempts wrote metrics at the same time"),
        (a_lease_that_is_held, "somebody still holds its lease"),
        (a_marker, "it is finished and says that it needs to be resumed"),
        (a_submission_without_an_end, "nobody knows what became of"),
        (a_run_that_nobody_asked_for, "has other runs than those that were asked for"),
    ],
)
def test_the_judge_finds(breaks: Callable[[RunDir], None], complaint: str, run: RunDir) -> None:
    breaks(run)
    assert any(complaint in text for text in judge(run)), judge(run)


def test_the_witness_sees_a_result_that_is_written_twice(run: RunDir) -> None:
    witness = Witness([run])
    witness.look_at(run)
    assert not witness.complaints
    add_result(run)
    witness.look_at(run)
    assert "its result was written twice" in witness.complaints.pop()


def test_the_witness_sees_two_attempts_that_train_at_once(run: RunDir) -> None:
    witness = Witness([run])
    add_attempt(run, 3, time.time())
    witness.look_at(run)
    assert not witness.complaints
    add_attempt(run, 4, time.time())
    witness.look_at(run)
    assert "attempts [3, 4] trained at the same time" in witness.complaints.pop()


def test_the_same_seed_is_the_same_storm() -> None:
    def storm(seed: str) -> list[tuple[float, str, float]]:
        chosen = (choose(seed, number) for number in range(1, 300))
        return [(gap_s, fault.__name__, random.random()) for gap_s, fault, random in chosen]

    assert storm("7") == storm("7") != storm("8")
    assert {name for _, name, _ in storm("7") + storm("8")} == {f.__name__ for f in FAULTS}
