"""What keeps single sweeps from being worked on: told, while the others go on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jobs.errors import ExecutionError, InputError, describe_failure
from jobs.sweep_dir import SweepDir


@dataclass
class Failures:
    """What went wrong with sweeps, told as it happens where there are others."""

    sweeps: int
    _errors: list[tuple[str, Exception]] = field(default_factory=list)

    @contextlib.contextmanager
    def of(self, sweep: SweepDir) -> Iterator[None]:
        """What is done for one sweep; its failure ends that, and nothing else."""
        try:
            yield
        except (InputError, ExecutionError, OSError) as error:
            self._errors.append((sweep.name, error))
            if self.sweeps > 1:
                print(f"error: {sweep.name}: {describe_failure(error)}", file=sys.stderr)

    def check(self) -> None:
        """Raise the failure of the only sweep, or say which of several failed.

        InputError if nothing but mistakes in the input kept them from going on.
        """
        if not self._errors:
            return
        names, errors = zip(*self._errors, strict=True)
        if self.sweeps == 1:
            raise errors[0]
        kind = InputError if all(isinstance(e, InputError) for e in errors) else ExecutionError
        raise kind(f"{len(names)} of {self.sweeps} sweeps failed: {', '.join(names)}")


def intact_sweeps(sweeps: Sequence[SweepDir], failures: Failures) -> list[SweepDir]:
    """Those whose records of which runs there are, and who has had them, can be read.

    Raises what is wrong where there is none.
    """
    intact = []
    for sweep in sweeps:
        with failures.of(sweep):
            sweep.submissions()
            sweep.named_runs()
            intact.append(sweep)
    if not intact:
        failures.check()
    return intact
