from pathlib import Path

import pytest

from jobs.errors import InputError
from launcher.yaml_file import YamlFile, parse_yaml, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4:00:00", "4:00:00"),
        ("1e-3", 0.001),
        ("yes", "yes"),
        ("true", True),
        ("&x true", True),
        ("2026-01-31", "2026-01-31"),
        ("0x1F", 31),
        ("null", None),
        ("", None),
        ("{a: [1, 2.5, x]}", {"a": [1, 2.5, "x"]}),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    found = plain(parse_yaml(text))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "1: the file must hold a mapping (`key: value`), not nothing"),
        (b"- 3", "1: the file must hold a mapping (`key: value`), not [3]"),
        (b"a: 1\nb: [", "2: this is not YAML: expected the node content"),
        (b"a: 1\nb: 2\na: 3", '3: this is not YAML: found duplicate key "a" with value'),
        (b"a: 1\nb: !!python/object:os.system x", "2: this is not YAML: tag tag:yaml.org,2002:pyt"),
        (b"a: !!set {x}", "1: this is not YAML: tag tag:yaml.org,2002:set is not used"),
        (b"a: !!int x", "1: this is not YAML: invalid literal for int()"),
        (b"a: 1\n---\nb: 1", "2: this is not YAML: but found another document"),
        (b"- &x [*x]", "1: this is nested too deeply, or holds itself by an alias"),
        (b"a: \x00", "1: this is not YAML: unacceptable character"),
        (b"a: \xff", " this is not text in UTF-8"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused_with_its_line(tmp_path, text, complaint):
    path = tmp_path / "f.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        YamlFile(path)
    assert str(caught.value).startswith(f"{path}:{complaint}")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, problem in ((tmp_path, "Is a directory"), (Path("no.yaml"), "No such file or di")):
        with pytest.raises(InputError, match=f"{path}: {problem}.*; give the path of a YAML file"):
            YamlFile(path)


def test_lines_stay_right_after_an_entry_was_removed_and_changes_name_their_origin(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("list:\n  - a: 1\n  - a: 2\n  - a: 3\n    b:\n      - 4\n")
    file = YamlFile(path)
    file.remove(("list", 0))
    file.set(("new", "key"), 5, "--set new.key=5")
    for place in (("list", 1), ("list", 1, "b", 0), ("list", 0, "missing"), ("new", "key", 0)):
        file.mistake(place, "wrong")
    with pytest.raises(InputError) as caught:
        file.check()
    lines = str(caught.value).replace(str(path), "f.yaml").splitlines()
    assert lines == [
        "--set new.key=5: wrong",
        "f.yaml:3: wrong",
        "f.yaml:4: wrong",
        "f.yaml:6: wrong",
    ]


def test_the_text_keeps_its_comments_and_is_untouched_without_a_change(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("# head\na:   1  # one\nb: 'x'\n")
    file = YamlFile(path)
    assert file.text == "# head\na:   1  # one\nb: 'x'\n"
    file.set(("a",), 2, "test")
    assert file.text == "# head\na: 2    # one\nb: 'x'\n"
