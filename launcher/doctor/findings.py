"""What the doctor says: values, found by functions that ask nothing, and how they are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby

import orjson
from rich.console import Group
from rich.table import Table
from rich.text import Text


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: under which heading it is shown, and what to do about it."""

    topic: str
    verdict: Verdict
    text: str
    advice: str = ""


def ok(topic: str, text: str) -> Finding:
    return Finding(topic, Verdict.OK, text)


def warning(topic: str, text: str, advice: str = "") -> Finding:
    return Finding(topic, Verdict.WARNING, text, advice)


def problem(topic: str, text: str, advice: str) -> Finding:
    return Finding(topic, Verdict.PROBLEM, text, advice)


def worst(findings: Iterable[Finding]) -> Verdict:
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)


def report(findings: Sequence[Finding]) -> Group:
    """The findings under their headings, with what to do below each."""
    return Group(
        *(
            Group(Text(topic, style="bold"), table_of(group), Text())
            for topic, group in groupby(findings, key=lambda finding: finding.topic)
        )
    )


def table_of(findings: Iterable[Finding]) -> Table:
    """Lines whose text stays beside the verdict, however narrow the terminal is."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=9)
    table.add_column()
    for finding in findings:
        verdict = Text(f"  {finding.verdict}", style=COLOURS[finding.verdict])
        table.add_row(verdict, Text(finding.text))
        if finding.advice:
            table.add_row("", Text(f"→ {finding.advice}", style="bold"))
    return table


def summary(findings: Sequence[Finding]) -> str:
    """The last line: whether it can work, and what to do next."""
    counts = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Verdict}
    problems = plural(counts[Verdict.PROBLEM], "problem")
    warnings = plural(counts[Verdict.WARNING], "warning")
    if counts[Verdict.PROBLEM]:
        return f"{problems}, {warnings}: jobs would not run like this"
    return f"no problem, {warnings}"


def print_json(findings: Iterable[Finding]) -> None:
    rows = [asdict(finding) for finding in findings]
    sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
