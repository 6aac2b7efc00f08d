"""The tasks of one job that train one network together.

Each task is a process with a GPU of its own, started by submitit; the first one leads: it holds
the run's lease and alone writes in its directory. What the tasks must do together they agree on
between two steps, so that all save, stop or go on after the same one.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobs.causes import Cause

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store

# A task waits so long for another, which may be decoding a data set.
TIMEOUT = timedelta(minutes=30)

PORTS = range(20_000, 32_000)

# What stands in the store that the tasks share.
_CALL, _BEGIN, _DISMISSED = "call", "begin", "dismissed"
_FAILURE = "failure"


@dataclass(frozen=True)
class Tasks:
    """This process among the tasks of a job. Alone, each of these functions does next to nothing.

    Those that take a value from or give one to other tasks must be called by all of them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # among the tasks on this node
    store: Store | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def agree(self, wish: int) -> int:
        """The highest of the tasks' wishes."""
        if self.world == 1:
            return wish
        import torch
        import torch.distributed as dist

        wishes = torch.tensor(wish)
        dist.all_reduce(wishes, dist.ReduceOp.MAX)
        return int(wishes)

    def share(self, value: Any) -> Any:
        """The first task's value."""
        if self.world == 1:
            return value
        import torch
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Every task's value, in the order of the tasks."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def sum(self, numbers: Tensor) -> list[float]:
        """The sum over the tasks of each number (N,), which stay as they are."""
        if self.world == 1:
            return numbers.tolist()
        import torch.distributed as dist

        total = numbers.to("cpu", copy=True)
        dist.all_reduce(total)
        return total.tolist()

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Make each tensor what it is in the first task."""
        if self.world == 1:
            return
        import torch.distributed as dist

        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def leave(self) -> None:
        """End what the tasks have together."""
        if self.world > 1:
            import torch.distributed as dist

            # A network that is distributed holds the group in cycles; what is not freed here has
            # threads that abort the process when Python ends.
            gc.collect()
            dist.destroy_process_group()

    # ---- the first task calls the others, and a task that fails tells the first one

    def call(self, value: Any) -> Any:
        """The value with which the first task begins a training; None if it dismissed the others.

        The others wait for it here.
        """
        if self.store is None:
            return value
        if self.leads:
            self.store.set(_CALL, _BEGIN)
            return self.share(value)
        try:
            called = self.store.get(_CALL).decode() == _BEGIN
        except RuntimeError:  # the store is gone, and the first task with it
            called = False
        return self.share(value) if called else None

    def dismiss(self) -> None:
        """Let the others go, if they were not called."""
        if self.store is not None and not self.store.check([_CALL]):
            self.store.set(_CALL, _DISMISSED)

    def tell_failure(self, cause: str, message: str) -> None:
        """Let the first task, which keeps the records, know why this one cannot go on.

        It notices that this one is gone when the two next have to agree.
        """
        if self.store is not None:
            where = f"task {self.rank} on {socket.gethostname()}"
            self.store.set(_FAILURE, json.dumps([cause, f"{where}: {message}"]))

    def hear_failure(self) -> tuple[Cause, str] | None:
        """The cause and the message of another task that failed, if one did."""
        if self.store is None or not self.store.check([_FAILURE]):
            return None
        cause, message = json.loads(self.store.get(_FAILURE))
        return Cause(cause), message


ALONE = Tasks()


def number_of_tasks() -> int:
    """How many tasks the job of this process has, as submitit tells it; 1 outside of a job."""
    names = {"slurm": "SLURM_NTASKS", "local": "SUBMITIT_LOCAL_NTASKS"}
    return int(os.environ.get(names.get(os.environ.get("SUBMITIT_EXECUTOR", ""), ""), "1"))


def join_tasks() -> Tasks:
    """Find the other tasks of this job; returns when all are there."""
    if number_of_tasks() == 1:
        return ALONE
    import torch
    import torch.distributed as dist
    from submitit.helpers import TorchDistributedEnvironment

    found = TorchDistributedEnvironment()
    # On SLURM srun was called on the node of the first task. Its address needs no look-up of names.
    address = os.environ.get("SLURM_LAUNCH_NODE_IPADDR", found.master_addr)
    port = int(os.environ.get("MASTER_PORT", choose_port()))
    store = dist.TCPStore(
        address, port, found.world_size, is_master=found.rank == 0, timeout=TIMEOUT
    )
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", store),
        rank=found.rank,
        world_size=found.world_size,
        timeout=TIMEOUT,
    )
    return Tasks(found.rank, found.world_size, found.local_rank, store)


def choose_port() -> int:
    """A port that all tasks of this start of the job know, and a later one does not share.

    It is below those that Linux gives out by itself.
    """
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SUBMITIT_LOCAL_JOB_ID")
    job = "/".join(os.environ.get(name, "") for name in names)
    return PORTS[zlib.crc32(job.encode()) % len(PORTS)]
