"""How a network looks: one colour and one mark, in every figure.

Both follow from the name alone, so that a network keeps them from figure to figure and from paper
to paper. What cannot follow from it, because two of one figure would look alike in colour or in
grey, is told by the dashes of their lines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from attention_models import MODELS, UnknownNameError
from jobs.errors import ExecutionError, InputError

# Okabe and Ito's colours, which stay apart for colour-blind readers; black is the baseline's, and
# yellow is left out because it cannot be read on white.
BASELINE_COLOUR = "#000000"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Their number has no divisor in common with that of the colours: the next name has the next of
# both, and 66 names in a row all differ.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
Dash = tuple[float, tuple[float, ...]]  # as matplotlib has it: offset, and lengths of ink and gap
DASHES: tuple[Dash, ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 3)),
)
# More cannot be told apart by anybody.
MOST_GROUPS = 60

_PLACES = {re.sub(r"[^a-z0-9]", "", name): place for place, name in enumerate(MODELS)}

# As matplotlib takes it by name, and has no type for.
Style = dict[str, Any]


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    dash: Dash = DASHES[0]

    def line(self) -> Style:
        return self.point() | {"linestyle": self.dash}

    def point(self) -> Style:
        return {"color": self.colour, "marker": self.marker, "linestyle": "none"}


def looks_of(
    groups: Sequence[str], by: str = "model", baseline: str | None = None
) -> dict[str, Look]:
    """The look of each group; that of networks follows from their names, others have their order.

    Raises InputError if there is no group of the baseline's name, and ExecutionError for more
    groups than can be told apart.
    """
    if baseline is not None and baseline not in groups:
        raise InputError(str(UnknownNameError("baseline", baseline, groups)))
    if len(groups) > MOST_GROUPS:
        raise ExecutionError(
            f"{len(groups)} lines cannot be told apart in one figure (at most {MOST_GROUPS} can); "
            "choose with --only, or put them together with another --by"
        )
    looks: dict[str, Look] = {}
    for name, place in _places(groups, by):
        colour = BASELINE_COLOUR if name == baseline else COLOURS[place % len(COLOURS)]
        marker = MARKERS[place % len(MARKERS)]
        looks[name] = Look(colour, marker, _free_dash(colour, marker, looks.values()))
    return {group: looks[group] for group in groups}


def _places(groups: Iterable[str], by: str) -> list[tuple[str, int]]:
    """Each group with a number of its own, always in the same order."""
    if by == "model":
        return sorted(((name, _place(name)) for name in groups), key=lambda it: (it[1], it[0]))
    return [(name, place) for place, name in enumerate(sorted(groups, key=_by_value))]


def _place(network: str) -> int:
    """Its place in the registry, however it is spelt; of others, a number from the name."""
    spelt = re.sub(r"[^a-z0-9]", "", network.lower())
    if spelt in _PLACES:
        return _PLACES[spelt]
    return int(hashlib.sha256(network.encode()).hexdigest()[:8], 16)


def _by_value(group: str) -> list[tuple[float, str]]:
    """Sorts 0.05 before 0.1, and `lr=2` before `lr=10`."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", group)
    return [(float(part), "") if number % 2 else (0.0, part) for number, part in enumerate(parts)]


def _free_dash(colour: str, marker: str, taken: Iterable[Look]) -> Dash:
    """The first dash by which a line differs from all of its colour, and from all of its mark."""
    used = [look.dash for look in taken if look.colour == colour or look.marker == marker]
    return min(DASHES, key=lambda dash: (used.count(dash), DASHES.index(dash)))
