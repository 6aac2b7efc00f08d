"""`python -m jobs.data NAME FOLDER`: download a data set, once, on request."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jobs.data.datasets import download
from jobs.data.files import FILE_SETS
from jobs.errors import run_command

NETWORK_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m jobs.data NAME FOLDER`: download a data set, once, on request."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.data",
        description="Download a data set into a folder, unless it is there already. Trainings "
        "never download: they read what is in data_dir.",
        epilog="examples:\n"
        "  python -m jobs.data cifar100 data\n"
        "  python -m jobs.data svhn /scratch/data      and in the matrix: data_dir: /scratch/data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=FILE_SETS, metavar="NAME", help=", ".join(FILE_SETS))
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="made if it is not there")
    given = parser.parse_args(arguments)
    # A network that swallows everything would be waited for without end.
    socket.setdefaulttimeout(NETWORK_TIMEOUT_S)
    data = download(given.name, given.folder, say=partial(print, flush=True))
    print(
        f"{given.name}: {len(data.train):,} training and {len(data.test):,} test images in "
        f"{given.folder}"
    )


if __name__ == "__main__":
    run_command(main)
