"""Short names for the runs of a sweep: what tells them apart, and nothing that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jobs.config import RunConfig


def label_runs(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """A label for each run id, such as `resnet_small lr=0.02 s1`."""
    options = {run_id: config.by_name for run_id, config in configs.items()}
    # What nobody says of a network tells nothing, though another network has no such option.
    said = dict.fromkeys(option for config in configs.values() for option in config.model_options)
    names = [*RunConfig.counting_fields(), *(f"model_options.{option}" for option in said)]
    names = [name for name in names if name not in ("model", "seed")]
    telling = [name for name in names if _differs(name, options.values())]
    return {
        run_id: " ".join(
            [
                configs[run_id].model,
                *(f"{name}={values[name]}" for name in telling if name in values),
                f"s{configs[run_id].seed}",
            ]
        )
        for run_id, values in options.items()
    }


def short_id(run_id: str) -> str:
    """Enough of a run's hash to name it to `launcher logs`."""
    return run_id.rpartition("-")[2][:8]


def _differs(name: str, options: Iterable[Mapping[str, Any]]) -> bool:
    values = (of_run.get(name) for of_run in options)
    first = next(values, None)
    return any(value != first for value in values)
