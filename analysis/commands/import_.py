"""`analysis import`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.commands.options import RunsFolder, warn
from jobs.errors import ExecutionError
from jobs.sweep_dir import SweepDir, check_name

if TYPE_CHECKING:
    from analysis.importing.log import Found
    from analysis.importing.writing import Plan

SHOWN_NETWORKS = 4

app = typer.Typer(
    help="Make runs of the logs that other programs have written.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES", help="Logs, or folders of them; other files are named and skipped."
    ),
]
Sweep = Annotated[
    str, typer.Option("--sweep", metavar="NAME", help="The sweep that the runs become part of.")
]
Known = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="OPTION=VALUE",
        help="What you know of all these trainings, by the names of a matrix: dataset=cifar100.",
    ),
]
Renames = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="NAME=NETWORK",
        help="Which network of ours a name means; its parameters are then counted.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be imported.")]


class Unit(StrEnum):
    percent = "percent"
    fraction = "fraction"


Accuracy = Annotated[
    Unit | None,
    typer.Option(help="Unit of the accuracies (default: fractions if none is above 1)."),
]


def _named(what: str) -> typer.models.OptionInfo:
    return typer.Option(metavar="NAME", help=what)


Epoch = Annotated[str | None, _named("Column or tag of the epoch.")]
TestTop1 = Annotated[str | None, _named("... of the test's top-1 accuracy.")]
TestTop5 = Annotated[str | None, _named("... of the test's top-5 accuracy.")]
TestLoss = Annotated[str | None, _named("... of the test's loss.")]
TrainTop1 = Annotated[str | None, _named("... of training's top-1 accuracy.")]
TrainLoss = Annotated[str | None, _named("... of training's loss.")]
Rate = Annotated[str | None, _named("... of the learning rate.")]
Network = Annotated[str | None, _named("... of the network, in a table of several.")]
Seed = Annotated[str | None, _named("... of the seed, in a table of several.")]


@app.command()
def tsv(
    files: Files,
    sweep: Sweep,
    known: Known = None,
    rename: Renames = None,
    runs_folder: RunsFolder = Path("runs"),
    dry_run: DryRun = False,
) -> None:
    """Lines of epoch<TAB>loss<TAB>accuracy in percent.

    Training and test have a file each, and their names differ in that:
    cifar_100_BAMResNet50_train.txt, cifar_100_BAMResNet50_test.txt.

    [bold]Examples[/bold]

      analysis import tsv records/*.txt* --sweep records

      analysis import tsv records --sweep records --set epochs=150

      analysis import tsv records --sweep records --rename SResNet50=sresnet50
    """
    from analysis.importing.text import files_in
    from analysis.importing.tsv import read

    _import("tsv", read(files_in(files)), sweep, known, rename, runs_folder, dry_run)


@app.command()
def lambdanetworks(
    files: Files,
    sweep: Sweep,
    known: Known = None,
    rename: Renames = None,
    runs_folder: RunsFolder = Path("runs"),
    dry_run: DryRun = False,
) -> None:
    """What main.py of leaderj1001/LambdaNetworks and its forks print.

    Epochs may be missing, and other text may stand around them. A training
    that was started again with another learning rate becomes a run of its
    own, NETWORK-resumed.

    [bold]Examples[/bold]

      analysis import lambdanetworks README.md --sweep lambda

      analysis import lambdanetworks *.log --sweep lambda --set dataset=cifar10
    """
    from analysis.importing.lambdanetworks import read
    from analysis.importing.text import files_in

    _import("lambdanetworks", read(files_in(files)), sweep, known, rename, runs_folder, dry_run)


@app.command()
def csv(
    files: Files,
    sweep: Sweep,
    epoch: Epoch = None,
    test_top1: TestTop1 = None,
    test_top5: TestTop5 = None,
    test_loss: TestLoss = None,
    train_top1: TrainTop1 = None,
    train_loss: TrainLoss = None,
    lr: Rate = None,
    network: Network = None,
    seed: Seed = None,
    accuracy: Accuracy = None,
    known: Known = None,
    rename: Renames = None,
    runs_folder: RunsFolder = Path("runs"),
    dry_run: DryRun = False,
) -> None:
    """Tables with a row per epoch and columns with names.

    Usual names are known: those of Keras, Lightning, timm, analysis export.
    The network is named by the file, or by its folder if all files there
    are called metrics.csv or the like.

    [bold]Examples[/bold]

      analysis import csv resnet18.csv bam_resnet18.csv --sweep others

      analysis import csv resnet18.csv --sweep others --test-top1 score
    """
    from analysis.importing.csv import read
    from analysis.importing.text import files_in

    columns = _given(
        epoch=epoch,
        test_top1=test_top1,
        test_top5=test_top5,
        test_loss=test_loss,
        train_top1=train_top1,
        train_loss=train_loss,
        lr=lr,
        network=network,
        seed=seed,
    )
    found = read(files_in(files), columns, accuracy)
    _import("csv", found, sweep, known, rename, runs_folder, dry_run)


@app.command()
def tensorboard(
    files: Files,
    sweep: Sweep,
    epoch: Epoch = None,
    test_top1: TestTop1 = None,
    test_top5: TestTop5 = None,
    test_loss: TestLoss = None,
    train_top1: TrainTop1 = None,
    train_loss: TrainLoss = None,
    lr: Rate = None,
    accuracy: Accuracy = None,
    known: Known = None,
    rename: Renames = None,
    runs_folder: RunsFolder = Path("runs"),
    dry_run: DryRun = False,
) -> None:
    """TensorBoard's event files.

    A folder of them is a training, with its folders train and validation.
    It names the network. Usual tags are known, as columns of tables are.

    [bold]Examples[/bold]

      analysis import tensorboard logs --sweep others

      analysis import tensorboard logs/resnet18 --sweep others --test-top1 score/top
    """
    from analysis.importing.tensorboard import event_files_in, read

    tags = _given(
        epoch=epoch,
        test_top1=test_top1,
        test_top5=test_top5,
        test_loss=test_loss,
        train_top1=train_top1,
        train_loss=train_loss,
        lr=lr,
    )
    found = read(event_files_in(files), tags, accuracy)
    _import("tensorboard", found, sweep, known, rename, runs_folder, dry_run)


def _given(**names: str | None) -> dict[str, str]:
    return {what: name for what, name in names.items() if name is not None}


def _import(
    format: str,
    found: Found,
    sweep: str,
    known: list[str] | None,
    renames: list[str] | None,
    runs_folder: Path,
    dry_run: bool,
) -> None:
    from analysis.importing.known import parse_known, parse_names
    from analysis.importing.writing import plan

    target = SweepDir(runs_folder / check_name("sweep", sweep))
    options, names = parse_known(known or ()), parse_names(renames or ())
    plans, also_skipped = plan(found, target, format, options, names)
    warn(f"not imported: {reason}" for reason in (*found.skipped, *also_skipped))
    if not plans:
        raise ExecutionError(f"nothing of this could be imported as {format}")
    warn(_describe_notes(plans))
    for one in plans:
        if not dry_run:
            one.carry_out()
        print(_describe(one))
    if dry_run:
        print("nothing was written, because of --dry-run")
    else:
        where = "" if runs_folder == Path("runs") else f" --runs {shlex.quote(str(runs_folder))}"
        print(f"to see them: analysis table {sweep}{where}")


def _describe(plan: Plan) -> str:
    """Such as `new        runs/records/PreActResNet50-1a2b: 150 epochs, the last at 74.81 %`."""
    imported, last = plan.imported, plan.log.records[-1]
    seed = "" if imported["seed"] is None else f" seed {imported['seed']}"
    count = len(plan.log.records)
    top1 = last["test_top1"]
    end = "no test top-1" if top1 is None else f"final test top-1 {top1:.2f} %"
    return (
        f"{plan.change:9}  {imported['model']}{seed}: {count} epoch{'s' if count > 1 else ''}, "
        f"{end}, in {plan.run.path}"
    )


def _describe_notes(plans: Sequence[Plan]) -> list[str]:
    """Each note once, with the networks that it is about; of all runs, none is named."""
    about: dict[str, list[str]] = {}
    for plan in plans:
        for note in plan.imported["notes"]:
            about.setdefault(note, []).append(plan.log.network)
    return [
        note if len(networks) == len(plans) else f"{_describe_networks(networks)}: {note}"
        for note, networks in about.items()
    ]


def _describe_networks(networks: Sequence[str]) -> str:
    """Such as `Plain, BAM (6 runs)`."""
    names = list(dict.fromkeys(networks))
    runs = f" ({len(networks)} runs)" if len(networks) > len(names) else ""
    if (others := len(names) - SHOWN_NETWORKS) > 1:
        names = [*names[:SHOWN_NETWORKS], f"{others} others"]
    return ", ".join(names) + runs
