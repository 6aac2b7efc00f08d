"""What is said below a table or beside a figure, a sentence a line."""

from __future__ import annotations

from typing import Any

import pandas as pd

# More missing runs than these are counted, not named.
MOST_NAMED = 10


def missing_lines(missing: pd.DataFrame) -> list[str]:
    """One line per run that is not in the numbers yet, and how far it is; of many, their number."""
    if len(missing) <= MOST_NAMED:
        return [f"missing: {run.name}: {_standing(run)}" for run in missing.itertuples()]
    counts = [
        f"{count} {_STANDING.get(state, state)}"
        for state, count in missing["state"].value_counts().items()
    ]
    sweeps = " ".join(missing["sweep"].unique())
    return [
        f"missing: {len(missing)} runs: {', '.join(counts)}; each is shown by "
        f"`launcher status {sweeps}`"
    ]


_STANDING = {"planned": "not started"}


def _standing(run: Any) -> str:
    done = f"{run.epochs_done} of {run.epochs} epochs done"
    match run.state:
        case "planned":
            return "not started"
        case "failed":
            said = f": {_first_line(run.message)}" if run.message else ""
            return f"failed ({run.cause}), {done}{said}"
        case state:
            return f"{state}, {done}"


def _first_line(message: str, most: int = 200) -> str:
    line = message.strip().partition("\n")[0]
    return line if len(line) <= most else f"{line[: most - 1]}…"


def empty_lines(runs: pd.DataFrame) -> list[str]:
    """One line if there is nothing to show, so that an empty table is no riddle."""
    return [] if len(runs) else ["no rows: none of these sweeps has a run that can be read"]


def stuck_lines(runs: pd.DataFrame) -> list[str]:
    """One line if finished runs, which are in the numbers, have learnt nothing."""
    stuck = runs[(runs["state"] == "finished") & runs["stuck_at_chance"]]["run_id"]
    if stuck.empty:
        return []
    more = len(stuck) - MOST_NAMED
    named = ", ".join(stuck[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return [f"in the numbers, though they only guess: {named}"]


def cut_lines(cut: pd.DataFrame) -> list[str]:
    """One line per curve that is shorter than some of its runs."""
    return [
        f"the curve of {curve.group} is cut at epoch {curve.epoch} of {curve.longest}, "
        f"where the shortest of its runs end: {curve.run_ids}"
        for curve in cut.itertuples(index=False)
    ]
