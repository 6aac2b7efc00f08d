"""Runs on a real SLURM, disturbed in every way that a cluster knows.

Whatever happens to it, a run ends like an undisturbed one, to the bit; nothing is trained twice,
and what was cancelled stays so.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from jobs.train_job import StopOnSignal, attempt_run
from tests.jobs.test_distributed import train_on
from tests.jobs.test_train import outcome
from tests.slurm_cluster import SlurmCluster, wait_for

PROJECT = Path(__file__).parents[2]
TIMEOUT_S = 120

# About ten seconds, so that there is time to disturb it.
RUN: dict[str, Any] = {
    "model": "resnet_small",
    "dataset": "synthetic",
    "train_images": 64,
    "test_images": 32,
    "batch_size": 32,
    "epochs": 400,
    "threads": 1,
    "progress_every_s": 0.2,
    "checkpoint_every_s": 1,
    "when_stuck": "go_on",  # of so few images, hardly anything is learnt
}
ON_TWO = {"gpus": 2, "epochs": 150}  # each step waits for the other node
MATRIX = "base:\n" + "".join(f"  {key}: {value}\n" for key, value in RUN.items())


class Lab:
    """A folder with a matrix and a cluster.yaml, and a launcher that talks to a private cluster."""

    def __init__(self, cluster: SlurmCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.matrix = folder / "sweep.yaml"
        self.matrix.write_text(MATRIX)
        self.sweep = SweepDir(folder / "runs" / "sweep")
        # With what a person may have set to see other jobs; what is submitted inherits it.
        personal = {
            "SQUEUE_PARTITION": "high",
            "SQUEUE_STATES": "COMPLETED",
            "SACCT_FORMAT": "JobID",
        }
        self.environment = cluster.env | personal | {"COLUMNS": "150"}
        self.profile()

    def profile(self, **changes: Any) -> None:
        values = {
            "executor": "slurm",
            "partition": "low",
            "gres": "gpu:v100:1",
            "mem": "200M",
            "time": "10:00",
            "signal_delay_s": 30,
        }
        text = json.dumps({"default": "lab", "profiles": {"lab": values | changes}})
        (self.folder / "cluster.yaml").write_text(text)

    def launcher(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "launcher", *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=self.environment,
            cwd=self.folder,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def submit(self, *words: str) -> str:
        return self.launcher("submit", "sweep.yaml", *words)

    def status(self) -> list[dict[str, Any]]:
        return json.loads(self.launcher("status", "--json"))

    def states(self) -> list[str]:
        return [row["state"] for row in self.status()]

    def runs(self) -> list[RunDir]:
        return [self.sweep.run(run_id) for run_id in self.sweep.named_runs()]

    def job_id(self) -> str:
        """Of the newest submission."""
        return list(self.sweep.submissions().values())[-1]["job_id"]

    def wait_until_training(self, run: RunDir, attempt: int = 1) -> None:
        def trains() -> bool:
            progress = run.read_progress()
            return progress is not None and progress["attempt"] == attempt and progress["step"] > 20

        wait_for(trains, TIMEOUT_S, f"attempt {attempt} of {run.run_id}")

    def wait_until_finished(self) -> None:
        def finished() -> bool:
            # The result comes first, then the attempt's end, and last the lease goes.
            return all(run.read_result() and run.holder() is None for run in self.runs())

        wait_for(finished, TIMEOUT_S, "the runs to finish")

    def wait_until_at_rest(self) -> None:
        wait_for(lambda: not self.jobs(), TIMEOUT_S, "all jobs to end")

    def jobs(self) -> list[str]:
        """The jobs that are waiting or running."""
        return self.cluster.run("squeue", "-h", "-r", "-o", "%i").split()

    def causes(self) -> list[str | None]:
        return [attempt.get("cause") for attempt in self.runs()[0].attempts()]

    def fill_the_cluster(self) -> list[str]:
        """Occupy every node with a job that has priority; the ids of these jobs."""
        return [
            self.cluster.sbatch("sleep 900", "-p", "high", "-w", node, "--gres=gpu:v100:4")
            for node in self.cluster.node_states()
        ]

    def run_from_a_copy(self) -> Path:
        """Let the launcher run from a copy of the sources, which a test may edit."""
        source = self.folder / "source"
        for package in ("attention_models", "jobs", "launcher"):
            shutil.copytree(PROJECT / package, source / package)
        self.environment["PYTHONPATH"] = str(source)
        return source

    def program(self, name: str, script: str) -> None:
        """A program that the launcher, or a job with this folder in its PATH, finds first."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def lab(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[Lab]:
    yield Lab(slurm_cluster, tmp_path)
    slurm_cluster.reset()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    config = RunConfig(**RUN)
    run = SweepDir(tmp_path_factory.mktemp("undisturbed")).run(config.run_id)
    run.write_config(config)
    # In a process of its own, as jobs are: libraries may choose otherwise in a used one.
    code = f"from jobs.train_job import TrainJob; TrainJob({str(run.path)!r})()"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return run


@pytest.fixture(scope="module")
def undisturbed_on_two(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    config = RunConfig(**RUN | ON_TWO)
    run = SweepDir(tmp_path_factory.mktemp("undisturbed")).run(config.run_id)
    run.write_config(config)
    assert train_on(run, 2, network="resnet") == "finished"
    return run


# ---- the main path


def test_the_demo_as_an_array_is_preempted_goes_on_and_ends_in_a_table(lab: Lab) -> None:
    demo = PROJECT / "jobs" / "matrices" / "demo.yaml"
    said = lab.launcher("submit", str(demo), "--set", "epochs=8")
    assert "6 runs: start 6 on SLURM" in said
    sweep = SweepDir(lab.folder / "runs" / "demo")
    first = sweep.run(sweep.named_runs()[0])
    wait_for(lambda: (p := first.read_progress()) and p["epoch"] >= 2, TIMEOUT_S, "an epoch")
    # Whoever has priority takes the whole node of the first run.
    holder = first.holder()
    assert holder is not None
    node = lab.cluster.show_job(holder["job_id"])["NodeList"]
    lab.cluster.sbatch("sleep 2", "-p", "high", "-w", node, "--gres=gpu:v100:4")
    wait_for(lambda: first.attempts()[0].get("cause"), TIMEOUT_S, "the preempted run to save")
    rows = {row["run_id"]: row for row in json.loads(lab.launcher("status", "--json"))}
    assert rows[first.run_id]["state"] in ("queued", "running")
    wait_for(
        lambda: all(run.read_result() for run in sweep.runs()), 4 * TIMEOUT_S, "the demo to finish"
    )
    assert [attempt["cause"] for attempt in first.attempts()] == ["preempted", "finished"]
    assert first.attempts()[0]["message"].startswith("SIGUSR2")
    assert [attempt["restart"] for attempt in first.attempts()] == [0, 1]
    assert "demo: finished 6" in lab.launcher("status")
    assert "leave 6" in lab.launcher("submit", str(demo), "--set", "epochs=8")
    assert len(sweep.submissions()) == 1

    again = SweepDir(lab.folder / "undisturbed").run(first.run_id)
    again.write_config(first.read_config())
    assert attempt_run(again, StopOnSignal()) == "finished"
    assert again.attempts()[0]["environment"] == first.attempts()[0]["environment"]
    assert outcome(first) == outcome(again)
    table = subprocess.check_output(
        [sys.executable, "-m", "analysis", "table", "demo"], text=True, cwd=lab.folder
    )
    assert "| preact_resnet_small     |  2/2 |" in table


def test_with_nothing_to_do_no_command_of_slurm_is_run(lab: Lab) -> None:
    lab.submit("--set", "epochs=1")
    lab.wait_until_finished()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "sinfo"):
        lab.program(name, f"echo {name} >>{lab.folder}/called; exit 1")
    lab.environment["PATH"] = f"{lab.folder}/bin:{lab.environment['PATH']}"
    assert "leave 1" in lab.submit("--set", "epochs=1")
    assert "leave 1" in lab.launcher("resume")
    assert "finished 1" in lab.launcher("status")
    assert not (lab.folder / "called").exists()


# ---- stops


def user_signal(lab: Lab) -> None:
    lab.cluster.run("scancel", "--signal=USR2", lab.job_id())


def preemption_without_grace(lab: Lab) -> None:
    node = lab.cluster.show_job(lab.job_id())["NodeList"]
    lab.cluster.sbatch("sleep 1", "-p", "high", "-w", node, "--gres=gpu:v100:4")


def requeue_from_outside(lab: Lab) -> None:
    lab.cluster.run("scontrol", "requeue", lab.job_id())


@pytest.mark.parametrize(
    ("disturb", "partition", "cause"),
    [
        (user_signal, "low", "stopped"),
        (preemption_without_grace, "low0", "preempted"),
        (requeue_from_outside, "low", "stopped"),
    ],
)
def test_a_told_run_saves_is_requeued_and_ends_as_if_nothing_had_happened(
    disturb: Callable[[Lab], None], partition: str, cause: str, lab: Lab, undisturbed: RunDir
) -> None:
    lab.profile(partition=partition)
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    disturb(lab)
    lab.wait_until_finished()
    assert lab.causes() == [cause, "finished"]
    first, second = run.attempts()
    assert first["node"] in lab.cluster.node_states()
    assert first["gpu_ids"] in "0123"
    assert second["first_step"] == first["last_step"]
    assert [first["restart"], second["restart"]] == [0, 1]
    assert outcome(run) == outcome(undisturbed)
    assert lab.states() == ["finished"]
    lab.wait_until_at_rest()
    assert [path.name for path in lab.sweep.path.glob("slurm/*/*/*.pkl")] == ["task.pkl"]


def test_at_the_end_of_its_time_a_run_saves_is_requeued_and_goes_on(lab: Lab) -> None:
    def limit(minutes: int) -> None:
        lab.cluster.run("scontrol", "update", f"JobId={lab.job_id()}", f"TimeLimit={minutes}")

    lab.submit("--set", "epochs=100000")
    run = lab.runs()[0]
    lab.wait_until_training(run)
    limit(1)  # SLURM warns within half a minute, when it looks for jobs whose time is over
    wait_for(lambda: run.attempts()[0].get("cause") == "time_limit", TIMEOUT_S, "the run to save")
    limit(10)
    lab.wait_until_training(run, attempt=2)
    first, second = run.attempts()
    assert first["message"] == f"SIGUSR2 after step {first['last_step']}"
    assert second["first_step"] == first["last_step"]
    assert [first["restart"], second["restart"]] == [0, 1]
    lab.launcher("cancel", "sweep")
    lab.wait_until_at_rest()


def test_preempted_with_term_alone_a_run_loses_nothing(
    slurm_cluster: SlurmCluster, tmp_path: Path, undisturbed: RunDir
) -> None:
    """Many sites do not send the user's signal at preemption."""
    with SlurmCluster(send_user_signal=False) as cluster:
        lab = Lab(cluster, tmp_path)
        lab.submit()
        run = lab.runs()[0]
        lab.wait_until_training(run)
        preemption_without_grace(lab)
        lab.wait_until_finished()
        assert lab.causes() == ["preempted", "finished"]
        assert run.attempts()[0]["message"].startswith("SIGTERM")
        assert run.attempts()[1]["first_step"] == run.attempts()[0]["last_step"]
        assert outcome(run) == outcome(undisturbed)


def test_a_run_on_a_lost_node_goes_on_elsewhere_from_its_last_checkpoint(
    lab: Lab, undisturbed: RunDir
) -> None:
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    wait_for(run.checkpoint.exists, TIMEOUT_S, "a checkpoint")
    node = lab.cluster.show_job(lab.job_id())["NodeList"]
    lab.cluster.lose_node(node)
    wait_for(
        lambda: lab.status()[0]["causes"] == {"node_failure": 1}, TIMEOUT_S, "the cause to be known"
    )
    lab.wait_until_finished()
    assert lab.causes() == [None, "finished"], "the run itself could not say it"
    assert run.attempts()[1]["first_step"] > 0
    assert outcome(run) == outcome(undisturbed)
    lab.program("sacct", "exit 1")
    lab.environment["PATH"] = f"{lab.folder}/bin:{lab.environment['PATH']}"
    assert lab.status()[0]["causes"] == {"node_failure": 1, "finished": 1}
    said = lab.launcher("logs", "--attempts", run.run_id)
    assert re.search(rf"{node} .* 0-\d+\+ +node_failure SLURM says NODE_FAIL\n", said)


def test_a_preempted_run_on_two_nodes_is_requeued_and_ends_as_if_nothing_had_happened(
    lab: Lab, undisturbed_on_two: RunDir
) -> None:
    lab.profile(gpus_per_node=1, partition="low0")
    assert "on 2 nodes x 1 GPU" in lab.submit("--set", "gpus=2", "--set", "epochs=150")
    run = lab.runs()[0]
    lab.wait_until_training(run)
    assert lab.cluster.show_job(lab.job_id())["NumNodes"].startswith("2")
    lab.cluster.sbatch("sleep 1", "-p", "high", "-w", "n2", "--gres=gpu:v100:4")
    lab.wait_until_finished()
    assert lab.causes() == ["preempted", "finished"]
    first, second = run.attempts()
    assert second["first_step"] == first["last_step"] > 0
    assert [attempt["environment"]["gpus"] for attempt in run.attempts()] == [2, 2]
    assert outcome(run) == outcome(undisturbed_on_two)
    lab.wait_until_at_rest()


def test_without_scontrol_in_the_job_a_marker_is_left_and_resume_goes_on(
    lab: Lab, undisturbed: RunDir
) -> None:
    lab.program("scontrol", "exit 127")
    lab.profile(setup=[f"export PATH={lab.folder}/bin:$PATH"])
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    user_signal(lab)
    wait_for(run.needs_resume.exists, TIMEOUT_S, "the marker")
    lab.wait_until_at_rest()
    assert lab.cluster.job_state(lab.job_id()) == "COMPLETED"
    assert lab.states() == ["stopped"]
    assert lab.status()[0]["detail"].endswith("; it could not be requeued")
    assert "continue" in lab.launcher("resume")
    lab.wait_until_finished()
    assert not run.needs_resume.exists()
    assert lab.causes() == ["stopped", "finished"]
    assert outcome(run) == outcome(undisturbed)


def test_a_cancelled_run_stays_cancelled_until_it_is_asked_for(lab: Lab) -> None:
    """Whoever cancels: SLURM's own command, and the launcher's."""
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    lab.cluster.run("scancel", lab.job_id())
    lab.wait_until_at_rest()
    assert lab.causes() == ["cancelled"]
    assert lab.states() == ["cancelled"]
    assert "leave 1" in lab.launcher("resume")
    assert "leave 1" in lab.submit()
    assert "continue 1" in lab.launcher("resume", "--cancelled")
    lab.wait_until_training(run, attempt=2)
    assert "cancelled 1 run, 1 of them running" in lab.launcher("cancel", "sweep")
    lab.wait_until_at_rest()
    assert lab.causes() == ["cancelled", "cancelled"]
    assert run.attempts()[1]["first_step"] == run.attempts()[0]["last_step"]
    assert lab.states() == ["cancelled"]


def test_a_run_that_waits_in_the_queue_can_be_cancelled(lab: Lab) -> None:
    lab.fill_the_cluster()
    lab.submit()
    wait_for(lambda: lab.states() == ["queued"], TIMEOUT_S, "the run to wait")
    assert lab.status()[0]["reason"] in ("Resources", "Priority", "None")
    lab.launcher("cancel", "sweep")
    assert lab.states() == ["cancelled"]
    assert lab.runs()[0].attempts() == []


def test_a_job_requeued_in_held_state_is_released_by_resume(lab: Lab) -> None:
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    lab.cluster.run("scontrol", "requeuehold", lab.job_id())
    wait_for(lambda: lab.states() == ["held"], TIMEOUT_S, "the job to be held")
    assert "release 1" in lab.launcher("resume")
    lab.wait_until_finished()
    assert len(lab.sweep.submissions()) == 1
    assert lab.causes() == ["stopped", "finished"]


def test_a_held_job_is_shown_as_held_and_resume_releases_it(lab: Lab) -> None:
    lab.fill_the_cluster()
    lab.submit("--set", "epochs=1")
    lab.cluster.run("scontrol", "hold", lab.job_id())
    assert lab.states() == ["held"]
    assert "release 1" in lab.launcher("resume")
    assert lab.states() == ["queued"]
    assert len(lab.sweep.submissions()) == 1


# ---- runs that share a GPU


FAILS_AND_IS_CANCELLED = """
seeds: 4
overrides:
  - {when: seed == 1, set: {lr: 1.0e+30}}
resources: {runs_per_gpu: 4}
"""


def test_of_runs_that_share_a_gpu_one_fails_one_is_cancelled_and_the_others_go_on_together(
    lab: Lab, undisturbed: RunDir
) -> None:
    lab.profile(mem="100M", partition="low0")
    lab.matrix.write_text(MATRIX + FAILS_AND_IS_CANCELLED)
    assert "1 job of 4 runs; those of a job share its GPU" in lab.submit()
    first, failed, cancelled, last = lab.runs()
    for run in (first, cancelled, last):
        lab.wait_until_training(run)
    wait_for(lambda: failed.holder() is None, TIMEOUT_S, "a run to fail")
    assert lab.states() == ["running", "failed", "running", "running"]
    facts = lab.cluster.show_job(lab.job_id())
    assert (facts["NumTasks"], facts["MinMemoryNode"]) == ("4", "400M")
    assert facts["TresPerNode"].endswith("gpu:v100:1")
    assert "the job goes on for other runs" in lab.launcher(
        "cancel", "sweep", "--only", "seed == 2"
    )
    preemption_without_grace(lab)
    wait_for(lambda: first.is_finished() and last.is_finished(), TIMEOUT_S, "two to finish")
    lab.wait_until_at_rest()
    causes = [[attempt["cause"] for attempt in run.attempts()] for run in lab.runs()]
    assert causes == [
        ["preempted", "finished"], ["loss_not_finite"], ["cancelled"], ["preempted", "finished"],
    ]  # fmt: skip
    assert {attempt["gpu_ids"] for run in lab.runs() for attempt in run.attempts()} <= set("0123")
    for run in (first, last):
        stopped, went_on = run.attempts()
        assert went_on["first_step"] == stopped["last_step"] > 0
        assert [stopped["restart"], went_on["restart"]] == [0, 1]
    assert outcome(first) == outcome(undisturbed)
    assert lab.cluster.job_state(lab.job_id()) == "COMPLETED"
    assert lab.states() == ["finished", "failed", "cancelled", "finished"]
    assert "leave 4" in lab.launcher("resume")
    assert len(lab.sweep.submissions()) == 1


# ---- exactly once


def test_an_answer_of_sbatch_that_is_lost_makes_no_second_job(lab: Lab) -> None:
    """sbatch is accepted and then says that it timed out; the job is found by its token."""
    real = shutil.which("sbatch")
    lab.program("sbatch", f'{real} "$@" >/dev/null; echo "Socket timed out" >&2; exit 1')
    lab.environment["PATH"] = f"{lab.folder}/bin:{lab.environment['PATH']}"
    assert "submitted job" in lab.submit("--set", "epochs=1")
    lab.wait_until_finished()
    assert len(lab.sweep.submissions()) == 1


def test_a_launcher_killed_during_sbatch_is_adopted_by_the_next_command(
    lab: Lab, undisturbed: RunDir
) -> None:
    real = shutil.which("sbatch")
    # Its parent is the launcher.
    lab.program("sbatch", f'{real} "$@" >/dev/null; kill -9 $PPID; exec sleep 1')
    path = lab.environment["PATH"]
    lab.environment["PATH"] = f"{lab.folder}/bin:{path}"
    lab.launcher("submit", "sweep.yaml", status=-signal.SIGKILL)
    lab.environment["PATH"] = path
    (record,) = lab.sweep.submissions().values()
    assert "job_id" not in record
    assert "leave 1" in lab.submit()
    (record,) = lab.sweep.submissions().values()
    assert "job_id" in record
    lab.wait_until_finished()
    assert outcome(lab.runs()[0]) == outcome(undisturbed)
    assert lab.causes() == ["finished"]


def test_a_launcher_killed_before_the_job_was_accepted_leaves_the_run_to_resume(
    lab: Lab,
) -> None:
    """Until it is sure that the job does not turn up, the run is not submitted again."""
    lab.program("sbatch", "kill -9 $PPID; exit 1")
    path = lab.environment["PATH"]
    lab.environment["PATH"] = f"{lab.folder}/bin:{path}"
    lab.launcher("submit", "sweep.yaml", "--set", "epochs=1", status=-signal.SIGKILL)
    lab.environment["PATH"] = path
    assert lab.states() == ["queued"]
    assert "leave 1" in lab.submit("--set", "epochs=1")
    ((file, record),) = lab.sweep.submissions().items()
    lab.sweep.write_submission(
        record | {"submitted_unix_s": record["submitted_unix_s"] - 200}, file
    )
    assert "start 1 on SLURM" in lab.launcher("resume")
    lab.wait_until_finished()


def test_a_job_that_no_node_can_run_is_refused_in_slurms_words(lab: Lab) -> None:
    """SLURM keeps a record of such a job, which is not to be taken for an accepted one."""
    lab.profile(mem="900G")
    said = lab.launcher("submit", "sweep.yaml", status=1)
    assert "error: sbatch refused: Memory specification can not be satisfied" in said
    assert lab.states() == ["planned"]


def test_what_sbatch_refuses_is_told_in_its_own_words_and_can_be_submitted_again(lab: Lab) -> None:
    lab.profile(partition="nosuch")
    said = lab.launcher("submit", "sweep.yaml", status=1)
    assert "error: sbatch refused:" in said
    assert "nvalid partition" in said
    assert lab.states() == ["planned"]
    lab.profile()
    lab.submit("--set", "epochs=1")
    lab.wait_until_finished()


def test_two_jobs_never_train_one_run(lab: Lab) -> None:
    """A second job for the same run ends, and does not disturb the first."""
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    script = next(lab.sweep.path.glob("slurm/*/*/*submission.sh"))
    lab.cluster.run("sbatch", "--job-name=copy", "--requeue", str(script))
    wait_for(lambda: len(lab.jobs()) == 1, TIMEOUT_S, "the copy to end")
    assert run.read_result() is None, "the first was still at work"
    logs = [path.read_text() for path in lab.sweep.path.glob("slurm/*/*/*_log.out")]
    assert sum("LeaseHeldError" in text for text in logs) == 1
    lab.wait_until_finished()
    assert lab.causes() == ["finished"]


def test_two_people_who_submit_the_same_at_once_start_every_run_once(lab: Lab) -> None:
    words = [sys.executable, "-m", "launcher", "submit", "sweep.yaml", "--set", "seeds=2"]
    words += ["--set", "epochs=20"]
    both = [subprocess.Popen(words, env=lab.environment, cwd=lab.folder) for _ in range(2)]
    assert [process.wait(timeout=TIMEOUT_S) for process in both] == [0, 0]
    lab.wait_until_finished()
    assert len(lab.sweep.submissions()) == 1
    assert [len(run.attempts()) for run in lab.runs()] == [1, 1]


def test_when_slurm_does_not_answer_the_files_are_shown_and_a_cancel_still_counts(
    lab: Lab,
) -> None:
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    path = lab.environment["PATH"]
    lab.program("squeue", 'echo "Unable to contact slurm controller" >&2; exit 1')
    lab.environment["PATH"] = f"{lab.folder}/bin:{path}"
    said = lab.launcher("status")
    assert "warning: `squeue` failed: Unable to contact slurm controller" in said
    assert "sweep: running 1" in said
    lab.launcher("resume", status=1)
    lab.launcher("cancel", "sweep", status=1)
    assert run.is_cancelled()
    lab.environment["PATH"] = path
    lab.launcher("cancel", "sweep")
    lab.wait_until_at_rest()
    assert lab.states() == ["cancelled"]


# ---- frozen code


def test_a_queued_job_runs_the_code_as_it_was_submitted(lab: Lab, undisturbed: RunDir) -> None:
    source = lab.run_from_a_copy()
    fillers = lab.fill_the_cluster()
    lab.submit()
    assert lab.states() == ["queued"]
    optim = source / "jobs" / "optim.py"
    good = optim.read_text()
    optim.write_text("raise RuntimeError('edited while queued')\n")
    # A file of that name in the working directory does not get in between either.
    (lab.folder / "jobs").mkdir()
    (lab.folder / "jobs" / "__init__.py").write_text("raise RuntimeError('the wrong jobs')\n")
    lab.cluster.run("scancel", *fillers)
    run = lab.runs()[0]
    lab.wait_until_training(run)
    user_signal(lab)
    lab.wait_until_finished()
    assert outcome(run) == outcome(undisturbed)
    hashes = {attempt["code"] for attempt in run.attempts()}
    assert len(hashes) == 1
    frozen = lab.sweep.code_folder(hashes.pop())
    assert (frozen / "jobs" / "optim.py").read_text() == good


def test_update_code_goes_on_with_the_code_of_today(lab: Lab) -> None:
    source = lab.run_from_a_copy()
    lab.submit()
    run = lab.runs()[0]
    lab.wait_until_training(run)
    lab.launcher("cancel", "sweep")
    lab.wait_until_at_rest()
    (source / "jobs" / "extra.py").write_text("")
    lab.launcher("resume", "--cancelled")
    lab.wait_until_training(run, attempt=2)
    lab.launcher("cancel", "sweep")
    lab.wait_until_at_rest()
    lab.launcher("resume", "--cancelled", "--update-code")
    lab.wait_until_training(run, attempt=3)
    first, second, third = (attempt["code"] for attempt in run.attempts())
    assert first == second != third


# ---- without accounting


def test_without_accounting_the_same_is_told_from_squeue_and_the_files(
    slurm_cluster: SlurmCluster, tmp_path: Path
) -> None:
    with SlurmCluster(accounting=False) as cluster:
        lab = Lab(cluster, tmp_path)
        lab.submit()
        run = lab.runs()[0]
        lab.wait_until_training(run)
        assert lab.states() == ["running"]
        cluster.run("scancel", lab.job_id())
        lab.wait_until_at_rest()
        assert lab.states() == ["cancelled"]
        lab.launcher("resume", "--cancelled")
        lab.wait_until_finished()
        assert lab.states() == ["finished"]
        assert lab.causes() == ["cancelled", "finished"]


def test_a_job_that_died_before_the_run_began_is_failed_and_its_output_is_shown(lab: Lab) -> None:
    lab.profile(setup=["module load nosuch"])
    lab.submit()
    lab.wait_until_at_rest()
    wait_for(lambda: lab.states() == ["failed"], TIMEOUT_S, "the failure to be known")
    assert "its job ended before the run began" in lab.status()[0]["detail"]
    assert "module: command not found" in lab.launcher("logs", "resnet_small")
