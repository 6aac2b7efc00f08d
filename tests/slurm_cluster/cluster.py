"""Starts, breaks, mends and stops a private SLURM cluster that lives in one directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from tests.slurm_cluster import config, processes

PROGRAMS = (
    "sbatch", "slurmctld", "slurmd", "slurmdbd", "munged",
    "mariadbd", "mariadb-install-db", "my_print_defaults",
)  # fmt: skip
FOREIGN_CONFS = (Path("/etc/slurm/slurm.conf"), Path("/run/slurm/conf/slurm.conf"))

DAEMON_TIMEOUT_S = 60.0  # each is up within 3 s, unless the machine is busy with other things
NODE_TIMEOUT_S = 60.0

# SLURM's programs look at these, and a test must not depend on who runs it.
SLURM_VARIABLES = (
    "SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_",
)  # fmt: skip

T = TypeVar("T")


class SlurmClusterError(RuntimeError):
    """A daemon does not come up, a command fails, or the directory is not fit for a cluster."""


def available() -> str | None:
    """Why no private cluster can be had here; None if it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=_search_path())]
    if missing:
        install = Path(__file__).with_name("install.sh")
        return f"not installed: {', '.join(missing)} (as root: {install})"
    foreign = list(FOREIGN_CONFS)
    if conf := os.environ.get("SLURM_CONF"):
        foreign.append(Path(conf))
    for path in foreign:
        if path.exists() and not is_running(path.parent):
            return f"this machine belongs to a SLURM cluster that is not ours ({path})"
    return None


def is_running(directory: Path) -> bool:
    """Does a cluster that was started by this module run in the directory?"""
    return any(processes.recorded(file) for file in (directory / "daemons").glob("*"))


def holds_cluster(directory: Path) -> bool:
    """Was a cluster ever started in the directory by this module?"""
    return (directory / "daemons").is_dir() and (directory / "slurm.conf").is_file()


def stop(directory: Path) -> None:
    """Ends all processes of the cluster in the directory, and none but those."""
    daemons = {file.name: processes.recorded(file) for file in (directory / "daemons").glob("*")}

    def end(*names: str) -> None:
        processes.end({p for name in names if (p := daemons.get(name))}, DAEMON_TIMEOUT_S)

    end("slurmctld", *config.NODES)
    processes.kill_at_once(lambda: _node_processes(directory, *config.NODES))
    end("slurmdbd")
    end("mariadbd")
    end("munged")
    for name in daemons:
        (directory / "daemons" / name).unlink(missing_ok=True)


def wait_for(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """Asks until the answer is true, and returns the answer."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout_s:g} s in vain for this: {what}")
        time.sleep(0.05)
    return answer


class SlurmCluster:
    """A SLURM cluster of four virtual nodes, n1 to n4, with 8 CPUs and 4 GPUs each.

        with SlurmCluster() as cluster:
            job = cluster.sbatch("nvidia-smi", "--gres=gpu:1")
            cluster.wait_for_state(job, "COMPLETED")

    Used with `with` it ends together with the process that started it, however that process ends.
    Without a directory it lives in a temporary one, which is removed at the end. Entries of
    `slurm_conf` are added to slurm.conf or replace what it says.

    Partitions: `low` (preempted with 5 s of grace and requeued), `low0` (the same without grace)
    and `high`, which preempts both.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        accounting: bool = True,
        send_user_signal: bool = True,
        job_requeue: bool = True,
        max_array_size: int = 20001,
        slurm_conf: Mapping[str, str] | None = None,
    ) -> None:
        self._options = config.Options(
            accounting, send_user_signal, job_requeue, max_array_size, slurm_conf or {}
        )
        self._is_temporary = directory is None
        # Not below TMPDIR: the path of a unix socket has room for some 100 characters.
        self.directory = (
            directory or Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        ).resolve()
        self.conf = self.directory / "slurm.conf"
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._check_directory()

    # ------------------------------------------------------------------ up and down

    def __enter__(self) -> Self:
        self._start_guard()
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Starts the cluster. It stays until `stop`, even when this process ends before."""
        try:
            for last_attempt in (False, False, True):
                try:
                    self._start_once()
                    break
                except SlurmClusterError as error:
                    # Somebody took one of our ports between the choice and the start.
                    if last_attempt or "Address already in use" not in str(error):
                        raise
                    self._stop_daemons()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self._stop_daemons()
        if self._is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._guard:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    # ------------------------------------------------------------------ what tests ask

    @property
    def env(self) -> dict[str, str]:
        """The environment in which SLURM's programs talk to this cluster."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(SLURM_VARIABLES)}
        return environment | {"PATH": _search_path(), "SLURM_CONF": str(self.conf)}

    def run(self, *argv: str, check: bool = True, timeout: float = 30) -> str:
        """Runs a command against this cluster and returns what it prints."""
        command = " ".join(argv)
        try:
            done = subprocess.run(
                argv,
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SlurmClusterError(f"`{command}` did not end within {timeout:g} s") from error
        if check and done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise SlurmClusterError(f"`{command}` ended with status {done.returncode}: {said}")
        return done.stdout

    def sbatch(self, command: str, *options: str) -> str:
        """Submits a shell command and returns the job's id."""
        return self.run("sbatch", "--parsable", *options, "--wrap", command).strip()

    def squeue(self) -> dict[str, str]:
        """The state of every job, also of those that ended within the last ten minutes."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def job_state(self, job_id: str) -> str:
        return self.squeue()[job_id]

    def show_job(self, job_id: str) -> dict[str, str]:
        """What `scontrol show job` says, such as NodeList, Restarts or Reason."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "-o", "show", "job", job_id)))

    def wait_for_state(self, job_id: str, state: str, timeout_s: float = 60) -> None:
        wait_for(lambda: self.job_state(job_id) == state, timeout_s, f"job {job_id} is {state}")

    def node_states(self) -> dict[str, str]:
        """Node name -> idle, mixed, allocated, down, ...; with a * when it does not answer."""
        lines = self.run("sinfo", "-h", "-N", "-p", "low", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def reset(self) -> None:
        """Cancels all jobs and mends what is broken, for the next test."""
        if not processes.recorded(self._record("slurmctld")):
            self.start_controller()
        self.run("scancel", "--user", _user())
        for name in config.NODES:
            if not processes.recorded(self._record(name)):
                self._start_node(name)
        for name in config.NODES:
            self._wait_for_node(name, "idle")

    # ------------------------------------------------------------------ what tests break and mend

    def lose_node(self, name: str) -> None:
        """The node dies with all that runs on it, and the controller knows at once.

        By itself the controller would notice after some 25 s, however short its timers are.
        """
        processes.kill_at_once(lambda: _node_processes(self.directory, name))
        self._reap(name)
        self._update_node(name, "down", "reason=lost by a test")

    def restore_node(self, name: str) -> None:
        if not processes.recorded(self._record(name)):
            self._start_node(name)
        self._wait_for_node(name, "idle", "mixed", "allocated", "completing")

    def restore_nodes(self) -> None:
        """All that are down, and those that the controller has drained."""
        for name in config.NODES:
            self.restore_node(name)

    def restart_node(self, name: str) -> None:
        """Only the node's slurmd dies, and comes back; the jobs there go on."""
        self._recorded(name).kill()
        self._reap(name)
        self._start_node(name)

    def wait_until_saved(self, job_id: str) -> None:
        """Until then a killed controller would forget the job, and give its id to another one."""
        mark = secrets.token_hex(8)
        self.run("scontrol", "update", f"jobid={job_id}", f"admincomment={mark}")
        saved = self.directory / "state" / "job_state"
        wait_for(
            lambda: saved.exists() and mark.encode() in saved.read_bytes(),
            60,
            f"job {job_id} as it is now is saved",
        )

    def kill_controller(self) -> None:
        """The controller dies and forgets what it has not saved yet: see `wait_until_saved`."""
        controller = self._recorded("slurmctld")
        processes.kill_at_once(lambda: {controller, *controller.children(recursive=True)})
        self._reap("slurmctld")

    def stop_controller(self) -> None:
        """The controller saves its state and ends, as when its machine is rebooted."""
        processes.end({self._recorded("slurmctld")}, DAEMON_TIMEOUT_S)
        self._reap("slurmctld")

    def start_controller(self) -> None:
        self._spawn("slurmctld", "slurmctld", "-D")
        self._wait_for_daemon(
            "slurmctld",
            lambda: (
                self._listens("slurmctld") and "is UP" in self.run("scontrol", "ping", check=False)
            ),
        )

    # ------------------------------------------------------------------ the directory

    def _check_directory(self) -> None:
        directory = self.directory
        # SLURM's files know no quotes, and slurmstepd makes unix sockets in the directory.
        if not re.fullmatch(r"[A-Za-z0-9/._-]{1,60}", str(directory)):
            raise SlurmClusterError(
                f"The directory {directory} must have at most 60 characters, all of them letters,"
                " digits or any of / . _ -; choose another, such as /tmp/lab"
            )
        if is_running(directory):
            raise SlurmClusterError(f"A cluster is running in {directory} already; stop it first")
        if directory.exists() and not directory.is_dir():
            raise SlurmClusterError(f"{directory} is not a directory")
        if directory.exists() and any(directory.iterdir()) and not holds_cluster(directory):
            raise SlurmClusterError(
                f"The directory {directory} holds something else; give an empty or a new one"
            )

    def _write_files(self) -> None:
        base = self.directory
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("daemons", "db", "db/tmp", "dev", "log", "munge", "run", "spool", "state"):
            (base / name).mkdir(exist_ok=True)
        for name in config.NODES:
            (base / "spool" / name).mkdir(exist_ok=True)
        for index in range(config.GPUS_PER_NODE):
            device = base / "dev" / f"nvidia{index}"
            if not device.is_symlink():
                device.symlink_to("/dev/null")
        host = socket.gethostname().split(".")[0]
        place = config.Place(base, self._ports, _user(), host)
        self.conf.write_text(config.slurm_conf(place, self._options))
        (base / "gres.conf").write_text(config.gres_conf(place))
        (base / "cgroup.conf").write_text(config.cgroup_conf())
        (base / "db" / "init.sql").write_text(config.database_init_sql())
        _write_private(base / "slurmdbd.conf", config.slurmdbd_conf(place).encode())
        _write_private(base / "munge" / "munge.key", secrets.token_bytes(128))

    # ------------------------------------------------------------------ the daemons

    def _start_once(self) -> None:
        self._ports = _free_ports()
        self._write_files()
        self._start_munge()
        if self._options.accounting:
            self._start_database()
            self._start_accounting()
        self.start_controller()
        for name in config.NODES:
            self._start_node(name)
        for name in config.NODES:
            self._wait_for_daemon(name, lambda name=name: self.node_states()[name] == "idle")  # type: ignore[misc]

    def _start_munge(self) -> None:
        munge = self.directory / "munge"
        self._spawn(
            "munged",
            "munged",
            "--foreground",
            "--force",  # it would rather have its directory open to all users, and not be root
            f"--socket={munge / 'munge.sock'}",
            f"--key-file={munge / 'munge.key'}",
            f"--pid-file={munge / 'munged.pid'}",
            f"--seed-file={munge / 'munged.seed'}",
        )
        answer = ("munge", "-S", str(munge / "munge.sock"), "-n")
        self._wait_for_daemon("munged", lambda: self.run(*answer, check=False))

    def _start_database(self) -> None:
        base = self.directory / "db"
        options = (
            "--no-defaults",
            f"--user={_user()}",
            f"--datadir={base / 'data'}",
            # At its start each server removes what looks like left-overs: not from /tmp, please.
            f"--tmpdir={base / 'tmp'}",
        )
        if not (base / "data").exists():
            self.run(
                "mariadb-install-db",
                *options,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                timeout=DAEMON_TIMEOUT_S,
            )
        self._spawn(
            "mariadbd",
            "mariadbd",
            *options,
            f"--port={self._ports.database}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--socket={base / 'mariadb.sock'}",
            f"--pid-file={base / 'mariadb.pid'}",
            f"--init-file={base / 'init.sql'}",
            # Nothing here need survive a power cut.
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
        )
        self._wait_for_daemon("mariadbd", lambda: self._listens("mariadbd"))

    def _start_accounting(self) -> None:
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait_for_daemon("slurmdbd", lambda: self._listens("slurmdbd"))
        known = self.run("sacctmgr", "-nP", "show", "cluster", "format=cluster").split()
        if config.CLUSTER_NAME not in known:
            self.run("sacctmgr", "-i", "add", "cluster", config.CLUSTER_NAME)

    def _start_node(self, name: str) -> None:
        # The variable is for us, to find it again: see _node_processes.
        self._spawn(name, "slurmd", "-D", "-N", name, SLURMD_NODENAME=name)

    def _spawn(self, name: str, *argv: str, **environment: str) -> None:
        """Starts a daemon in the foreground, and writes down its process."""
        with (self.directory / "log" / f"{name}.out").open("wb") as output:
            child = subprocess.Popen(
                argv,
                env=self.env | environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is for pytest, not for the daemons
            )
        processes.record(child.pid, self._record(name))
        self._children[name] = child

    def _wait_for_daemon(self, name: str, is_up: Callable[[], object]) -> None:
        child = self._children[name]

        def up_or_ended() -> bool:
            return child.poll() is not None or bool(is_up())

        with contextlib.suppress(TimeoutError):
            wait_for(up_or_ended, DAEMON_TIMEOUT_S, f"{name} is up")
            if child.poll() is None:
                return
        problem = "does not answer" if child.poll() is None else f"ended ({child.returncode})"
        log = self.directory / "log" / f"{name}.out"
        last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise SlurmClusterError(f"{name} {problem}. The last lines of {log}:\n{last_lines}")

    def _listens(self, name: str) -> bool:
        """Asked of the process: a port that answers could be somebody else's."""
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = psutil.Process(self._children[name].pid).net_connections("tcp")
            return any(socket.status == psutil.CONN_LISTEN for socket in sockets)
        return False

    def _wait_for_node(self, name: str, *wanted: str) -> None:
        def mended() -> bool:
            state = self.node_states()[name]
            if state.startswith(("down", "drain")):
                # Refused if it has come back by itself since.
                with contextlib.suppress(SlurmClusterError):
                    self._update_node(name, "resume")
            return state in wanted

        wait_for(mended, NODE_TIMEOUT_S, f"node {name} is {' or '.join(wanted)}")

    def _stop_daemons(self) -> None:
        stop(self.directory)
        while self._children:
            self._children.popitem()[1].wait()

    def _update_node(self, name: str, state: str, *more: str) -> None:
        self.run("scontrol", "update", f"nodename={name}", f"state={state}", *more)

    def _record(self, name: str) -> Path:
        return self.directory / "daemons" / name

    def _recorded(self, name: str) -> psutil.Process:
        if process := processes.recorded(self._record(name)):
            return process
        raise SlurmClusterError(f"{name} does not run")

    def _reap(self, name: str) -> None:
        self._record(name).unlink()
        self._children.pop(name).wait()

    def _start_guard(self) -> None:
        """A process that takes the cluster down when this one ends without doing so."""
        self._guard = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.slurm_cluster.guard",
                str(self.directory),
                *(["--remove"] if self._is_temporary else []),
            ],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )


def _node_processes(directory: Path, *names: str) -> set[psutil.Process]:
    """slurmd, slurmstepd and the jobs of these nodes.

    slurmd and the jobs have the configuration and the node in their environment. slurmstepd is
    nobody's child and writes its title over its environment, but it keeps the node's log open.
    """
    conf = str(directory / "slurm.conf")
    logs = {str(directory / "log" / f"{name}.log") for name in names}

    def is_ours(process: psutil.Process) -> bool:
        environment = process.environ()
        if environment.get("SLURM_CONF") == conf and environment.get("SLURMD_NODENAME") in names:
            return True
        return process.name() == "slurmstepd" and any(
            file.path in logs for file in process.open_files()
        )

    return processes.matching(is_ours)


def _free_ports() -> config.Ports:
    """Ports that nobody uses now, from below those that the system gives to clients."""
    wanted = 3 + len(config.NODES)
    found: list[int] = []
    with contextlib.ExitStack() as all_open:
        while len(found) < wanted:
            port = random.randrange(20_000, 32_000)
            probe = all_open.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    controller, accounting, database, *nodes = found
    return config.Ports(controller, accounting, database, tuple(nodes))


def _write_private(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


def _search_path() -> str:
    """The daemons are where a plain user's PATH does not lead."""
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
