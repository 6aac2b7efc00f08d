"""The cells of a matrix: what its sections give for each run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

from attention_models import UnknownNameError
from launcher.cells.combinations import combine, has_all, product
from launcher.cells.given import (
    Cell,
    Given,
    Unused,
    check_option,
    entries_of,
    is_one_value,
    options_at,
    read_options,
)
from launcher.yaml_file import Place, YamlFile

# A typing error such as `seeds: 123456789` must not fill the memory.
MAX_RUNS = 100_000


def read_cells(file: YamlFile, unused: Unused) -> list[Cell]:
    """What is given for each run by all sections but `overrides`.

    Entries of `exclude` that fit no combination are put into `unused`.
    """
    base = read_options(file, ("base",))
    axes = {key: _read_axis(file, key, place) for key, place in options_at(file, ("axes",))}
    groups = [_read_group(file, place) for place in entries_of(file, "zip")]
    _check_given_once(file, base, axes, groups)
    seeds = _read_seeds(file, base, axes)
    include = [read_options(file, place) for place in entries_of(file, "include")]
    grid = [*({key: values} for key, values in axes.items()), *groups]
    if "seed" not in axes:
        grid.append({"seed": seeds})
    # Without axes, `include` lists the combinations, as it does for GitHub; seeds multiply them.
    if include and axes.keys() <= {"seed"} and not groups:
        grid = []
    exclude = _read_excludes(file, {key: axis[key] for axis in grid for key in axis}, unused)
    file.check()
    if (runs := math.prod(len(next(iter(axis.values()))) for axis in grid)) > MAX_RUNS:
        file.mistake(("axes",), f"{runs} combinations; a matrix may have at most {MAX_RUNS}")
        file.check()
    combinations = product(grid) if grid else []
    for place, entry in exclude.items():
        if not any(has_all(cell, entry) for cell in combinations):
            wrong = "no combination has all of these values, so nothing is excluded"
            unused.setdefault(place, (place, wrong))
    cells = combine(combinations, include, list(exclude.values()))
    if not cells:
        file.mistake(("exclude",), "the matrix is empty: every combination is excluded")
    seeded = (
        [cell] if "seed" in cell else [cell | {"seed": seed} for seed in seeds] for cell in cells
    )
    return [base | cell for cell in itertools.chain.from_iterable(seeded)]


def _read_axis(file: YamlFile, key: str, place: Place) -> list[Given]:
    values = _read_values(file, key, place)
    seen = set()
    for value, where in ((given.value, given.place) for given in values):
        if not is_one_value(key, value):
            continue
        if (hashable := tuple(value) if isinstance(value, list) else value) in seen:
            file.mistake(where, f"{value!r} stands twice in {place[-1]}; keep one")
        seen.add(hashable)
    return values


def _read_values(file: YamlFile, key: str, place: Place) -> list[Given]:
    values = file.get(place)
    if not check_option(file, key, place):
        return []
    if not isinstance(values, list) or not values:
        file.mistake(place, f"{place[-1]} must be a list of values, not {values!r}")
        return []
    for number, value in enumerate(values):
        if not is_one_value(key, value):
            file.mistake((*place, number), f"{key} takes one value, not {value!r}")
    return [Given(value, (*place, number)) for number, value in enumerate(values)]


def _read_group(file: YamlFile, section: Place) -> dict[str, list[Given]]:
    """Options of one entry of `zip`, whose values go together."""
    group = {}
    for key, place in options_at(file, section):
        group[key] = _read_values(file, key, place)
        if key == "seed":
            file.mistake(place, "seed goes with every combination; give it as seeds")
    if len({len(values) for values in group.values()}) > 1:
        lengths = ", ".join(f"{key} {len(values)}" for key, values in group.items())
        file.mistake(section, f"lists that go together must be of one length, not {lengths}")
    return group


def _check_given_once(
    file: YamlFile, base: Cell, axes: Iterable[str], groups: Iterable[dict[str, list[Given]]]
) -> None:
    """What goes together with other options is given nowhere else."""
    given_in = dict.fromkeys(base, "base") | dict.fromkeys(axes, "axes")
    for group in groups:
        for key, values in group.items():
            if key in given_in and values:
                wrong = f"{key} is given here and in {given_in[key]}; keep one of them"
                file.mistake(values[0].place[:-1], wrong)
        given_in |= dict.fromkeys(group, "another group of zip")


def _read_seeds(file: YamlFile, base: Cell, axes: Mapping[str, list[Given]]) -> list[Given]:
    """The seeds from wherever they are given; `base` loses its one."""
    places: list[Place] = [("seeds",), ("base", "seed"), ("axes", "seed")]
    given = [place for place in places if place in file]
    for place in given[1:]:
        first = ".".join(map(str, given[0]))
        file.mistake(place, f"seed is given here and as {first}; keep one of them")
    if not given:
        return [Given(0, ())]
    if in_base := base.pop("seed", None):
        return [in_base]
    if "seed" in axes:
        return axes["seed"]
    seeds = file.get(("seeds",))
    if isinstance(seeds, list):
        return _read_axis(file, "seed", ("seeds",))
    if type(seeds) is int and 1 <= seeds <= MAX_RUNS:
        return [Given(seed, ("seeds",)) for seed in range(seeds)]
    wrong = f"seeds must be a number from 1 to {MAX_RUNS} or a list, not {seeds!r}"
    file.mistake(("seeds",), wrong)
    return []


def _read_excludes(
    file: YamlFile, axes: Mapping[str, list[Given]], unused: Unused
) -> dict[Place, Cell]:
    """The entries of `exclude`; one that matches nothing would hide a typing error."""
    entries = {}
    for entry in entries_of(file, "exclude"):
        cell = {key: Given(file.get(place), place) for key, place in options_at(file, entry)}
        entries[entry] = cell
        for key, given in cell.items():
            if key not in axes:
                file.mistake(given.place, UnknownNameError("axis", key, axes))
            elif given not in axes[key] and axes[key]:
                valid = ", ".join(dict.fromkeys(str(value.value) for value in axes[key]))
                wrong = f"{given.value!r} is not a value of axis {key!r}, so nothing is excluded."
                unused[entry] = (given.place, f"{wrong} Valid: {valid}")
    return entries
