"""Every network with its parameters and multiply-accumulates, beside what its source says.

Counted for one image without computing anything, so no memory is needed and no GPU.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal

from attention_models import OptionValue, find, list_models
from attention_models.published import TABLES, Row

EXAMPLES = """examples:
  launcher models                               every network, and every table of the sources
  launcher models 'lambda_*'                    those whose name matches
  launcher models 'resnet*' --input-size 32 --classes 100
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
    parser.add_argument("pattern", nargs="?", default="*", help="names, as a shell pattern")
    parser.add_argument("--input-size", type=_positive, metavar="PX", help="side of the images")
    parser.add_argument("--classes", type=_positive, metavar="N", help="number of outputs")
    given = parser.parse_args(arguments)
    names = list_models(given.pattern)
    if not names:
        try:
            find(given.pattern)
        except ValueError as error:
            parser.error(str(error))
        names = [given.pattern]
    rows = [_row(name, given.input_size, given.classes) for name in names]
    _print_table("Networks", "with the default options", rows)
    if given.input_size or given.classes:
        return  # the sources' figures are not for this size
    for table in TABLES:
        if chosen := [row for row in table.rows if row.model in names]:
            _print_table(table.title, table.source, chosen, table.remark)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, not {text!r}")
    return int(text)


def _row(name: str, input_size: int | None, num_classes: int | None) -> Row:
    is_small = name.endswith("_cifar") or "_small" in name
    size, classes = (32, 10) if is_small else (224, 1000)
    return Row(name, num_classes=num_classes or classes, input_size=input_size or size)


def _print_table(title: str, source: str, rows: Iterable[Row], remark: str = "") -> None:
    """One line at a time, as counting goes on."""
    rows = list(rows)
    width = max(len(_label(row)) for row in rows)
    published = any(row.params_m or row.gmacs for row in rows)
    heading = f"{'':{width}} {'px':>4} {'classes':>7} {'parameters':>12} {'MACs':>9}"
    print(f"{title} ({source})")
    print(heading + f"   {'published (+ours)':>19}   {'published (+ours)':>21}" * published)
    for row in rows:
        print(_line(row, width).rstrip(), flush=True)
    if remark:
        print(f"  {remark}.")
    print()


def _line(row: Row, width: int) -> str:
    params, macs = _count(
        row.model, row.num_classes, row.input_size, tuple(sorted(row.options.items()))
    )
    # To the digits that were printed: a figure may be rounded or cut off, and is wrong beyond that.
    params_m, gmacs = Decimal(params) / 10**6, Decimal(macs) / 10**9
    remarks = [row.remark] if row.remark else []
    if row.params_m and not row.is_fit:
        last_digit = Decimal(10) ** -len(row.params_m.partition(".")[2])
        if abs(params_m - Decimal(row.params_m)) >= last_digit:
            remarks.append(f"should be {params_m.quantize(last_digit)} M parameters")
    if row.gmacs and abs(Decimal(row.gmacs) / gmacs - 1) > MACS_TOLERANCE:
        remarks.append(f"should be {gmacs:.2f} G MACs")
    counted = f"{gmacs:.3f} G" if gmacs >= 1 else f"{1000 * gmacs:.1f} M"
    return (
        f"{_label(row):{width}} {row.input_size:>4} {row.num_classes:>7,} {params:>12,}"
        f" {counted:>9}   {_compare(row.params_m, params_m, 'M'):>19}"
        f"   {_compare(row.gmacs, gmacs, 'G'):>21}   {'; '.join(remarks)}"
    )


def _compare(printed: str, ours: Decimal, unit: str) -> str:
    """The published figure and how much larger ours is; empty if there is none."""
    if not printed:
        return ""
    return f"{printed} {unit} ({ours - Decimal(printed):+.2f})"


def _label(row: Row) -> str:
    return " ".join([row.model, *(f"{key}={value}" for key, value in row.options.items())])


@functools.cache
def _count(
    name: str, num_classes: int, input_size: int, options: tuple[tuple[str, OptionValue], ...]
) -> tuple[int, int]:
    from attention_models.count import count_by_name  # torch takes a second, --help does not

    return count_by_name(name, num_classes, input_size, **dict(options))


if __name__ == "__main__":
    main(sys.argv[1:])
