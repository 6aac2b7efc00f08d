"""What can go wrong on a cluster, and for how long.

A fault is a function of the lab and a source of random numbers. It says what it did, or None if
there was nothing to hit. What has to be mended after a while it leaves to `lab.later`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from random import Random

import psutil

from tests.chaos.lab import Lab

Fault = Callable[[Lab, Random], str | None]


# ---- what SLURM and its administrators do to a job


def preempt(lab: Lab, random: Random) -> str | None:
    """Somebody with priority takes a whole node for a short time."""
    nodes = sorted(set(lab.jobs("RUNNING").values()))
    if not nodes:
        return None
    node, seconds = random.choice(nodes), random.choice((0, 1, 3))
    job = lab.cluster.sbatch(
        f"sleep {seconds}", "-p", "high", "-w", node, "--gres=gpu:v100:4", "--output=/dev/null"
    )
    return f"job {job} takes {node} for {seconds} s"


def user_signal(lab: Lab, random: Random) -> str | None:
    return _tell(lab, random, "USR2")


def terminate(lab: Lab, random: Random) -> str | None:
    return _tell(lab, random, "TERM")


def _tell(lab: Lab, random: Random, name: str) -> str | None:
    if job := _one_of(lab, random, "RUNNING"):
        lab.slurm("scancel", f"--signal={name}", job)
    return job and f"{name} to {job}"


def requeue(lab: Lab, random: Random) -> str | None:
    return _control(lab, random, "requeue", "RUNNING")


def requeue_and_hold(lab: Lab, random: Random) -> str | None:
    return _control(lab, random, "requeuehold", "RUNNING")


def hold(lab: Lab, random: Random) -> str | None:
    return _control(lab, random, "hold", "PENDING")


def _control(lab: Lab, random: Random, verb: str, state: str) -> str | None:
    if job := _one_of(lab, random, state):
        lab.slurm("scontrol", verb, job)
    return job and f"{verb} {job}"


def cancel_a_job(lab: Lab, random: Random) -> str | None:
    """By SLURM's own command, of which the launcher is not told."""
    if job := _one_of(lab, random, "RUNNING", "PENDING"):
        lab.slurm("scancel", job)
    return job and f"scancel {job}"


def _one_of(lab: Lab, random: Random, *states: str) -> str | None:
    jobs = sorted(lab.jobs(*states))
    return random.choice(jobs) if jobs else None


# ---- what happens to processes and machines


def kill_trainer(lab: Lab, random: Random) -> str | None:
    trainers = lab.trainers()
    if not trainers:
        return None
    run, holder = random.choice(trainers)
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder["pid"], signal.SIGKILL)
    return f"process {holder['pid']} of {run.run_id} (job {holder['job_id']})"


def freeze_trainer(lab: Lab, random: Random) -> str | None:
    """As by a file system that hangs."""
    trainers = lab.trainers()
    if not trainers:
        return None
    (run, holder), seconds = random.choice(trainers), random.uniform(1, 5)
    process = psutil.Process(holder["pid"])
    process.suspend()

    def thaw() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

    lab.later(seconds, f"process {process.pid} goes on", thaw)
    return f"process {process.pid} of {run.run_id} for {seconds:.1f} s"


def lose_node(lab: Lab, random: Random) -> str | None:
    """With all that runs on it; one at a time, so that there are others to go on."""
    states = lab.cluster.node_states()
    if any(state.startswith(("down", "drain")) for state in states.values()):
        return None
    node, seconds = random.choice(sorted(states)), random.uniform(2, 10)
    lab.cluster.lose_node(node)
    lab.later(seconds, f"{node} is restored", lambda: lab.cluster.restore_node(node))
    return f"{node} for {seconds:.1f} s"


def restart_slurmd(lab: Lab, random: Random) -> str | None:
    node = random.choice(sorted(lab.cluster.node_states()))
    lab.cluster.restart_node(node)
    return node


def restart_controller(lab: Lab, random: Random) -> str:
    lab.cluster.stop_controller()
    return _start_controller(lab, random)


def kill_controller(lab: Lab, random: Random) -> str | None:
    """Once it has saved the newest job; what came since then it may forget."""
    jobs = sorted(lab.jobs(), key=lambda job: int(job.partition("_")[0]))
    if not jobs:
        return None
    lab.cluster.wait_until_saved(jobs[-1])
    lab.cluster.kill_controller()
    return _start_controller(lab, random)


def crash_controller(lab: Lab, random: Random) -> str:
    """It forgets the jobs that came in the last seconds, and gives their ids to others."""
    command = lab.start("resume")
    time.sleep(random.uniform(0.3, 1.5))
    lab.cluster.kill_controller()
    # It drains nodes on which jobs run that it does not know, and whose ids others have by now.
    lab.later(10, "an administrator sees to the nodes", lab.cluster.restore_nodes)
    return f"`launcher {' '.join(command.words)}`, and then {_start_controller(lab, random)}"


def _start_controller(lab: Lab, random: Random) -> str:
    seconds = random.choice((0, 2, 6))
    time.sleep(seconds)
    lab.cluster.start_controller()
    return f"{seconds} s without a controller"


# ---- what happens to those who ask SLURM


def programs_down(lab: Lab, random: Random) -> str:
    """Some of SLURM's programs do not reach the controller, from the login node and from jobs."""
    names = random.choice(
        (["squeue"], ["sacct"], ["scontrol"], ["scancel"], ["squeue", "scontrol"])
    )
    return _spoil(lab, random, names, "down")


def answers_lost(lab: Lab, random: Random) -> str:
    """What is asked for happens, but who asked is told of a time-out."""
    return _spoil(lab, random, [random.choice(("squeue", "sacct", "scontrol", "scancel"))], "lost")


def killed_while_asking(lab: Lab, random: Random) -> str:
    """Whoever asks, the launcher or a job that is about to leave."""
    return _spoil(lab, random, [random.choice(("squeue", "scontrol"))], "fatal")


def sbatch_down(lab: Lab, random: Random) -> str:
    return _resume_without_sbatch(lab, random, "down")


def sbatch_lost(lab: Lab, random: Random) -> str:
    """The job is accepted, and the launcher is told of a time-out."""
    return _resume_without_sbatch(lab, random, "lost")


def killed_in_sbatch(lab: Lab, random: Random) -> str:
    """The job is accepted, and the launcher dies before it has its id."""
    return _resume_without_sbatch(lab, random, "fatal")


def _resume_without_sbatch(lab: Lab, random: Random, how: str) -> str:
    """A trainer dies, and somebody resumes while sbatch is not what it should be."""
    killed = kill_trainer(lab, random)
    told = _spoil(lab, random, ["sbatch"], how)
    time.sleep(0.5)
    lab.start("resume")
    return f"{told}; killed: {killed}; `launcher resume`"


def _spoil(lab: Lab, random: Random, names: list[str], how: str) -> str:
    seconds = random.uniform(2, 6)
    lab.spoil(names, how)
    told = " ".join(names)
    lab.later(seconds, f"{told} as before", lambda: lab.mend(names))
    return f"{told} {how} for {seconds:.1f} s"


# ---- what people do


def kill_launcher(lab: Lab, random: Random) -> str:
    """A `submit` or `resume` is killed somewhere on its way."""
    sweep, seconds = random.choice(lab.sweeps), random.uniform(0.1, 1.0)
    command = lab.submit(sweep) if random.random() < 0.5 else lab.start("resume", sweep.name)
    time.sleep(seconds)
    command.process.kill()
    return f"`launcher {' '.join(command.words)}` after {seconds:.2f} s"


def two_people(lab: Lab, random: Random) -> str:
    """Both submit the same at the same moment."""
    sweep = random.choice(lab.sweeps)
    commands = [lab.submit(sweep) for _ in range(2)]
    return f"`launcher {' '.join(commands[0].words)}` twice at once"


def cancel_some(lab: Lab, random: Random) -> str:
    """Somebody changes their mind about a seed; the next round of the operator releases it."""
    sweep, only = random.choice(lab.sweeps), f"seed == {random.randrange(lab.size.seeds)}"
    command = lab.start("cancel", sweep.name, "--only", only)
    return f"`launcher {' '.join(command.words)}`"


# How often each comes, in relation to the others.
FAULTS: dict[Fault, int] = {
    preempt: 6,
    user_signal: 3,
    terminate: 3,
    requeue: 4,
    requeue_and_hold: 2,
    hold: 2,
    cancel_a_job: 2,
    kill_trainer: 4,
    freeze_trainer: 2,
    lose_node: 3,
    restart_slurmd: 3,
    restart_controller: 1,
    kill_controller: 1,
    crash_controller: 1,
    programs_down: 3,
    answers_lost: 2,
    killed_while_asking: 2,
    sbatch_down: 1,
    sbatch_lost: 2,
    killed_in_sbatch: 2,
    kill_launcher: 3,
    two_people: 2,
    cancel_some: 2,
}
