"""`--only`: the runs that an expression selects, by their options and by where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.sweep_dir import SweepDir
from launcher.plan import Standing
from launcher.run_status import RunStatus

if TYPE_CHECKING:
    from jobs.config import RunConfig
    from jobs.selection import Key
    from launcher.submit import Submission


class Selected:
    """What `--only` leaves of some sweeps; everything without it.

    The runs are chosen when they are first looked at: one that was selected because it was queued
    is still followed when it runs.
    """

    def __init__(self, only: str | None) -> None:
        self._only = only
        self._chosen: set[Path] | None = None

    def __call__(
        self, sweeps: Sequence[SweepDir], statuses: Sequence[list[RunStatus]]
    ) -> list[list[RunStatus]]:
        """The statuses of the chosen runs, sweep by sweep; InputError if no sweep has any."""
        if self._only is None:
            return list(statuses)
        if self._chosen is None:
            known = {
                sweep.path / status.run_id: _values(sweep.run(status.run_id), status)
                for sweep, of_sweep in zip(sweeps, statuses, strict=True)
                for status in of_sweep
            }
            self._chosen = set(_select(self._only, known))
        return [
            [status for status in of_sweep if sweep.path / status.run_id in self._chosen]
            for sweep, of_sweep in zip(sweeps, statuses, strict=True)
        ]


def select_actions(only: str | None, submission: Submission) -> Submission:
    """The submission with what is to be done for the selected runs; all are still planned."""
    if only is None:
        return submission
    known = {
        standing.run_id: _values(
            submission.sweep.run(standing.run_id),
            standing,
            submission.matrix.runs[standing.run_id],
        )
        for standing in submission.standings
    }
    chosen = set(_select(only, known))
    actions = [action for action in submission.actions if action.run_id in chosen]
    return replace(submission, actions=actions)


def _select(only: str, known: Mapping[Key, Mapping[str, Any]]) -> list[Key]:
    from jobs.selection import select  # with all options, which nobody needs who selects nothing

    try:
        return select(only, known)
    except InputError as error:
        raise InputError(f"--only {only!r}: {error}") from None


def _values(run: RunDir, standing: Standing, config: RunConfig | None = None) -> dict[str, Any]:
    """What an expression can ask of a run; its options only if they are intact."""
    try:
        options = (config or run.read_config()).by_name
    except InputError:
        options = {}
    status = standing if isinstance(standing, RunStatus) else RunStatus(run.run_id, standing.state)
    return options | {
        "state": str(status.state),
        "epoch": status.epoch,
        "top1": status.test_top1,
        "attempts": status.attempts,
        "cause": status.cause and str(status.cause),
    }
