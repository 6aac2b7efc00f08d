"""A job in place of a training, for what several tasks are told and which signals reach them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from jobs.files import write_atomic

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class Probe:
    """Every task writes down its environment, waits for a stop signal, and writes that down.

    Called with a run's folder, or with the record of a submission, it writes beside `path`.
    """

    def __init__(self, path: Path | str, pilot_steps: int | None = None) -> None:
        self.path = str(path)

    def __call__(self) -> str:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        rank = os.environ.get("SLURM_PROCID") or os.environ["SUBMITIT_LOCAL_GLOBALID"]
        environment = dict(os.environ) | {"pid": str(os.getpid())}
        write_atomic(Path(f"{self.path}.task{rank}"), json.dumps(environment).encode())
        heard = signal.Signals(signal.sigwait(STOP_SIGNALS)).name
        write_atomic(Path(f"{self.path}.heard{rank}"), heard.encode())
        return heard


def environments(path: Path) -> list[dict[str, str]]:
    """Those of the tasks that have begun, by rank."""
    return [json.loads(file.read_text()) for file in sorted(path.parent.glob(f"{path.name}.task*"))]


def heard(path: Path) -> list[str]:
    """The signals that the tasks were ended by, by rank."""
    return [file.read_text() for file in sorted(path.parent.glob(f"{path.name}.heard*"))]
