"""Every network with its parameters and multiply-accumulates, beside what its source says.

Counted for one image without computing anything, so no memory is needed and no GPU.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from attention_models import (
    OptionValue,
    check_model_name,
    check_options,
    external,
    find,
    list_models,
)
from attention_models.published import TABLES, Row

EXAMPLES = """examples:
  launcher models                               every network, and every table of the sources
  launcher models 'lambda_*' 'resnest*'         those whose names match
  launcher models bam_resnet50                  one, with its options
  launcher models resnet50 --set attention=se --input-size 32 --classes 100
  launcher models timm/resnet50                 one of another library, if that is installed
"""

# Where tables are counted in other ways, but rightly, they differ by less.
MACS_TOLERANCE = Decimal("0.05")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="launcher models",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pattern", nargs="*", default=["*"], help="names, or shell patterns")
    parser.add_argument("--input-size", type=_positive, metavar="PX", help="side of the images")
    parser.add_argument("--classes", type=_positive, metavar="N", help="number of outputs")
    parser.add_argument(
        "--set",
        dest="options",
        type=_option,
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the networks; may be repeated",
    )
    given = parser.parse_args(arguments)
    options = dict(given.options)
    try:
        names = [name for pattern in given.pattern for name in _matching(pattern)]
        rows = [
            _row(name, check_options(name, options), given.input_size, given.classes)
            for name in dict.fromkeys(names)
        ]
    except ValueError as error:
        parser.error(str(error))
    _print_table("Networks", "", rows)
    if len(rows) == 1:
        _print_options(names[0])
    if given.input_size or given.classes or options:
        return  # the sources' figures are for something else
    for table in TABLES:
        if chosen := [row for row in table.rows if row.model in names]:
            _print_table(table.title, table.source, chosen, table.remark)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, not {text!r}")
    return int(text)


def _option(text: str) -> tuple[str, OptionValue]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"takes OPTION=VALUE, not {text!r}")
    try:
        return name, json.loads(value)  # a number or a truth
    except ValueError:
        return name, value


def _matching(pattern: str) -> list[str]:
    """The names that match; ValueError if none does."""
    library, slash, _ = pattern.partition("/")
    if slash:
        found = sorted(f"{library}/{name}" for name in external.names(library))
        names = [name for name in found if fnmatch.fnmatchcase(name, pattern)]
    else:
        names = list_models(pattern)
    if not names:
        check_model_name(pattern)  # says which names there are
    return names


def _row(
    name: str,
    options: Mapping[str, OptionValue],
    input_size: int | None,
    num_classes: int | None,
) -> Row:
    is_small = name.endswith("_cifar") or "_small" in name
    size, classes = (32, 10) if is_small else (224, 1000)
    return Row(
        name,
        options=options,
        num_classes=num_classes or classes,
        input_size=input_size or size,
    )


def _print_options(name: str) -> None:
    if external.is_external(name):
        print(f"{name}: its options are those of the library\n")
        return
    entry = find(name)
    print(f"{name}: {entry.summary}. Options:" + " none" * (not entry.options))
    for option_name, option in entry.options.items():
        print(f"  {f'{option_name}={option.default}':<18} {option.help}{option.valid()}")
    print()


def _print_table(title: str, source: str, rows: Sequence[Row], remark: str = "") -> None:
    """One line at a time, as counting goes on."""
    width = max(len(_label(row)) for row in rows)
    print(f"{title} ({source})" if source else title)
    columns = [_print_params] * any(row.params_m for row in rows)
    columns += [_print_macs] * any(row.gmacs for row in rows)
    heading = f"{'':{width}} {'px':>4} {'classes':>7} {'parameters':>12} {'MACs':>9}"
    print(heading + f"   {'published (ours is +)':>23}" * len(columns))
    for row in rows:
        print(_line(row, width, columns).rstrip(), flush=True)
    if remark:
        print(f"  {remark}.")
    print()


def _print_params(row: Row, params_m: Decimal, gmacs: Decimal) -> str:
    return _compare(row.params_m, params_m, "M")


def _print_macs(row: Row, params_m: Decimal, gmacs: Decimal) -> str:
    return _compare(row.gmacs, gmacs, "G")


def _compare(printed: str, ours: Decimal, unit: str) -> str:
    """The published figure and how much larger ours is; empty if there is none."""
    if not printed:
        return ""
    return f"{printed} {unit} ({ours - Decimal(printed):+.2f})"


def _line(row: Row, width: int, columns: Sequence[Callable[..., str]]) -> str:
    where = f"{_label(row):{width}} {row.input_size:>4} {row.num_classes:>7,}"
    try:
        params, macs = _count(
            row.model, row.num_classes, row.input_size, tuple(sorted(row.options.items()))
        )
    except (RuntimeError, ValueError, AssertionError) as error:
        # A size or an option that the network cannot be built or run with.
        return f"{where}   cannot be counted: {' '.join(str(error).split())[:100]}"
    params_m, gmacs = Decimal(params) / 10**6, Decimal(macs) / 10**9
    counted = f"{gmacs:.3f} G" if gmacs >= 1 else f"{1000 * gmacs:.1f} M"
    cells = "".join(f"   {column(row, params_m, gmacs):>23}" for column in columns)
    remarks = "; ".join(_remarks(row, params_m, gmacs))
    return f"{where} {params:>12,} {counted:>9}{cells}   {remarks}"


def _remarks(row: Row, params_m: Decimal, gmacs: Decimal) -> list[str]:
    remarks = [row.remark] if row.remark else []
    if row.params_m and row.is_judged:
        # The sources round some figures and cut off others.
        last_digit = Decimal(10) ** -len(row.params_m.partition(".")[2])
        right = {params_m.quantize(last_digit, how) for how in (ROUND_HALF_UP, ROUND_DOWN)}
        if Decimal(row.params_m) not in right:
            remarks.append(f"should be {max(right)} M parameters")
    if row.gmacs and abs(Decimal(row.gmacs) / gmacs - 1) > MACS_TOLERANCE:
        remarks.append(f"should be {gmacs:.2f} G MACs")
    return remarks


def _label(row: Row) -> str:
    return " ".join([row.model, *(f"{key}={value}" for key, value in row.options.items())])


@functools.cache
def _count(
    name: str, num_classes: int, input_size: int, options: tuple[tuple[str, OptionValue], ...]
) -> tuple[int, int]:
    from attention_models.count import count_by_name  # torch takes a second, --help does not

    return count_by_name(name, num_classes, input_size, **dict(options))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` has; nothing is left to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
