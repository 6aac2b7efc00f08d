from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.selection import select

CONFIGS = [
    RunConfig(model=model, lr=lr, seed=seed)
    for model in ("resnet18", "bam_resnet18")
    for lr in (0.1, 0.5)
    for seed in (0, 1, 2)
]
RUNS: dict[int, dict[str, Any]] = {
    number: config.by_name | {"state": "failed" if config.seed else "finished", "top1": top1}
    for number, config in enumerate(CONFIGS)
    for top1 in [None if config.seed else 90.0]
}


def complaint(expression: str) -> str:
    with pytest.raises(InputError) as caught:
        select(expression, RUNS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ('model == "resnet18" and seed in [0, 1]', [0, 1, 3, 4]),
        ("model == resnet18 and seed not in [0, 1]", [2, 5]),
        ("model in [bam_resnet18, resnet50] and not lr > 0.1", [6, 7, 8]),
        ("lr > 0.1 and seed == 0 or state == finished", [0, 3, 6, 9]),
        ("lr > 0.1 and (seed == 0 or state == finished)", [3, 9]),
        ("'bam' in model and 0 < seed <= 1", [7, 10]),
        ("model_options.combine == product and seed == 2", [8, 11]),
        ("model_options.combine == null and flip and seed == 2", [2, 5]),
        ("top1 < 95", [0, 3, 6, 9]),
        ("not top1 >= 0 and seed == 1 and flip == true", [1, 4, 7, 10]),
        ("top1 in [null, 1] and seed != 1 and lr_min < lr", [2, 5, 8, 11]),
        ("lr_milestones_epochs == [] and data_dir == data and seed > 1 and lr < .2", [2, 8]),
    ],
)
def test_the_runs_for_which_an_expression_is_true_are_selected(
    expression: str, chosen: list[int]
) -> None:
    assert select(expression, RUNS) == chosen


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "modle == resnet18",
            "'modle' is not a known option; did you mean 'model'? Valid: model, ",
        ),
        ("attention == se", "'attention' is not a known option; did you mean 'model_options.atte"),
        ("stat == failed", "'stat' is not a known option; did you mean 'state'?"),
        ("model == resnet18 or resnet34", "'resnet34' is not a known option"),
        ('model == "a" or "b"', "'b' is text; compare it with something, such as 'model == r"),
        ("model = resnet18", "it cannot be read. Write `==` to compare, `and`, `or`, `not` to "),
        ("seed == 1 && flip", "it cannot be read"),
        ("not " * 5000 + "flip", "it cannot be read"),
        ("", "it cannot be read"),
        ("model == timm/resnet10t", 'timm/resnet10t is not one word; if it is text, write "timm/'),
        ("lr > 'x'", "lr is a number and 'x' is text"),
        ("seed == '0'", "seed is a number and '0' is text"),
        ("seed in [0, '1']", "seed is a number and '1' is text"),
        ("flip == 1", "flip is true or false and 1 is a number"),
        ("seed in 3", "`in` needs a list: [3], not 3"),
        ("seed", "seed is a number; compare it with something"),
        ("seed is 1", "seed is 1 cannot stand here: an expression compares options with values"),
        ("__import__('os').system('ls')", "__import__('os').system('ls') cannot stand here"),
        ("().__class__ == 1", "().__class__ cannot stand here"),
        ("state == done", "it selects no run: state is finished or failed"),
        ("seed == 7 and flip", "it selects no run: flip is true; seed is 0, 1 or 2"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_can(expression: str, said: str) -> None:
    assert complaint(expression).startswith(said)


def test_many_values_are_told_by_the_first_few() -> None:
    runs = {seed: {"seed": seed} for seed in range(20)}
    with pytest.raises(InputError, match=r"seed is 0, 1, 2, 3, 4, 5 or 14 others$"):
        select("seed == 99", runs)


NUMBERS = st.sampled_from(["a", "b", "0", "1", "-1", "0.5"])
COMPARISONS = st.builds(
    "{} {} {}".format, NUMBERS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), NUMBERS
) | st.builds("{} {} [{}, {}]".format, NUMBERS, st.sampled_from(["in", "not in"]), NUMBERS, NUMBERS)
EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not {}".format, inner)
    ),
    max_leaves=6,
)


@given(expression=EXPRESSIONS, a=st.integers(-1, 1), b=st.floats(-1, 1))
def test_numbers_are_compared_as_python_compares_them(expression: str, a: int, b: float) -> None:
    runs = {"run": {"a": a, "b": b}}
    if eval(expression, {"a": a, "b": b}):
        assert select(expression, runs) == ["run"]
    else:
        with pytest.raises(InputError, match="selects no run"):
            select(expression, runs)
