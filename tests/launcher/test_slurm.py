from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.errors import ExecutionError
from launcher import slurm
from launcher.plan import State
from launcher.slurm import STATES, Config, Task, ask_config, sacct, squeue


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
        "a-1|7|0|RUNNING|None\\na-1|7|12|PENDING|Resources, or so\\nb-2|9|N/A|PENDING|Priority\\n"
    )
    tool(tools, "squeue", f'printf "{lines}"; echo "$@" >{tools}/words')
    assert squeue(["a-1", "b-2"]) == [
        Task("a-1", "7", 0, "RUNNING", "None"),
        Task("a-1", "7", 12, "PENDING", "Resources, or so"),
        Task("b-2", "9", 0, "PENDING", "Priority", is_array=False),
    ]
    assert "--name=a-1,b-2" in (tools / "words").read_text()


def test_the_accounting_leaves_out_tasks_that_have_not_begun(tools: Path) -> None:
    lines = (
        "a-1|7_0|CANCELLED by 1000|n1\\na-1|7_[3-9]|PENDING|None assigned\\n"
        "b-2|9|COMPLETED|n[1-2]\\na-1|7_1|NODE_FAIL|n1,m[3,5-6]\\n"
    )
    tool(tools, "sacct", f'printf "{lines}"')
    assert sacct(["a-1", "b-2"], 0.0) == [
        Task("a-1", "7", 0, "CANCELLED", "n1"),
        Task("b-2", "9", 0, "COMPLETED", "n[1-2]", is_array=False),
        Task("a-1", "7", 1, "NODE_FAIL", "n1,m[3,5-6]"),
    ]


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
    tool(tools, "scontrol", "echo ClusterName = lab")
    ask_config.cache_clear()
    with pytest.raises(ExecutionError, match="does not say 'MaxArraySize'"):
        ask_config()


def test_times_are_asked_for_in_seconds(tools: Path) -> None:
    tool(tools, "squeue", 'echo "a|1|0|RUNNING|$SLURM_TIME_FORMAT"')
    assert squeue(["a"])[0].reason == "%s"


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
