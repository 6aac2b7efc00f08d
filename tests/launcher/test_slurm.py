from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ExecutionError
from launcher import slurm
from launcher.plan import State
from launcher.slurm import (
    STATES,
    Config,
    Task,
    ask_config,
    asking_squeue,
    sacct,
    squeue,
    task_indices,
)
from tests.fake_slurm import FakeSlurm
from tests.fake_slurm.programs import write_indices


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for SLURM's commands, for answers that a real one gives on a bad day."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_squeue_tells_tasks_by_name_and_index(tools: Path) -> None:
    lines = (
        "a-1|7|0|RUNNING|1700000000|n[1-2]|None\\n"
        "a-1|7|12|PENDING|1800000000||Resources, or so\\nb-2|9|N/A|PENDING|N/A||Priority\\n"
    )
    tool(tools, "squeue", f'printf "{lines}"; echo "$@" >{tools}/words')
    assert squeue(["a-1", "b-2"]) == [
        Task("a-1", "7", 0, "RUNNING", "None", expected_unix_s=1.7e9, node="n[1-2]"),
        Task("a-1", "7", 12, "PENDING", "Resources, or so", expected_unix_s=1.8e9),
        Task("b-2", "9", 0, "PENDING", "Priority", is_array=False),
    ]
    assert "--name=a-1,b-2" in (tools / "words").read_text()


def test_the_accounting_tells_tasks_that_never_began_together_and_before_the_others(
    fake: FakeSlurm,
) -> None:
    fake.submit("a-1", "0-4%2")
    fake.submit("b-2")
    fake.set("77", "CANCELLED by 1000", nodes="")
    fake.set("77_0", "NODE_FAIL", nodes="n1,m[3,5-6]", start=1)
    fake.set("82", "COMPLETED", nodes="n[1-2]", start=1)
    found = {task.id: (task.word, task.reason) for task in sacct(["a-1", "b-2"], 0.0)}
    never = dict.fromkeys(("77_1", "77_2", "77_3", "77_4"), ("CANCELLED", "None assigned"))
    began = {"77_0": ("NODE_FAIL", "n1,m[3,5-6]"), "82": ("COMPLETED", "n[1-2]")}
    assert found == never | began
    assert list(found)[:4] == list(never)


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("12", [12]),
        ("[3-9%2]", [3, 4, 5, 6, 7, 8, 9]),
        ("[0-1,4,7-8]", [0, 1, 4, 7, 8]),
        ("[1-9:4%10]", [1, 5, 9]),
        ("[1,3,5...]", [1, 3]),
        ("[10,20-2...]", [10]),
        ("", []),
    ],
)
def test_tasks_that_stand_together_are_told_one_by_one(text: str, indices: list[int]) -> None:
    assert task_indices(text) == indices


@given(st.sets(st.integers(0, 3000), min_size=1), st.integers(1, 500))
def test_no_task_is_lost_in_the_way_that_slurm_writes_many(
    indices: set[int], throttle: int
) -> None:
    """The fake writes them as the real one does, which a test of the fake compares."""
    text = write_indices(sorted(indices), room=0)
    assert task_indices(f"[{text}%{throttle}]") == sorted(indices)


@pytest.mark.parametrize("command", [squeue, lambda names: sacct(names, 0.0)])
def test_what_is_no_row_is_no_answer(command: Callable[[list[str]], object], tools: Path) -> None:
    for name in ("squeue", "sacct"):
        tool(tools, name, "echo a-1; echo 'Maintenance on Friday'")
    with pytest.raises(ExecutionError, match="gave an answer that is none: 'a-1'"):
        command(["a-1"])


def test_a_row_may_have_empty_columns(fake: FakeSlurm) -> None:
    fake.submit("a-1", "0-0")
    fake.set("77", "RUNNING", "")
    assert squeue(["a-1"]) == [Task("a-1", "77", 0, "RUNNING", "")]
    fake.set("77", "", "")
    assert [task.is_over for task in sacct(["a-1"], 0.0)] == [False]


def test_without_accounting_there_is_no_answer(tools: Path) -> None:
    tool(tools, "sacct", 'echo "Slurm accounting storage is disabled" >&2; exit 1')
    assert sacct(["a-1"], 0.0) is None
    tool(tools, "sacct", 'echo "Connection refused" >&2; exit 1')
    with pytest.raises(ExecutionError, match="Connection refused"):
        sacct(["a-1"], 0.0)


def test_a_command_that_fails_is_told_in_slurms_words(tools: Path) -> None:
    tool(tools, "squeue", 'echo "Unable to contact slurm controller" >&2; exit 1')
    with pytest.raises(ExecutionError, match="`squeue` failed: Unable to contact slurm controller"):
        squeue(["a-1"])


def test_squeue_works_while_something_else_is_done_and_is_ended_if_nobody_waits_for_it(
    tools: Path,
) -> None:
    tool(tools, "squeue", f"touch {tools}/begun; exec sleep 60")
    began_s = time.monotonic()
    with asking_squeue(["a"]):
        while not (tools / "begun").exists():
            time.sleep(0.01)
    assert time.monotonic() - began_s < 30


def test_a_command_that_hangs_or_is_missing_is_told(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "TIMEOUT_S", 0.2)
    tool(tools, "squeue", "exec sleep 10")
    with pytest.raises(ExecutionError, match="did not answer within"):
        squeue(["a-1"])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExecutionError, match="is this a login node"):
        squeue(["a-1"])


def test_the_cluster_says_its_name_and_its_largest_array(tools: Path) -> None:
    lines = "MaxArraySize            = 1001\nClusterName = lab\nMaxJobCount = 9"
    tool(tools, "scontrol", f"echo '{lines}'")
    ask_config.cache_clear()
    assert ask_config() == Config("lab", 1001)
    tool(
        tools,
        "scontrol",
        f"echo '{lines}\nSchedulerParameters = bf_interval=1,max_array_tasks=300'",
    )
    ask_config.cache_clear()
    assert ask_config() == Config("lab", 300)
    tool(tools, "scontrol", "echo ClusterName = lab")
    ask_config.cache_clear()
    with pytest.raises(ExecutionError, match="does not say 'MaxArraySize'"):
        ask_config()


def test_times_are_asked_for_in_seconds_and_arrays_in_full(tools: Path) -> None:
    tool(tools, "squeue", 'echo "a|1|0|RUNNING|N/A||$SLURM_TIME_FORMAT $SLURM_BITSTR_LEN"')
    assert squeue(["a"])[0].reason == "%s 0"


@pytest.mark.parametrize(
    ("word", "reason", "state"),
    [
        ("PENDING", "Priority", State.QUEUED),
        ("PENDING", "JobHeldUser", State.HELD),
        ("PENDING", "job requeued in held state", State.HELD),
        ("PENDING", "launch failed requeued held", State.HELD),
        ("REQUEUE_HOLD", "", State.HELD),
        ("SUSPENDED", "", State.RUNNING),
        ("COMPLETING", "", State.RUNNING),
        ("NODE_FAIL", "", State.STOPPED),
        ("OUT_OF_MEMORY", "", State.FAILED),
        ("CANCELLED", "", State.CANCELLED),
        ("A_WORD_OF_TOMORROW", "", State.RUNNING),
    ],
)
def test_slurms_words_mean_ours(word: str, reason: str, state: State) -> None:
    assert Task("a", "1", 0, word, reason).state is state


def test_a_task_is_over_only_when_slurm_will_not_start_it_again() -> None:
    over = {word for word in STATES if Task("a", "1", 0, word).is_over}
    assert not over & {"PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "CONFIGURING"}
    assert {"COMPLETED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "CANCELLED", "FAILED"} <= over
