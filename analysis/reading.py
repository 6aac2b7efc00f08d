"""What the files of one run say: the values of its row, its attempts, and its epochs as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from analysis.columns import MEASURED, EpochColumns, Epochs, read_columns
from attention_models import UnknownNameError
from jobs.causes import NOT_RETRIED, Cause
from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.run_records import Attempt, EpochMetrics, Imported, Marks, Progress, Result

_FROM_RESULT = (
    *("best_test_top1", "best_epoch", "final_test_top1", "final_test_top5"),
    *("wall_s", "attempts"),
)
_SIZE = ("params", "macs")
_OF_ATTEMPT = (
    *("attempt", "restart", "gpus", "started_unix_s", "ended_unix_s", "last_sign_unix_s"),
    *("first_step", "last_step", "steps_per_epoch"),
)
_WHOLE = {*_SIZE, "best_epoch", "attempts", "seed", "attempt", "restart", "gpus"}
_NETWORK_OPTION = "model_options."
# The name of a device may itself hold blanks.
DEVICES_APART = "; "

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class RunRecord:
    """One run.

    `row` is what it has in the frame of runs, lists still being lists, and `attempts` are the rows
    of its attempts; what is not known is None. All of it can be written as JSON.
    """

    row: dict[str, Any]
    attempts: list[dict[str, Any]]
    epochs: Epochs


def read_run(run: RunDir, columns: EpochColumns, *, imported: bool = False) -> RunRecord:
    """A run of ours, or one that another program has trained and that was imported.

    Its epochs are added to `columns`.
    Raises InputError if its files contradict each other or what is written there.
    """
    try:
        return _read_imported(run, columns) if imported else _read_own(run, columns)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"one of its records is damaged ({error!r})") from None


# What is said of the attempts of a run that has none.
_NOTHING_SAID: dict[str, Any] = {
    **dict.fromkeys(("code", "torch", "device", "precision_used", "cause", "message"), ""),
    "stuck_at_chance": False,
}


def _read_imported(run: RunDir, columns: EpochColumns) -> RunRecord:
    """Finished, with as much as is known of it."""
    imported = run.read_imported()
    if imported is None:
        raise InputError("it was removed while it was read")
    if imported["seed"] is not None:
        _numbers(imported, ["seed"], "imported.json")
    measured = read_columns(run, absent={**dict.fromkeys(MEASURED), "attempt": 0})
    row = {
        "run_id": run.run_id,
        **_known_options(imported),
        "origin": "imported",
        "state": "finished",
        "attempts": 0,
        **{size: imported.get(size) for size in ("params", "macs")},
        **_in_the_end(measured),
        **_NOTHING_SAID,
    }
    return RunRecord(row, [], columns.append(measured))


def _read_own(run: RunDir, columns: EpochColumns) -> RunRecord:
    config = run.read_config()
    # The result is read first: a job may be writing, and it writes the result last.
    result = run.read_result()
    history = run.history()
    progress = None if result else run.read_progress()
    measured = read_columns(run, absent=dict.fromkeys(EpochMetrics.__optional_keys__))
    done = _check_epochs(measured["epoch"])
    if result is not None and done != config.epochs:
        raise InputError(f"it has a result, but metrics of {done} of {config.epochs} epochs")
    row: dict[str, Any] = {
        "run_id": run.run_id,
        **_options(config),
        "origin": "trained",
        "epochs_done": done,
        "attempts": len(history),
        **_size(run, history, result),
    }
    if result is not None:
        row |= _numbers(result, _FROM_RESULT, run.result.name)
    attempts = [_attempt_row(attempt, config, progress, measured) for attempt in history]
    last = attempts[-1] if attempts else _NOTHING_SAID
    marks: Marks = result or progress or {}
    row |= {
        "state": _state(run, result, history, has_begun=bool(history or done)),
        "code": _distinct(attempts, "code"),
        "torch": _distinct(attempts, "torch"),
        "device": _distinct(attempts, "device", DEVICES_APART),
        "precision_used": _distinct(attempts, "precision"),
        "cause": last["cause"],
        "message": last["message"],
        "stuck_at_chance": marks.get("stuck_at_chance", False)
        or last["cause"] == Cause.STUCK_AT_CHANCE,
    }
    return RunRecord(row, attempts, columns.append(measured))


def _check_epochs(epochs: np.ndarray) -> int:
    """How many there are; InputError if one before the last one is missing."""
    missing = np.flatnonzero(epochs != np.arange(1, len(epochs) + 1))
    if missing.size:
        raise InputError(f"its metrics lack epoch {missing[0] + 1}")
    return len(epochs)


def _state(
    run: RunDir, result: Result | None, history: Sequence[Attempt], *, has_begun: bool
) -> str:
    """Where a run stands by its files alone, in the launcher's order of trust."""
    if result is not None:
        return "finished"
    if run.is_cancelled():
        return "cancelled"
    if not history:
        return "unfinished" if has_begun else "planned"
    last = history[-1]
    cause, ended_s = last.get("cause"), last.get("ended_unix_s", last["started_unix_s"])
    if cause == Cause.CANCELLED and ended_s >= run.released_unix_s():
        return "cancelled"
    return "failed" if cause in NOT_RETRIED else "unfinished"


def _size(run: RunDir, history: Sequence[Attempt], result: Result | None) -> dict[str, Any]:
    # An attempt that was killed while it began does not know the size of the network.
    sizes = [record for record in (*history, result) if record and "params" in record]
    return _numbers(sizes[-1], _SIZE, "the size of its network") if sizes else {}


def _attempt_row(
    attempt: Attempt, config: RunConfig, progress: Progress | None, measured: Columns
) -> dict[str, Any]:
    """What the frame of attempts has of it but for its wait in the queue, and its host."""
    environment = attempt.get("environment")
    ended_s = attempt.get("ended_unix_s")
    row = {
        "attempt": attempt["attempt"],
        "executor": attempt["executor"],
        "job_id": attempt["job_id"],
        "restart": attempt["restart"],
        "host": attempt["host"],
        "node": attempt.get("node") or attempt["host"],
        "gpus": environment["gpus"] if environment else config.gpus,
        "device": environment["device"] if environment else "",
        "code": attempt["code"],
        "torch": environment["versions"].get("torch", "") if environment else "",
        "precision": attempt.get("precision", ""),
        "started_unix_s": attempt["started_unix_s"],
        "ended_unix_s": ended_s,
        "last_sign_unix_s": ended_s or _last_sign_s(attempt, progress, measured),
        "cause": str(attempt.get("cause", "")),
        "message": attempt.get("message", ""),
        "first_step": attempt.get("first_step"),
        "last_step": attempt.get("last_step"),
        "steps_per_epoch": attempt.get("steps_per_epoch"),
    }
    return row | _numbers(row, _OF_ATTEMPT, f"the record of attempt {row['attempt']}")


def _last_sign_s(attempt: Attempt, progress: Progress | None, measured: Columns) -> float:
    """When an attempt wrote last: it began, or finished an epoch, or let its heart beat."""
    of_it = measured["attempt"] == attempt["attempt"]
    signs = [attempt["started_unix_s"], *measured["time_unix_s"][of_it].tolist()]
    if progress is not None and progress["attempt"] == attempt["attempt"]:
        signs.append(progress["time_unix_s"])
    return max(signs)


def _distinct(attempts: Iterable[Mapping[str, Any]], key: str, apart: str = " ") -> str:
    """All that the attempts say, each once, in their order."""
    return apart.join(dict.fromkeys(attempt[key] for attempt in attempts if attempt[key]))


def _options(config: RunConfig) -> dict[str, Any]:
    """Every option; those of the network as text, and each by itself with the value it has."""
    return config.by_name | {"model_options": _as_text(config.model_options)}


def _known_options(imported: Imported) -> dict[str, Any]:
    """Those that the files or a person told; the others are None, and no default."""
    told = imported["options"]
    for name in told:
        if name not in RunConfig.model_fields and not name.startswith(_NETWORK_OPTION):
            raise InputError(str(UnknownNameError("option", name, RunConfig.model_fields)))
    of_network = {
        name.removeprefix(_NETWORK_OPTION): value
        for name, value in told.items()
        if name.startswith(_NETWORK_OPTION)
    }
    network = {"model": imported["model"], "model_options": _as_text(of_network) or None}
    return {**dict.fromkeys(RunConfig.model_fields), **network, "seed": imported["seed"], **told}


def _as_text(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _in_the_end(measured: Columns) -> dict[str, Any]:
    """The results of a run that has not written them itself; epochs may be missing in between."""
    epochs, test_top1 = measured["epoch"], measured["test_top1"]
    if not epochs.size:
        return {"epochs_done": 0}
    results = {
        "epochs_done": int(epochs[-1]),
        "final_test_top1": _known(test_top1[-1]),
        "final_test_top5": _known(measured["test_top5"][-1]),
    }
    if not np.isnan(test_top1).all():
        best = int(np.nanargmax(test_top1))
        results |= {"best_test_top1": float(test_top1[best]), "best_epoch": int(epochs[best])}
    return results


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _numbers(record: Mapping[str, Any], keys: Iterable[str], file: str) -> dict[str, Any]:
    """These values of a record. A float may be null, which is how JSON holds a NaN."""
    numbers = {key: record[key] for key in keys}
    for key, value in numbers.items():
        if type(value) is not int and (key in _WHOLE or type(value) not in (float, NoneType)):
            raise InputError(f"{file} is damaged: {key} is {value!r}")
    return numbers
