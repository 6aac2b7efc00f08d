"""From a matrix to a sweep on disk: which executor, what is planned, and the files that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InputError
from jobs.run_dir import SweepDir
from launcher.cluster import Cluster, LocalProfile, Resources
from launcher.matrix import Matrix
from launcher.plan import Action, Policy, Standing, State, plan
from launcher.status import sweep_status


def choose_profile(
    cluster: Cluster, executor: str, profile: str | None, resources: Resources
) -> LocalProfile:
    """The profile that a submission uses; InputError for one that cannot be used here.

    A profile named on the command line must fit the executor. One named in the matrix gives way,
    so that a matrix written for a cluster also runs on a workstation.
    """
    if executor == "slurm":
        raise InputError("--executor slurm is not built yet. Valid: auto, local (this machine)")
    if profile is None and resources.profile is not None:
        wished = cluster.profiles.get(resources.profile)
        profile = resources.profile if wished is None or wished.executor == "local" else None
    chosen = cluster.profile(profile, "local")
    assert isinstance(chosen, LocalProfile)
    return chosen.with_resources(resources)


@dataclass(frozen=True)
class Submission:
    """What submitting a matrix would do to a sweep. Nothing is written before `write`."""

    sweep: SweepDir
    matrix: Matrix
    actions: Sequence[Action]
    unnamed: Sequence[str]

    def write(self) -> None:
        """Plan every run of the matrix on disk, and keep this version of the matrix."""
        for config in self.matrix.configs:
            self.sweep.run(config.run_id).write_config(config)
        self.sweep.add_matrix(self.matrix.text, [config.run_id for config in self.matrix.configs])


def plan_submission(matrix: Matrix, runs: Path) -> Submission:
    """Compare a matrix with what is there; InputError if a run's configuration was edited."""
    sweep = SweepDir(runs / matrix.name)
    known = {status.run_id: status for status in sweep_status(sweep)}
    named = [config.run_id for config in matrix.configs]
    for run_id in named:
        if run_id in known:
            sweep.run(run_id).read_config()
    standings = [known.get(run_id, Standing(run_id, State.PLANNED)) for run_id in named]
    unnamed = sorted(set(known) - set(named))
    return Submission(sweep, matrix, plan(standings, Policy()), unnamed)
