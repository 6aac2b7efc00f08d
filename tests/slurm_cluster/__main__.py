"""A private SLURM cluster by hand, to try things on.

python -m tests.slurm_cluster start DIR    starts a cluster in DIR and says how to use it
python -m tests.slurm_cluster stop DIR     stops it, from any shell; DIR stays, with its logs
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.slurm_cluster import cluster


def main(arguments: list[str]) -> int:
    match arguments:
        case ["start", directory]:
            return start(Path(directory))
        case ["stop", directory]:
            return stop(Path(directory))
    print((__doc__ or "").strip(), file=sys.stderr)
    return 2


def start(directory: Path) -> int:
    if reason := cluster.available():
        return _fail(1, f"No private SLURM cluster can be had here: {reason}")
    try:
        slurm = cluster.SlurmCluster(directory)
    except cluster.SlurmClusterError as error:
        return _fail(2, str(error))
    try:
        slurm.start()
    except cluster.SlurmClusterError as error:
        return _fail(1, str(error))
    print(f"export SLURM_CONF={slurm.conf}")
    print("# Four nodes are up; with the line above, sinfo, sbatch, squeue and sacct talk to them.")
    print(f"# To end it: python -m tests.slurm_cluster stop {slurm.directory}")
    return 0


def stop(directory: Path) -> int:
    directory = directory.resolve()
    if not cluster.holds_cluster(directory):
        return _fail(2, f"No cluster was ever started in {directory}")
    was_running = cluster.is_running(directory)
    cluster.stop(directory)
    print(f"The cluster in {directory} is down." if was_running else "Nothing was running.")
    return 0


def _fail(status: int, message: str) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
