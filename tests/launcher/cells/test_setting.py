import pytest

from tests.launcher.matrices import values

PLAIN = """\
# a comment
name: plain
base:
  model: bam_resnet18  # the network
  epochs: 5
  model_options: {combine: product}
axes:
  lr: [1, 2]
include:
  - {lr: 3, epochs: 7}
  - epochs: 8
"""


@pytest.mark.parametrize(
    ("overrides", "runs"),
    [
        ([], [(1, 8, 0), (2, 8, 0), (3, 7, 0)]),
        (["epochs=2"], [(1, 2, 0), (2, 2, 0), (3, 2, 0)]),
        (["epochs=[2, 4]"], [(1, 2, 0), (1, 4, 0), (2, 2, 0), (2, 4, 0), (3, 5, 0)]),
        (["lr=5"], [(5, 8, 0)]),
        (["lr=[5, 1e-1]", "epochs=1"], [(5, 1, 0), (0.1, 1, 0)]),
        (["seeds=[5, 6]", "epochs=1", "lr=1"], [(1, 1, 5), (1, 1, 6)]),
        (["seed=5", "lr=1"], [(1, 8, 5)]),
    ],
)
def test_an_override_wins_wherever_the_option_is_given(read, overrides, runs):
    matrix = read(PLAIN, *overrides)
    assert values(matrix, "lr", "epochs", "seed") == runs
    again = read(matrix.text)
    assert (again.runs, again.name, again.text) == (matrix.runs, "plain", matrix.text)


@pytest.mark.parametrize(
    ("model", "runs"),
    [
        ("resnet18", [("resnet18", 0.1, 9)]),
        ("resnet34", [("resnet34", 0.2, 9)]),
        ("[resnet34, resnet50]", [("resnet34", 0.2, 9), ("resnet50", 0.4, 9)]),
        ("resnet101", [("resnet101", 0.1, 9)]),
    ],
)
def test_what_include_says_of_one_value_of_an_axis_stays_with_that_value(read, model, runs):
    text = """\
    base: {lr: 0.1}
    axes: {model: [resnet18, resnet34, resnet50]}
    include:
      - {model: resnet34, lr: 0.2}
      - {model: resnet50, lr: 0.4}
      - {epochs: 9}
    """
    assert values(read(text, f"model={model}"), "model", "lr", "epochs") == runs


@pytest.mark.parametrize(
    ("model", "runs"),
    [
        ("resnet18", [("resnet18", 0.2), ("resnet18", 0.3)]),
        ("[resnet34]", [("resnet34", 0.4)]),
        ("resnet50", [("resnet50", 0.2), ("resnet50", 0.3), ("resnet50", 0.4)]),
    ],
)
def test_a_network_is_picked_from_the_runs_that_include_lists(read, model, runs):
    """And one that it does not list takes the place of all."""
    text = """\
    include:
      - {model: resnet18, lr: 0.2}
      - {model: resnet18, lr: 0.3}
      - {model: resnet34, lr: 0.4}
    """
    assert values(read(text, f"model={model}"), "model", "lr") == runs


def test_overrides_reach_the_name_the_resources_and_the_options_of_a_network(read):
    overrides = ("name=foo", "resources.time=2:00:00", "model_options.combine=sum")
    matrix = read(PLAIN, *overrides)
    assert matrix.name == "foo"
    assert matrix.resources.time == "2:00:00"
    assert {tuple(c.model_options.items()) for c in matrix.runs.values()} == {(("combine", "sum"),)}
    assert "# a comment" in matrix.text
    assert "# the network" in matrix.text


def test_a_seed_that_is_an_axis_stays_one(read):
    matrix = read("base: {model: resnet18}\naxes: {seed: [1, 2], lr: [1, 2]}", "seed=[7, 8]")
    assert values(matrix, "seed", "lr") == [(7, 1), (7, 2), (8, 1), (8, 2)]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("epochs", "--set epochs: write key=value, such as --set epochs=2"),
        ("epochs=0", "--set epochs=0: epochs: Input should be greater than or equal to 1, not 0"),
        ("lr=[", "--set lr=[: this is not YAML: expected the node content, but found '<stream en"),
        ("epoch=2", "--set epoch=2: 'epoch' is not a known key; did you mean 'epochs'? Valid: epo"),
        ("base.lr=2", "--set base.lr=2: 'base.lr' is not a known key"),
        ("resources.tim=2", "--set resources.tim=2: 'resources.tim' is not a known key; did you "
         "mean 'resources.time'? Valid: "),
        ("resources.gres=gpu:1;ls", "--set resources.gres=gpu:1;ls: gres: 'gpu:1;ls' is not val"),
        ("name=a b", "--set name=a b: sweep name 'a b' is not valid: use up to 64 letters"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_named_itself(complaints, override, complaint):
    (line,) = complaints(PLAIN, override)
    assert line.startswith(complaint)


def test_a_list_cannot_override_where_include_lists_the_runs(complaints):
    text = "include: [{model: resnet18}, {model: resnet34}]"
    assert complaints(text, "lr=[1, 2]") == [
        "--set lr=[1, 2]: without axes, include lists the runs; give one value"
    ]
