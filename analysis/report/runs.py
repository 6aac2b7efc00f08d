"""The runs one by one: what they have of their own, how they were started, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.groups import RUN, as_written, keys_of, labels
from analysis.metrics import METRICS
from analysis.per_run import per_run
from analysis.report.cells import dates, durations, numbers, texts
from analysis.report.page import Details, Table
from jobs.config import RunConfig
from jobs.run_dir import RunDir

_TROUBLE = ("failed", "cancelled", "unfinished")  # the worst first
_NO_TROUBLE = ("", "finished")


def names(runs: pd.DataFrame, by: str) -> pd.Series:
    """What to call each run: its network, what it is grouped by, and its seed if that is known."""
    about = labels(runs, [*dict.fromkeys(["model", *keys_of(by)])])
    seeds = runs["seed"].map(lambda seed: "" if pd.isna(seed) else f" seed {seed}")
    name = about + seeds
    return name.where(~name.duplicated(keep=False), runs["run_id"])


def options_in_common(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """The options that are the same in all runs, in the order of the declaration."""
    if runs.empty:
        return []
    written = _options_as_written(runs)
    return [(name, texts[0]) for name, texts in written.items() if len(set(texts)) == 1]


def own_options(runs: pd.DataFrame) -> pd.Series:
    """The options that are not the same in all runs, as `lr=0.1 epochs=90`."""
    written = _options_as_written(runs).drop(columns=["model", "seed"])
    own = {name: texts for name, texts in written.items() if texts.nunique() > 1}
    lines = [
        " ".join(
            f"{name.removeprefix('model_options.')}={text}"
            for name, text in zip(own, row, strict=True)
            if text
        )
        for row in zip(*own.values(), strict=True)
    ]
    return pd.Series(lines or "", index=runs.index, dtype=object)


def _options_as_written(runs: pd.DataFrame) -> pd.DataFrame:
    """Every option that any of the networks has; empty for a network that does not have it."""
    declared = [name for name in RunConfig.model_fields if name != "model_options"]
    of_networks = [name for name in runs if name.startswith("model_options.")]
    written = {name: runs[name].map(as_written) for name in declared}
    for name in of_networks:
        if runs[name].notna().any():
            written[name] = runs[name].map(as_written).where(runs[name].notna(), "")
    return pd.DataFrame(written)


def table_of_runs(
    runs: pd.DataFrame, epochs: pd.DataFrame, costs: pd.DataFrame, by: str, metric: str
) -> Table:
    """A row per run: where it stands, what it has reached, and which options are its own.

    `costs` is analysis.costs.costs of these runs.
    """
    heading = f"{METRICS[metric].heading}, last epoch"
    last_epoch = per_run(runs, epochs, metric)["final"]
    columns = [
        texts("run", names(runs, by)),
        texts("state", runs["state"]),
        numbers("epochs", runs["epochs_done"]),
        numbers(heading, last_epoch, ".2f" if METRICS[metric].unit else ".3f"),
        numbers("GPU-h", costs["gpu_h"], ",.2f"),
        durations("waited", costs["queue_total_s"]),
        numbers("attempts", runs["attempts"]),
        texts("options of its own", own_options(runs), "wide"),
        texts("code", runs["code"].map(_short)),
    ]
    return Table("runs", columns)


def details_of_runs(runs: pd.DataFrame, attempts: pd.DataFrame) -> list[Details]:
    """What a run has beyond its row: its environment, and every start of it."""
    table = _table_of_attempts(attempts)
    rows_of = attempts.reset_index(drop=True).groupby(RUN).indices
    return [
        Details(
            facts=[(name, value) for name, value in _facts(run) if value],
            attempts=table.with_rows(rows_of.get((run.sweep, run.run_id), ())),
        )
        for run in runs.itertuples(index=False)
    ]


def _facts(run: Any) -> list[tuple[str, str]]:
    return [
        ("run", f"{run.sweep}/{run.run_id}"),
        ("origin", "" if run.origin == "trained" else run.origin),
        ("code", run.code),
        ("torch", run.torch),
        ("device", run.device),
        ("precision", run.precision_used),
    ]


def _table_of_attempts(attempts: pd.DataFrame) -> Table:
    columns = [
        numbers("attempt", attempts["attempt"]),
        texts("job", attempts["job_id"]),
        texts("node", attempts["node"]),
        dates("began", attempts["started_unix_s"]),
        durations("lasted", attempts["last_sign_unix_s"] - attempts["started_unix_s"]),
        texts("how it ended", _words(attempts["cause"])),
        texts("message", attempts["message"], "wide"),
        texts("log", _logs(attempts), "wide"),
    ]
    return Table("attempts", columns)


def table_of_failures(runs: pd.DataFrame, attempts: pd.DataFrame, by: str) -> Table | None:
    """A row per run that did not end well, with its last attempt; None if there is no such run."""
    last = attempts.drop_duplicates(RUN, keep="last")
    found = runs.assign(name=names(runs, by)).merge(
        last[[*RUN, "attempt", "node"]], on=RUN, how="left"
    )
    found = found[found["state"].isin(_TROUBLE) & ~found["cause"].isin(_NO_TROUBLE)]
    if found.empty:
        return None
    found = found.sort_values("state", key=lambda states: states.map(_TROUBLE.index), kind="stable")
    columns = [
        texts("run", found["name"]),
        texts("state", found["state"]),
        texts("cause", _words(found["cause"])),
        texts("message", found["message"], "wide"),
        numbers("epochs", found["epochs_done"]),
        numbers("attempts", found["attempts"]),
        texts("last node", found["node"]),
        texts("log", _logs(found), "wide"),
    ]
    return Table("failed", columns, "Logs are named from the folder that holds the sweeps.")


def _logs(attempts: pd.DataFrame) -> list[str]:
    """The logs' paths, from the folder of sweeps."""
    return [
        "" if pd.isna(number) else str(RunDir(Path(sweep, run_id)).log(int(number)))
        for sweep, run_id, number in zip(
            attempts["sweep"], attempts["run_id"], attempts["attempt"], strict=True
        )
    ]


def _words(causes: pd.Series) -> pd.Series:
    return causes.str.replace("_", " ")


def _short(code: str) -> str:
    """Hashes, as many digits of each as tell them apart."""
    return " ".join(word[:8] for word in code.split())
