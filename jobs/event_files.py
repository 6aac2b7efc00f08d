"""TensorBoard's event files, of a run that asks for them: `tensorboard --logdir runs/<sweep>`."""

from __future__ import annotations

from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.run_records import EpochMetrics

# Which tag holds which value of an epoch's record.
TAGS = {
    "accuracy/train_top1": "train_top1",
    "accuracy/test_top1": "test_top1",
    "accuracy/test_top5": "test_top5",
    "loss/train": "train_loss",
    "loss/test": "test_loss",
    "training/lr": "lr",
    "training/throughput_img_s": "throughput_img_s",
    "training/data_wait_share": "data_wait_share",
    "training/peak_mem_mb": "peak_mem_mb",
}


class EventFiles:
    """The event files of a run, to which each attempt adds one."""

    def __init__(self, run: RunDir, epochs_done: int) -> None:
        """InputError if TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError(
                "tensorboard: its package is not installed; pip install tensorboard, or leave the "
                "option out"
            ) from None
        # What an earlier attempt wrote of later epochs is not shown: they are trained again.
        self._writer = SummaryWriter(run.event_files, purge_step=epochs_done + 1)

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, metrics: EpochMetrics) -> None:
        for tag, name in TAGS.items():
            value = metrics[name]  # type: ignore[literal-required]
            if value is not None:
                self._writer.add_scalar(tag, value, metrics["epoch"], metrics["time_unix_s"])
        self._writer.flush()
