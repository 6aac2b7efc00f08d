"""`--set KEY=VALUE`: what it changes in a matrix, so that the file stays one that can be read."""

from __future__ import annotations

from typing import Any

from attention_models import UnknownNameError
from jobs.config import OPTIONS_LISTED_BY
from jobs.errors import InputError
from launcher.cells.given import OPTIONS, entries_of, is_one_value, may_be_option, options_at
from launcher.cluster import Resources
from launcher.yaml_file import YamlFile, flow_list, parse_yaml


def change(file: YamlFile, text: str) -> None:
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
    if key not in valid and not may_be_option(key):
        raise InputError(f"{origin}: {UnknownNameError('key', key, valid, OPTIONS_LISTED_BY)}")
    if key == "name" or key.startswith("resources."):
        file.set(tuple(key.split(".")), node, origin)
    else:
        _set_option(file, key, node, origin)


def _set_option(file: YamlFile, key: str, node: Any, origin: str) -> None:
    """Give an option in one place, and take it away from wherever else it is given."""
    option = "seed" if key == "seeds" else key
    for group in entries_of(file, "zip"):
        if option in (together := dict(options_at(file, group))):
            others = ", ".join(name for name in together if name != option)
            raise InputError(
                f"{origin}: in zip, {option} goes together with {others}; change it in the file, "
                f"or pick runs with --only '{option} == ...'"
            )
    axis = dict(options_at(file, ("axes",))).get(option)
    is_axis = isinstance(node, list) and not is_one_value(option, node)
    values = node if is_axis else flow_list([node])
    entries = [(entry, dict(options_at(file, entry))) for entry in entries_of(file, "include")]
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
        base = dict(options_at(file, ("base",))).get(option)
        file.set(base or ("base", option), node, origin)


def _forget_overrides(file: YamlFile, key: str) -> None:
    """Take away what `overrides` sets for a key that is set for all runs."""
    for entry in reversed(entries_of(file, "overrides")):
        given = dict(options_at(file, (*entry, "set")))
        if key in given:
            file.remove(given[key] if len(given) > 1 else entry)
