"""Selecting runs by what is known of them, such as `model == resnet50 and seed in [0, 1]`.

An expression compares the values of a run, by their names in a matrix, with `==`, `!=`, `<`, `<=`,
`>`, `>=`, `in` and `not in`, and joins comparisons with `and`, `or`, `not` and parentheses. It is
Python's notation, but nothing is executed: there are no calls and no arithmetic. A word without
quotes that is compared with a value of a run is text; `true`, `false` and `null` are as in YAML.

What a run does not have (a measurement that is not there yet, an option of another network) is
null, which is neither above nor below anything.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, NoReturn, TypeVar

from attention_models import UnknownNameError
from jobs.config import NETWORK_OPTIONS, OPTIONS_LISTED_BY
from jobs.errors import InputError

Key = TypeVar("Key", bound=Hashable)
Run = Mapping[str, Any]

EXAMPLE = "'model == resnet50 and seed in [0, 1]'"
SHOWN_VALUES = 6
_YAML_WORDS = {"true": True, "false": False, "null": None}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class NoneSelectedError(InputError):
    """The expression is true for no run."""


def select(expression: str, runs: Mapping[Key, Run]) -> list[Key]:
    """The runs for which an expression is true, in their order; at least one.

    Raises InputError for an expression that cannot be read or that compares what cannot be
    compared, NoneSelectedError for one that is true for no run.
    """
    if not runs:
        raise InputError("there is no run to select from")
    names = {name for values in runs.values() for name in values} | set(NETWORK_OPTIONS)
    condition = _parse(expression, names)
    chosen = [key for key, run in runs.items() if _is_true(condition, run)]
    if not chosen:
        told = "; ".join(_tell_values(name, runs.values()) for name in _names_in(condition))
        raise NoneSelectedError(f"it selects no run: {told}" if told else "it selects no run")
    return chosen


# ---- reading an expression


def _parse(expression: str, names: Collection[str]) -> ast.expr:
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _Reader(expression.strip(), names).visit(tree.body)
    except (SyntaxError, ValueError, RecursionError):
        raise InputError(
            "it cannot be read. Write `==` to compare, `and`, `or`, `not` to join, and quotes "
            f"around text that is not one word, such as {EXAMPLE}"
        ) from None


class _Reader(ast.NodeTransformer):
    """Leaves what `_value` knows: a run's values as names, and all else as constants."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text, self.names = text, names

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if any(isinstance(how, ast.Is | ast.IsNot) for how in node.ops):
            self._refuse(node)
        operands = [node.left, *node.comparators]
        if any(_dotted(operand) in self.names for operand in operands):
            operands = [self._word(operand) for operand in operands]
        node.left, *node.comparators = [self.visit(operand) for operand in operands]
        return node

    def _word(self, node: ast.expr) -> ast.expr:
        """A word opposite of a run's value, or a list of them, as the text that is meant."""
        if isinstance(node, ast.List | ast.Tuple):
            node.elts = [self._word(item) for item in node.elts]
        elif isinstance(node, ast.Name) and node.id not in {*self.names, *_YAML_WORDS}:
            return ast.Constant(node.id)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in _YAML_WORDS:
            return ast.Constant(_YAML_WORDS[node.id])
        return self._known(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._known(_dotted(node)) if _dotted(node) else self._refuse(node)

    def _known(self, name: str) -> ast.expr:
        if name not in self.names:
            raise InputError(str(UnknownNameError("option", name, self.names, OPTIONS_LISTED_BY)))
        return ast.Name(name)

    def visit_BinOp(self, node: ast.BinOp) -> NoReturn:
        said = ast.get_source_segment(self.text, node)
        raise InputError(f'{said} is not one word; if it is text, write "{said}"')

    def generic_visit(self, node: ast.AST) -> Any:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return ast.Constant(-number)
            case (
                ast.Constant(value=None | bool() | int() | float() | str())
                | ast.List()
                | ast.Tuple()
                | ast.BoolOp()
                | ast.UnaryOp(op=ast.Not())
                | ast.expr_context()
                | ast.boolop()
                | ast.unaryop()
            ):
                return super().generic_visit(node)
        return self._refuse(node)

    def _refuse(self, node: ast.AST) -> NoReturn:
        raise InputError(
            f"{ast.get_source_segment(self.text, node)} cannot stand here: an expression compares "
            f"options with values, such as {EXAMPLE}"
        )


def _dotted(node: ast.AST) -> str:
    """`model_options.attention`, if that is what is written, else nothing."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=head), attr=tail):
            return f"{head}.{tail}"
    return ""


# ---- asking a run


def _value(node: ast.expr, run: Run) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return run.get(node.id)
        case ast.List() | ast.Tuple():
            return [_value(item, run) for item in node.elts]
        case ast.UnaryOp():
            return not _is_true(node.operand, run)
        case ast.BoolOp(op=ast.And()):
            return all(_is_true(part, run) for part in node.values)
        case ast.BoolOp():
            return any(_is_true(part, run) for part in node.values)
        case ast.Compare():
            operands = [node.left, *node.comparators]
            pairs = zip(node.ops, operands, operands[1:], strict=False)
            return all(_compare(how, left, right, run) for how, left, right in pairs)
    raise AssertionError(ast.dump(node))


def _is_true(node: ast.expr, run: Run) -> bool:
    value = _value(node, run)
    if value is not None and not isinstance(value, bool):
        said = f"{ast.unparse(node)} is {_kind(value)}"
        raise InputError(f"{said}; compare it with something, such as {EXAMPLE}")
    return bool(value)


def _compare(how: ast.cmpop, left_node: ast.expr, right_node: ast.expr, run: Run) -> bool:
    left, right = _value(left_node, run), _value(right_node, run)
    if isinstance(how, ast.In | ast.NotIn):
        if right is not None and not isinstance(right, list | str):
            said = ast.unparse(right_node)
            raise InputError(f"`in` needs a list: [{said}], not {said}")
        for item in right if isinstance(right, list) else [right]:
            _check_comparable(left, item, left_node, ast.Constant(item))
        is_inside = right is not None and (left in right if left is not None else None in [*right])
        return is_inside is isinstance(how, ast.In)
    _check_comparable(left, right, left_node, right_node)
    if isinstance(how, ast.Eq | ast.NotEq):
        return (left == right) is isinstance(how, ast.Eq)
    return None not in (left, right) and _ORDER[type(how)](left, right)


def _check_comparable(left: Any, right: Any, left_node: ast.expr, right_node: ast.expr) -> None:
    if None not in (left, right) and _kind(left) != _kind(right):
        sides = ((left_node, left), (right_node, right))
        raise InputError(" and ".join(f"{ast.unparse(node)} is {_kind(v)}" for node, v in sides))


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case None:
            return "null"
    return "text"


# ---- what is said when nothing fits


def _names_in(condition: ast.expr) -> list[str]:
    return list(
        dict.fromkeys(node.id for node in ast.walk(condition) if isinstance(node, ast.Name))
    )


def _tell_values(name: str, runs: Collection[Run]) -> str:
    """Such as `seed is 0, 1 or 2`."""
    found = list(dict.fromkeys(_say(run.get(name)) for run in runs))
    if len(found) > SHOWN_VALUES:
        found = [*found[:SHOWN_VALUES], f"{len(found) - SHOWN_VALUES} others"]
    *first, last = found
    return f"{name} is {', '.join(first)} or {last}" if first else f"{name} is {last}"


def _say(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)
