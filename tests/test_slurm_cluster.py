"""The private SLURM cluster does what a real one does, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.slurm_cluster import SlurmCluster, SlurmClusterError, available, cluster, wait_for
from tests.slurm_cluster.fixtures import require_slurm

REPOSITORY = Path(__file__).parents[1]

# Ignores requests to end, and has a process that left its parent.
STUBBORN_JOB = """
trap "" TERM
setsid sleep 300 &
srun sh -c 'touch started; sleep 300'
"""


@pytest.fixture(autouse=True)
def _with_slurm() -> None:
    require_slurm()


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    yield slurm_cluster
    slurm_cluster.reset()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Like tmp_path, whose name is too long for the unix sockets of a cluster."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def processes_of(path: Path) -> list[psutil.Process]:
    """All that have the path in their command line or environment, or open."""

    def mentions(process: psutil.Process) -> bool:
        try:
            said = [*process.cmdline(), *process.environ().values()]
            said += [file.path for file in process.open_files()]
        except psutil.Error:  # ended in the meantime, or another user's
            return False
        return any(str(path) in word for word in said)

    return [process for process in psutil.process_iter() if mentions(process)]


def by_hand(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.slurm_cluster", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ---------------------------------------------------------------------- what a cluster does


def test_the_cluster_comes_up_with_four_idle_nodes(slurm: SlurmCluster) -> None:
    assert slurm.node_states() == {"n1": "idle", "n2": "idle", "n3": "idle", "n4": "idle"}
    assert slurm.run("sinfo", "-h", "-N", "-p", "low", "-o", "%c %G").split("\n", 1)[0] == (
        "8 gpu:v100:4"
    )


def test_a_job_sees_the_gpus_that_it_asked_for(slurm: SlurmCluster) -> None:
    job = slurm.sbatch("echo GPUs $CUDA_VISIBLE_DEVICES", "--gres=gpu:v100:2", "--output=job.out")
    slurm.wait_for_state(job, "COMPLETED")
    assert Path("job.out").read_text() == "GPUs 0,1\n"


def test_sacct_lists_a_job_that_has_ended(slurm: SlurmCluster) -> None:
    job = slurm.sbatch("exit 3", "--output=/dev/null")

    def recorded_state() -> str:
        return slurm.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode").strip()

    wait_for(lambda: recorded_state() == "FAILED|3:0", 60, "sacct says that the job failed")


def test_a_job_of_high_priority_preempts_one_of_low_which_starts_again(slurm: SlurmCluster) -> None:
    low = slurm.sbatch(
        "echo restarts ${SLURM_RESTART_COUNT:-0}; sleep 300",
        *("--partition=low0", "--nodelist=n1", "--gres=gpu:4"),
        *("--output=low.out", "--open-mode=append"),
    )
    slurm.wait_for_state(low, "RUNNING")
    high = slurm.sbatch(
        "true", "--partition=high", "--nodelist=n1", "--gres=gpu:4", "--output=/dev/null"
    )
    slurm.wait_for_state(high, "COMPLETED")
    wait_for(lambda: slurm.show_job(low)["Restarts"] == "1", 60, "the low job was requeued")
    slurm.wait_for_state(low, "RUNNING")
    wait_for(lambda: "restarts 1" in Path("low.out").read_text(), 60, "it says so")
    assert Path("low.out").read_text().splitlines()[0] == "restarts 0"


def test_the_job_of_a_lost_node_starts_again_elsewhere(slurm: SlurmCluster) -> None:
    job = slurm.sbatch("sleep 300", "--output=/dev/null")
    slurm.wait_for_state(job, "RUNNING")
    lost = slurm.show_job(job)["NodeList"]
    slurm.lose_node(lost)
    assert slurm.node_states()[lost].startswith("down")
    wait_for(lambda: slurm.show_job(job)["Restarts"] == "1", 60, "the job was requeued")
    slurm.wait_for_state(job, "RUNNING")
    assert slurm.show_job(job)["NodeList"] != lost
    slurm.restore_node(lost)
    assert slurm.node_states()[lost] == "idle"


def test_nothing_that_ran_on_a_lost_node_survives(slurm: SlurmCluster, tmp_path: Path) -> None:
    slurm.sbatch(STUBBORN_JOB, "--nodelist=n2", "--output=/dev/null")
    wait_for((tmp_path / "started").exists, 60, "the step runs")
    log = slurm.directory / "log" / "n2.log"
    assert len(processes_of(tmp_path)) >= 4  # the script, setsid's sleep, srun, the step
    assert len(processes_of(log)) == 3  # slurmd, the slurmstepd of the script and that of the step
    slurm.lose_node("n2")
    assert processes_of(tmp_path) == []
    assert processes_of(log) == []


def test_a_job_survives_the_death_of_the_controller(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm.sbatch("touch started; while [ ! -e go ]; do sleep 0.2; done", "--output=/dev/null")
    wait_for((tmp_path / "started").exists, 60, "the job runs")
    slurm.wait_until_saved(job)
    slurm.kill_controller()
    slurm.start_controller()
    assert slurm.job_state(job) == "RUNNING"
    Path("go").touch()
    slurm.wait_for_state(job, "COMPLETED", timeout_s=120)


def test_a_failing_command_says_why(slurm: SlurmCluster) -> None:
    with pytest.raises(SlurmClusterError, match="invalid partition"):
        slurm.sbatch("true", "--partition=nowhere")
    assert slurm.run("scontrol", "show", "job", "999999", check=False) == ""


def test_the_outer_slurm_variables_do_not_reach_the_cluster(
    slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/elsewhere/slurm.conf")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    assert {name for name in slurm.env if name.startswith(("SLURM", "SBATCH"))} == {"SLURM_CONF"}
    assert slurm.env["SLURM_CONF"] == str(slurm.conf)


# ---------------------------------------------------------------------- variants


def test_without_accounting_sacct_says_so() -> None:
    with SlurmCluster(accounting=False) as plain:
        assert set(plain.node_states().values()) == {"idle"}
        with pytest.raises(SlurmClusterError, match="accounting storage is disabled"):
            plain.run("sacct")


def test_the_options_change_the_configuration() -> None:
    with SlurmCluster(
        accounting=False,
        send_user_signal=False,
        job_requeue=False,
        max_array_size=11,
        slurm_conf={"KillWait": "7"},
    ) as other:
        said = dict(
            line.partition(" = ")[::2]
            for line in other.run("scontrol", "show", "config").split("\n")
        )
        values = {key.strip(): value for key, value in said.items()}
    assert "preempt_send_user_signal" not in values["SlurmctldParameters"]
    assert values["JobRequeue"] == "0"
    assert values["MaxArraySize"] == "11"
    assert values["KillWait"] == "7 sec"


def test_two_clusters_run_side_by_side() -> None:
    with SlurmCluster(accounting=False) as one, SlurmCluster(accounting=False) as other:
        job = one.sbatch("sleep 300", "--output=/dev/null")
        one.wait_for_state(job, "RUNNING")
        assert other.squeue() == {}
        one.stop()
        assert set(other.node_states().values()) == {"idle"}


@pytest.mark.parametrize("clashing", ["controller", "database"])
def test_a_port_that_is_taken_in_the_meantime_is_replaced(
    clashing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = cluster._free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        unlucky = dataclasses.replace(choose(), **{clashing: taken.getsockname()[1]})
        choices = iter([unlucky])
        monkeypatch.setattr(cluster, "_free_ports", lambda: next(choices, None) or choose())
        with SlurmCluster(accounting=clashing == "database") as lucky:
            assert set(lucky.node_states().values()) == {"idle"}


# ---------------------------------------------------------------------- the end


def test_stop_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    with SlurmCluster() as ended:
        ended.sbatch(STUBBORN_JOB, "--ntasks=2", "--nodes=2", "--output=/dev/null")
        wait_for((tmp_path / "started").exists, 60, "the step runs")
        ours = processes_of(ended.directory)
        assert len(ours) > 12
    assert all(map(cluster.processes.gone, ours))
    assert processes_of(ended.directory) == []
    assert processes_of(tmp_path) == []
    assert not ended.directory.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_cluster_ends_with_the_process_that_started_it(how: signal.Signals) -> None:
    # A process that a shell started in the background would ignore SIGINT.
    program = """
import signal, time
from tests.slurm_cluster import SlurmCluster

signal.signal(signal.SIGINT, signal.default_int_handler)
with SlurmCluster(accounting=False) as cluster:
    print(cluster.directory, flush=True)
    time.sleep(60)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owner.stdout is not None
    directory = Path(owner.stdout.readline().strip())
    assert len(processes_of(directory)) >= 6
    owner.send_signal(how)
    owner.communicate(timeout=60)
    wait_for(lambda: not processes_of(directory), 60, "all processes have ended")
    wait_for(lambda: not directory.exists(), 60, "the directory is gone")


# ---------------------------------------------------------------------- by hand


def test_a_cluster_is_started_and_stopped_by_hand(short_dir: Path) -> None:
    started = by_hand("start", short_dir)
    assert started.returncode == 0, started.stderr
    conf = short_dir / "slurm.conf"
    assert started.stdout.splitlines()[0] == f"export SLURM_CONF={conf}"
    try:
        again = by_hand("start", short_dir)
        assert again.returncode == 2
        assert "running" in again.stderr
        environment = os.environ | {"SLURM_CONF": str(conf)}
        nodes = subprocess.run(
            ["sinfo", "-h", "-o", "%D"], env=environment, capture_output=True, text=True, check=True
        )
        assert nodes.stdout.split() == ["4"]
    finally:
        stopped = by_hand("stop", short_dir)
    assert stopped.returncode == 0
    assert processes_of(short_dir) == []
    assert by_hand("stop", short_dir).stdout == "Nothing was running.\n"


def test_a_stopped_cluster_starts_again_and_remembers_its_jobs(short_dir: Path) -> None:
    with SlurmCluster(short_dir) as first:
        job = first.sbatch("true", "--output=/dev/null")
        first.wait_for_state(job, "COMPLETED")
    with SlurmCluster(short_dir) as second:
        assert second.job_state(job) == "COMPLETED"


@pytest.mark.parametrize("arguments", [[], ["start"], ["restart", "x"], ["stop", "a", "b"]])
def test_wrong_usage_by_hand_is_explained(arguments: list[str]) -> None:
    done = by_hand(*arguments)
    assert done.returncode == 2
    assert "tests.slurm_cluster start DIR" in done.stderr


def test_a_directory_that_holds_something_else_is_refused(short_dir: Path) -> None:
    (short_dir / "thesis.tex").touch()
    started = by_hand("start", short_dir)
    assert started.returncode == 2
    assert "holds something else" in started.stderr
    stopped = by_hand("stop", short_dir)
    assert stopped.returncode == 2
    assert "No cluster" in stopped.stderr
    assert [path.name for path in short_dir.iterdir()] == ["thesis.tex"]


def test_a_path_that_sockets_cannot_have_is_refused() -> None:
    for bad in ("/tmp/two words", "/tmp/" + "long" * 20):
        with pytest.raises(SlurmClusterError, match="at most 60 characters"):
            SlurmCluster(Path(bad))


def test_the_log_is_shown_when_a_daemon_does_not_come_up() -> None:
    broken = SlurmCluster(accounting=False, slurm_conf={"SelectType": "select/nonsense"})
    with pytest.raises(SlurmClusterError, match=r"slurmctld ended(.|\n)*select/nonsense"):
        broken.start()
    assert not broken.directory.exists()


# ---------------------------------------------------------------------- where it must not run


def test_a_cluster_that_is_not_ours_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "slurm.conf"
    conf.touch()
    monkeypatch.setenv("SLURM_CONF", str(conf))
    assert "not ours" in (available() or "")
    monkeypatch.delenv("SLURM_CONF")
    monkeypatch.setattr(cluster, "FOREIGN_CONFS", (conf,))
    assert "not ours" in (available() or "")


def test_a_cluster_of_ours_does_not_forbid_another(
    slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    assert available() is None


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = shutil.which

    def which(program: str, path: str) -> str | None:
        return None if program == "slurmd" else find(program, path=path)

    monkeypatch.setattr(cluster.shutil, "which", which)
    assert (available() or "").startswith("not installed: slurmd (")


@pytest.mark.parametrize(
    ("promised", "outcome"), [("required", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_without_slurm_a_test_fails_only_where_it_was_promised(
    promised: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    unavailable: Callable[[], str] = lambda: "not installed: sbatch"  # noqa: E731
    monkeypatch.setattr("tests.slurm_cluster.fixtures.available", unavailable)
    monkeypatch.setenv("SLURM_TESTS", promised)
    with pytest.raises(outcome, match="not installed: sbatch"):
        require_slurm()
