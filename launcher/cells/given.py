"""What is given for the runs of a matrix, option by option, and where it stands in the file."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any, get_origin

from attention_models import UnknownNameError, check_model_name
from jobs.config import NETWORK_OPTIONS, OPTIONS_LISTED_BY, RunConfig
from launcher.yaml_file import Place, YamlFile

OPTIONS = [
    *(name for name in RunConfig.model_fields if name != "model_options"),
    *NETWORK_OPTIONS,
]
LIST_OPTIONS = [
    name for name, option in RunConfig.model_fields.items() if get_origin(option.annotation) is list
]
DEFAULTS = {
    name: option.get_default(call_default_factory=True)
    for name, option in RunConfig.model_fields.items()
    if name not in ("model", "model_options")
}


@dataclass(frozen=True)
class Given:
    """A value and where it stands; two are equal when their values are."""

    value: Any
    place: Place = field(compare=False)


Cell = dict[str, Given]
# Entries that fit no combination, each with the place and the text of the mistake that this is.
Unused = dict[Place, tuple[Place, str]]


def options_at(file: YamlFile, section: Place) -> Iterator[tuple[str, Place]]:
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


def entries_of(file: YamlFile, section: str) -> list[Place]:
    return [(section, number) for number in range(len(file.get((section,)) or []))]


def read_options(file: YamlFile, section: Place, leave_out: Container[str] = ()) -> Cell:
    cell: Cell = {}
    for key, place in options_at(file, section):
        if key in leave_out:
            continue
        value = file.get(place)
        if check_option(file, key, place) and not is_one_value(key, value):
            file.mistake(place, f"{key} takes one value, not {value!r}; lists belong under axes")
        cell[key] = Given(value, place)
    return cell


def is_one_value(key: str, value: Any) -> bool:
    """Whether it is what an option takes, and not a list of such values."""
    if key in LIST_OPTIONS and isinstance(value, list):
        return not any(isinstance(item, list | dict) for item in value)
    return not isinstance(value, list | dict)


def check_option(file: YamlFile, key: str, place: Place) -> bool:
    if key == "model_options":
        file.mistake(
            place,
            "model_options holds options by name, such as {attention: se}; an axis takes one of "
            "them: model_options.attention: [none, se]",
        )
    elif not may_be_option(key):
        file.mistake(place, UnknownNameError("option", key, OPTIONS, OPTIONS_LISTED_BY))
    else:
        return True
    return False


def may_be_option(key: str) -> bool:
    """Which options a network takes is asked once the network is known."""
    return key in OPTIONS or (key.startswith("model_options.") and key != "model_options.")


def part(cell: Cell, section: str) -> dict[str, Any]:
    """What a cell says under dotted names of a section, such as `resources.time`."""
    begin = f"{section}."
    return {key[len(begin) :]: given.value for key, given in cell.items() if key.startswith(begin)}


def entry_of(cell: Cell, section: str) -> Place:
    """The entry of `include` or `overrides` that a cell has something from, if any."""
    places = (given.place[:2] for given in cell.values())
    return next((place for place in places if place[:1] == (section,)), ())


def is_network(name: object) -> bool:
    try:
        check_model_name(str(name))
    except ValueError:
        return False
    return True
