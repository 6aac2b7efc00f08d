"""Foreign trainings become runs of a sweep, beside those that are trained here.

A run's name holds a digest of where its log lies, not of what is in it: a log that has grown
replaces what was imported of it before.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from analysis.importing.known import check_network_options, check_renamed, count_network
from analysis.importing.log import Found, Log, Record
from jobs.run_dir import RunDir
from jobs.run_records import Imported, ImportedFile
from jobs.sweep_dir import SweepDir

_DIGITS = 12

Change = Literal["new", "replaced", "unchanged"]


@dataclass(frozen=True)
class Plan:
    """One training, and the run that it becomes. `change` is what that does to the sweep."""

    log: Log
    run: RunDir
    imported: Imported
    change: Change

    def carry_out(self) -> None:
        """InputError if a run that is trained here has taken the name meanwhile."""
        if self.change != "unchanged":
            self.run.write_imported(self.imported, _known(self.log.records))


def plan(
    found: Found,
    sweep: SweepDir,
    format: str,
    options: Mapping[str, Any],
    names: Mapping[str, str],
) -> tuple[list[Plan], list[str]]:
    """What becomes of each training, and why nothing becomes of some. Writes nothing.

    `options` are known of all of them, and `names` says which network of ours a name means. The
    same epochs of one network in another place are the same run, not another seed.
    Raises InputError for a name that no training has, and for an option that its network lacks.
    """
    check_renamed(names, list(dict.fromkeys(log.network for log in found.logs)))
    there = {run.run_id: run for run in sweep.imported_runs()}
    by_content = {
        (_head_of(run_id), _sha256(run.read_metrics())): run_id for run_id, run in there.items()
    }
    plans: dict[str, Plan] = {}
    networks: dict[str, str] = {}  # by the epochs of their log
    skipped: list[str] = []
    for log in found.logs:
        head, content = _head(log), _sha256(_known(log.records))
        run_id = _run_id(log, format)
        if run_id not in there:
            run_id = by_content.get((head, content), run_id)
        run = sweep.run(run_id)
        if run_id in plans:
            skipped.append(_describe_second(log, plans[run_id].log))
        elif run.is_planned():
            skipped.append(f"{log.network}: {run.path} holds a run that is trained here")
        else:
            if content in networks:
                log = log.with_notes([f"the same epochs as those of {networks[content]}"])
            imported = _describe(log, format, options, names)
            change = _change(run, imported, content) if run_id in there else "new"
            plans[run_id] = Plan(log, run, imported, change)
            by_content[head, content], networks[content] = run_id, log.network
    return list(plans.values()), skipped


def _describe(
    log: Log, format: str, options: Mapping[str, Any], names: Mapping[str, str]
) -> Imported:
    """What is written down of a training, with the size of its network where it is one of ours."""
    model = names.get(log.network, log.network)
    known = {**log.options, **options}
    notes = list(log.notes)
    imported = Imported(
        format=format,
        files=[ImportedFile(name=file.name, sha256=_file_sha256(file)) for file in log.files],
        model=model,
        seed=known.pop("seed", log.seed),
        options=known,
        notes=notes,
        imported_unix_s=time.time(),
    )
    if model != log.network:
        notes.append(f"{model} is called {log.network} in the log")
    if log.network in names:
        check_network_options(model, known)
        if counts := count_network(model, known):
            imported["params"], imported["macs"] = counts
        else:
            notes.append("parameters are not counted without a data set: --set dataset=cifar100")
    return imported


def _change(run: RunDir, imported: Imported, content: str) -> Change:
    before = run.read_imported()
    is_same = before is not None and before == {
        **imported,
        "imported_unix_s": before["imported_unix_s"],
    }
    return "unchanged" if is_same and _sha256(run.read_metrics()) == content else "replaced"


def _describe_second(log: Log, first: Log) -> str:
    files, others = (", ".join(file.name for file in one.files) for one in (log, first))
    if log.records == first.records:
        return f"{files}: the same epochs as in {others}"
    return (
        f"{files}: {first.files[0].parent} holds files of the same names, in a folder of the same "
        "name; give the folders names of their own"
    )


def _run_id(log: Log, format: str) -> str:
    return f"{_head(log)}-{_sha256([format, log.place])[:_DIGITS]}"


def _head(log: Log) -> str:
    """The readable part of a run's name."""
    network = re.sub(r"[^A-Za-z0-9_-]+", "-", log.network).strip("-_")[:40] or "run"
    return network if log.seed is None else f"{network}-s{log.seed}"


def _head_of(run_id: str) -> str:
    return run_id[: -_DIGITS - 1]


def _known(records: Sequence[Record]) -> list[Record]:
    """The records as they are written: without what is not known."""
    return [
        {name: value for name, value in record.items() if value is not None} for record in records
    ]


def _sha256(value: Sequence[Any]) -> str:
    return hashlib.sha256(orjson.dumps(value)).hexdigest()


def _file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
