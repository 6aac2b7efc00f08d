"""From the cells of a matrix to configurations, with a place for every mistake in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from attention_models import check_options
from jobs.config import RunConfig, mistakes
from launcher.cells.given import DEFAULTS, Cell, entries_of, entry_of, is_network, part
from launcher.cluster import Resources
from launcher.yaml_file import Place, YamlFile


def read_runs(
    file: YamlFile, cells: Sequence[Cell]
) -> tuple[dict[str, RunConfig], dict[str, Resources]]:
    """The configurations by their ids, and what some runs ask for beyond the sweep's resources."""
    first: dict[str, Cell] = {}
    runs: dict[str, RunConfig] = {}
    twins = []
    for cell, config in zip(cells, _configs(file, cells), strict=True):
        if config is None:
            continue
        if (run_id := config.run_id) in runs:
            twins.append((run_id, first[run_id], cell))
        else:
            first[run_id], runs[run_id] = cell, config
    for run_id, one, other in twins[:1]:
        # The file may be full of them; the first shows what is wrong.
        more = f" (and {len(twins) - 1} more such pairs)" if len(twins) > 1 else ""
        file.mistake(
            entry_of(other, "overrides") or entry_of(other, "include") or ("axes",),
            f"two cells are one run, {run_id}: {_say(one)}; and {_say(other)}{more}. "
            "Remove one, or let them differ in an option that changes the result",
        )
    file.check()
    cells_of = first if entries_of(file, "overrides") else {}
    wishes = {run_id: part(cell, "resources") for run_id, cell in cells_of.items()}
    return runs, {key: Resources.model_validate(own) for key, own in wishes.items() if own}


def _configs(file: YamlFile, cells: Iterable[Cell]) -> Iterator[RunConfig | None]:
    """A configuration for each cell; None where its mistakes were told.

    A seed is as good for one run as for another: no rule ties it to other options. So a cell is
    not checked again where all but its seed was good in one cell, and its seed in another.
    """
    good: dict[tuple[int, ...], RunConfig] = {}
    seeds: dict[int, int] = {}
    for cell in cells:
        rest = dict(cell)
        seed = id(rest.pop("seed"))
        others = tuple(map(id, rest.values()))
        if others in good and seed in seeds:
            yield good[others].model_copy(update={"seed": seeds[seed]})
        elif config := _config(file, cell):
            good[others], seeds[seed] = config, config.seed
            yield config
        else:
            yield None


def _config(file: YamlFile, cell: Cell) -> RunConfig | None:
    options = part(cell, "model_options")
    values: dict[str, Any] = {"data_dir": DEFAULTS["data_dir"]}
    values |= {key: given.value for key, given in cell.items() if "." not in key}
    if isinstance(values["data_dir"], str | Path):
        # A job may run elsewhere: a path means what it means where the command is given.
        values["data_dir"] = os.path.abspath(os.path.expanduser(values["data_dir"]))
    try:
        return RunConfig.model_validate(values | {"model_options": options})
    except ValidationError as error:
        for place, text in _wrong(cell, values.get("model"), options, error):
            file.mistake(place, text)
        return None


def _wrong(
    cell: Cell, model: object, options: dict[str, Any], error: ValidationError
) -> list[tuple[Place, str]]:
    """What is wrong with a cell, and where it stands; at least one thing."""
    found: list[tuple[Place, str]] = []
    for item, text in zip(error.errors(), mistakes(error), strict=True):
        # A rule between two options begins with the name of one of them.
        key = str(item["loc"][0]) if item["loc"] else text.partition(":")[0]
        if item["type"] == "missing":
            found.append((entry_of(cell, "include"), f"{text}; give it in base, axes or include"))
        elif key in cell:
            found.append((cell[key].place, text))
    if is_network(model):
        # Options of the network are asked one by one: each has its own line.
        for option, value in options.items():
            try:
                check_options(str(model), {option: value})
            except ValueError as wrong:
                found.append((cell[f"model_options.{option}"].place, str(wrong)))
    return found or [(entry_of(cell, "include"), "; ".join(mistakes(error)))]


def _say(cell: Cell) -> str:
    """A cell in the words of the file, without what all cells share."""
    own = (item for item in cell.items() if item[1].place[:1] != ("base",))
    return ", ".join(f"{key}={given.value}" for key, given in own)
