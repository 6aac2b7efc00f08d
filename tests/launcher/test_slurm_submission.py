"""Submitting to a real SLURM that has limits, loses answers, or is asked for an estimate."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.errors import ExecutionError, InputError
from jobs.sweep_dir import SweepDir
from launcher import arrays, slurm
from launcher.cli import app
from launcher.status import sweep_status
from tests.slurm_cluster import SlurmCluster, wait_for
from tests.slurm_cluster.fixtures import require_slurm

MATRIX = "name: tiny\nbase: {model: resnet_small, dataset: synthetic}\nseeds: 5\n"
Launcher = Callable[..., str]


def use(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    """Let this process talk to a cluster, on whose nodes nothing starts."""
    for key in os.environ.keys() - cluster.env.keys():
        monkeypatch.delenv(key)
    for key, value in cluster.env.items():
        monkeypatch.setenv(key, value)
    slurm.ask_config.cache_clear()
    profile = f"executor: slurm, time: 5, partition: low, mem: 100M{more}"
    Path("cluster.yaml").write_text(f"default: lab\nprofiles: {{lab: {{{profile}}}}}\n")
    Path("tiny.yaml").write_text(MATRIX)
    cluster.run("scontrol", "update", "partitionname=low", "state=down")


@pytest.fixture
def cluster(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    with monkeypatch.context() as patch:
        use(slurm_cluster, patch)
        yield slurm_cluster
    slurm_cluster.run("scontrol", "update", "partitionname=low", "state=up")
    slurm_cluster.reset()
    slurm.ask_config.cache_clear()


@pytest.fixture
def launcher(capsys: pytest.CaptureFixture[str]) -> Launcher:
    def launcher(*words: str) -> str:
        app(words, standalone_mode=False)
        said = capsys.readouterr()
        return said.out + said.err

    return launcher


@pytest.fixture
def sweep() -> SweepDir:
    return SweepDir("runs/tiny")


def states(sweep: SweepDir) -> list[str]:
    return [str(status.state) for status in sweep_status(sweep)]


def jobs(cluster: SlurmCluster) -> list[str]:
    return cluster.run("squeue", "-h", "-r", "-o", "%i").split()


def program(name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that the launcher finds first; `$real` is SLURM's own."""
    path = Path("bin", name).resolve()
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\nreal={shutil.which(name)}\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_a_limit_of_submission_is_filled_and_resume_tops_up(
    launcher: Launcher, sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_slurm()
    with SlurmCluster(slurm_conf={"AccountingStorageEnforce": "limits"}) as cluster:
        user = cluster.run("id", "-un").strip()
        cluster.run("sacctmgr", "-i", "add", "account", "lab")
        cluster.run("sacctmgr", "-i", "add", "user", user, "account=lab", "maxsubmitjobs=3")
        use(cluster, monkeypatch, ", account: lab")
        said = launcher("submit", "tiny.yaml")
        assert (
            "3 of 5 runs submitted, 2 wait: SLURM takes no more now (AssocMaxSubmitJobLimit); "
            "`launcher resume tiny` tops up" in said
        )
        assert states(sweep) == ["queued"] * 3 + ["planned"] * 2
        assert "0 of 2 runs submitted, 2 wait" in launcher("resume")
        more = ("modify", "user", user, "set", "maxsubmitjobs=4")
        cluster.run("sacctmgr", "-i", *more)
        wait_for(lambda: "1 of 2 runs" in launcher("resume"), 20, "SLURM to know its new limit")
        assert states(sweep) == ["queued"] * 4 + ["planned"]
        assert len(jobs(cluster)) == 4
    slurm.ask_config.cache_clear()


def test_a_request_that_never_arrived_is_sent_again_and_one_that_came_twice_is_one_job(
    cluster: SlurmCluster, launcher: Launcher, sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "ABSENT_FOR_S", 0.2)
    monkeypatch.setattr(arrays, "POLL_S", 0.1)
    script = """
    count=$(cat count 2>/dev/null || echo 0); echo $((count + 1)) >count
    if [ $count -gt 0 ]; then $real "$@" >/dev/null; $real "$@" >/dev/null; fi
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv" >&2; exit 1
    """
    program("sbatch", script, monkeypatch)
    said = launcher("submit", "tiny.yaml")
    assert "Socket timed out on send/recv); trying again in 1 s" in said
    assert Path("count").read_text() == "2\n"
    (record,) = sweep.submissions().values()
    assert f"submitted job {record['job_id']}" in said
    assert jobs(cluster) == [f"{record['job_id']}_{index}" for index in range(5)]
    assert states(sweep) == ["queued"] * 5


def test_a_sweep_waits_for_another_one_also_when_it_is_resumed(
    cluster: SlurmCluster, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher("submit", "tiny.yaml", "--set", "seeds=1")
    (first,) = jobs(cluster)
    other = ("submit", "tiny.yaml", "--set", "name=second", "--mail", "me@example.org")
    said = launcher(*other, "--after", "tiny")
    assert f"they wait for job {first} of tiny" in said
    (record,) = SweepDir("runs/second").submissions().values()
    assert record["after"] == [first]
    assert record["profile"]["mail_user"] == "me@example.org"
    waiting = cluster.run("squeue", "-h", "-r", "-j", record["job_id"], "-o", "%E")
    assert set(waiting.split()) == {f"afterany:{first}(unfulfilled)"}
    monkeypatch.setattr("launcher.tasks.ANSWER_LAG_S", 0.0)
    launcher("cancel", "second")
    said = launcher("resume", "second", "--cancelled")
    assert f"they wait for job {first}, as they were submitted to" in said
    topped_up = list(SweepDir("runs/second").submissions().values())[-1]
    assert topped_up["after"] == [first]
    cluster.run("scancel", first, topped_up["job_id"])
    assert slurm.open_jobs([first]) == []
    said = launcher("submit", "tiny.yaml", "--set", "name=third", "--after", "tiny", "--dry-run")
    assert "tiny has nothing under way, so there is nothing to wait for" in said
    with pytest.raises(InputError, match="--after is for SLURM"):
        launcher("submit", "tiny.yaml", "--executor", "local", "--after", "tiny")


def test_slurms_own_estimate_of_the_start_changes_nothing(
    cluster: SlurmCluster, launcher: Launcher
) -> None:
    cluster.run("scontrol", "update", "partitionname=low", "state=up")
    said = launcher("submit", "tiny.yaml", "--test-only")
    assert "start 5 on SLURM, profile lab, 5 min each" in said
    assert re.search(r"an array of 5 runs: .* \d\d:\d\d on n\d in partition low", said)
    assert not Path("runs").exists()
    assert jobs(cluster) == []
    with pytest.raises(ExecutionError, match=r"^allocation failure: "):
        launcher("submit", "tiny.yaml", "--test-only", "--set", "resources.gres=gpu:a100:1")
