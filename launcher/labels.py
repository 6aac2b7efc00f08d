"""Short names for the runs of a sweep: what tells them apart, and nothing that they share."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from attention_models import declared_options
from jobs.config import RunConfig


def label_runs(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """A label for each run id, such as `resnet_small lr=0.02 s1`."""
    given = {run_id: _given(config) for run_id, config in configs.items()}
    # What no run gives has its default in all of them.
    named = dict.fromkeys(name for options in given.values() for name in options)
    names = sorted(named, key=_place)
    values = {
        run_id: _values(config.model, given[run_id], names) for run_id, config in configs.items()
    }
    telling = [name for name in names if _differs(name, values.values())]
    return {
        run_id: " ".join(
            [
                config.model,
                *(f"{name}={values[run_id][name]}" for name in telling if name in values[run_id]),
                f"s{config.seed}",
            ]
        )
        for run_id, config in configs.items()
    }


def short_id(run_id: str) -> str:
    """Enough of a run's hash to name it to `launcher logs`."""
    return run_id.rpartition("-")[2][:8]


def _given(config: RunConfig) -> dict[str, Any]:
    """What counts of a configuration and is not as always, but for network and seed."""
    given = {
        name: value
        for name, default in _defaults().items()
        if (value := getattr(config, name)) != default
    }
    return given | {f"model_options.{key}": value for key, value in config.model_options.items()}


def _values(model: str, given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What these options are for a run, where its network has them."""
    network = {f"model_options.{key}": o.default for key, o in declared_options(model).items()}
    known = {**_defaults(), **network, **given}
    return {name: known[name] for name in names if name in known}


def _place(name: str) -> int:
    """Options of a training come in their order, then those of the networks as they were given."""
    order = list(_defaults())
    return order.index(name) if name in order else len(order)


@functools.cache
def _defaults() -> dict[str, Any]:
    names = set(RunConfig.counting_fields()) - {"model", "model_options", "seed"}
    fields = RunConfig.model_fields.items()
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in fields
        if name in names
    }


def _differs(name: str, options: Iterable[Mapping[str, Any]]) -> bool:
    return len({repr(values.get(name)) for values in options}) > 1
