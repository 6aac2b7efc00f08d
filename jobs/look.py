"""A look at a sweep: much is asked of each of its runs, and what cannot change is read once."""

from __future__ import annotations

from jobs.config import RunConfig
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, Result
from jobs.sweep_dir import SweepDir


class SweepLook(SweepDir):
    """The sweep, with each of its runs as one object as long as the look lasts."""

    def __init__(self, sweep: SweepDir) -> None:
        super().__init__(sweep.path)
        self._runs: dict[str, RunDir] = {}

    def run(self, run_id: str) -> RunDir:
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = RunLook(f"{self.path}/{run_id}")
        return run


class RunLook(RunDir):
    """The run, of which the configuration, the result and the attempts that ended are read once.

    All else may change while SLURM is asked, and is read whenever somebody asks.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._seen_config: RunConfig | None = None
        self._seen_result: Result | None = None
        self._seen_attempts: dict[int, Attempt] = {}

    def read_config(self) -> RunConfig:
        if self._seen_config is None:
            self._seen_config = super().read_config()
        return self._seen_config

    def is_finished(self) -> bool:
        return self._seen_result is not None or super().is_finished()

    def read_result(self) -> Result | None:
        if self._seen_result is None:
            self._seen_result = super().read_result()
        return self._seen_result

    def read_attempt(self, number: int) -> Attempt:
        attempt = self._seen_attempts.get(number)
        if attempt is None:
            attempt = super().read_attempt(number)
            if "cause" in attempt:
                self._seen_attempts[number] = attempt
        return attempt
