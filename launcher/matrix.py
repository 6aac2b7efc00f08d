"""The matrix file: what a person writes, and the runs that it means.

A file has these keys, all optional; options are those of RunConfig, and an option of a network is
written `model_options.combine` or as a nested mapping:

    name       of the sweep; the file's name if left out
    base       options of every run
    axes       option -> list of values; every combination is a run
    zip        list of groups, each a mapping option -> list, whose lists are of one length: their
               first values go together, their second ones and so on. A group is one more axis.
    exclude    list of mappings: a combination that has all values of an entry is left out
    include    list of mappings, added to the combinations that they contradict in no axis, or else
               new combinations: as in the `matrix` of GitHub Actions. Without axes, each is new.
    seeds      a number N for 0..N-1, or a list; an axis `seed` whose values change fastest
    overrides  list of `when: EXPRESSION` with `set: MAPPING` of options and `resources.time` and
               the like, for the runs for which the expression is true; see jobs/selection.py.
               `resources.time: null` is as if nobody had asked for one: it is the profile's.
               Every `when` sees the runs as all sections above made them; a later `set` wins.
    resources  what a job asks for: profile, time, slice, mem, cpus_per_task, gres, workers,
               runs_per_gpu, mail_user, mail_type
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from attention_models import (
    UnknownNameError,
    check_model_name,
    check_options,
    declared_options,
)
from jobs.config import NETWORK_OPTIONS, OPTIONS_LISTED_BY, RunConfig, mistakes
from jobs.errors import InputError
from jobs.selection import EXAMPLE, NoneSelectedError, select
from jobs.sweep_dir import check_name
from launcher.cluster import Resources
from launcher.yaml_file import Place, YamlFile, flow_list, parse_yaml

KEYS = ("name", "base", "axes", "zip", "include", "exclude", "seeds", "overrides", "resources")
OPTIONS = [
    *(name for name in RunConfig.model_fields if name != "model_options"),
    *NETWORK_OPTIONS,
]
LIST_OPTIONS = [
    name for name, option in RunConfig.model_fields.items() if get_origin(option.annotation) is list
]
_DEFAULTS = {
    name: option.get_default(call_default_factory=True)
    for name, option in RunConfig.model_fields.items()
    if name not in ("model", "model_options")
}
# Resources that no run can have for itself.
OF_THE_SWEEP = {"profile", "workers"}
# A typing error such as `seeds: 123456789` must not fill the memory.
MAX_RUNS = 100_000


@dataclass(frozen=True)
class Matrix:
    """What a matrix file means. `text` is the file as `--set` changed it; it reads to the same.

    `runs` holds the configurations by their ids, in order, and `resources_of` what some of them
    ask for beyond `resources`.
    """

    name: str
    runs: dict[str, RunConfig]
    resources: Resources
    resources_of: dict[str, Resources]
    text: str


@dataclass(frozen=True)
class _Given:
    """A value and where it stands; two are equal when their values are."""

    value: Any
    place: Place = field(compare=False)


_Cell = dict[str, _Given]
# Entries that fit no combination, each with the place and the text of the mistake that this is.
_Unused = dict[Place, tuple[Place, str]]


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
    unused: _Unused = {}
    cells = _cells(file, unused)
    if not overrides:
        for place, text in unused.values():
            file.mistake(place, text)
    runs, resources_of = _runs(file, cells)
    # What --set took away may be all that an entry was for.
    for entry in sorted(unused, reverse=True):
        file.remove(entry)
    return Matrix(name, runs, resources, resources_of, file.text)


def product(axes: Sequence[Mapping[str, Sequence[Any]]]) -> list[dict[str, Any]]:
    """Every combination; an axis is an option with its values, or several whose values go together.

    The values of the last axis change fastest.
    """
    names = [name for axis in axes for name in axis]
    points = itertools.product(*(list(zip(*axis.values(), strict=True)) for axis in axes))
    return [dict(zip(names, itertools.chain(*point), strict=True)) for point in points]


def combine(
    combinations: Sequence[Mapping[str, Any]],
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The combinations without some and with more, as the `matrix` of GitHub Actions has them."""
    originals = [cell for cell in combinations if not any(_has_all(cell, out) for out in exclude)]
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


def _has_all(cell: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return entry.items() <= cell.items()


# ---- reading the sections


def _check_sections(file: YamlFile) -> None:
    for key in file.mapping((), KEYS):
        if key in ("base", "axes", "resources"):
            file.mapping((key,))
        if key in ("zip", "include", "exclude", "overrides"):
            entries = file.get((key,)) or []
            if not isinstance(entries, list):
                file.mistake((key,), f"{key} must be a list of mappings, not {entries!r}")
                continue
            for number, entry in enumerate(entries):
                if not entry or not isinstance(entry, dict):
                    wrong = f"an entry of {key} must be a mapping (`- key: value`), not {entry!r}"
                    file.mistake((key, number), wrong)
                elif key == "overrides":
                    _check_override(file, (key, number))
    file.check()


def _check_override(file: YamlFile, place: Place) -> None:
    entry = file.mapping(place, ("when", "set"))
    if not isinstance(when := entry.get("when"), str):
        wrong = f"when must be an expression, such as {EXAMPLE}, not {when!r}"
        file.mistake((*place, "when"), wrong)
    if not file.mapping((*place, "set")):
        file.mistake((*place, "set"), "set must say what these runs get, such as {batch_size: 64}")


def _cells(file: YamlFile, unused: _Unused) -> list[_Cell]:
    """What is given for each run, with its place.

    Entries of `exclude` and `overrides` that fit no combination are put into `unused`.
    """
    base = _read_options(file, ("base",))
    axes = {key: _read_axis(file, key, place) for key, place in _options_at(file, ("axes",))}
    groups = [_read_group(file, place) for place in _entries(file, "zip")]
    _check_given_once(file, base, axes, groups)
    seeds = _read_seeds(file, base, axes)
    include = [_read_options(file, place) for place in _entries(file, "include")]
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
        if not any(_has_all(cell, entry) for cell in combinations):
            wrong = "no combination has all of these values, so nothing is excluded"
            unused.setdefault(place, (place, wrong))
    cells = combine(combinations, include, list(exclude.values()))
    if not cells:
        file.mistake(("exclude",), "the matrix is empty: every combination is excluded")
    seeded = (
        [cell] if "seed" in cell else [cell | {"seed": seed} for seed in seeds] for cell in cells
    )
    whole = [base | cell for cell in itertools.chain.from_iterable(seeded)]
    return _override_cells(file, whole, unused)


def _options_at(file: YamlFile, section: Place) -> Iterator[tuple[str, Place]]:
    """The options in a section, with what is nested under dotted names: `model_options.stem`."""
    values = file.get(section) or {}
    for key, value in values.items():
        if key in ("model_options", "resources") and isinstance(value, dict):
            for option in value:
                if (dotted := f"{key}.{option}") in values:
                    file.mistake((*section, dotted), f"{dotted} is given twice; keep one")
                yield dotted, (*section, key, option)
        else:
            yield key, (*section, key)


def _entries(file: YamlFile, section: str) -> list[Place]:
    return [(section, number) for number in range(len(file.get((section,)) or []))]


def _read_options(file: YamlFile, section: Place, leave_out: Container[str] = ()) -> _Cell:
    cell: _Cell = {}
    for key, place in _options_at(file, section):
        if key in leave_out:
            continue
        value = file.get(place)
        if _check_option(file, key, place) and not _is_one_value(key, value):
            file.mistake(place, f"{key} takes one value, not {value!r}; lists belong under axes")
        cell[key] = _Given(value, place)
    return cell


def _read_axis(file: YamlFile, key: str, place: Place) -> list[_Given]:
    values = _read_values(file, key, place)
    seen = set()
    for value, where in ((given.value, given.place) for given in values):
        if not _is_one_value(key, value):
            continue
        if (hashable := tuple(value) if isinstance(value, list) else value) in seen:
            file.mistake(where, f"{value!r} stands twice in {place[-1]}; keep one")
        seen.add(hashable)
    return values


def _read_values(file: YamlFile, key: str, place: Place) -> list[_Given]:
    values = file.get(place)
    if not _check_option(file, key, place):
        return []
    if not isinstance(values, list) or not values:
        file.mistake(place, f"{place[-1]} must be a list of values, not {values!r}")
        return []
    for number, value in enumerate(values):
        if not _is_one_value(key, value):
            file.mistake((*place, number), f"{key} takes one value, not {value!r}")
    return [_Given(value, (*place, number)) for number, value in enumerate(values)]


def _read_group(file: YamlFile, section: Place) -> dict[str, list[_Given]]:
    """Options of one entry of `zip`, whose values go together."""
    group = {}
    for key, place in _options_at(file, section):
        group[key] = _read_values(file, key, place)
        if key == "seed":
            file.mistake(place, "seed goes with every combination; give it as seeds")
    if len({len(values) for values in group.values()}) > 1:
        lengths = ", ".join(f"{key} {len(values)}" for key, values in group.items())
        file.mistake(section, f"lists that go together must be of one length, not {lengths}")
    return group


def _check_given_once(
    file: YamlFile, base: _Cell, axes: Iterable[str], groups: Iterable[dict[str, list[_Given]]]
) -> None:
    """What goes together with other options is given nowhere else."""
    given_in = dict.fromkeys(base, "base") | dict.fromkeys(axes, "axes")
    for group in groups:
        for key, values in group.items():
            if key in given_in and values:
                wrong = f"{key} is given here and in {given_in[key]}; keep one of them"
                file.mistake(values[0].place[:-1], wrong)
        given_in |= dict.fromkeys(group, "another group of zip")


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


def _read_excludes(
    file: YamlFile, axes: Mapping[str, list[_Given]], unused: _Unused
) -> dict[Place, _Cell]:
    """The entries of `exclude`; one that matches nothing would hide a typing error."""
    entries = {}
    for entry in _entries(file, "exclude"):
        cell = {key: _Given(file.get(place), place) for key, place in _options_at(file, entry)}
        entries[entry] = cell
        for key, given in cell.items():
            if key not in axes:
                file.mistake(given.place, UnknownNameError("axis", key, axes))
            elif given not in axes[key] and axes[key]:
                valid = ", ".join(dict.fromkeys(str(value.value) for value in axes[key]))
                wrong = f"{given.value!r} is not a value of axis {key!r}, so nothing is excluded."
                unused[entry] = (given.place, f"{wrong} Valid: {valid}")
    return entries


def _check_option(file: YamlFile, key: str, place: Place) -> bool:
    if key == "model_options":
        file.mistake(
            place,
            "model_options holds options by name, such as {attention: se}; an axis takes one of "
            "them: model_options.attention: [none, se]",
        )
    elif not _may_be_option(key):
        file.mistake(place, UnknownNameError("option", key, OPTIONS, OPTIONS_LISTED_BY))
    else:
        return True
    return False


def _may_be_option(key: str) -> bool:
    """Which options a network takes is asked once the network is known."""
    return key in OPTIONS or (key.startswith("model_options.") and key != "model_options.")


# ---- overrides of single runs


def _override_cells(file: YamlFile, cells: list[_Cell], unused: _Unused) -> list[_Cell]:
    """The cells with what `overrides` sets for some of them."""
    entries = _entries(file, "overrides")
    known = {number: _values(cell) for number, cell in enumerate(cells)} if entries else {}
    changed = list(cells)
    for entry in entries:
        new = _read_set(file, (*entry, "set"))
        place = (*entry, "when")
        try:
            for number in select(file.get(place), known):
                changed[number] = changed[number] | new
        except NoneSelectedError as error:
            unused[entry] = (place, f"when: {error}")
        except InputError as error:
            file.mistake(place, f"when: {error}")
    return changed


def _values(cell: _Cell) -> dict[str, Any]:
    """Every option of a run that is not checked yet."""
    given = {key: given.value for key, given in cell.items()}
    model = given.get("model")
    declared = declared_options(str(model)) if _is_network(model) else {}
    of_network = {f"model_options.{name}": option.default for name, option in declared.items()}
    return {**_DEFAULTS, **of_network, **given}


def _read_set(file: YamlFile, section: Place) -> _Cell:
    """What an override gives to its runs: options, and `resources.time` and the like."""
    places = _options_at(file, section)
    wishes = {key: place for key, place in places if key.startswith("resources.")}
    for key, place in wishes.items():
        _check_wish(file, key.removeprefix("resources."), place)
    options = _read_options(file, section, leave_out=wishes)
    return options | {key: _Given(file.get(place), place) for key, place in wishes.items()}


def _check_wish(file: YamlFile, name: str, place: Place) -> None:
    valid = sorted(Resources.model_fields.keys() - OF_THE_SWEEP)
    if name in OF_THE_SWEEP:
        wrong = f"resources.{name} is of the whole sweep; a run can have {', '.join(valid)}"
        file.mistake(place, wrong)
    elif name not in valid:
        file.mistake(place, UnknownNameError("resource", name, valid))
    else:
        try:
            Resources.model_validate({name: file.get(place)})
        except ValidationError as error:
            file.mistake(place, "; ".join(mistakes(error)))


# ---- from cells to configurations


def _runs(
    file: YamlFile, cells: Sequence[_Cell]
) -> tuple[dict[str, RunConfig], dict[str, Resources]]:
    """The configurations by their ids, and what some runs ask for beyond the sweep's resources."""
    first: dict[str, _Cell] = {}
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
            _entry_of(other, "overrides") or _entry_of(other, "include") or ("axes",),
            f"two cells are one run, {run_id}: {_say(one)}; and {_say(other)}{more}. "
            "Remove one, or let them differ in an option that changes the result",
        )
    file.check()
    cells_of = first if _entries(file, "overrides") else {}
    wishes = {run_id: _part(cell, "resources") for run_id, cell in cells_of.items()}
    return runs, {key: Resources.model_validate(own) for key, own in wishes.items() if own}


def _part(cell: _Cell, section: str) -> dict[str, Any]:
    """What a cell says under dotted names of a section, such as `resources.time`."""
    begin = f"{section}."
    return {key[len(begin) :]: given.value for key, given in cell.items() if key.startswith(begin)}


def _configs(file: YamlFile, cells: Iterable[_Cell]) -> Iterator[RunConfig | None]:
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


def _config(file: YamlFile, cell: _Cell) -> RunConfig | None:
    options = _part(cell, "model_options")
    values: dict[str, Any] = {"data_dir": _DEFAULTS["data_dir"]}
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
    cell: _Cell, model: object, options: dict[str, Any], error: ValidationError
) -> list[tuple[Place, str]]:
    """What is wrong with a cell, and where it stands; at least one thing."""
    found: list[tuple[Place, str]] = []
    for item, text in zip(error.errors(), mistakes(error), strict=True):
        # A rule between two options begins with the name of one of them.
        key = str(item["loc"][0]) if item["loc"] else text.partition(":")[0]
        if item["type"] == "missing":
            found.append((_entry_of(cell, "include"), f"{text}; give it in base, axes or include"))
        elif key in cell:
            found.append((cell[key].place, text))
    if _is_network(model):
        # Options of the network are asked one by one: each has its own line.
        for option, value in options.items():
            try:
                check_options(str(model), {option: value})
            except ValueError as wrong:
                found.append((cell[f"model_options.{option}"].place, str(wrong)))
    return found or [(_entry_of(cell, "include"), "; ".join(mistakes(error)))]


def _is_network(name: object) -> bool:
    try:
        check_model_name(str(name))
    except ValueError:
        return False
    return True


def _entry_of(cell: _Cell, section: str) -> Place:
    """The entry of `include` or `overrides` that a cell has something from, if any."""
    places = (given.place[:2] for given in cell.values())
    return next((place for place in places if place[:1] == (section,)), ())


def _say(cell: _Cell) -> str:
    """A cell in the words of the file, without what all cells share."""
    own = (item for item in cell.items() if item[1].place[:1] != ("base",))
    return ", ".join(f"{key}={given.value}" for key, given in own)


# ---- what --set changes


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
        return
    _forget_overrides(file, "seed" if key == "seeds" else key)
    if key not in valid and not _may_be_option(key):
        raise InputError(f"{origin}: {UnknownNameError('key', key, valid, OPTIONS_LISTED_BY)}")
    if key == "name" or key.startswith("resources."):
        file.set(tuple(key.split(".")), node, origin)
    else:
        _set_option(file, key, node, origin)


def _set_option(file: YamlFile, key: str, node: Any, origin: str) -> None:
    """Give an option in one place, and take it away from wherever else it is given."""
    option = "seed" if key == "seeds" else key
    for group in _entries(file, "zip"):
        if option in (together := dict(_options_at(file, group))):
            others = ", ".join(name for name in together if name != option)
            raise InputError(
                f"{origin}: in zip, {option} goes together with {others}; change it in the file, "
                f"or pick runs with --only '{option} == ...'"
            )
    axis = dict(_options_at(file, ("axes",))).get(option)
    is_axis = isinstance(node, list) and not _is_one_value(option, node)
    values = node if is_axis else flow_list([node])
    entries = [(entry, dict(_options_at(file, entry))) for entry in _entries(file, "include")]
    entries = [(entry, given) for entry, given in entries if option in given]
    named = [entry for entry, given in entries if file.get(given[option]) in values]
    # Where include lists the runs, a network that it names is picked, with the options beside it.
    listed = file.get(("include",)) and not file.get(("axes",)) and not file.get(("zip",))
    picks = option == "model" and listed and named
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
    if values is node and not axis and listed:
        raise InputError(f"{origin}: without axes, include lists the runs; give one value")
    if axis or values is node:
        file.set(axis or ("axes", option), values, origin)
    # A combination that is new in `include` has no part in the axes.
    if values is not node and option != "seed" and (not axis or file.get(("include",))):
        base = dict(_options_at(file, ("base",))).get(option)
        file.set(base or ("base", option), node, origin)


def _forget_overrides(file: YamlFile, key: str) -> None:
    """Take away what `overrides` sets for a key that is set for all runs."""
    for entry in reversed(_entries(file, "overrides")):
        given = dict(_options_at(file, (*entry, "set")))
        if key in given:
            file.remove(given[key] if len(given) > 1 else entry)
