"""The rehearsal on a real SLURM, and what it says where a step does not come about."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import ExecutionError, InputError
from jobs.sweep_dir import SweepDir
from launcher import slurm
from launcher.cluster import Cluster, SlurmProfile
from launcher.doctor import rehearsal
from launcher.doctor.examination import examine
from launcher.doctor.findings import Verdict
from launcher.doctor.rehearsal import Rehearsal, StepError, rehearse
from launcher.plan import State
from launcher.printing import make_console
from launcher.run_status import RunStatus
from tests.launcher.conftest import add_attempt
from tests.slurm_cluster import SlurmCluster

LAB = {"gres": "gpu:v100:1", "gpus_per_node": 4, "mem": "2G", "time": "2h"}


def lab_cluster() -> Cluster:
    names = ("low", "low0", "high")
    profiles = {name: SlurmProfile.model_validate({**LAB, "partition": name}) for name in names}
    return Cluster(profiles, "low")


# ---- on a real cluster


def test_on_a_real_cluster_the_doctor_is_right_and_the_rehearsal_gets_to_its_end(
    slurm_cluster: SlurmCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in slurm_cluster.env.items():
        monkeypatch.setenv(key, value)
    slurm.ask_config.cache_clear()
    short = tmp_path / "short.yaml"
    short.write_text(rehearsal.MATRIX.read_text().replace("epochs: 1000", "epochs: 150"))
    monkeypatch.setattr(rehearsal, "MATRIX", short)
    monkeypatch.setattr("launcher.doctor.examination.ask_torch", lambda types: "not asked")
    try:
        said = {name: texts(name) for name in ("low", "low0", "high")}
        rehearse(lab_cluster(), "low", tmp_path / "runs", 60, keep=False)
    finally:
        slurm.ask_config.cache_clear()
        slurm_cluster.reset()
    assert "has about 7 s to save (GraceTime 5 s and KillWait 2 s)" in said["low"]
    assert "has about 2 s to save (GraceTime 0 s and KillWait 2 s)" in said["low0"]
    assert "in partition high nothing preempts it: its PreemptMode is OFF" in said["high"]
    for text in said.values():
        assert "4 of 4 nodes can take a run, and 4 of those are in service;" in text
        assert "sacct knows how jobs ended (slurmdbd); it refuses no job" in text
    shown = capsys.readouterr().out
    steps = re.findall(r"^  (ok|warning) +(\w+) ", shown, re.MULTILINE)
    assert steps == [
        ("ok", "submit"),
        ("ok", "start"),
        ("warning", "torch"),  # its GPUs are no GPUs
        ("ok", "train"),
        ("ok", "stop"),
        ("ok", "requeue"),
        ("ok", "resume"),
        ("ok", "finish"),
    ]
    assert not list((tmp_path / "runs").iterdir())


def texts(name: str) -> str:
    found = examine(lab_cluster(), name, Path("runs"))
    assert [one.topic for one in found if one.verdict is Verdict.PROBLEM] == ["torch"]
    return "\n".join(one.text for one in found)


# ---- steps that do not come about


@pytest.fixture
def play(sweep: SweepDir, monkeypatch: pytest.MonkeyPatch) -> Rehearsal:
    monkeypatch.setattr(rehearsal, "ASK_SLURM_S", 0.0)
    profile = SlurmProfile.model_validate({**LAB, "partition": "low"})
    return Rehearsal(sweep, profile, 0.05, make_console())


def slurm_says(monkeypatch: pytest.MonkeyPatch, state: State, detail: str = "") -> None:
    monkeypatch.setattr(rehearsal, "sweep_status", lambda sweep: [RunStatus("run", state, detail)])


def never() -> None:
    return None


def test_a_job_that_waits_too_long_is_told_with_slurms_reason_in_words(
    play: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_says(monkeypatch, State.QUEUED, "other jobs are before it (Priority)")
    with pytest.raises(StepError, match=r"for it to start: queued: other jobs are before it"):
        play._until("it to start", never, 0.01)


@pytest.mark.parametrize("state", [State.FAILED, State.STOPPED, State.HELD, State.CANCELLED])
def test_a_job_that_does_not_go_on_is_not_waited_for(
    state: State, play: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_says(monkeypatch, state, "why")
    with pytest.raises(StepError, match=f"does not go on: {state}: why"):
        play._until("it to start", never, 60)


def test_a_controller_that_does_not_answer_now_and_then_ends_nothing(
    play: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(sweep: SweepDir) -> None:
        raise ExecutionError("`squeue` failed: timed out")

    answers = iter([None, None, None, "there"])
    monkeypatch.setattr(rehearsal, "sweep_status", silent)
    assert play._until("it to start", lambda: next(answers), 60) == "there"


def test_a_run_that_could_not_be_requeued_is_told_apart(play: Rehearsal) -> None:
    play.run.needs_resume.touch()
    with pytest.raises(StepError, match="could not have itself requeued") as error:
        play._until("it to be requeued", play._is_requeued)
    assert "somebody must type `launcher resume`" in error.value.advice


@pytest.mark.parametrize("first_step", [7, 0])
def test_what_is_resumed_must_begin_where_it_was_saved(first_step: int, play: Rehearsal) -> None:
    add_attempt(play.run, ended_unix_s=2.0, cause="stopped", last_step=7)
    add_attempt(play.run, first_step=first_step)
    if first_step == 7:
        assert "from step 7: nothing was lost" in play._resume()
        return
    with pytest.raises(StepError, match="it began again at step 0, not at 7"):
        play._resume()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"cause": "finished", "last_step": 9}, "over before the signal reached it"),
        ({"cause": "stopped", "last_step": 9}, "it left no checkpoint"),
        ({"cause": "code_error", "message": "no"}, r"no checkpoint \(code_error: no\)"),
    ],
)
def test_a_stop_that_proves_nothing_is_no_success(
    end: dict[str, Any], why: str, play: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = slurm.Task("name", "7", 0, "RUNNING")
    monkeypatch.setattr(rehearsal, "open_tasks", lambda sweep: [task])
    told: list[list[str]] = []
    monkeypatch.setattr(rehearsal, "run_slurm", told.append)
    add_attempt(play.run, ended_unix_s=2.0, **end)
    with pytest.raises(StepError, match=why):
        play._stop()
    assert told == [["scancel", "--signal=USR2", "7_0"]]


@pytest.mark.parametrize(
    ("late_s", "text"), [(0, ""), (60, "60 s behind"), (-60, "60 s ahead of this machine")]
)
def test_clocks_that_disagree_are_a_warning(
    late_s: int, text: str, play: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    step = rehearsal._Step("train")
    play._check_clock(step, {"step": 5, "steps": 9, "time_unix_s": 1000.0 - late_s})  # type: ignore[typeddict-item]
    assert step.verdict is (Verdict.WARNING if text else Verdict.OK)
    assert text in step.text


def test_a_failed_step_is_told_with_the_end_of_what_the_job_printed(
    play: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"token": "abc", "executor": "slurm", "runs": [], "user": "me", "job_id": "7"}
    record |= {"submitted_unix_s": 1.0, "host": "here", "pid": 1, "start_ticks": 1, "boot_id": ""}
    play.sweep.write_submission(record)
    with pytest.raises(StepError), play._step("start"):
        raise StepError("the reason", "the advice")
    assert "its job printed nothing: the node may not see" in capsys.readouterr().out
    output = play.sweep.job_output(record) / "7_0_log.out"
    output.parent.mkdir(parents=True)
    output.write_text("".join(f"line {number}\n" for number in range(50)))
    with pytest.raises(StepError), play._step("start"):
        raise StepError("the reason", "the advice")
    said = capsys.readouterr().out
    assert re.search(r"problem +start +0\.0 s +the reason", said)
    assert "line 49" in said
    assert "line 5\n" not in said


# ---- the end


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[SweepDir]:
    """The sweeps that are cancelled; nothing is submitted."""
    found: list[SweepDir] = []
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(rehearsal, "cancel_sweep", lambda sweep, report: found.append(sweep))
    return found


def ends_with(error: BaseException | None) -> Callable[..., None]:
    def play(self: Rehearsal, actions: object) -> None:
        if error is not None:
            raise error

    return play


@pytest.mark.parametrize(
    ("error", "becomes"),
    [(StepError("why", "what"), ExecutionError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_what_does_not_end_well_is_cancelled_and_kept_to_look_at(
    error: BaseException,
    becomes: type[BaseException],
    cancelled: list[SweepDir],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Rehearsal, "play", ends_with(error))
    with pytest.raises(becomes):
        rehearse(lab_cluster(), None, Path("runs"), 1, keep=False)
    (sweep,) = cancelled
    assert sweep.exists()


@pytest.mark.parametrize("keep", [True, False])
def test_what_ended_well_is_removed_unless_it_is_to_be_kept(
    keep: bool, cancelled: list[SweepDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rehearsal, "play", ends_with(None))
    rehearse(lab_cluster(), None, Path("runs"), 1, keep=keep)
    assert bool(list(Path("runs").iterdir())) is keep
    assert cancelled == []


@pytest.mark.parametrize(
    ("changes", "time"),
    [({}, "15m"), ({"time": "10:00"}, "10m"), ({"signal_delay_s": 900}, "30m")],
)
def test_its_time_is_short_so_that_it_starts_early(changes: dict[str, Any], time: str) -> None:
    profile = SlurmProfile.model_validate({**LAB, **changes})
    assert rehearsal._short(profile).time == time


def test_without_slurm_there_is_nothing_to_rehearse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="there is no sbatch on this machine"):
        rehearse(lab_cluster(), None, Path("runs"), 1, keep=False)
