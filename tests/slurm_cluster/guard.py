"""`python -m tests.slurm_cluster.guard DIR [--remove]`: stops the cluster when its owner has ended.

The owner holds the other end of the pipe that is our stdin. It closes when the owner ends, however
it ends: by a SIGKILL too, after which the owner's own `finally` does not run.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.slurm_cluster.cluster import stop


def main(directory: str, *options: str) -> None:
    sys.stdin.buffer.read()
    stop(Path(directory))
    if "--remove" in options:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
