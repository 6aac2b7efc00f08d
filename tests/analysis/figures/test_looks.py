from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.figures.looks import BASELINE_COLOUR, DASHES, MOST_GROUPS, looks_of
from attention_models import MODELS
from jobs.errors import ExecutionError, InputError

names = st.lists(st.sampled_from([*MODELS, "timm/resnet18", "my net", "Net2"]), unique=True)


@given(names, names)
def test_a_network_has_its_colour_and_mark_in_every_figure(one: list[str], other: list[str]):
    first, second = looks_of(one), looks_of(other)
    for name in {*one} & {*other}:
        assert first[name].colour == second[name].colour
        assert first[name].marker == second[name].marker


@given(names)
def test_the_order_of_the_names_does_not_matter(found: list[str]) -> None:
    assert looks_of(found) == looks_of(found[::-1])


def test_all_our_networks_differ_in_colour_or_mark() -> None:
    looks = [looks_of([name])[name] for name in MODELS]
    assert len({(look.colour, look.marker) for look in looks}) == len(MODELS)


@pytest.mark.parametrize(
    "family", ["resnet", "preact", "sresnet", "lambda", "resnest", "attention"]
)
def test_members_of_a_family_differ_in_grey_too(family: str) -> None:
    members = [name for name in MODELS if name.startswith(family)]
    looks = looks_of(members).values()
    assert len({(look.marker, look.dash) for look in looks}) == len(members)


def test_lines_of_one_colour_and_lines_of_one_mark_have_different_dashes() -> None:
    looks = looks_of(list(MODELS)[:20])
    for one, other in itertools.combinations(looks.values(), 2):
        assert one.dash in DASHES
        if one.colour == other.colour or one.marker == other.marker:
            assert one.dash != other.dash


def test_a_name_spelt_in_another_way_is_the_same_network() -> None:
    assert (
        looks_of(["PreActResNet50"])["PreActResNet50"]
        == (looks_of(["preact_resnet50"])["preact_resnet50"])
    )


def test_the_baseline_and_nothing_else_is_black() -> None:
    looks = looks_of(["resnet18", "resnet50"], baseline="resnet50")
    assert looks["resnet50"].colour == BASELINE_COLOUR
    assert looks["resnet18"] == looks_of(["resnet18", "resnet50"])["resnet18"]
    assert BASELINE_COLOUR not in {look.colour for look in looks_of(list(MODELS)).values()}


def test_groups_that_are_no_networks_look_by_the_order_of_their_values() -> None:
    rates = ["lr=0.1", "lr=0.05", "lr=1e-3", "lr=10.0"]
    ordered = ["lr=1e-3", "lr=0.05", "lr=0.1", "lr=10.0"]
    found = looks_of(rates, by="model,lr")
    assert [found[name].marker for name in ordered] == ["o", "s", "^", "D"]
    assert list(found) == rates


def test_more_groups_than_can_be_told_apart_are_refused() -> None:
    many = [str(number) for number in range(MOST_GROUPS + 1)]
    with pytest.raises(ExecutionError, match=r"61 lines cannot be told apart.*--only"):
        looks_of(many, by="lr")


def test_an_unknown_baseline_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        looks_of(["resnet18"], baseline="resnet8")
