"""A summary as a table: for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import re
import textwrap

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.stats import METRICS

_NOTHING = "—"
_INCOMPLETE = "*"

_GAP = 2
# The columns that a terminal can do without, the least important first.
_OPTIONAL = ("attempts", "s per epoch", "MACs", "params")


def to_terminal(
    summary: pd.DataFrame,
    missing: pd.DataFrame,
    by: str = "model",
    metric: str = "test_top1",
    width: int = 120,
) -> RenderableType:
    """A rich renderable; incomplete rows are marked and explained below.

    Where `width` does not do, the numbers move together and the names break, and then columns are
    hidden, which is said below; a number never breaks.
    """
    all_cells = _cells(summary, by, metric)
    cells = _fitted(all_cells, width)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        # Said here, because rich would cut numbers short on a terminal that is narrower still.
        width=_table_width(cells),
    )
    for number, heading in enumerate(cells):
        table.add_column(
            Text(textwrap.fill(heading, _column_width(cells, heading))),
            justify="right" if number else "left",
            no_wrap=True,
            vertical="bottom",
        )
    for row, complete in zip(cells.itertuples(index=False), _complete(summary), strict=True):
        table.add_row(*map(Text, row), style=None if complete else "yellow")
    lines = [Text(line, style="yellow") for line in missing_lines(missing)]
    if hidden := [heading for heading in all_cells if heading not in cells]:
        lines.insert(0, Text(f"hidden: {', '.join(hidden)}; widen the terminal or use --format md"))
    return Group(table, *([Text(), *lines] if lines else []))


def _fitted(cells: pd.DataFrame, width: int) -> pd.DataFrame:
    """The cells with as many columns as fit, spread out if that fits too."""
    for count in range(len(_OPTIONAL) + 1):
        shown = cells.drop(columns=list(_OPTIONAL[:count]))
        if _table_width(shown) <= width:
            return shown
        narrow = _narrowed(shown, width)
        if _table_width(narrow) <= width:
            return narrow
    return narrow


def _narrowed(cells: pd.DataFrame, width: int) -> pd.DataFrame:
    network, *numbers = cells.columns
    narrow = cells.assign(**{name: cells[name].str.replace(" ", "") for name in numbers})
    room = width - _table_width(narrow[numbers]) - _GAP
    return narrow.assign(**{network: [_broken_name(name, room) for name in cells[network]]})


def _table_width(cells: pd.DataFrame) -> int:
    return sum(_GAP + _column_width(cells, heading) for heading in cells) - _GAP


def _column_width(cells: pd.DataFrame, heading: str) -> int:
    """As wide as the cells; a heading takes several lines, but its words do not break."""
    lines = [line for cell in cells[heading] for line in cell.split("\n")]
    return max(map(len, [*lines, *heading.split()]))


def _broken_name(name: str, room: int) -> str:
    """The name in lines of at most `room`, if its parts between underscores are no longer."""
    lines = [""]
    for part in re.split(r"(?<=[_ ])", name):
        if lines[-1] and len(lines[-1] + part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def to_text(renderable: RenderableType, width: int) -> str:
    """A renderable as plain text, without colours and trailing blanks."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable, crop=False)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def to_markdown(
    summary: pd.DataFrame, missing: pd.DataFrame, by: str = "model", metric: str = "test_top1"
) -> str:
    """A Markdown table, aligned so that the source reads as a table too."""
    cells = _cells(summary, by, metric).map(lambda cell: cell.replace("|", "\\|"))
    widths = [max(map(len, [heading, *cells[heading]])) for heading in cells]
    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [heading.ljust(width) for heading, width in zip(cells, widths, strict=True)],
        rules,
        *(
            [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
            for row in cells.itertuples(index=False, name=None)
        ),
    ]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    below = "".join(f"- {line}\n" for line in missing_lines(missing))
    return f"{table}\n{below}" if below else table


def to_csv(summary: pd.DataFrame, by: str = "model", metric: str = "test_top1") -> str:
    """The raw numbers in full precision; the columns' names carry the units."""
    unit = "_percent" if METRICS[metric].unit == "%" else ""
    names = {
        f"{which}_{statistic}": f"{which}_{metric}_{statistic}{unit}"
        for which in ("best", "final")
        for statistic in ("mean", "std")
    }
    names |= {"group": by, "finished": "finished_runs", "planned": "planned_runs"}
    text: str = summary.rename(columns=names).to_csv(index=False)
    return text


def missing_lines(missing: pd.DataFrame) -> list[str]:
    """One line per run that is not in the numbers yet, and how far it is."""
    return [
        f"missing: {run.name}: "
        + (
            f"unfinished, {run.epochs_done} of {run.epochs} epochs done"
            if run.state == "unfinished"
            else "not started"
        )
        for run in missing.itertuples(index=False)
    ]


def cut_lines(cut: pd.DataFrame) -> list[str]:
    """One line per curve that is shorter than some of its runs."""
    return [
        f"the curve of {curve.group} is cut at epoch {curve.epoch} of {curve.longest}, "
        f"where the shortest of its runs end: {curve.run_ids}"
        for curve in cut.itertuples(index=False)
    ]


def _cells(summary: pd.DataFrame, by: str, metric: str) -> pd.DataFrame:
    """What a person reads, as text; the columns' names are the headings."""
    label, unit = METRICS[metric].label, METRICS[metric].unit
    of = f"{label} ({unit})" if unit else label
    digits = 2 if unit == "%" else 3
    headings = [
        *("network" if by == "model" else by, "runs", f"best {of}", f"final {of}"),
        *("params", "MACs", "s per epoch", "attempts"),
    ]
    rows = [
        (
            row.group,
            f"{row.finished}/{row.planned}" + ("" if complete else _INCOMPLETE),
            _spread(row.best_mean, row.best_std, row.finished, digits),
            _spread(row.final_mean, row.final_std, row.finished, digits),
            _scaled(row.params),
            _scaled(row.macs),
            _NOTHING if pd.isna(row.epoch_s) else _three_digits(row.epoch_s),
            str(row.attempts),
        )
        for row, complete in zip(summary.itertuples(), _complete(summary), strict=True)
    ]
    return pd.DataFrame(rows, columns=headings, dtype=object)


def _complete(summary: pd.DataFrame) -> pd.Series:
    return summary["finished"] == summary["planned"]


def _spread(mean: float, std: float, runs: int, digits: int) -> str:
    """`77.31 ± 0.21`; one run has no deviation, and none has no mean."""
    if runs == 0:
        return _NOTHING
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if runs > 1 else "")


def _scaled(count: object) -> str:
    """A count as `23.7 M`."""
    if pd.isna(count):
        return _NOTHING
    value = float(count)  # type: ignore[arg-type]
    for prefix in ("", "k", "M", "G", "T"):
        # 999.6 would be written with four digits, so it is one of the next unit already.
        if value < 999.5 or prefix == "T":
            break
        value /= 1000
    return f"{_three_digits(value)} {prefix}" if prefix else f"{value:.0f}"


def _three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"
