from launcher.cluster import Resources
from tests.launcher.matrices import values

CELLS = """\
base:
  model_options: {stem: cifar}
axes:
  model: [resnet18, bam_resnet18]
  lr: [0.1, 0.2]
overrides:
  - when: model == bam_resnet18 and lr > 0.1
    set: {batch_size: 64, resources.time: 8h, resources: {mem: 32G}}
  - when: lr == 0.2
    set:
      epochs: 7  # longer
      resources.mem: 16G
"""


def test_runs_get_what_is_set_for_them_and_the_last_word_counts(read):
    matrix = read(CELLS)
    assert values(matrix, "model", "lr", "batch_size", "epochs") == [
        ("resnet18", 0.1, 128, 150),
        ("resnet18", 0.2, 128, 7),
        ("bam_resnet18", 0.1, 128, 150),
        ("bam_resnet18", 0.2, 64, 7),
    ]
    _, second, _, last = matrix.runs
    assert matrix.resources_of == {
        second: Resources(mem="16G"), last: Resources(time="8h", mem="16G")
    }  # fmt: skip


def test_the_last_word_on_a_resource_may_be_that_it_is_not_asked_for(read):
    matrix = read(CELLS + "  - {when: lr == 0.2, set: {resources.mem: null}}")
    _, second, _, last = matrix.runs
    asked = {key: own.model_dump(exclude_unset=True) for key, own in matrix.resources_of.items()}
    assert asked == {second: {"mem": None}, last: {"mem": None, "time": "8h"}}


def test_an_expression_sees_defaults_and_no_other_override(read):
    matrix = read(
        """\
        base: {model: bam_resnet18, batch_size: 256}
        overrides:
          - {when: batch_size == 256 and model_options.combine == product, set: {batch_size: 32}}
          - {when: batch_size == 256 and flip, set: {accumulate_steps: 2}}
        """
    )
    assert values(matrix, "batch_size", "accumulate_steps") == [(32, 2)]


def test_what_is_set_for_all_runs_wins_over_what_is_set_for_some(read):
    matrix = read(CELLS, "epochs=3", "resources.mem=1G")
    assert values(matrix, "epochs", "batch_size") == [(3, 128), (3, 128), (3, 128), (3, 64)]
    assert matrix.resources.mem == "1G"
    assert list(matrix.resources_of.values()) == [Resources(time="8h")]
    assert "# longer" not in matrix.text


def test_entries_for_runs_that_were_set_aside_are_no_mistakes_and_leave_the_text(read):
    matrix = read(CELLS + "exclude: [{model: bam_resnet18}, {lr: 0.1}]", "model=resnet18", "lr=0.2")
    again = read(matrix.text)
    assert values(matrix, "model", "lr", "epochs") == [("resnet18", 0.2, 7)]
    assert (again.runs, again.resources_of, again.text) == (
        matrix.runs, matrix.resources_of, matrix.text
    )  # fmt: skip
