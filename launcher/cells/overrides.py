"""The section `overrides` of a matrix: what it sets for those runs that an expression selects."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from attention_models import UnknownNameError, declared_options
from jobs.config import mistakes
from jobs.errors import InputError
from jobs.selection import NoneSelectedError, select
from launcher.cells.given import (
    DEFAULTS,
    Cell,
    Given,
    Unused,
    entries_of,
    is_network,
    options_at,
    read_options,
)
from launcher.cluster import Resources
from launcher.yaml_file import Place, YamlFile

# Resources that no run can have for itself.
OF_THE_SWEEP = {"profile", "workers"}


def override_cells(file: YamlFile, cells: list[Cell], unused: Unused) -> list[Cell]:
    """The cells with what `overrides` sets for some of them."""
    entries = entries_of(file, "overrides")
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


def _values(cell: Cell) -> dict[str, Any]:
    """Every option of a run that is not checked yet."""
    given = {key: given.value for key, given in cell.items()}
    model = given.get("model")
    declared = declared_options(str(model)) if is_network(model) else {}
    of_network = {f"model_options.{name}": option.default for name, option in declared.items()}
    return {**DEFAULTS, **of_network, **given}


def _read_set(file: YamlFile, section: Place) -> Cell:
    """What an override gives to its runs: options, and `resources.time` and the like."""
    places = options_at(file, section)
    wishes = {key: place for key, place in places if key.startswith("resources.")}
    for key, place in wishes.items():
        _check_wish(file, key.removeprefix("resources."), place)
    options = read_options(file, section, leave_out=wishes)
    return options | {key: Given(file.get(place), place) for key, place in wishes.items()}


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
