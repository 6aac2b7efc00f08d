"""YAML files that a person writes: plain values, the line of each, and every mistake at once."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from attention_models import UnknownNameError
from jobs.config import mistakes
from jobs.errors import InputError

Place = tuple[str | int, ...]
"""The keys that lead to a value, such as `("axes", "lr", 0)`."""

Model = TypeVar("Model", bound=BaseModel)


class _Constructor(RoundTripConstructor):
    """Builds plain values only."""

    def plain_float(self, node: Any) -> float:
        # The class that keeps the notation (`1e-3`) writes some numbers back as other numbers.
        return float(self.construct_yaml_float(node))

    def refuse(self, node: Any) -> None:
        raise ConstructorError(problem=f"tag {node.tag} is not used", problem_mark=node.start_mark)


# YAML 1.2 has no dates: `2026-01-31` is text, and may name a sweep.
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_scalar)
_Constructor.add_constructor("tag:yaml.org,2002:float", _Constructor.plain_float)
for _tag in ("tag:yaml.org,2002:set", "tag:yaml.org,2002:binary", None):
    _Constructor.add_constructor(_tag, _Constructor.refuse)


class YamlFile:
    """One mapping in a file. Mistakes are collected, and `check` raises all of them together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = False
        self._origins: dict[Place, str] = {}
        self._mistakes: dict[tuple[int, str], None] = {}
        try:
            self._text = path.read_text(encoding="utf-8")
            self._tree = parse_yaml(self._text)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; give the path of a YAML file") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: this is not text in UTF-8") from None
        except ValueError as error:
            line, text = error.args
            raise InputError(f"{path}:{line}: {text}") from None
        if not isinstance(self._tree, dict):
            found = "nothing" if self._tree is None else repr(plain(self._tree))
            raise InputError(f"{path}:1: the file must hold a mapping (`key: value`), not {found}")

    def get(self, place: Place) -> Any:
        """The plain value at a place; None where there is none."""
        return plain(self._node(place))

    def mapping(self, place: Place, valid: Iterable[str] | None = None) -> dict[str, Any]:
        """The mapping at a place, empty where there is none; its keys are among the valid ones."""
        value = self.get(place)
        if value is not None and not isinstance(value, dict):
            self.mistake(place, f"{place[-1]} must be a mapping (`key: value`), not {value!r}")
            return {}
        for key in value or {}:
            if valid is not None and key not in valid:
                self.mistake((*place, key), UnknownNameError("key", key, valid))
        return value or {}

    def __contains__(self, place: Place) -> bool:
        return _holds(self._node(place[:-1]), place[-1])

    def set(self, place: Place, value: Any, origin: str) -> None:
        """Put a value somewhere; messages about it name its origin instead of a line."""
        node = self._tree
        for key in place[:-1]:
            if node.get(key) is None:
                node[key] = CommentedMap()
            node = node[key]
        node[place[-1]] = value
        self._origins[place] = origin
        self._changed = True

    def remove(self, place: Place) -> None:
        del self._node(place[:-1])[place[-1]]
        self._changed = True

    @property
    def text(self) -> str:
        """The file as it stands now, with its comments; as it was read if nothing was changed."""
        if not self._changed:
            return self._text
        out = io.StringIO()
        _yaml().dump(self._tree, out)
        return out.getvalue()

    def validate(self, model: type[Model], *place: str | int) -> Model | None:
        """The mapping at a place as a flat pydantic model, or None and what is wrong with it."""
        try:
            return model.model_validate(self.get(place) or {})
        except ValidationError as error:
            for item, text in zip(error.errors(), mistakes(error), strict=True):
                if item["type"] == "extra_forbidden":
                    text = str(UnknownNameError("key", item["loc"][-1], model.model_fields))
                self.mistake((*place, *item["loc"]), text)
            return None

    def mistake(self, place: Place, text: object) -> None:
        """Remember what is wrong at a place; the same mistake is told once."""
        prefixes = (place[:length] for length in range(len(place), 0, -1))
        origin = next((self._origins[p] for p in prefixes if p in self._origins), None)
        line = 0 if origin else self._line(place)
        self._mistakes[line, f"{origin or f'{self.path}:{line}'}: {text}"] = None

    def check(self) -> None:
        """Raise what was found so far, in the order of the file."""
        if self._mistakes:
            raise InputError("\n".join(text for _, text in sorted(self._mistakes)))

    def _node(self, place: Place) -> Any:
        node = self._tree
        for key in place:
            node = node[key] if _holds(node, key) else None
        return node

    def _line(self, place: Place) -> int:
        """The line of the innermost key on the way that the file holds."""
        node: Any = self._tree
        line = 1
        for key in place:
            if not _holds(node, key):
                break
            parent, node = node, node[key]
            if isinstance(parent, list) and isinstance(node, CommentedMap):
                line = node.lc.line + 1  # its own line, because entries before it may be gone
            elif key in (parent.lc.data or {}):
                line = parent.lc.data[key][0] + 1
        return line


def parse_yaml(text: str) -> Any:
    """The tree of a YAML text, which `plain` turns into values; ValueError(line, what) if bad."""
    try:
        tree = _yaml().load(text)
        plain(tree)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(mark.line + 1 if mark else 1, f"this is not YAML: {problem}") from None
    except (ValueError, KeyError, TypeError) as error:  # such as `!!int foo`: no line is known
        raise ValueError(1, f"this is not YAML: {error}") from None
    except RecursionError:
        raise ValueError(1, "this is nested too deeply, or holds itself by an alias") from None
    return tree


def flow_list(values: Iterable[Any]) -> CommentedSeq:
    """A list that is written on one line."""
    node = CommentedSeq(values)
    node.fa.set_flow_style()
    return node


def plain(node: Any) -> Any:
    """A node of the tree as plain Python."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    if isinstance(node, bool | ScalarBoolean):
        return bool(node)
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return None


def _yaml() -> YAML:
    # Round-trip mode keeps comments and lines, and builds no objects whatever a tag says.
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    yaml.preserve_quotes = True
    yaml.width = 1_000_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _holds(node: Any, key: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(key, int) and key < len(node)
    return isinstance(node, dict) and key in node
