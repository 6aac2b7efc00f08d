from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitit.slurm.slurm import _make_sbatch_string

from jobs.processes import this_process
from jobs.run_dir import SweepDir
from launcher import arrays, slurm
from launcher.arrays import BLOCK_STOP_SIGNALS, Array, cut, sbatch_parameters, tasks_of_runs
from launcher.cluster import Layout, SlurmProfile
from launcher.matrix import read_matrix
from launcher.slurm import Task
from launcher.status import sweep_status
from launcher.submit import plan_submission

GOLDEN = Path(__file__).parent / "golden_sbatch.sh"
GOLDEN_TWO_NODES = Path(__file__).parent / "golden_sbatch_two_nodes.sh"

PROFILE = SlurmProfile(
    time="1-12:00:00",
    partition="gpu_8,gpu_4",
    account="lab",
    qos="normal",
    gres="gpu:v100:1",
    gpus_per_node=4,
    cpus_per_task=4,
    mem="16G",
    constraint="v100&nvlink",
    setup=["module load cuda"],
    mail_user="me@example.org",
    mail_type="END,FAIL",
)


def script(profile: SlurmProfile, gpus: int = 1) -> str:
    """What submitit writes for a profile; its own function, since a script needs a cluster."""
    code, pickle = Path("/runs/it's/code/abc"), Path("/runs/it's/slurm/me/t0/task.pkl")
    array = Array(["a run"] * 20, profile.layout(gpus), parallelism=8)
    return _make_sbatch_string(
        command="PYTHON -u -m submitit.core._submit FOLDER",
        folder=str(pickle.parent),
        map_count=20,
        **sbatch_parameters(profile, "sweep-1f2e3d4c", array, code, pickle),
    ).replace(sys.executable, "PYTHON")


def test_the_batch_script_is_the_golden_one() -> None:
    assert script(PROFILE) == GOLDEN.read_text()


def test_the_batch_script_of_runs_on_two_nodes_is_the_golden_one() -> None:
    assert script(PROFILE, gpus=8) == GOLDEN_TWO_NODES.read_text()


def test_what_a_profile_leaves_open_is_left_to_the_cluster() -> None:
    said = script(SlurmProfile(time="10"))
    for option in ("partition", "account", "qos", "gres", "mem", "constraint", "mail", "wckey"):
        assert f"--{option}" not in said
    assert "#SBATCH --requeue" in said


def test_the_script_stops_at_the_first_setup_line_that_fails(tmp_path: Path) -> None:
    text = script(SlurmProfile(time="10", setup=["false"]))
    text = text.replace("srun ", "echo reached srun ")
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "reached" not in done.stdout


def test_every_task_puts_the_shared_pickle_where_submitit_looks_for_its_own(tmp_path: Path) -> None:
    pickle = tmp_path / "it's here" / "task.pkl"
    pickle.parent.mkdir()
    pickle.write_bytes(b"the job")
    array = Array(["a run"], Layout(), parallelism=1)
    setup = sbatch_parameters(SlurmProfile(time="10"), "x", array, tmp_path, pickle)["setup"]
    for task, name in [
        ({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3_submitted.pkl"),
        ({}, "12_submitted.pkl"),
    ]:
        environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "12", **task}
        environment |= {"PYTHONPATH": "/of/a/module", "SLURM_CPUS_PER_TASK": "3"}
        lines = "\n".join([*setup, 'echo "$PYTHONPATH $PYTHONSAFEPATH $OMP_NUM_THREADS"'])
        said = subprocess.check_output(["bash", "-c", lines], env=environment, text=True)
        assert said.strip() == f"{tmp_path}:/of/a/module 1 3"
        assert (pickle.parent / name).read_bytes() == b"the job"


def test_a_submission_from_inside_a_job_takes_nothing_of_it_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/of/the/cluster")
    for name in ("SLURM_ARRAY_TASK_ID", "SLURM_CPU_BIND", "SUBMITIT_FOLDER"):
        monkeypatch.setenv(name, "3")
    with arrays._outside_of_any_job():
        assert {key for key in os.environ if key.startswith(("SLURM_", "SUBMITIT_"))} == {
            "SLURM_CONF"
        }
    assert os.environ["SLURM_ARRAY_TASK_ID"] == "3"


def test_signals_that_come_before_the_handlers_wait() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); print('alive')"
    words = [sys.executable, "-I", "-S", "-c", BLOCK_STOP_SIGNALS, sys.executable, "-c", code]
    assert subprocess.check_output(words, text=True) == "alive\n"


# ---- pieces


@given(
    st.lists(st.integers(1, 2000), min_size=1, max_size=4),
    st.integers(1, 1001),
    st.integers(1, 300),
)
def test_the_pieces_hold_every_task_once_and_no_index_is_too_high(
    sizes: list[int], max_array_size: int, parallelism: int
) -> None:
    groups = {
        Layout(1, tasks): [f"{tasks}-{run}" for run in range(size)]
        for tasks, size in enumerate(sizes, start=1)
    }
    pieces = cut(groups, max_array_size, parallelism)
    for layout, run_ids in groups.items():
        of_layout = [piece.run_ids for piece in pieces if piece.layout == layout]
        assert [run_id for part in of_layout for run_id in part] == run_ids
    assert all(1 <= len(piece.run_ids) <= max_array_size for piece in pieces)
    shares = [piece.parallelism for piece in pieces]
    assert min(shares) >= 1
    assert sum(shares) == max(parallelism, len(pieces))
    assert max(shares) - min(shares) <= 1


def test_runs_go_into_one_array_for_each_number_of_gpus_that_they_were_last_given(
    matrix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Array] = []
    monkeypatch.setattr(slurm, "ask_config", lambda: slurm.Config("lab", 1001))
    monkeypatch.setattr(arrays, "_submit_array", lambda sweep, array, *_: submitted.append(array))
    for gpus in (8, 4):  # with batch norm over the whole batch, it is the same run on fewer
        asked = read_matrix(matrix, ["bn=sync", f"gpus={gpus}"])
        submission = plan_submission(asked, Path("runs"))
        submission.write()
    alone = read_matrix(matrix, ["bn=sync", "seeds=[7]"])
    plan_submission(alone, Path("runs")).write()
    (first, second), (third, fourth) = ([c.run_id for c in m.configs] for m in (asked, alone))
    run_ids = [first, third, second, fourth]
    list(arrays.submit_arrays(submission.sweep, run_ids, PROFILE, Path("code")))
    assert [(array.layout, array.run_ids) for array in submitted] == [
        (Layout(nodes=1, tasks_per_node=4), [first, second]),
        (Layout(nodes=1, tasks_per_node=1), [third, fourth]),
    ]


# ---- adoption and what SLURM says, with a SLURM that says what the real one cannot be made to


class Slurm:
    """Answers in place of squeue and sacct, and counts the questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue: list[Task] = []
        self.accounting: list[Task] = []
        self.asked: list[str] = []
        monkeypatch.setattr(slurm, "squeue", self.squeue)
        monkeypatch.setattr(slurm, "sacct", self.sacct)
        monkeypatch.setattr(slurm, "ask_config", lambda: slurm.Config("lab", 1001))

    def squeue(self, names: list[str], since_unix_s: float) -> list[Task]:
        self.asked.append("squeue")
        return [task for task in self.queue if task.name in names]

    def sacct(self, names: list[str], since_unix_s: float) -> list[Task]:
        self.asked.append("sacct")
        return [task for task in self.accounting if task.name in names]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(monkeypatch)


def add_submission(sweep: SweepDir, **facts: Any) -> dict[str, Any]:
    record = {
        "token": "t0",
        "executor": "slurm",
        "name": "tiny-t0",
        "cluster": "lab",
        "runs": sweep.named_runs(),
        "user": getpass.getuser(),
        "submitted_unix_s": 1000.0,
        **this_process(),
        "start_ticks": 1,  # a launcher that is gone
        **facts,
    }
    sweep.write_submission(record)
    return record


def record_of(sweep: SweepDir) -> dict[str, Any]:
    (record,) = sweep.submissions().values()
    return record


def test_a_job_that_squeue_shows_is_adopted(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep)
    answers.queue = [Task("tiny-t0", "77", 0, "PENDING"), Task("tiny-t0", "77", 1, "PENDING")]
    tasks_of_runs([sweep])
    assert record_of(sweep)["job_id"] == "77"
    assert answers.asked == ["squeue"]
    assert {status.state for status in sweep_status(sweep)} == {"queued"}


def test_a_job_that_only_the_accounting_remembers_is_adopted(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep)
    answers.accounting = [Task("tiny-t0", "77", 0, "FAILED")]
    tasks_of_runs([sweep])
    assert record_of(sweep)["job_id"] == "77"


def test_a_submission_that_never_reached_slurm_is_given_up_after_a_while(
    sweep: SweepDir, answers: Slurm
) -> None:
    import time

    add_submission(sweep, submitted_unix_s=time.time())
    tasks_of_runs([sweep])
    assert "refused" not in record_of(sweep)
    assert {status.state for status in sweep_status(sweep)} == {"queued"}, "it may yet turn up"
    (path,) = sweep.submissions()
    sweep.write_submission(record_of(sweep) | {"submitted_unix_s": time.time() - 100}, path)
    tasks_of_runs([sweep])
    assert record_of(sweep)["refused"] == "never reached SLURM"
    assert {status.state for status in sweep_status(sweep)} == {"planned"}


def test_a_submission_under_way_is_left_to_its_launcher(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, **this_process())
    tasks_of_runs([sweep])
    assert answers.asked == []
    assert {status.state for status in sweep_status(sweep)} == {"queued"}


def test_one_question_to_squeue_and_one_to_the_accounting_is_enough(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", 0, "RUNNING")]
    answers.accounting = [Task("tiny-t0", "77", 1, "NODE_FAIL", "n1")]
    first, second = sweep_status(sweep)
    assert answers.asked == ["squeue", "sacct"]
    assert (first.state, second.state) == ("running", "stopped")
    assert "NODE_FAIL" in second.detail
    # What has ended is written down, and not asked for again.
    answers.asked.clear()
    answers.accounting = []
    first, second = sweep_status(sweep)
    assert answers.asked == ["squeue"]
    assert (first.state, second.state) == ("running", "stopped")


def test_a_job_that_slurm_has_forgotten_has_ended(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77")
    assert {status.state for status in sweep_status(sweep)} == {"stopped"}


def test_a_job_of_another_cluster_is_not_taken_for_ended(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77", cluster="another")
    statuses = sweep_status(sweep)
    assert {status.state for status in statuses} == {"queued"}
    assert statuses[0].detail == "submitted to cluster another: ask there"


def test_the_job_of_a_colleague_that_is_not_shown_is_not_taken_for_ended(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77", user="colleague")
    assert {status.state for status in sweep_status(sweep)} == {"queued"}
    assert [run.observed() for run in sweep.runs()] == [[], []]


def test_what_nobody_knows_is_not_written_down(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77")
    assert {status.state for status in sweep_status(sweep)} == {"stopped"}
    answers.accounting = [Task("tiny-t0", "77", index, "CANCELLED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"cancelled"}


def test_a_late_word_of_slurm_does_not_undo_a_release(sweep: SweepDir, answers: Slurm) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "CANCELLED") for index in (0, 1)]
    sweep_status(sweep)
    run = sweep.runs()[0]
    run.observe("released")
    run.observe("cancelled", token="t0")
    assert not run.is_cancelled()
    run.observe("cancelled")
    assert run.is_cancelled()


def test_a_job_cancelled_elsewhere_stays_cancelled_when_slurm_has_forgotten_it(
    sweep: SweepDir, answers: Slurm
) -> None:
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "CANCELLED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"cancelled"}
    answers.queue = []
    assert {status.state for status in sweep_status(sweep)} == {"cancelled"}


def test_the_newest_submission_of_a_run_counts(sweep: SweepDir, answers: Slurm) -> None:
    first, second = sweep.named_runs()
    add_submission(sweep, job_id="77")
    newer = {"token": "t1", "name": "tiny-t1", "submitted_unix_s": 1001.0}
    add_submission(sweep, **newer, runs=[second], job_id="78")
    answers.queue = [
        Task("tiny-t0", "77", 0, "RUNNING"),
        Task("tiny-t0", "77", 1, "CANCELLED"),
        Task("tiny-t1", "78", 0, "PENDING", "Priority", is_array=False),
    ]
    tasks = {path.name: task.id for path, task in tasks_of_runs([sweep]).items()}
    assert tasks == {first: "77_0", second: "78"}
    states = {status.run_id: (status.state, status.detail) for status in sweep_status(sweep)}
    assert states == {first: ("running", ""), second: ("queued", "Priority")}


def test_a_sweep_of_somebody_else_can_be_looked_at(
    sweep: SweepDir, answers: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*anything: object, **facts: object) -> None:
        raise PermissionError

    monkeypatch.setattr("jobs.run_dir.RunDir.observe", refused)
    add_submission(sweep, job_id="77")
    answers.queue = [Task("tiny-t0", "77", index, "COMPLETED") for index in (0, 1)]
    assert {status.state for status in sweep_status(sweep)} == {"failed"}


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("invalid partition; Batch job submission failed: Invalid partition name specified", True),
        ("Batch job submission failed: Job violates accounting/QOS policy", True),
        ("Batch job submission failed: Socket timed out on send/recv operation", False),
        ("Batch job submission failed: Unable to contact slurm controller", False),
        ("odd", False),
    ],
)
def test_only_a_clear_no_of_sbatch_is_taken_for_one(said: str, refused: bool) -> None:
    assert arrays._is_refusal(said) is refused


def test_the_words_of_sbatch_are_told_without_submitits_around_them() -> None:
    error = arrays.FailedJobError("...\nsbatch: error: QOS limit\nsbatch: error: Batch job failed")
    assert arrays._last_line(error) == "QOS limit; Batch job failed"
    assert json.dumps(arrays._last_line(arrays.FailedJobError("odd"))) == '"odd"'
