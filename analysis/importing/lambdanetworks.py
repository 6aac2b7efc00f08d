"""`lambdanetworks`: what `main.py` of leaderj1001/LambdaNetworks and its forks print.

A record of training is printed after every 100 batches. Those of the evaluation, of the best model
and of the learning rate follow the last of an epoch on the same line:

    [Epoch:  1 300/391]  Loss:15.9862, Acc: 10.0135  |  Correct  3858/38528   | 0.13sec/iter
    12.77sec/100iter  52.15sec/epoch | eval | Acc: 10.120  |  1012 / 10000   | 3.83sec/eval |
    Best Model Saving... | Learning Rate:[0.1] -->[0.0975]

So the numbers of training are over the batches up to that record, and the rest of the epoch is not
in the log. The program stores no schedule in its checkpoints: when it is started again, the
learning rate begins anew, and what follows is another training from the old weights. It becomes a
run of its own, unless its learning rate goes on where the other one's was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.importing.epochs import ranges, records_of
from analysis.importing.log import Found, Log, Row, UnusableError, place_of
from analysis.importing.names import parse_name, telling_name
from analysis.importing.text import read_text

_NUMBER = r"(?:[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf)"
_RECORD = re.compile(
    r"\[Epoch:\s*(?P<epoch>\d+)\s+(?P<batch>\d+)/(?P<batches>\d+)\]"
    rf"\s+Loss:\s*(?P<loss>{_NUMBER}), Acc:\s*(?P<train>{_NUMBER})"
    r"\s+\|\s+Correct\s+\d+/(?P<images>\d+)"
    rf"|(?P<epoch_s>{_NUMBER})sec/epoch \| eval \| Acc:\s*(?P<test>{_NUMBER})\s+\|\s+\d+ / \d+\s+\|"
    rf" (?P<eval_s>{_NUMBER})sec/eval"
    rf"|Learning Rate:\[(?P<lr>{_NUMBER})\] -->\[(?P<next_lr>{_NUMBER})\]"
    r"|(?P<network>\S+) Model Parameters:"
    r"|--model_name[ =](?P<asked>\S+)"
)


@dataclass
class _Epoch:
    """What is printed of one epoch, in the order in which it is printed."""

    epoch: int
    batches: int
    batch: int = 0
    images: int = 0
    values: dict[str, float] = field(default_factory=dict)
    next_lr: float | None = None

    @property
    def is_evaluated(self) -> bool:
        return "test_top1" in self.values

    @property
    def row(self) -> Row:
        return Row(self.epoch, {"step": self.epoch * self.batches, **self.values})


def read(files: Sequence[Path]) -> Found:
    """The trainings in these logs, one or several in each."""
    logs: list[Log] = []
    skipped: list[str] = []
    for path in files:
        try:
            logs += _read_file(path)
        except UnusableError as error:
            skipped.append(f"{path.name}: {error}")
    return Found(tuple(logs), tuple(skipped))


def _read_file(path: Path) -> Iterator[Log]:
    text = read_text(path)
    epochs, network = _scan(text)
    if not any(epoch.is_evaluated for epoch in epochs):
        raise UnusableError("it has no record `[Epoch: ...] ... | eval | Acc: ...`")
    named = parse_name(telling_name(path))
    network = network or named.network
    for number, start in enumerate(_trainings(epochs)):
        cut = [epoch.epoch for epoch in start if not epoch.is_evaluated]
        whole = [epoch for epoch in start if epoch.is_evaluated]
        if not whole:
            continue
        records, remarks = records_of({"the log": [epoch.row for epoch in whole]})
        if number:
            remarks.insert(0, _describe_start(whole[0]))
        if cut:
            remarks.append(f"left out, since no evaluation follows in the log: {ranges(cut)}")
        suffix = ("", "-resumed")[number] if number < 2 else f"-resumed-{number}"
        yield Log(
            network=network + suffix,
            place=place_of(path, part=suffix),
            files=(path,),
            records=records,
            notes=(*remarks, _describe_share(whole[-1])),
            seed=named.seed,
            options=named.options | _batch_size(whole[-1]),
        )


def _scan(text: str) -> tuple[list[_Epoch], str]:
    """Every epoch that was begun, in the order of the log, and the network's name if it is told."""
    epochs: list[_Epoch] = []
    network = ""
    for match in _RECORD.finditer(text):
        found = match.groupdict()
        if found["epoch"]:
            number, batches = int(found["epoch"]), int(found["batches"])
            batch = int(found["batch"])
            if not epochs or epochs[-1].epoch != number or batch <= epochs[-1].batch:
                epochs.append(_Epoch(number, batches))
            epochs[-1].batch, epochs[-1].images = batch, int(found["images"])
            epochs[-1].values |= _floats(train_loss=found["loss"], train_top1=found["train"])
        elif found["network"] or found["asked"]:
            network = network or found["network"] or found["asked"]
        elif found["test"] and epochs and not epochs[-1].is_evaluated:
            epochs[-1].values |= _floats(
                test_top1=found["test"], epoch_s=found["epoch_s"], eval_s=found["eval_s"]
            )
        elif found["lr"] and epochs:
            epochs[-1].values |= _floats(lr=found["lr"])
            epochs[-1].next_lr = float(found["next_lr"])
    return epochs, network


def _floats(**texts: str) -> dict[str, float]:
    return {name: float(text) for name, text in texts.items()}


def _trainings(epochs: Sequence[_Epoch]) -> list[list[_Epoch]]:
    """The epochs of each training: another one begins where the log goes back to another rate."""
    trainings: list[list[_Epoch]] = []
    for epoch in epochs:
        if not trainings or (
            epoch.epoch <= trainings[-1][-1].epoch and not _goes_on(trainings[-1], epoch)
        ):
            trainings.append([])
        trainings[-1].append(epoch)
    return trainings


def _goes_on(training: Sequence[_Epoch], epoch: _Epoch) -> bool:
    """Whether the learning rate is the one that this training had, or was about to have, there."""
    rates = [before.values.get("lr") for before in training if before.epoch == epoch.epoch]
    rates += [before.next_lr for before in training if before.epoch == epoch.epoch - 1]
    lr = epoch.values.get("lr")
    return any(
        rate is not None and lr is not None and math.isclose(rate, lr, rel_tol=1e-6)
        for rate in rates
    )


def _describe_start(first: _Epoch) -> str:
    rate = f" with learning rate {first.values['lr']:g}" if "lr" in first.values else ""
    return (
        f"the program was started again at epoch {first.epoch}{rate}, which does not go on from "
        "the schedule before: a training of its own"
    )


def _describe_share(epoch: _Epoch) -> str:
    return (
        f"training loss and top-1 are over the first {epoch.batch + 1} of {epoch.batches} batches "
        "of an epoch, where the log prints them last"
    )


def _batch_size(epoch: _Epoch) -> dict[str, int]:
    """The batch of number 100, counted from 0, is the 101st."""
    size, rest = divmod(epoch.images, epoch.batch + 1)
    return {} if rest else {"batch_size": size}
