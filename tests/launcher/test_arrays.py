from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ExecutionError
from jobs.sweep_dir import SweepDir
from launcher import arrays, sbatch, slurm
from launcher.arrays import (
    BLOCK_STOP_SIGNALS,
    MAX_TASKS,
    Array,
    SubmitLimitError,
    cut,
    sbatch_parameters,
    submit_arrays,
)
from launcher.cluster import Layout, Resources, SlurmProfile
from launcher.matrix import read_matrix
from launcher.sbatch import BatchScript
from launcher.slurm import Task
from launcher.status import sweep_status
from launcher.submit import last_profile, plan_submission
from tests.launcher.answers import Slurm, record_of

GOLDEN = Path(__file__).parent / "golden_sbatch.sh"
GOLDEN_TWO_NODES = Path(__file__).parent / "golden_sbatch_two_nodes.sh"
GOLDEN_SHARED = Path(__file__).parent / "golden_sbatch_shared_gpu.sh"

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
    setup=("module load cuda",),
    exclude="n[1-2],n7",
    nodelist="n3",
    reservation="course",
    nice=100,
    mail_user="me@example.org",
)


@pytest.fixture(autouse=True)
def _srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit makes no script where there is no srun."""
    program = tmp_path / "bin" / "srun"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def script(profile: SlurmProfile, gpus: int = 1, after: Sequence[str] = ()) -> str:
    """The batch script of twenty runs."""
    code, pickle = Path("/runs/it's/code/abc"), Path("/runs/it's/slurm/me/t0/task.pkl")
    array = Array(["a run"] * 20, profile, profile.layout(gpus), parallelism=8)
    parameters = sbatch_parameters(array, "sweep-1f2e3d4c", code, pickle, after)
    return (
        BatchScript(pickle.parent, **parameters).text(array.jobs).replace(sys.executable, "PYTHON")
    )


def test_the_batch_script_is_the_golden_one() -> None:
    assert script(PROFILE) == GOLDEN.read_text()


def test_the_batch_script_of_runs_on_two_nodes_that_wait_for_others_is_the_golden_one() -> None:
    assert script(PROFILE, gpus=8, after=["77", "78"]) == GOLDEN_TWO_NODES.read_text()


def test_the_batch_script_of_runs_that_share_a_gpu_is_the_golden_one() -> None:
    assert script(PROFILE.with_resources(Resources(runs_per_gpu=3))) == GOLDEN_SHARED.read_text()


def test_what_a_profile_leaves_open_is_left_to_the_cluster() -> None:
    said = script(SlurmProfile(time="10"))
    for option in ("partition", "account", "qos", "gres", "mem", "constraint", "mail", "wckey"):
        assert f"--{option}" not in said
    assert "#SBATCH --requeue" in said


def test_the_script_stops_at_the_first_setup_line_that_fails(tmp_path: Path) -> None:
    text = script(SlurmProfile(time="10", setup=("false",)))
    text = text.replace("srun ", "echo reached srun ")
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "reached" not in done.stdout


def test_every_task_finds_the_shared_pickle_where_submitit_looks_for_its_own(
    tmp_path: Path,
) -> None:
    pickle = tmp_path / "it's here" / "task.pkl"
    pickle.parent.mkdir()
    pickle.write_bytes(b"the job")
    array = Array(["a run"], SlurmProfile(time="10"), Layout(), parallelism=1)
    setup = sbatch_parameters(array, "x", tmp_path, pickle)["setup"]
    for task, name in [
        ({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3_submitted.pkl"),
        ({}, "12_submitted.pkl"),
    ]:
        environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "12", **task}
        environment |= {"PYTHONPATH": "/of/a/module", "SLURM_CPUS_PER_TASK": "3"}
        run = [
            'echo "$PYTHONPATH $PYTHONSAFEPATH $OMP_NUM_THREADS"',
            f"cat {name} && touch {name.replace('submitted', '0_result')}",
        ]
        lines = "\n".join([*setup, f"cd {shlex.quote(str(pickle.parent))}", *run])
        said = subprocess.check_output(["bash", "-c", lines], env=environment, text=True)
        assert said == f"{tmp_path}:/of/a/module 1 3\nthe job"
        assert list(pickle.parent.iterdir()) == [pickle], "what a task leaves goes with it"


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
    small = SlurmProfile(time="10", gpus_per_node=4, array_parallelism=parallelism)
    large = SlurmProfile(time="20", gpus_per_node=4)
    gpus = {f"{group}-{run}": group for group, size in enumerate(sizes, 1) for run in range(size)}
    profiles = {run_id: large if gpus[run_id] == 3 else small for run_id in gpus}
    pieces = cut(profiles, gpus, max_array_size)
    for group in range(1, len(sizes) + 1):
        of_group = [piece for piece in pieces if gpus[piece.run_ids[0]] == group]
        together = [run_id for piece in of_group for run_id in piece.run_ids]
        assert together == [run_id for run_id in gpus if gpus[run_id] == group]
        assert {piece.layout for piece in of_group} == {small.layout(group)}
        assert {piece.profile for piece in of_group} == {profiles[together[0]]}
    assert all(1 <= len(piece.run_ids) <= min(max_array_size, MAX_TASKS) for piece in pieces)
    shares = [piece.parallelism for piece in pieces if piece.profile == small]
    assert not shares or min(shares) >= 1
    assert not shares or sum(shares) == max(parallelism, len(shares))
    assert not shares or max(shares) - min(shares) <= 1


def test_runs_go_into_one_array_for_each_number_of_gpus_that_they_were_last_given(
    matrix: Path,
) -> None:
    for gpus in (8, 4):  # with batch norm over the whole batch, it is the same run on fewer
        asked = read_matrix(matrix, ["bn=sync", f"gpus={gpus}"])
        submission = plan_submission(asked, Path("runs"))
        submission.write()
    alone = read_matrix(matrix, ["bn=sync", "seeds=[7]"])
    plan_submission(alone, Path("runs")).write()
    (first, second), (third, fourth) = (list(m.runs) for m in (asked, alone))
    now = {status.run_id: status for status in sweep_status(submission.sweep)}
    gpus = {run_id: now[run_id].gpus for run_id in (first, third, second, fourth)}
    found = cut(dict.fromkeys(gpus, PROFILE), gpus, 1001)
    assert [(array.layout, array.run_ids) for array in found] == [
        (Layout(nodes=1, tasks_per_node=4), [first, second]),
        (Layout(nodes=1, tasks_per_node=1), [third, fourth]),
    ]


@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 50), st.integers(1, 60))
def test_runs_that_share_a_gpu_fill_jobs_and_stand_in_arrays_that_are_allowed(
    count: int, together: int, max_array_size: int, size: int
) -> None:
    profile = SlurmProfile(time="10", gpus_per_node=4, runs_per_gpu=together)
    gpus = {str(run): 1 for run in range(count)} | {"large": 4}
    pieces = cut(dict.fromkeys(gpus, profile), gpus, max_array_size)
    assert [run_id for piece in pieces for run_id in piece.run_ids] == list(gpus)
    large = pieces.pop()
    assert (large.run_ids, large.layout.runs_per_job) == (["large"], 1)
    for piece in pieces:
        assert piece.layout.runs_per_job == min(together, count)
        assert 1 <= piece.jobs <= max(1, max_array_size)
        assert piece.jobs == 1 or piece.jobs * piece.layout.tasks_per_node <= MAX_TASKS
        assert sum(piece.runs_of_jobs) == len(piece.run_ids)
        assert set(piece.runs_of_jobs[:-1]) <= {piece.layout.runs_per_job}
        first, rest = piece.split(min(size, piece.jobs), 100)
        assert first.jobs + rest.jobs == piece.jobs
        assert first.run_ids + rest.run_ids == piece.run_ids
    assert all(len(piece.run_ids) % piece.layout.runs_per_job == 0 for piece in pieces[:-1])


# ---- limits, and answers that are lost


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(monkeypatch)


class Sbatch:
    """Answers in place of sbatch: a job's id, or the error that is due; and does not wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: Slurm) -> None:
        self.sizes: list[int] = []
        self.parallelism: list[int] = []
        self.errors: list[Exception | None] = []
        self.limit = 10_000
        self.slurm = answers
        monkeypatch.setattr(sbatch, "submit", self.submit)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.now_s = 1.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def submit(self, script: Path) -> str:
        text = script.read_text()
        array = re.search(r"--array=0-(\d+)%(\d+)", text)
        self.sizes.append(int(array[1]) + 1 if array else 1)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        if self.sizes[-1] > self.limit:
            raise sbatch.LimitError("QOSMaxSubmitJobPerUserLimit")
        self.limit -= self.sizes[-1]
        self.parallelism.append(int(array[2]) if array else 1)
        return str(70 + len(self.sizes))


@pytest.fixture
def answering_sbatch(monkeypatch: pytest.MonkeyPatch, answers: Slurm) -> Sbatch:
    return Sbatch(monkeypatch, answers)


def submit(sweep: SweepDir, run_ids: Sequence[str], profile: SlurmProfile = PROFILE) -> list[str]:
    profiles, gpus = dict.fromkeys(run_ids, profile), dict.fromkeys(run_ids, 1)
    return list(submit_arrays(sweep, profiles, gpus, PROFILE, "code", after=["12"]))


@pytest.fixture
def many(matrix: Path, tmp_path: Path) -> SweepDir:
    """A sweep of forty runs."""
    submission = plan_submission(read_matrix(matrix, ["seeds=20"]), tmp_path / "runs")
    submission.write()
    return submission.sweep


def test_what_a_record_keeps_is_enough_to_go_on(sweep: SweepDir, answering_sbatch: Sbatch) -> None:
    wishes = PROFILE.with_resources(Resources(mem="32G"))
    assert submit(sweep, sweep.named_runs(), wishes) == ["71"]
    record = record_of(sweep)
    assert (record["job_id"], record["after"], record["runs"]) == ("71", ["12"], sweep.named_runs())
    assert SlurmProfile.model_validate(record["profile"]) == wishes
    assert last_profile(sweep) == (PROFILE, "code")
    (path,) = sweep.submissions()
    old = {key: value for key, value in record.items() if key != "base_profile"}
    sweep.write_submission(old, path)
    assert last_profile(sweep) == (wishes, "code")


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (0, [40, 20, 10, 5, 3, 2, 1]),
        (1, [40, 20, 10, 5, 3, 2, 1]),
        (13, [40, 20, 10, 5, 3, 1]),
        (39, [40, 20, 10, 5, 3, 1]),
        (40, [40]),
    ],
)
def test_as_many_runs_go_as_a_limit_allows_and_the_others_stay_planned(
    limit: int, sizes: list[int], many: SweepDir, answering_sbatch: Sbatch
) -> None:
    answering_sbatch.limit = limit
    run_ids = many.named_runs()
    if limit < 40:
        with pytest.raises(SubmitLimitError) as caught:
            submit(many, run_ids)
        assert str(caught.value) == (
            f"{limit} of 40 runs submitted, {40 - limit} wait: SLURM takes no more now "
            "(QOSMaxSubmitJobPerUserLimit); `launcher resume tiny` tops up"
        )
    else:
        submit(many, run_ids)
    assert answering_sbatch.sizes == sizes
    records = many.submissions().values()
    accepted = [record for record in records if "job_id" in record]
    assert [run_id for record in accepted for run_id in record["runs"]] == run_ids[:limit]
    assert len(records) - len(accepted) <= 1, "a try that was refused leaves no record of its own"
    assert limit == 0 or sum(answering_sbatch.parallelism) <= 16 + len(accepted)
    answering_sbatch.slurm.queue = [
        Task(record["name"], record["job_id"], index, "PENDING")
        for record in accepted
        for index in range(len(record["runs"]))
    ]
    states = [status.state for status in sweep_status(many)]
    assert states == ["queued"] * limit + ["planned"] * (40 - limit)


def test_a_limit_counts_jobs_and_not_the_runs_that_share_them(
    many: SweepDir, answering_sbatch: Sbatch
) -> None:
    answering_sbatch.limit = 4
    shared = PROFILE.with_resources(Resources(runs_per_gpu=6))
    with pytest.raises(SubmitLimitError, match="24 of 40 runs submitted, 16 wait"):
        submit(many, many.named_runs(), shared)
    assert answering_sbatch.sizes == [7, 4, 2, 1]
    (accepted,) = (record for record in many.submissions().values() if "job_id" in record)
    assert (accepted["runs"], accepted["runs_per_job"]) == (many.named_runs()[:24], 6)


def test_a_full_queue_is_not_asked_again_and_another_one_is(
    many: SweepDir, answering_sbatch: Sbatch
) -> None:
    first, second, third, *_ = many.named_runs()
    elsewhere = PROFILE.model_copy(update={"partition": "other"})
    more = PROFILE.with_resources(Resources(mem="64G"))
    answering_sbatch.errors = [sbatch.LimitError("AssocMaxSubmitJobLimit"), None]
    profiles = {first: PROFILE, second: more, third: elsewhere}
    with pytest.raises(SubmitLimitError, match="1 of 3 runs submitted, 2 wait"):
        list(submit_arrays(many, profiles, dict.fromkeys(profiles, 1), PROFILE, "code"))
    assert answering_sbatch.sizes == [1, 1]
    assert [record["runs"] for record in many.submissions().values()] == [[first], [third]]


def test_a_request_that_cannot_have_arrived_is_sent_again_with_growing_patience(
    sweep: SweepDir, answering_sbatch: Sbatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering_sbatch.errors = [sbatch.NotSentError("connect failure")] * 3
    assert submit(sweep, sweep.named_runs()) == ["74"]
    assert answering_sbatch.now_s == 1 + 1 + 2 + 4
    assert "(connect failure); trying again in 4 s" in capsys.readouterr().err
    assert record_of(sweep)["job_id"] == "74"
    assert answering_sbatch.slurm.asked == []


def test_a_slurm_that_cannot_be_reached_for_minutes_leaves_nothing_under_way(
    sweep: SweepDir, answering_sbatch: Sbatch
) -> None:
    answering_sbatch.errors = [sbatch.NotSentError("connect failure")] * 99
    with pytest.raises(ExecutionError, match="nothing was submitted; try again"):
        submit(sweep, sweep.named_runs())
    assert answering_sbatch.now_s < 310
    assert {status.state for status in sweep_status(sweep)} == {"planned"}


def test_a_job_whose_answer_was_lost_is_found_and_not_sent_again(
    sweep: SweepDir, answering_sbatch: Sbatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering_sbatch.errors = [sbatch.NoAnswerError("Socket timed out")]

    def appear(seconds: float) -> None:
        answering_sbatch.slurm.queue = [Task(record_of(sweep)["name"], "99", 0, "PENDING")]

    monkeypatch.setattr(time, "sleep", appear)
    assert submit(sweep, sweep.named_runs()) == ["99"]
    assert answering_sbatch.sizes == [2]
    assert record_of(sweep)["job_id"] == "99"


def test_a_job_that_slurm_does_not_show_for_long_is_sent_again_under_its_name(
    sweep: SweepDir, answering_sbatch: Sbatch
) -> None:
    answering_sbatch.errors = [sbatch.NoAnswerError("Socket timed out")]
    assert submit(sweep, sweep.named_runs()) == ["72"]
    assert answering_sbatch.now_s >= arrays.ABSENT_FOR_S
    assert answering_sbatch.slurm.asked[:2] == ["squeue", "sacct"]
    assert record_of(sweep)["job_id"] == "72"


def test_while_slurm_does_not_say_whether_a_job_is_there_it_is_not_sent_again(
    sweep: SweepDir, answering_sbatch: Sbatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*anything: object) -> list[Task]:
        raise ExecutionError("`squeue` failed")

    monkeypatch.setattr(slurm, "squeue", down)
    answering_sbatch.errors = [sbatch.NoAnswerError("Socket timed out")]
    with pytest.raises(
        ExecutionError, match=r"no answer \(Socket timed out\), and it is not known"
    ):
        submit(sweep, sweep.named_runs())
    assert answering_sbatch.sizes == [2]
    assert 300 <= answering_sbatch.now_s < 310
    assert not {"job_id", "refused"} & record_of(sweep).keys()


def test_an_sbatch_that_was_stopped_in_a_full_cluster_may_have_come_through(
    sweep: SweepDir, answering_sbatch: Sbatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering_sbatch.errors = [sbatch.FullError("Slurm temporarily unable to accept job")]
    monkeypatch.setattr(slurm, "squeue", lambda names: [Task(names[0], "99", 0, "PENDING")])
    assert submit(sweep, sweep.named_runs()) == ["99"]
