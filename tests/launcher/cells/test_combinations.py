import itertools

from hypothesis import given
from hypothesis import strategies as st

from launcher.cells.combinations import combine, product


def grid(axes: dict[str, list]) -> list[dict]:
    return product([{key: axes[key]} for key in axes])


def test_include_adds_and_extends_as_the_documentation_of_github_shows():
    # docs.github.com, "Running variations of jobs in a workflow"
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    axes = {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}
    assert combine(grid(axes), include, []) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_exclude_needs_only_some_of_the_keys_as_the_documentation_of_github_shows():
    axes = {
        "os": ["macos-latest", "windows-latest"],
        "version": [12, 14, 16],
        "environment": ["staging", "production"],
    }
    exclude = [
        {"os": "macos-latest", "version": 12, "environment": "production"},
        {"os": "windows-latest", "version": 16},
    ]
    cells = combine(grid(axes), [], exclude)
    assert len(cells) == 9
    assert not [c for c in cells if c["os"] == "windows-latest" and c["version"] == 16]


def test_what_exclude_removed_can_be_included_again():
    axes = {"a": [1, 2]}
    assert combine(grid(axes), [{"a": 1, "b": 5}], [{"a": 1}]) == [
        {"a": 2},
        {"a": 1, "b": 5},
    ]


def test_without_axes_the_entries_of_include_are_the_combinations():
    assert combine([], [{"a": 1}, {"b": 2}], []) == [{"a": 1}, {"b": 2}]


ENTRIES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), min_size=1)


@given(
    axes=st.dictionaries(
        st.sampled_from("abc"), st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)
    ),
    include=st.lists(ENTRIES, max_size=4),
    exclude=st.lists(ENTRIES, max_size=3),
)
def test_include_never_changes_an_axis_value_and_exclude_leaves_none_behind(axes, include, exclude):
    points = itertools.product(*axes.values()) if axes else ()
    combinations = [dict(zip(axes, point, strict=True)) for point in points]
    cells = combine(combinations, include, exclude)
    kept = [c for c in combinations if not any(e.items() <= c.items() for e in exclude)]
    assert [{key: cell[key] for key in axes} for cell in cells[: len(kept)]] == kept
    assert all(cell in include for cell in cells[len(kept) :])
