"""A private, real SLURM cluster for the tests: four virtual nodes on this machine.

Everything lives in one directory and listens on 127.0.0.1 only; nothing in /etc, /run or /var is
touched, and neither root nor systemd is needed. `install.sh` installs the Debian packages.

    python -m tests.slurm_cluster start /tmp/lab    # a cluster to try things on by hand

    with SlurmCluster(send_user_signal=False) as cluster:
        print(cluster.run("sinfo"))

In tests ask for the fixture `slurm_cluster`, which all tests of a session share.
"""

from tests.slurm_cluster.cluster import (
    SlurmCluster,
    SlurmClusterError,
    available,
    stop,
    wait_for,
)

__all__ = ["SlurmCluster", "SlurmClusterError", "available", "stop", "wait_for"]
