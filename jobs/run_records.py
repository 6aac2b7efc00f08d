"""The records that a run keeps: what each file of its directory holds."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Environment(TypedDict):
    """What can change the bits of a result though the configuration is the same."""

    gpus: int
    device: str
    threads: int
    cpu_capability: str
    versions: dict[str, str]


class Measured(TypedDict):
    """How fast an attempt trained, after its first few steps."""

    startup_s: float  # from the attempt's start to the end of its first step
    steps: int  # that step_s is the mean of
    step_s: float  # without evaluations
    eval_steps: int  # batches of an evaluation
    eval_s: float | None  # of one whole evaluation; None if there was none
    peak_mem_mb: float  # of the first GPU or, on a CPU, of the process


class Attempt(TypedDict):
    """One start of a run: who and where, then what torch found, then how it ended.

    The later parts are missing while an attempt has not come so far, or if it was killed.
    """

    attempt: int
    started_unix_s: float
    executor: str
    job_id: str
    restart: int
    host: str
    pid: int
    user: str
    code: str
    node: NotRequired[str]  # SLURM's name for the host, or for all of a killed job's
    gpu_ids: NotRequired[str]  # of that host, as SLURM or CUDA_VISIBLE_DEVICES has them
    environment: NotRequired[Environment]
    precision: NotRequired[str]
    params: NotRequired[int]
    macs: NotRequired[int]
    steps_per_epoch: NotRequired[int]
    first_step: NotRequired[int]
    first_eval_batch: NotRequired[int]  # of the evaluation after that step, if it began within one
    measured: NotRequired[Measured]
    ended_unix_s: NotRequired[float]
    cause: NotRequired[str]
    message: NotRequired[str]
    last_step: NotRequired[int]
    last_eval_batch: NotRequired[int]  # if it was stopped within an evaluation


class Resolved(TypedDict):
    """What options that say `auto` came to mean at the first attempt; the later ones keep it."""

    precision: str
    loading: NotRequired[str]


class Waiting(TypedDict, total=False):
    """What the records of older versions do not have."""

    data_wait_share: float  # of epoch_s, until the images were there


class EpochMetrics(Waiting):
    """One record of `metrics.jsonl`. Epochs count from 1; top-1 and top-5 are in percent.

    An evaluation alone is one epoch without the values of training.
    """

    attempt: int
    epoch: int
    step: int
    lr: float
    train_loss: float | None
    train_top1: float | None
    test_loss: float
    test_top1: float
    test_top5: float
    epoch_s: float
    eval_s: float
    throughput_img_s: float
    peak_mem_mb: float
    time_unix_s: float


class Marks(TypedDict, total=False):
    """What the records of older versions do not have."""

    stuck_at_chance: bool  # for a good part of the epochs, up to the last one


class Progress(Marks):
    """The heartbeat of a running attempt. `epoch` counts the finished ones."""

    attempt: int
    epoch: int
    epochs: int
    step: int
    steps: int
    eta_s: float | None
    test_top1: float | None
    time_unix_s: float


class Result(Marks):
    """The final numbers of a run; the file's existence is "finished"."""

    run_id: str
    best_test_top1: float
    best_epoch: int
    final_test_top1: float
    final_test_top5: float
    params: int
    macs: int
    wall_s: float
    attempts: int
    weights_sha256: str
    time_unix_s: float


class ImportedFile(TypedDict):
    name: str
    sha256: str


class Size(TypedDict, total=False):
    """What is known of a network of ours alone."""

    params: int
    macs: int


class Imported(Size):
    """Where a run comes from that another program has trained, and what is known of it."""

    format: str
    files: list[ImportedFile]
    model: str  # the network's name as in the file, or one of ours that a person said it is
    seed: int | None
    options: dict[str, Any]  # those that are known, by their names in a matrix
    notes: list[str]  # what was odd about the files
    imported_unix_s: float


# What may differ between two trainings of one run: everything else is equal to the bit.
NOT_REPRODUCED = {
    "attempt",
    "epoch_s",
    "eval_s",
    "throughput_img_s",
    "data_wait_share",
    "peak_mem_mb",
    "time_unix_s",
}
