"""The matrix file: what a person writes, and the runs that it means.

A file has these keys, all optional; options are those of RunConfig, and an option of a network is
written `model_options.combine` or as a nested mapping:

    name       of the sweep; the file's name if left out
    base       options of every run
    axes       option -> list of values; every combination is a run
    zip        list of groups, each a mapping option -> list, whose lists are of one length: their
               first values go together, their second ones and so on. A group is one more axis.
    exclude    list of mappings: a combination that has all values of an entry is left out
    include    list of mappings, added to the combinations that they contradict in no axis, or else
               new combinations: as in the `matrix` of GitHub Actions. Without axes, each is new.
    seeds      a number N for 0..N-1, or a list; an axis `seed` whose values change fastest
    overrides  list of `when: EXPRESSION` with `set: MAPPING` of options and `resources.time` and
               the like, for the runs for which the expression is true; see jobs/selection.py.
               `resources.time: null` is as if nobody had asked for one: it is the profile's.
               Every `when` sees the runs as all sections above made them; a later `set` wins.
    resources  what a job asks for: profile, time, slice, mem, cpus_per_task, gres, workers,
               runs_per_gpu, mail_user, mail_type
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.selection import EXAMPLE
from jobs.sweep_dir import check_name
from launcher.cells.given import Unused
from launcher.cells.overrides import override_cells
from launcher.cells.runs import read_runs
from launcher.cells.sections import read_cells
from launcher.cells.setting import change
from launcher.cluster import Resources
from launcher.yaml_file import Place, YamlFile

KEYS = ("name", "base", "axes", "zip", "include", "exclude", "seeds", "overrides", "resources")


@dataclass(frozen=True)
class Matrix:
    """What a matrix file means. `text` is the file as `--set` changed it; it reads to the same.

    `runs` holds the configurations by their ids, in order, and `resources_of` what some of them
    ask for beyond `resources`.
    """

    name: str
    runs: dict[str, RunConfig]
    resources: Resources
    resources_of: dict[str, Resources]
    text: str


def read_matrix(path: Path, overrides: Sequence[str] = ()) -> Matrix:
    """Read, override and expand a matrix; an InputError has a line for every mistake found."""
    file = YamlFile(path)
    _check_sections(file)
    for text in overrides:
        change(file, text)
    if file.get(("name",)) is None:
        file.set(("name",), path.stem, str(path))
    name = file.get(("name",))
    try:
        check_name("sweep name", name)
    except InputError as error:
        file.mistake(("name",), error)
    resources = file.validate(Resources, "resources") or Resources()
    unused: Unused = {}
    cells = override_cells(file, read_cells(file, unused), unused)
    if not overrides:
        for place, text in unused.values():
            file.mistake(place, text)
    runs, resources_of = read_runs(file, cells)
    # What --set took away may be all that an entry was for.
    for entry in sorted(unused, reverse=True):
        file.remove(entry)
    return Matrix(name, runs, resources, resources_of, file.text)


def _check_sections(file: YamlFile) -> None:
    for key in file.mapping((), KEYS):
        if key in ("base", "axes", "resources"):
            file.mapping((key,))
        if key in ("zip", "include", "exclude", "overrides"):
            entries = file.get((key,)) or []
            if not isinstance(entries, list):
                file.mistake((key,), f"{key} must be a list of mappings, not {entries!r}")
                continue
            for number, entry in enumerate(entries):
                if not entry or not isinstance(entry, dict):
                    wrong = f"an entry of {key} must be a mapping (`- key: value`), not {entry!r}"
                    file.mistake((key, number), wrong)
                elif key == "overrides":
                    _check_override(file, (key, number))
    file.check()


def _check_override(file: YamlFile, place: Place) -> None:
    entry = file.mapping(place, ("when", "set"))
    if not isinstance(when := entry.get("when"), str):
        wrong = f"when must be an expression, such as {EXAMPLE}, not {when!r}"
        file.mistake((*place, "when"), wrong)
    if not file.mapping((*place, "set")):
        file.mistake((*place, "set"), "set must say what these runs get, such as {batch_size: 64}")
