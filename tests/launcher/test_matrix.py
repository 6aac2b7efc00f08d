import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.config import RunConfig
from tests.launcher.matrices import values


def test_an_option_that_is_a_list_is_one_value_and_as_an_axis_a_list_of_lists(read, complaints):
    text = """\
        base: {model: resnet18, schedule: multistep, lr_milestones_epochs: [60, 90]}
        axes: {lr: [0.1, 0.2]}
    """
    key = "lr_milestones_epochs"
    assert values(read(text), key) == [([60, 90],)] * 2
    assert values(read(text, f"{key}=[3]"), key) == [([3],)] * 2
    assert values(read(text, f"{key}=[[3], [4, 5]]", "lr=1"), key) == [([3],), ([4, 5],)]
    assert complaints(text, f"{key}=[[3], [3]]") == [
        "--set lr_milestones_epochs=[[3], [3]]: [3] stands twice in lr_milestones_epochs; keep one"
    ]


# ---- what the sections mean


def test_runs_stand_in_the_order_of_the_axes_with_seeds_fastest_and_new_ones_last(read):
    matrix = read(
        """\
        name: order
        base: {model: resnet18}
        seeds: 2
        axes:
          lr: [0.1, 1e-2]
          epochs: [5, 3]
        include:
          - {lr: 0.5, epochs: 1}
          - {lr: 0.6, epochs: 1, seed: 7}
        """
    )
    grid = list(itertools.product([0.1, 0.01], [5, 3], [0, 1]))
    assert values(matrix, "lr", "epochs", "seed") == [
        *grid, (0.5, 1, 0), (0.5, 1, 1), (0.6, 1, 7)
    ]  # fmt: skip
    assert matrix.name == "order"


def test_a_seed_is_an_axis_for_include_and_exclude(read):
    matrix = read(
        """\
        base: {model: resnet18}
        axes: {lr: [1, 2]}
        seeds: [3, 4]
        exclude: [{lr: 1, seed: 4}]
        include: [{seed: 3, epochs: 9}]
        """
    )
    assert values(matrix, "lr", "seed", "epochs") == [(1, 3, 9), (2, 3, 9), (2, 4, 150)]


@pytest.mark.parametrize("seeds", ["seeds: 2", "axes: {seed: [0, 1]}"])
def test_include_alone_lists_the_runs_and_each_gets_all_seeds(read, seeds):
    matrix = read(f"base: {{lr: 1}}\n{seeds}\ninclude: [{{model: resnet18}}, {{model: resnet34}}]")
    assert values(matrix, "model", "seed", "lr") == [
        ("resnet18", 0, 1), ("resnet18", 1, 1), ("resnet34", 0, 1), ("resnet34", 1, 1)
    ]  # fmt: skip


def test_options_of_a_network_may_be_dotted_or_nested_and_are_merged(read):
    matrix = read(
        """\
        base:
          model: bam_resnet18
          model_options: {stem: cifar}
        include:
          - model_options.combine: sum
          - model_options: {stem: imagenet, combine: sum}
        """
    )
    assert [config.model_options for config in matrix.runs.values()] == [
        {"stem": "cifar", "combine": "sum"},
        {"stem": "imagenet", "combine": "sum"},
    ]


def test_the_name_is_the_files_name_unless_it_is_given_and_may_look_like_a_date(read):
    assert read("base: {model: resnet18}").name == "m"
    assert read("name: 2026-01-31\nbase: {model: resnet18}").name == "2026-01-31"


def test_a_data_folder_is_where_the_command_was_given(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    matrix = read("base: {model: resnet18}\naxes: {data_dir: [d], lr: [1]}")
    assert values(matrix, "data_dir") == [(tmp_path / "d",)]
    assert values(read("base: {model: resnet18}"), "data_dir") == [(tmp_path / "data",)]
    home = read("base: {model: resnet18, data_dir: ~/d}")
    assert values(home, "data_dir") == [(Path("/home/me/d"),)]


def test_resources_are_read_in_the_words_of_slurm(read):
    resources = read("base: {model: resnet18}\nresources: {time: 4:00:00, mem: 8G}").resources
    assert (resources.time, resources.mem, resources.gres) == ("4:00:00", "8G", None)


# ---- values that go together

ZIPPED = """\
base: {dataset: digits}
axes: {epochs: [5, 9]}
zip:
  - model: [resnet18, bam_resnet18, resnet18]
    lr: [0.1, 0.05, 0.2]
  - {batch_size: [64, 32], model_options: {stem: [cifar, auto]}}
"""


def test_values_that_go_together_are_one_axis_of_the_product(read):
    matrix = read(ZIPPED)
    together = [("resnet18", 0.1), ("bam_resnet18", 0.05), ("resnet18", 0.2)]
    assert values(matrix, "epochs", "model", "lr", "batch_size", "model_options") == [
        (epochs, model, lr, batch_size, options)
        for epochs in (5, 9)
        for model, lr in together
        for batch_size, options in ((64, {"stem": "cifar"}), (32, {}))
    ]


def test_include_and_exclude_take_what_goes_together_for_axes(read):
    entries = "include: [{lr: 0.2, momentum: 0}, {model: resnet34}]\n"
    matrix = read(ZIPPED + entries + "exclude: [{model: resnet18, lr: 0.1}, {epochs: 9}]")
    assert values(matrix, "model", "lr", "batch_size", "momentum") == [
        ("bam_resnet18", 0.05, 64, 0.9),
        ("bam_resnet18", 0.05, 32, 0.9),
        ("resnet18", 0.2, 64, 0),
        ("resnet18", 0.2, 32, 0),
        ("resnet34", 0.1, 128, 0.9),
    ]


def test_what_goes_together_is_not_set_from_outside(complaints):
    assert complaints(ZIPPED, "lr=0.3") == [
        "--set lr=0.3: in zip, lr goes together with model; change it in the file, or pick runs "
        "with --only 'lr == ...'"
    ]


# ---- mistakes


def test_unknown_names_and_wrong_shapes_are_told_together_with_their_lines(complaints):
    lines = complaints(
        """\
        base:
          model: resnet18
          epocs: 3
          model_options:
            combin: sum
          lr: [0.1, 0.2]
        axes:
          batch_size: 128
          momentum: [0.5, 0.50]
          modle: [resnet18]
        seeds: 0
        include:
          - epochs: 3
            flop: true
        exclude:
          - {batchsize: 3}
        resources: {tine: 3}
        name: a/b
        """
    )
    assert [line.partition(" Valid: ")[0] for line in lines] == [
        "m.yaml:3: 'epocs' is not a known option; did you mean 'epochs'?",
        "m.yaml:6: lr takes one value, not [0.1, 0.2]; lists belong under axes",
        "m.yaml:8: batch_size must be a list of values, not 128",
        "m.yaml:9: 0.5 stands twice in momentum; keep one",
        "m.yaml:10: 'modle' is not a known option; did you mean 'model'?",
        "m.yaml:11: seeds must be a number from 1 to 100000 or a list, not 0",
        "m.yaml:14: 'flop' is not a known option; did you mean 'flip'?",
        "m.yaml:16: 'batchsize' is not a known axis; did you mean 'batch_size'?",
        "m.yaml:17: 'tine' is not a known key; did you mean 'time'?",
        "m.yaml:18: sweep name 'a/b' is not valid: use up to 64 letters, digits, '-' and '_', "
        "beginning with a letter or a digit",
    ]
    assert "Valid: epochs, warmup_epochs, restart_epochs, " in lines[0]
    assert lines[0].endswith(" others; `python -m jobs.train --help` lists them")
    assert lines[8].endswith(
        "Valid: cpus_per_task, gres, mail_type, mail_user, mem, profile, runs_per_gpu, slice, "
        "time, workers"
    )


def test_an_unknown_option_of_a_network_is_told_at_its_line(complaints):
    (line,) = complaints(
        """\
        base:
          model: bam_resnet18
          model_options:
            combin: sum
        """
    )
    assert line == (
        "m.yaml:4: 'combin' is not a known option of network 'bam_resnet18'; did you mean "
        "'combine'? Valid: combine, stem"
    )


@pytest.mark.parametrize("section", ["base: {model_options: se}", "axes: {model_options: [se]}"])
def test_options_of_a_network_without_their_names_are_told_how_to_be_written(complaints, section):
    assert any("an axis takes one of them" in line for line in complaints(section + "\n"))


def test_an_option_of_a_network_needs_a_name(complaints):
    lines = complaints("base: {model: resnet18, 'model_options.': 1}\n")
    assert "'model_options.' is not a known option" in lines[0]


def test_options_of_a_network_of_another_library_are_its_own(read):
    text = "axes: {model: [timm/resnet10t], model_options.drop_rate: [0.1, 0.2]}\n"
    rates = [config.model_options["drop_rate"] for config in read(text).runs.values()]
    assert rates == [0.1, 0.2]
    changed = read(text, "model_options.drop_rate=0.5").runs.values()
    assert [config.model_options for config in changed] == [{"drop_rate": 0.5}]


def test_an_option_that_follows_from_the_data_is_told_at_its_line(complaints):
    (line,) = complaints("base:\n  model: timm/resnet10t\n  model_options: {num_classes: 7}\n")
    assert line == "m.yaml:3: option 'num_classes' follows from the data set and cannot be given"


def test_a_rule_between_two_options_is_told_at_the_line_of_one_of_them(complaints):
    text = """\
        base:
          model: resnet18
          nesterov: true
        axes:
          momentum: [0.9, 0.0]
        """
    assert complaints(text) == ["m.yaml:3: nesterov: needs a momentum above 0"]


def test_a_rule_about_an_option_that_is_not_given_is_told_too(complaints):
    text = """\
        base:
          model: resnet18
        axes:
          lr: [0.1]
          lr_min: [0.2]
        """
    assert complaints(text) == ["m.yaml:5: lr_min: 0.2 is above lr, which is 0.1"]


def test_a_wrong_value_is_told_once_at_its_own_line_however_many_runs_have_it(complaints):
    lines = complaints(
        """\
        base:
          lr: -1
          model_options.combine: sum
        axes:
          model: [bam_resnet18, resnet18, resnet9]
          batch_size:
            - 128
            - x
            - 1
        seeds: 50
        include:
          - model: bam_resnet18
            schedule: cosin
        """
    )
    assert [line.partition(" Valid: resnet50")[0] for line in lines] == [
        "m.yaml:2: lr: Input should be greater than 0, not -1",
        "m.yaml:3: 'combine' is not a known option of network 'resnet18'. Valid: attention, "
        "dropout, stem",
        "m.yaml:5: model: 'resnet9' is not a known network; did you mean 'resnet50'?",
        "m.yaml:8: batch_size: Input should be a valid integer, unable to parse string as an "
        "integer, not 'x'",
        "m.yaml:9: batch_size: Input should be greater than or equal to 2, not 1",
        "m.yaml:13: schedule: Input should be 'cosine', 'restarts', 'step' or 'multistep', not "
        "'cosin'",
    ]


BASE = "base: {model: resnet18}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bse: {}", "1: 'bse' is not a known key; did you mean 'base'? Valid: axes, base, exclude, "
         "include, name, overrides, resources, seeds, zip"),
        ("base: 3", "1: base must be a mapping (`key: value`), not 3"),
        ("include: {lr: 3}", "1: include must be a list of mappings, not {'lr': 3}"),
        ("include:\n  - lr", "2: an entry of include must be a mapping (`- key: value`), not 'lr'"),
        ("{}", "1: model: is missing; give it in base, axes or include"),
        ("axes: {model: [resnet18], lr: [1]}\ninclude:\n  - lr: 2",
         "3: model: is missing; give it in base, axes or include"),
        (BASE + "axes: {lr: []}", "2: lr must be a list of values, not []"),
        (BASE + "axes: {lr: [[1], 2]}", "2: lr takes one value, not [1]"),
        (BASE + "axes: {lr: [1, 2]}\nexclude:\n  - lr: 3",
         "4: 3 is not a value of axis 'lr', so nothing is excluded. Valid: 1, 2"),
        (BASE + "axes: {lr: [1]}\nexclude: [{epochs: 3}]",
         "3: 'epochs' is not a known axis. Valid: lr, seed"),
        (BASE + "axes: {lr: [1]}\nexclude: [{lr: 1}]",
         "3: the matrix is empty: every combination is excluded"),
        (BASE + "axes: {lr: [1, '1']}",
         "2: two cells are one run, resnet18-cifar10-s0-2765c0ee8b40: lr=1, seed=0; and lr=1, "
         "seed=0. Remove one, or let them differ in an option that changes the result"),
        (BASE + "axes: {keep: [none, final, best]}",
         "2: two cells are one run, resnet18-cifar10-s0-0e42e2e22a9a: keep=none, seed=0; and "
         "keep=final, seed=0 (and 1 more such pairs). Remove one, or let them differ in an option "
         "that changes the result"),
        (BASE + "seeds: 3\naxes: {seed: [1]}",
         "3: seed is given here and as seeds; keep one of them"),
        ("base: {model: resnet18, seed: 1}\naxes: {seed: [1]}",
         "2: seed is given here and as base.seed; keep one of them"),
        ("base:\n  model_options: {stem: auto}\n  model_options.stem: auto",
         "3: model_options.stem is given twice; keep one"),
        (BASE + "seeds: 99999\naxes: {lr: [1, 2]}",
         "3: 199998 combinations; a matrix may have at most 100000"),
        ("base: {model: resnet18, flip: 3}",
         "1: flip: Input should be a valid boolean, unable to interpret input, not 3"),
        ("base: {model: resnet18, epochs: true}", "1: epochs: true is not a value of epochs"),
        ("base: {model: resnet18, lr: null}",
         "1: lr: Input should be a valid number, not None"),
        (BASE + "axes: {lr: [1, 2], epochs: [3, 4]}\nzip: [{momentum: [0.1], decay: [all]}]\n"
         "exclude:\n  - {lr: 1, epochs: 3}\n  - {momentum: 0.1, epochs: 5}",
         "6: 5 is not a value of axis 'epochs', so nothing is excluded. Valid: 3, 4"),
        (BASE + "zip:\n  - {lr: [1, 2], decay: [all, weights]}\nexclude: [{lr: 1, decay: weights}]",
         "4: no combination has all of these values, so nothing is excluded"),
        (BASE + "zip:\n  - lr: [1, 2]\n    decay: [all]",
         "3: lists that go together must be of one length, not lr 2, decay 1"),
        (BASE + "zip: {lr: [1, 2]}", "2: zip must be a list of mappings, not {'lr': [1, 2]}"),
        (BASE + "zip: [{lr: []}]", "2: lr must be a list of values, not []"),
        (BASE + "zip: [{seed: [1]}]", "2: seed goes with every combination; give it as seeds"),
        ("base:\n  model: resnet18\nzip:\n  - lr: [1]\n    model: [resnet34]",
         "5: model is given here and in base; keep one of them"),
        (BASE + "axes: {lr: [1]}\nzip:\n  - lr: [1]",
         "4: lr is given here and in axes; keep one of them"),
        (BASE + "zip:\n  - lr: [1]\n  - lr: [1]",
         "4: lr is given here and in another group of zip; keep one of them"),
        (BASE + "overrides:\n  - when: {lr: 1}\n    set: {epochs: 3}",
         "3: when must be an expression, such as 'model == resnet50 and seed in [0, 1]', not "
         "{'lr': 1}"),
        (BASE + "overrides:\n  - when: seed == 0", "3: set must say what these runs get, such as "
         "{batch_size: 64}"),
        (BASE + "overrides:\n  - set: {epochs: 3}\n    when: seed == 1",
         "4: when: it selects no run: seed is 0"),
        (BASE + "overrides: [{when: seed == 0, set: {resources.time: soon}}]",
         "2: time: 'soon' is not a time limit; write minutes (90), H:MM:SS (4:00:00), D-HH:MM:SS "
         "(1-12:00:00), or such as 2h or 30m"),
        (BASE + "overrides: [{when: seed == 0, set: {resources: {workers: 3}}}]",
         "2: resources.workers is of the whole sweep; a run can have cpus_per_task, gres, "
         "mail_type, mail_user, mem, runs_per_gpu, slice, time"),
        (BASE + "axes: {lr: [1, 2]}\noverrides:\n  - {when: lr == 2, set: {lr: 1}}",
         "4: two cells are one run, resnet18-cifar10-s0-2765c0ee8b40: lr=1, seed=0; and lr=1, "
         "seed=0. Remove one, or let them differ in an option that changes the result"),
        (BASE + "base: {}", "2: this is not YAML: found duplicate key \"base\" with value \"{}\" "
         "(original value: \"{'model': 'resnet18'}\")"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_its_line_and_what_to_do(complaints, text, complaint):
    assert complaints(text) == [f"m.yaml:{complaint}"]


def test_null_is_a_value_where_the_option_allows_it(read):
    matrix = read(BASE + "axes: {train_images: [null, 100]}")
    assert values(matrix, "train_images") == [(None,), (100,)]


def test_an_expression_is_told_with_what_is_set(complaints):
    lines = complaints(
        """\
        base: {model: resnet18}
        overrides:
          - when: sed == 0
            set: {epocs: 3, lr: -1, model_options.combin: sum}
          - when: seed == "0"
            set: {lr: -1}
        """
    )
    assert [line.partition(" Valid: ")[0] for line in lines] == [
        "m.yaml:3: when: 'sed' is not a known option; did you mean 'seed'?",
        "m.yaml:4: 'epocs' is not a known option; did you mean 'epochs'?",
        "m.yaml:5: when: seed is a number and '0' is text",
    ]


def test_runs_that_differ_in_their_seeds_are_as_if_each_was_checked(read, complaints):
    text = "base: {model: bam_resnet18, data_dir: d}\naxes: {lr: [0.1, 0.3]}\n"
    matrix = read(text + "seeds: [0, '1', 2.0]\ninclude: [{lr: 0.3, model_options.stem: cifar}]")
    assert values(matrix, "lr", "seed") == [
        (lr, seed) for lr in (0.1, 0.3) for seed in (0, 1, 2)
    ]  # fmt: skip
    for run_id, config in matrix.runs.items():
        checked = RunConfig.model_validate(config.model_dump())
        assert (checked, checked.run_id) == (config, run_id)
        assert type(config.seed) is int
    assert complaints(text + "seeds:\n  - 0\n  - -1\ninclude: [{lr: 0.3, lr_min: 0.4}]") == [
        "m.yaml:5: seed: Input should be greater than or equal to 0, not -1",
        "m.yaml:6: lr_min: 0.4 is above lr, which is 0.3",
    ]


# ---- properties

AXES = {
    "lr": st.floats(1e-6, 10),
    "epochs": st.integers(1, 10**6),
    "flip": st.booleans(),
    "dataset": st.sampled_from(["cifar10", "cifar100", "digits"]),
    "train_images": st.none() | st.integers(2, 10**6),
    "model_options.stem": st.sampled_from(["auto", "cifar", "imagenet"]),
}
GRIDS = st.fixed_dictionaries(
    {}, optional={key: st.lists(one, min_size=1, max_size=3, unique=True)
                  for key, one in AXES.items()}
)  # fmt: skip
SEEDS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True)
in_one_folder = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write_matrix(grid: dict, seeds: list[int]) -> str:
    lines = ["# a matrix", "name: x", "base:", "  # the network", "  model: resnet18  # small"]
    lines += ["  momentum: 0.5  # stays"]
    lines += [f"seeds: {json.dumps(seeds)}"]
    lines += ["axes: # varied"] if grid else []
    lines += [f"  {key}: {json.dumps(items)}  # {key}" for key, items in grid.items()]
    return "\n".join(lines) + "\n# end\n"


@in_one_folder
@given(grid=GRIDS, seeds=SEEDS)
def test_the_runs_are_the_product_of_the_axes_each_once_and_in_order(read, grid, seeds):
    matrix = read(write_matrix(grid, seeds))
    expected = [
        (*point, seed) for point in itertools.product(*grid.values()) for seed in seeds
    ]  # fmt: skip
    assert len(set(matrix.runs)) == len(expected)
    keys = [key for key in grid if "." not in key]
    wanted = [
        tuple(value for key, value in zip([*grid, "seed"], point, strict=True) if "." not in key)
        for point in expected
    ]
    assert values(matrix, *keys, "seed") == wanted


OVERRIDES = st.fixed_dictionaries(
    {},
    optional={key: one | st.lists(one, min_size=1, max_size=2, unique=True)
              for key, one in {**AXES, "momentum": st.floats(0, 0.99)}.items()},
)  # fmt: skip


@in_one_folder
@given(grid=GRIDS, seeds=SEEDS, overrides=OVERRIDES)
def test_the_text_of_an_overridden_matrix_reads_to_the_same_runs(read, grid, seeds, overrides):
    said = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    matrix = read(write_matrix(grid, seeds), *said)
    again = read(matrix.text)
    assert again.runs == matrix.runs
    assert again.text == matrix.text
    for key, value in overrides.items():
        if "." not in key:
            found = {getattr(config, key) for config in matrix.runs.values()}
            assert found == set(value if isinstance(value, list) else [value])
    assert "# the network" in matrix.text
    assert matrix.text.startswith("# a matrix\n")


# ---- cost


def test_reading_a_matrix_loads_no_torch():
    code = "import sys, launcher.matrix, launcher.cluster; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_option_of_a_run_can_stand_in_a_matrix(read):
    for name, field in RunConfig.model_fields.items():
        if name not in ("model", "model_options"):
            default = field.get_default(call_default_factory=True)
            text = json.dumps(default, default=str)
            (run_id,) = read(f"{BASE}axes: {{{name}: [{text}]}}").runs
            assert run_id == RunConfig(model="resnet18").run_id
