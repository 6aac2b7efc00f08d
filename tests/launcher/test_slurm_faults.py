"""The launcher's commands on a SLURM that lies, lags, refuses and forgets.

Whatever it answers, no run gets a second job while it has one, and none is lost.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher import slurm
from launcher.plan import State
from launcher.slurm import STATES
from tests.fake_slurm import NO_CONTROLLER, TIMED_OUT
from tests.launcher.conftest import Desk, add_attempt

# Every word that squeue and sacct have for a task, and what it means for a run that has not begun:
# the state that `status` shows. A task that is under way keeps its run from being submitted again.
WORDS = [
    ("PENDING", "Priority", State.QUEUED),
    ("PENDING", "Nodes are DOWN, DRAINED | or reserved", State.QUEUED),
    ("PENDING", "", State.QUEUED),
    ("PENDING", "JobHeldUser", State.HELD),
    ("PENDING", "JobHeldAdmin", State.HELD),
    ("PENDING", "job requeued in held state", State.HELD),
    ("PENDING", "launch failed requeued held", State.HELD),
    ("REQUEUED", "", State.QUEUED),
    ("REQUEUE_FED", "", State.QUEUED),
    ("REQUEUE_HOLD", "", State.HELD),
    ("RESV_DEL_HOLD", "", State.HELD),
    ("SPECIAL_EXIT", "", State.HELD),
    ("CONFIGURING", "", State.RUNNING),
    ("RUNNING", "", State.RUNNING),
    ("COMPLETING", "", State.RUNNING),
    ("RESIZING", "", State.RUNNING),
    ("REVOKED", "", State.RUNNING),
    ("SIGNALING", "", State.RUNNING),
    ("STAGE_OUT", "", State.RUNNING),
    ("STOPPED", "", State.RUNNING),
    ("SUSPENDED", "", State.RUNNING),
    ("A_WORD_OF_TOMORROW", "", State.RUNNING),
    ("TIMEOUT", "TimeLimit", State.STOPPED),
    ("DEADLINE", "", State.STOPPED),
    ("PREEMPTED", "", State.STOPPED),
    ("NODE_FAIL", "NodeDown", State.STOPPED),
    ("BOOT_FAIL", "", State.STOPPED),
    ("RECONFIG_FAIL", "", State.STOPPED),
    ("COMPLETED", "", State.FAILED),
    ("FAILED", "NonZeroExitCode", State.FAILED),
    ("LAUNCH_FAILED", "", State.FAILED),
    ("OUT_OF_MEMORY", "OutOfMemory", State.FAILED),
    ("CANCELLED by 123", "", State.CANCELLED),
    ("CANCELLED", "", State.CANCELLED),
]
UNDER_WAY = (State.QUEUED, State.RUNNING, State.HELD)
REFUSALS = [
    "Invalid account or account/partition combination specified",
    "Invalid job array specification",
    "Requested node configuration is not available",
]


# ---- words


def test_no_word_is_left_out() -> None:
    words = {word.partition(" ")[0] for word, _, _ in WORDS}
    assert words - STATES.keys() == {"A_WORD_OF_TOMORROW"}
    assert STATES.keys() - words == {"UNKNOWN"}, "our own"


def resumed(desk: Desk) -> set[int]:
    """Which runs of the first job, by their place in it, `resume` gives to a second one."""
    desk.launcher("resume")
    first, *others = (record["runs"] for record in desk.sweep.submissions().values())
    desk.launcher("resume")
    assert len(desk.sweep.submissions()) == 1 + len(others), "what waits is not submitted again"
    again = [run_id for run_ids in others for run_id in run_ids]
    assert len(again) == len(set(again))
    return {first.index(run_id) for run_id in again}


def test_every_word_of_squeue_means_one_state_and_only_what_has_ended_gets_a_second_job(
    desk: Desk,
) -> None:
    desk.submit(len(WORDS))
    for index, (word, reason, _) in enumerate(WORDS):
        # A task that has not begun has no place yet where it could have ended.
        desk.fake.set(f"77_{index}", word, reason, nodes="n1")
    rows = desk.rows()
    assert [row["state"] for row in rows] == [state for _, _, state in WORDS]
    assert rows[1]["detail"] == "Nodes are DOWN, DRAINED | or reserved"
    again = resumed(desk)
    states = dict(enumerate(state for _, _, state in WORDS))
    assert {index for index, state in states.items() if state is State.STOPPED} <= again
    assert not {index for index in again if states[index] in (*UNDER_WAY, State.CANCELLED)}
    held = {index for index, state in states.items() if state is State.HELD}
    assert {desk.rows()[index]["state"] for index in held} == {"queued"}, "they were released"


def test_what_squeue_has_forgotten_has_ended_in_the_way_that_the_accounting_tells(
    desk: Desk,
) -> None:
    """A crash of the controller can leave a task there that waits or runs for ever."""
    desk.submit(len(WORDS))
    desk.age(by_s=200)
    for index, (word, reason, _) in enumerate(WORDS):
        desk.fake.set(f"77_{index}", word, reason, nodes="n1", in_squeue=False)
    expected = [State.STOPPED if state in UNDER_WAY else state for _, _, state in WORDS]
    assert desk.states() == expected
    stopped = {index for index, state in enumerate(expected) if state is State.STOPPED}
    cancelled = {index for index, state in enumerate(expected) if state is State.CANCELLED}
    again = resumed(desk)
    assert stopped <= again
    assert not cancelled & again


def test_what_was_cancelled_while_it_waited_stays_cancelled_when_squeue_has_forgotten_it(
    desk: Desk,
) -> None:
    """The accounting tells such tasks as `77_[0-24]`, of which some may have begun."""
    desk.submit(25)
    desk.fake.set("77", "CANCELLED by 123", in_squeue=False)
    desk.fake.set("77_3", "NODE_FAIL", nodes="n1")
    assert desk.states() == ["cancelled"] * 3 + ["stopped"] + ["cancelled"] * 21
    assert resumed(desk) == {3}


def test_a_task_that_lost_its_node_is_followed_through_the_queue_to_its_end(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77", "RUNNING", nodes="n1")
    assert desk.states() == ["running", "running"]
    desk.fake.requeue("77_0", "NODE_FAIL")
    desk.fake.requeue("77_1", "PREEMPTED")
    rows = desk.rows()
    assert [(row["state"], row["reason"]) for row in rows] == [("queued", "BeginTime")] * 2
    desk.fake.set("77", "RUNNING", nodes="n2")
    assert desk.states() == ["running", "running"]
    assert resumed(desk) == set()
    desk.fake.set("77", "COMPLETED", in_squeue=False)
    assert desk.states() == ["failed", "failed"], "there is no result"


def test_what_squeue_says_is_newer_than_what_the_accounting_says(desk: Desk) -> None:
    """The accounting is asked for what squeue has forgotten, and tells the whole array."""
    desk.submit()
    desk.fake.requeue("77_0", "NODE_FAIL")
    desk.fake.set("77_1", "TIMEOUT", nodes="n1", in_squeue=False)
    lagging = dict(desk.fake.tasks()[0], word="NODE_FAIL", nodes="n1", in_squeue=False)
    desk.fake.add(lagging)
    assert desk.states() == ["queued", "stopped"]
    assert resumed(desk) == {1}


@pytest.mark.parametrize(("word", "jobs"), [("FAILED", 3), ("NODE_FAIL", 5), ("OUT_OF_MEMORY", 1)])
def test_jobs_that_end_before_the_run_begins_have_a_budget_and_then_a_person_decides(
    word: str, jobs: int, desk: Desk
) -> None:
    """Such as by a setup line that fails, or without python on the node."""
    desk.submit(1)
    for _ in range(jobs + 1):
        desk.fake.set(desk.jobs()[-1], word, nodes="n1")
        said = desk.launcher("resume")
    assert len(desk.jobs()) == jobs
    assert "1 run: leave 1" in said
    assert "before the run began" in said
    desk.launcher("submit", "sweep.yaml", "--failed")
    assert len(desk.jobs()) == jobs + 1


def test_jobs_that_slurm_forgets_before_the_run_begins_have_a_budget_too(desk: Desk) -> None:
    desk.fake.disable_accounting()
    desk.submit(1)
    for _ in range(7):
        desk.fake.set(desk.jobs()[-1], "RUNNING", in_squeue=False)
        desk.age(by_s=200)
        said = desk.launcher("resume")
    assert len(desk.jobs()) == 5
    assert "no step of progress in 5 attempts: unknown 5; left without --failed" in said


# ---- silence, and answers that come late


def test_a_job_that_slurm_does_not_show_yet_is_not_submitted_again(desk: Desk) -> None:
    desk.fake.lag(3)
    desk.submit()
    assert desk.states() == ["queued", "queued"]
    assert resumed(desk) == set()
    assert desk.jobs() == ["77"]


def test_a_task_that_is_unknown_to_both_has_ended_after_a_while(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77_0", "RUNNING", in_squeue=False, in_sacct=False)
    desk.age(by_s=200)
    assert desk.states() == ["stopped", "queued"]
    assert resumed(desk) == {0}


def test_ids_that_are_given_away_again_do_not_mix_runs_up(desk: Desk) -> None:
    """The controller came back without its jobs, as after a kill within a second of sbatch."""
    desk.submit()
    desk.age(by_s=200)
    desk.fake.set("77", "RUNNING", nodes="n1")
    desk.fake.lose_everything()
    desk.launcher("resume")
    records = list(desk.sweep.submissions().values())
    assert [record["job_id"] for record in records] == ["77", "77"]
    assert desk.states() == ["queued", "queued"], "the old 77 runs for ever in the accounting"
    desk.launcher("cancel", "sweep")
    assert [task["word"].split()[0] for task in desk.fake.tasks()][2:] == ["CANCELLED"] * 2


@pytest.mark.parametrize("command", ["squeue", "sacct"])
def test_while_slurm_does_not_answer_the_files_are_shown_and_nothing_is_submitted(
    command: str, desk: Desk
) -> None:
    desk.submit()
    desk.fake.set("77_0", "TIMEOUT", in_squeue=False, nodes="n1")
    desk.fake.fail(command, NO_CONTROLLER)
    said = desk.launcher("status")
    assert f"warning: `{command}` failed: {NO_CONTROLLER}; this is what the files say" in said
    for words in (["resume"], ["submit", "sweep.yaml"]):
        assert f"error: `{command}` failed: {NO_CONTROLLER}" in desk.launcher(*words, status=1)
    assert desk.jobs() == ["77"]
    desk.fake.mend()
    assert resumed(desk) == {0}


def test_a_squeue_that_hangs_is_given_up_and_the_files_are_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.submit()
    desk.fake.fail("squeue", "", hangs=True)
    monkeypatch.setattr(slurm, "TIMEOUT_S", 0.5)
    said = desk.launcher("status")
    assert "warning: `squeue` did not answer within" in said
    assert desk.launcher("resume", status=1).startswith("error: `squeue` did not answer")


def test_without_accounting_squeue_and_the_files_are_enough(tmp_path: Path, desk: Desk) -> None:
    desk.fake.disable_accounting()
    desk.submit(4)
    desk.fake.set("77_0", "RUNNING")
    desk.fake.set("77_1", "CANCELLED by 123")
    desk.fake.set("77_2", "OUT_OF_MEMORY")
    desk.age(by_s=200)
    assert desk.states() == ["running", "cancelled", "failed", "queued"]
    desk.fake.set("77", "RUNNING", in_squeue=False)
    assert desk.states() == ["stopped", "cancelled", "failed", "stopped"]
    assert desk.launcher("status").count("warning") == 0


def test_an_answer_that_is_none_is_not_taken_for_an_empty_queue(desk: Desk) -> None:
    desk.submit()
    desk.fake.fail("squeue", "", status=0)
    (desk.fake.bin / "squeue").write_text("#!/bin/sh\necho 'Maintenance on Friday!'\n")
    assert "`squeue` gave an answer that is none: 'Maintenance on Friday!'" in desk.launcher(
        "resume", status=1
    )
    assert desk.jobs() == ["77"]


# ---- submitting


def test_an_sbatch_that_did_not_say_that_it_was_accepted_is_found_by_its_token(desk: Desk) -> None:
    desk.fake.fail("sbatch", TIMED_OUT, done=True, times=1)
    desk.submit()
    assert [record["job_id"] for record in desk.sweep.submissions().values()] == ["77"]
    assert desk.jobs() == ["77"]


def test_a_job_that_was_accepted_without_a_word_and_turns_up_late_is_adopted(desk: Desk) -> None:
    desk.fake.lag(2)
    desk.fake.fail("sbatch", TIMED_OUT, done=True, times=1)
    desk.submit(status=None)
    desk.age(by_s=10)
    assert resumed(desk) == set()
    assert desk.states() == ["queued", "queued"]
    assert [record["job_id"] for record in desk.sweep.submissions().values()] == ["77"]
    assert desk.jobs() == ["77"]


def test_what_is_beyond_a_limit_waits_on_disk_and_resume_submits_it(desk: Desk) -> None:
    desk.fake.limit(3, "Job violates accounting/QOS policy (job submit limit, ...)")
    desk.submit(5, status=None)
    assert set(desk.states()) <= {"planned", "queued"}
    assert len(desk.fake.tasks()) <= 3
    desk.fake.limit(9, "")
    desk.launcher("resume")
    assert desk.states() == ["queued"] * 5
    assert len(desk.fake.tasks()) == 5


@pytest.mark.parametrize("says", REFUSALS)
def test_what_sbatch_refuses_is_planned_and_can_be_submitted_again(says: str, desk: Desk) -> None:
    desk.fake.fail("sbatch", f"sbatch: error: Batch job submission failed: {says}", times=1)
    assert says in desk.submit(status=None)
    assert desk.states() == ["planned", "planned"]
    desk.submit()
    assert desk.states() == ["queued", "queued"]
    assert desk.jobs() == ["77"]


def test_with_no_controller_every_command_says_so_and_the_next_one_goes_on(desk: Desk) -> None:
    desk.submit()
    desk.fake.fail_all(NO_CONTROLLER)
    for words in (["submit", "sweep.yaml"], ["resume"], ["cancel", "sweep"]):
        assert f"failed: {NO_CONTROLLER}" in desk.launcher(*words, status=1)
    assert "sweep: cancelled 2" in desk.launcher("status")
    desk.fake.mend()
    desk.launcher("cancel", "sweep")
    assert {task["word"].split()[0] for task in desk.fake.tasks()} == {"CANCELLED"}


def test_a_cancel_that_slurm_did_not_hear_counts_and_can_be_repeated(desk: Desk) -> None:
    desk.submit()
    desk.fake.fail(
        "scancel", f"scancel: error: Kill job error on job id 77: {NO_CONTROLLER}", times=1
    )
    assert "Kill job error" in desk.launcher("cancel", "sweep", status=1)
    assert all(run.is_cancelled() for run in desk.sweep.runs())
    desk.launcher("cancel", "sweep")
    assert desk.states() == ["cancelled", "cancelled"]
    assert resumed(desk) == set()


def test_what_can_never_start_is_cancelled_and_submitted_with_another_profile(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77", "PENDING", "PartitionTimeLimit")
    said = " ".join(desk.launcher("status").split())
    assert "`launcher cancel`, and `launcher submit --cancelled`" in said
    desk.launcher("cancel", "sweep")
    cluster = Path("cluster.yaml")
    cluster.write_text(cluster.read_text().replace("10:00", "5:00"))
    desk.launcher("submit", "sweep.yaml", "--cancelled")
    assert desk.states() == ["queued", "queued"]
    first, second = desk.sweep.submissions().values()
    assert (first["profile"]["time"], second["profile"]["time"]) == ("10:00", "5:00")


def test_a_release_that_slurm_refuses_is_told_and_can_be_repeated(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77_0", "PENDING", "JobHeldUser")
    desk.fake.fail("scontrol", "slurm_suspend error: Access/permission denied", times=1)
    assert "permission denied" in desk.launcher("resume", status=1)
    desk.launcher("resume")
    assert desk.states() == ["queued", "queued"]
    assert desk.jobs() == ["77"]


def test_a_job_that_may_not_be_released_does_not_keep_other_runs_from_going_on(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77_0", "PENDING", "JobHeldAdmin")
    desk.fake.set("77_1", "TIMEOUT")
    desk.fake.fail("scontrol", "slurm_suspend error: Access/permission denied", times=1)
    said = desk.launcher("resume")
    assert "permission denied" in said
    assert "submitted job" in said
    assert desk.states() == ["held", "queued"]


def test_what_slurm_holds_is_not_trained_here_as_well(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77", "PENDING", "JobHeldUser")
    desk.launcher("submit", "sweep.yaml", "--executor", "local")
    assert desk.states() == ["queued", "queued"]
    assert [record["executor"] for record in desk.sweep.submissions().values()] == ["slurm"]


# ---- few questions


def test_a_command_asks_at_most_one_squeue_and_one_sacct_and_none_when_all_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.submit(4)
    assert desk.fake.commands() == ["scontrol", "sbatch"]
    desk.fake.set("77_0", "RUNNING")
    desk.fake.set("77_1", "CANCELLED by 123", nodes="n1", in_squeue=False)
    desk.rows()
    assert sorted(desk.fake.commands()) == ["sacct", "squeue"]
    desk.rows()
    assert desk.fake.commands() == ["squeue"]
    desk.fake.set("77", "CANCELLED by 123", nodes="n1")
    desk.rows()
    assert desk.fake.commands() == ["squeue"]
    desk.rows()
    assert desk.fake.commands() == ["squeue"], "whether it was requeued by hand"
    monkeypatch.setattr("launcher.tasks.REMEMBERED_S", 0.0)
    desk.rows()
    desk.submit(4)
    desk.launcher("resume")
    assert desk.fake.commands() == []


def test_commands_at_the_same_moment_submit_what_stopped_once(desk: Desk) -> None:
    desk.submit()
    desk.fake.set("77", "TIMEOUT")
    commands = [["resume"], ["resume"], ["submit", "sweep.yaml"], ["status"]]
    processes = [
        subprocess.Popen([sys.executable, "-m", "launcher", *words], stdout=subprocess.DEVNULL)
        for words in commands
    ]
    assert [process.wait(timeout=60) for process in processes] == [0] * len(commands)
    assert len(desk.jobs()) == 2
    assert desk.states() == ["queued", "queued"]


def test_a_run_is_submitted_again_without_the_nodes_that_failed_where_that_is_asked_for(
    desk: Desk,
) -> None:
    desk.submit(1)
    run = desk.sweep.runs()[0]
    for restart, node in enumerate(("n3", "n3", "n5")):
        facts = {"job_id": "77", "restart": restart, "executor": "slurm", "node": node}
        add_attempt(run, cause="node_failure", **facts)
    desk.fake.set("77", "NODE_FAIL", nodes="n5")
    assert "n3 failed more than once; `launcher resume sweep --exclude-failed`" in desk.launcher(
        "resume", "--dry-run"
    )
    assert "sweep: not on n3,n5\n" in desk.launcher("resume", "--exclude-failed")
    first, second = (
        desk.sweep.job_folder(record["token"]) / "submission.sh"
        for record in desk.sweep.submissions().values()
    )
    assert "--exclude" not in first.read_text()
    assert "\n#SBATCH --exclude=n3,n5\n" in second.read_text()


@pytest.mark.parametrize("runs", [1, 300])
def test_a_submission_is_two_files_however_many_runs_it_has(runs: int, desk: Desk) -> None:
    desk.submit(runs)
    files = [path for path in Path("runs/sweep/slurm").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["submission.sh", "task.pkl"]


# ---- what is said before anything is submitted


def test_a_pilot_beyond_a_limit_is_told_as_a_pilot_and_leaves_the_run_planned(desk: Desk) -> None:
    desk.fake.limit(0, "QOSMaxSubmitJobPerUserLimit")
    Path("sweep.yaml").write_text("base: {model: resnet_small, dataset: digits}\nseeds: 2\n")
    said = desk.launcher("submit", "sweep.yaml", "--pilot", status=1)
    assert said.endswith(
        "error: the pilot was not submitted: SLURM takes no more jobs now "
        "(QOSMaxSubmitJobPerUserLimit); give the command again when some of yours have ended\n"
    )
    assert desk.states() == ["planned", "planned"]


def test_the_estimate_of_the_start_counts_jobs_and_leaves_out_what_they_wait_for(
    desk: Desk,
) -> None:
    desk.submit(7)
    for words, jobs in (
        ([], "an array of 7 runs: SLURM would start the first "),
        (["--set", "seeds=1"], "1 run: SLURM would start it "),
        (["--set", "resources.runs_per_gpu=4"], "an array of 2 jobs for 7 runs: SLURM would "),
        (["--set", "resources.runs_per_gpu=8"], "1 job of 7 runs: SLURM would start it "),
    ):
        asked = ["submit", "sweep.yaml", "--set", "name=next", "--test-only", *words]
        said = desk.launcher(*asked)
        assert f"\n  {jobs}" in said
        assert "but not before" not in said
    assert desk.launcher(*asked, "--after", "sweep").endswith(
        "  but not before job 77 has ended, which SLURM leaves out here\n"
    )


def test_who_waits_for_a_sweep_is_told_of_its_runs_that_have_no_job_yet(desk: Desk) -> None:
    desk.fake.limit(3, "QOSMaxSubmitJobPerUserLimit")
    desk.submit(7)
    planned = desk.states().count("planned")
    assert planned >= 4
    asked = ["submit", "sweep.yaml", "--set", "name=next", "--after", "sweep", "--dry-run"]
    said = desk.launcher(*asked)
    assert f"of sweep\n  but not for {planned} of its runs, which have no job yet\n" in said
