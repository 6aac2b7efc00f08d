"""The fake SLURM answers in the form of the real one, or fails."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.fake_slurm import FakeSlurm
from tests.slurm_cluster import SlurmCluster, wait_for

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=sweep-1f2e3d4c
#SBATCH --array={array}
#SBATCH --begin=now+3600
sleep 1
"""
NAME = "--name=sweep-1f2e3d4c"
SQUEUE = ["squeue", "-h", "-r", "-t", "all", NAME, "-o", "%j|%F|%K|%T|%r|%i|%N|%u"]
SACCT = ["sacct", "-a", "-X", "-n", "-P", NAME, "-S", "now-1hour", "-E", "now+1day", "-o"]
SACCT += ["JobName,JobID,State,NodeList,User"]

Answer = tuple[int, list[str], str]


def conversation(ask: Callable[..., Answer], folder: Path) -> list[Answer]:
    """A job array that waits and is cancelled, and questions that SLURM refuses."""
    script, largest = folder / "job.sh", folder / "largest.sh"
    script.write_text(SCRIPT.format(array="0-2,5,7-9%2"))
    largest.write_text(SCRIPT.format(array="0-1000000"))
    submitted = ask("sbatch", str(script))
    job_id = submitted[1][0].split()[-1]

    def told(*words: str) -> Answer:
        """With the job's id as N; rows come in no order."""
        status, rows, error = ask(*words)
        said = sorted(re.sub(rf"\|{job_id}([_|])", r"|N\1", row) for row in rows)
        return status, said, re.sub(rf"{job_id}_[-,0-9]+", "N", error)

    def accounting(word: str) -> Answer:
        wait_for(lambda: word in "".join(told(*SACCT)[1]), 60, f"{word} in the accounting")
        return told(*SACCT)

    return [
        told("sbatch", str(largest)),
        accounting("PENDING"),
        told(*SQUEUE),
        told("squeue", "-h", "-j", f"{job_id}_7", "-o", "%T"),
        told("squeue", "-h", "-j", "4000000", "-o", "%T"),
        told("squeue", "-h", NAME + "0", "-o", "%T"),
        told("scontrol", "requeue", f"{job_id}_7"),
        told("scontrol", "release", "4000000"),
        told("scancel", "4000000", f"{job_id}_99"),
        told("scancel", job_id),
        told(*SQUEUE),
        accounting("CANCELLED"),
    ]


def test_the_fake_answers_in_the_form_of_the_real_one(
    slurm_cluster: SlurmCluster, tmp_path: Path
) -> None:
    fake = FakeSlurm(tmp_path / "slurm")
    answers = []
    for environment in (slurm_cluster.env, {"PATH": str(fake.bin)}):

        def ask(*words: str, env: dict[str, str] = environment) -> Answer:
            done = subprocess.run(words, capture_output=True, text=True, env=env)
            return done.returncode, done.stdout.splitlines(), done.stderr

        answers.append(conversation(ask, tmp_path))
    slurm_cluster.reset()
    real, fakes = answers
    assert fakes == real
