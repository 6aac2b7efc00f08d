"""Runs of several tasks on a real SLURM, with a job that only looks and listens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.sweep_dir import SweepDir
from launcher import arrays, slurm
from launcher.cancel import cancel_sweep
from launcher.cluster import SlurmProfile
from launcher.selected import Selected
from launcher.status import sweep_status
from tests.launcher.probe import Probe, environments, heard
from tests.slurm_cluster import SlurmCluster, wait_for

PROJECT = Path(__file__).parents[2]
TIMEOUT_S = 60

PROFILE = SlurmProfile(
    time="5", partition="low", gres="gpu:v100:1", gpus_per_node=2, cpus_per_task=2, mem="100M"
)


@pytest.fixture
def cluster(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A cluster that this process submits to, and whose jobs are probes."""
    for key in os.environ.keys() - slurm_cluster.env.keys():
        monkeypatch.delenv(key)
    for key, value in slurm_cluster.env.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(arrays, "ArrayJob", Probe)
    slurm.ask_config.cache_clear()
    yield slurm_cluster
    slurm.ask_config.cache_clear()
    slurm_cluster.reset()


def submit(sweep: SweepDir, *gpus: int) -> dict[int, Path]:
    """One run for each number of GPUs; the records of the submissions by that number."""
    submit_all(
        sweep,
        [
            RunConfig(model="resnet_small", dataset="synthetic", gpus=count, seed=count)
            for count in gpus
        ],
    )
    records = sweep.submissions().items()
    return {sweep.run(run).read_config().gpus: path for path, rec in records for run in rec["runs"]}


def submit_all(sweep: SweepDir, configs: list[RunConfig]) -> None:
    for config in configs:
        sweep.run(config.run_id).write_config(config)
    sweep.code_folder("ours").parent.mkdir()
    sweep.code_folder("ours").symlink_to(PROJECT)
    profiles = {config.run_id: PROFILE for config in configs}
    counts = {config.run_id: config.gpus for config in configs}
    list(arrays.submit_arrays(sweep, profiles, counts, PROFILE, "ours"))


def wait_for_tasks(path: Path, count: int) -> list[dict[str, str]]:
    wait_for(lambda: len(environments(path)) == count, TIMEOUT_S, f"{count} tasks of {path.name}")
    return environments(path)


def test_each_number_of_gpus_is_an_array_whose_tasks_know_their_places_and_hear_every_stop(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    paths = submit(sweep, 1, 4, 2)
    for gpus, (nodes, tasks_per_node) in {1: (1, 1), 2: (1, 2), 4: (2, 2)}.items():
        record = sweep.submissions()[paths[gpus]]
        assert (record["nodes"], record["tasks_per_node"]) == (nodes, tasks_per_node)
        tasks = wait_for_tasks(paths[gpus], gpus)
        assert [task["SLURM_PROCID"] for task in tasks] == [str(rank) for rank in range(gpus)]
        assert [task["SLURM_LOCALID"] for task in tasks] == ["0", "1", "0", "1"][:gpus]
        assert len({task["SLURMD_NODENAME"] for task in tasks}) == nodes
        for task in tasks:
            assert task["SLURM_NTASKS"] == str(gpus)
            assert task["SLURM_JOB_NUM_NODES"] == str(nodes)
            assert task["SLURM_CPUS_PER_TASK"] == "2"
            assert len(task["CUDA_VISIBLE_DEVICES"].split(",")) == tasks_per_node
            assert task["SLURM_LAUNCH_NODE_IPADDR"] == "127.0.0.1"
    assert {status.state for status in sweep_status(sweep)} == {"running"}

    job_id = sweep.submissions()[paths[4]]["job_id"]
    cluster.run("scancel", "--signal=USR2", job_id)
    wait_for(lambda: len(heard(paths[4])) == 4, TIMEOUT_S, "all tasks to hear the signal")
    assert heard(paths[4]) == ["SIGUSR2"] * 4
    cluster.wait_for_state(job_id, "COMPLETED")
    assert heard(paths[2]) == [], "another job"
    (status,) = (status for status in sweep_status(sweep) if "-s4-" in status.run_id)
    assert status.detail.startswith("its job ended before the run began")


def test_one_task_of_an_array_is_cancelled_and_the_other_goes_on(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    configs = [RunConfig(model="resnet_small", dataset="synthetic", seed=seed) for seed in (0, 1)]
    submit_all(sweep, configs)

    def wait_for_states(*states: str) -> None:
        wait_for(
            lambda: tuple(status.state for status in sweep_status(sweep)) == states,
            TIMEOUT_S,
            f"runs to be {states}",
        )

    wait_for_states("running", "running")
    chosen = Selected("seed == 1 and state == running")([sweep], [sweep_status(sweep)])[0]
    cancel_sweep(sweep, print, chosen)
    wait_for_states("running", "cancelled")


def test_a_task_that_dies_ends_the_others(cluster: SlurmCluster, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    path = submit(sweep, 4)[4]
    tasks = wait_for_tasks(path, 4)
    os.kill(int(tasks[3]["pid"]), signal.SIGKILL)
    began_s = time.monotonic()
    cluster.wait_for_state(sweep.submissions()[path]["job_id"], "FAILED")
    assert time.monotonic() - began_s < TIMEOUT_S / 2
    assert heard(path) == ["SIGTERM"] * 3


@pytest.mark.parametrize("rank", [0, 3])
def test_a_job_that_loses_one_of_its_nodes_is_started_again(
    rank: int, cluster: SlurmCluster, tmp_path: Path
) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    path = submit(sweep, 4)[4]
    lost = wait_for_tasks(path, 4)[rank]["SLURMD_NODENAME"]
    cluster.lose_node(lost)

    def all_again() -> bool:
        tasks = environments(path)
        return all(task.get("SLURM_RESTART_COUNT") == "1" for task in tasks)

    wait_for(all_again, TIMEOUT_S, "every task to be started again")
    assert lost not in {task["SLURMD_NODENAME"] for task in environments(path)}
