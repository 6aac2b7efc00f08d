"""Short names for the runs of a sweep: what tells them apart, and nothing that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attention_models import declared_options
from jobs.config import RunConfig


def label_runs(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """A label for each run id, such as `resnet_small lr=0.02 s1`."""
    options = {run_id: _options(config) for run_id, config in configs.items()}
    names = dict.fromkeys(name for values in options.values() for name in values)
    for run_id, config in configs.items():
        # What one run says of a network's option is asked of all: the others have its default.
        declared = declared_options(config.model)
        options[run_id] |= {
            name: declared[option].default
            for name in names
            if name not in options[run_id]
            and (option := name.removeprefix("model_options.")) in declared
        }
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


def _options(config: RunConfig) -> dict[str, Any]:
    """What counts of a configuration, but for network and seed."""
    values = config.model_dump(mode="json", include=set(RunConfig.counting_fields()))
    network = {f"model_options.{key}": value for key, value in values.pop("model_options").items()}
    return {key: value for key, value in values.items() if key not in ("model", "seed")} | network


def _differs(name: str, options: Iterable[Mapping[str, Any]]) -> bool:
    return len({repr(values.get(name)) for values in options}) > 1
