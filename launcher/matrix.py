"""The matrix file: what a person writes, and the runs that it means.

A file has these keys, all optional; options are those of RunConfig, and an option of a network is
written `model_options.combine` or as a nested mapping:

    name       of the sweep; the file's name if left out
    base       options of every run
    axes       option -> list of values; every combination is a run
    exclude    list of mappings: a combination that has all values of an entry is left out
    include    list of mappings, added to the combinations that they contradict in no axis, or else
               new combinations: as in the `matrix` of GitHub Actions. Without axes, each is new.
    seeds      a number N for 0..N-1, or a list; an axis `seed` whose values change fastest
    resources  what a job asks for: profile, time, mem, cpus_per_task, gres, workers
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from attention_models import UnknownNameError, check_model_name, check_options
from jobs.config import NETWORK_OPTIONS, RunConfig, mistakes
from jobs.errors import InputError
from jobs.run_dir import check_name
from launcher.cluster import Resources
from launcher.yaml_file import Place, YamlFile, flow_list, parse_yaml

KEYS = ("name", "base", "axes", "include", "exclude", "seeds", "resources")
OPTIONS = [
    *(name for name in RunConfig.model_fields if name != "model_options"),
    *NETWORK_OPTIONS,
]
LIST_OPTIONS = [
    name for name, option in RunConfig.model_fields.items() if get_origin(option.annotation) is list
]
# A typing error such as `seeds: 123456789` must not fill the memory.
MAX_RUNS = 100_000


@dataclass(frozen=True)
class Matrix:
    """What a matrix file means. `text` is the file with its overrides; it reads to the same."""

    name: str
    configs: list[RunConfig]
    resources: Resources
    text: str


@dataclass(frozen=True)
class _Given:
    """A value and where it stands; two are equal when their values are."""

    value: Any
    place: Place = field(compare=False)


_Cell = dict[str, _Given]


def read_matrix(path: Path, overrides: Sequence[str] = ()) -> Matrix:
    """Read, override and expand a matrix; an InputError has a line for every mistake found."""
    file = YamlFile(path)
    _check_sections(file)
    for text in overrides:
        _override(file, text)
    if file.get(("name",)) is None:
        file.set(("name",), path.stem, str(path))
    name = file.get(("name",))
    try:
        check_name("sweep name", name)
    except InputError as error:
        file.mistake(("name",), error)
    resources = file.validate(Resources, "resources") or Resources()
    configs = _configs(file, _cells(file))
    return Matrix(name, configs, resources, file.text)


def combine(
    axes: Mapping[str, Sequence[Any]],
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The combinations, in the sense of the `matrix` of GitHub Actions."""
    product = itertools.product(*axes.values()) if axes else ()
    every = (dict(zip(axes, values, strict=True)) for values in product)
    # `<=` of two views: the cell has every item of the entry.
    originals = [cell for cell in every if not any(out.items() <= cell.items() for out in exclude)]
    cells = [dict(cell) for cell in originals]
    new = []
    for entry in include:
        fitting = [
            cell
            for original, cell in zip(originals, cells, strict=True)
            if all(original.get(key, value) == value for key, value in entry.items())
        ]
        for cell in fitting:
            cell |= entry
        if not fitting:
            new.append(dict(entry))
    return cells + new


# ---- reading the sections


def _check_sections(file: YamlFile) -> None:
    for key in file.mapping((), KEYS):
        if key in ("base", "axes", "resources"):
            file.mapping((key,))
        if key in ("include", "exclude"):
            entries = file.get((key,)) or []
            if not isinstance(entries, list):
                file.mistake((key,), f"{key} must be a list of mappings, not {entries!r}")
                continue
            for number, entry in enumerate(entries):
                if not entry or not isinstance(entry, dict):
                    wrong = f"an entry of {key} must be a mapping (`- key: value`), not {entry!r}"
                    file.mistake((key, number), wrong)
    file.check()


def _cells(file: YamlFile) -> list[_Cell]:
    """What is given for each run, with its place."""
    base = _read_options(file, ("base",))
    axes = {key: _read_axis(file, key, place) for key, place in _options_at(file, ("axes",))}
    seeds = _read_seeds(file, base, axes)
    include = [_read_options(file, place) for place in _entries(file, "include")]
    # Without axes, `include` lists the combinations, as it does for GitHub; seeds multiply them.
    grid = {} if include and axes.keys() <= {"seed"} else axes | {"seed": seeds}
    exclude = [_read_exclude(file, place, grid) for place in _entries(file, "exclude")]
    file.check()
    if (runs := math.prod(map(len, grid.values()))) > MAX_RUNS:
        file.mistake(("axes",), f"{runs} combinations; a matrix may have at most {MAX_RUNS}")
        file.check()
    cells = combine(grid, include, exclude)
    if not cells:
        file.mistake(("exclude",), "the matrix is empty: every combination is excluded")
    seeded = (
        [cell] if "seed" in cell else [cell | {"seed": seed} for seed in seeds] for cell in cells
    )
    return [base | cell for cell in itertools.chain.from_iterable(seeded)]


def _options_at(file: YamlFile, section: Place) -> Iterator[tuple[str, Place]]:
    """The options in a section, with nested `model_options` under their dotted names."""
    values = file.get(section) or {}
    for key, value in values.items():
        if key == "model_options" and isinstance(value, dict):
            for option in value:
                if (dotted := f"{key}.{option}") in values:
                    file.mistake((*section, dotted), f"{dotted} is given twice; keep one")
                yield dotted, (*section, key, option)
        else:
            yield key, (*section, key)


def _entries(file: YamlFile, section: str) -> list[Place]:
    return [(section, number) for number in range(len(file.get((section,)) or []))]


def _read_options(file: YamlFile, section: Place) -> _Cell:
    cell: _Cell = {}
    for key, place in _options_at(file, section):
        value = file.get(place)
        if _check_option(file, key, place) and not _is_one_value(key, value):
            file.mistake(place, f"{key} takes one value, not {value!r}; lists belong under axes")
        cell[key] = _Given(value, place)
    return cell


def _read_axis(file: YamlFile, key: str, place: Place) -> list[_Given]:
    values = file.get(place)
    if not _check_option(file, key, place):
        return []
    if not isinstance(values, list) or not values:
        file.mistake(place, f"{place[-1]} must be a list of values, not {values!r}")
        return []
    seen = set()
    for number, value in enumerate(values):
        if not _is_one_value(key, value):
            file.mistake((*place, number), f"{key} takes one value, not {value!r}")
        elif (hashable := tuple(value) if isinstance(value, list) else value) in seen:
            file.mistake((*place, number), f"{value!r} stands twice in {place[-1]}; keep one")
        else:
            seen.add(hashable)
    return [_Given(value, (*place, number)) for number, value in enumerate(values)]


def _is_one_value(key: str, value: Any) -> bool:
    """Whether it is what an option takes, and not a list of such values."""
    if key in LIST_OPTIONS and isinstance(value, list):
        return not any(isinstance(item, list | dict) for item in value)
    return not isinstance(value, list | dict)


def _read_seeds(file: YamlFile, base: _Cell, axes: Mapping[str, list[_Given]]) -> list[_Given]:
    """The seeds from wherever they are given; `base` loses its one."""
    places: list[Place] = [("seeds",), ("base", "seed"), ("axes", "seed")]
    given = [place for place in places if place in file]
    for place in given[1:]:
        first = ".".join(map(str, given[0]))
        file.mistake(place, f"seed is given here and as {first}; keep one of them")
    if not given:
        return [_Given(0, ())]
    if in_base := base.pop("seed", None):
        return [in_base]
    if "seed" in axes:
        return axes["seed"]
    seeds = file.get(("seeds",))
    if isinstance(seeds, list):
        return _read_axis(file, "seed", ("seeds",))
    if type(seeds) is int and 1 <= seeds <= MAX_RUNS:
        return [_Given(seed, ("seeds",)) for seed in range(seeds)]
    wrong = f"seeds must be a number from 1 to {MAX_RUNS} or a list, not {seeds!r}"
    file.mistake(("seeds",), wrong)
    return []


def _read_exclude(file: YamlFile, section: Place, grid: Mapping[str, list[_Given]]) -> _Cell:
    """An entry of `exclude`; one that matches nothing would hide a typing error."""
    cell = {key: _Given(file.get(place), place) for key, place in _options_at(file, section)}
    for key, given in cell.items():
        if key not in grid:
            file.mistake(given.place, UnknownNameError("axis", key, grid))
        elif given not in grid[key] and grid[key]:
            valid = ", ".join(str(axis.value) for axis in grid[key])
            wrong = f"{given.value!r} is not a value of axis {key!r}, so nothing is excluded."
            file.mistake(given.place, f"{wrong} Valid: {valid}")
    return cell


def _check_option(file: YamlFile, key: str, place: Place) -> bool:
    if key == "model_options":
        file.mistake(
            place,
            "model_options holds options by name, such as {attention: se}; an axis takes one of "
            "them: model_options.attention: [none, se]",
        )
    elif not _may_be_option(key):
        file.mistake(place, UnknownNameError("option", key, OPTIONS))
    else:
        return True
    return False


def _may_be_option(key: str) -> bool:
    """Which options a network takes is asked once the network is known."""
    return key in OPTIONS or (key.startswith("model_options.") and key != "model_options.")


# ---- from cells to configurations


def _configs(file: YamlFile, cells: Sequence[_Cell]) -> list[RunConfig]:
    configs: dict[str, tuple[_Cell, RunConfig]] = {}
    twins = []
    for cell in cells:
        config = _config(file, cell)
        if config is None:
            continue
        first, _ = configs.setdefault(config.run_id, (cell, config))
        if first is not cell:
            twins.append((config.run_id, first, cell))
    for run_id, first, second in twins[:1]:
        # The file may be full of them; the first shows what is wrong.
        more = f" (and {len(twins) - 1} more such pairs)" if len(twins) > 1 else ""
        file.mistake(
            _entry_of(second) or ("axes",),
            f"two cells are one run, {run_id}: {_say(first)}; and {_say(second)}{more}. "
            "Remove one, or let them differ in an option that changes the result",
        )
    file.check()
    return [config for _, config in configs.values()]


def _config(file: YamlFile, cell: _Cell) -> RunConfig | None:
    values: dict[str, Any] = {"data_dir": RunConfig.model_fields["data_dir"].default}
    options: dict[str, Any] = {}
    for key, given in cell.items():
        head, _, option = key.partition(".")
        if option:
            options[option] = given.value
        else:
            values[head] = given.value
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
    cell: _Cell, model: object, options: dict[str, Any], error: ValidationError
) -> list[tuple[Place, str]]:
    """What is wrong with a cell, and where it stands; at least one thing."""
    found: list[tuple[Place, str]] = []
    for item, text in zip(error.errors(), mistakes(error), strict=True):
        # A rule between two options begins with the name of one of them.
        key = str(item["loc"][0]) if item["loc"] else text.partition(":")[0]
        if item["type"] == "missing":
            found.append((_entry_of(cell), f"{text}; give it in base, axes or include"))
        elif key in cell:
            found.append((cell[key].place, text))
    if _is_network(model):
        # Options of the network are asked one by one: each has its own line.
        for option, value in options.items():
            try:
                check_options(str(model), {option: value})
            except ValueError as wrong:
                found.append((cell[f"model_options.{option}"].place, str(wrong)))
    return found or [(_entry_of(cell), "; ".join(mistakes(error)))]


def _is_network(name: object) -> bool:
    try:
        check_model_name(str(name))
    except ValueError:
        return False
    return True


def _entry_of(cell: _Cell) -> Place:
    """The entry of `include` that a cell comes from, if any."""
    places = (given.place[:2] for given in cell.values())
    return next((place for place in places if place[:1] == ("include",)), ())


def _say(cell: _Cell) -> str:
    """A cell in the words of the file, without what all cells share."""
    own = (item for item in cell.items() if item[1].place[:1] != ("base",))
    return ", ".join(f"{key}={given.value}" for key, given in own)


# ---- overrides


def _override(file: YamlFile, text: str) -> None:
    """Apply one `--set key=value`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write key=value, such as --set epochs=2")
    try:
        node = parse_yaml(value)
    except ValueError as error:
        raise InputError(f"--set {text}: {error.args[1]}") from None
    _set(file, key.strip(), node, f"--set {text}")


def _set(file: YamlFile, key: str, node: Any, origin: str) -> None:
    valid = ["name", "seeds", *(f"resources.{name}" for name in Resources.model_fields), *OPTIONS]
    if isinstance(node, dict) and node:
        for tail, child in node.items():
            _set(file, f"{key}.{tail}", child, origin)
    elif key not in valid and not _may_be_option(key):
        raise InputError(f"{origin}: {UnknownNameError('key', key, valid)}")
    elif key == "name" or key.startswith("resources."):
        file.set(tuple(key.split(".")), node, origin)
    else:
        _set_option(file, key, node, origin)


def _set_option(file: YamlFile, key: str, node: Any, origin: str) -> None:
    """Give an option in one place, and take it away from wherever else it is given."""
    option = "seed" if key == "seeds" else key
    axis = dict(_options_at(file, ("axes",))).get(option)
    is_axis = isinstance(node, list) and not _is_one_value(option, node)
    values = node if is_axis else flow_list([node])
    entries = [(entry, dict(_options_at(file, entry))) for entry in _entries(file, "include")]
    entries = [(entry, given) for entry, given in entries if option in given]
    named = [entry for entry, given in entries if file.get(given[option]) in values]
    # Where include lists the runs, a network that it names is picked, with the options beside it.
    picks = option == "model" and not file.get(("axes",)) and named
    for entry, given in reversed(entries):
        # Of an axis, it is what the entry is for: without it, it would be for every run.
        if (axis or picks) and entry in named:
            continue
        file.remove(given[option] if len(given) > 1 and not (axis or picks) else entry)
    if picks:
        return
    if option == "seed" and (key == "seeds" or not axis):
        for section in ("base", "axes"):
            if (section, "seed") in file:
                file.remove((section, "seed"))
        file.set(("seeds",), node if key == "seeds" else values, origin)
        return
    if values is node and not axis and not file.get(("axes",)) and file.get(("include",)):
        raise InputError(f"{origin}: without axes, include lists the runs; give one value")
    if axis or values is node:
        file.set(axis or ("axes", option), values, origin)
    # A combination that is new in `include` has no part in the axes.
    if values is not node and option != "seed" and (not axis or file.get(("include",))):
        base = dict(_options_at(file, ("base",))).get(option)
        file.set(base or ("base", option), node, origin)
