"""What a person did wrong, and what went wrong: the two ways a command ends badly.

Library code raises these; a command line turns them into one message and an exit status.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from jobs.causes import Cause

if TYPE_CHECKING:
    import typer


class InputError(Exception):
    """A mistake in what was given: says what was given, what is valid, what to do. Exits with 2."""


class MissingDataError(InputError):
    """Files that a run needs are not there."""


class ExecutionError(Exception):
    """Something failed although the input was right. Exits with 1."""


class StoppedError(Exception):
    """Asked to stop before training began: there is nothing to save."""


class TrainingError(ExecutionError):
    """A training cannot go on. `cause` is the word for it in the attempt's record."""

    cause: Cause


class DeviceError(TrainingError):
    """The device cannot do what the run asks for."""

    cause = Cause.DEVICE_UNFIT


class WorkerKilledError(TrainingError):
    """A process that loads images was killed, as the system does where memory is short."""

    cause = Cause.OUT_OF_MEMORY


class NonFiniteLossError(TrainingError):
    """The training loss is infinite or not a number."""

    cause = Cause.LOSS_NOT_FINITE


class StuckError(TrainingError):
    """The network has learnt nothing in a good part of its training."""

    cause = Cause.STUCK_AT_CHANCE


class NoProgressError(TrainingError):
    """The run was started again and again, and never took a step."""

    cause = Cause.NO_PROGRESS


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a command line and leave with its status; a mistake never shows a stack trace."""
    try:
        command()
    except InputError as error:
        status = _complain(error, 2)
    except ExecutionError as error:
        status = _complain(error, 1)
    except OSError as error:
        status = _complain(error, 1)
    except KeyboardInterrupt:
        status = 130
    else:
        status = 0
    sys.exit(status)


def describe_failure(error: Exception) -> str:
    """What an error says to a person; of a file, which one, and what is wrong with it."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def run_app(app: typer.Typer, prog: str) -> NoReturn:
    """Run a typer app. Its own usage errors leave with 2 and `--help` with 0, as typer does it."""
    run_command(lambda: app(prog_name=prog))


def _complain(error: Exception, status: int) -> int:
    print(f"error: {describe_failure(error)}", file=sys.stderr)
    return status
