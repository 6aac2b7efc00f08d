"""A fake SLURM: five small programs on PATH, and a folder that holds what they answer.

It is there for the faults that the real SLURM of tests/slurm_cluster cannot be made to show: an
answer that is lost, a controller that lags, a word that is rare. It runs nothing. A test says what
became of each task, and switches faults on:

    fake.set("77_3", "NODE_FAIL", nodes="n3")
    fake.fail("squeue", "Unable to contact slurm controller (connect failure)")

One test compares the form of its answers with the real one's, wherever SLURM is installed.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.fake_slurm import programs

NO_CONTROLLER = "Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


class FakeSlurm:
    """A cluster in a folder. It is asked by whoever has `bin` in front of PATH."""

    def __init__(self, folder: Path, *, max_array_size: int = 1001) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        state = {
            "config": {"ClusterName": "fake", "MaxArraySize": max_array_size},
            "accounting": True,
            "user": getpass.getuser(),
            "next_id": 77,
            "tasks": [],
            "faults": {},
            "lag_asks": 0,
            "limit": None,
        }
        (folder / "state.json").write_text(json.dumps(state))
        # -I: nothing of the caller's; -S: no packages, which would be searched at each start.
        lines = [
            f"#!{sys.executable} -IS",
            "import sys",
            f"sys.path.insert(0, {os.path.dirname(programs.__file__)!r})",
            "from programs import main",
            "sys.exit(main(sys.argv[0], sys.argv[1:]))",
        ]
        for command in (*programs.COMMANDS, "srun"):  # submitit looks for srun, and runs it never
            path = self.bin / command
            path.write_text("\n".join(lines) + "\n")
            path.chmod(0o755)

    # ---- what became of the tasks

    def submit(self, name: str, array: str = "") -> str:
        """The id of a job that somebody submitted, or of an array such as `0-4%2`."""
        with self._state() as state:
            return programs.accept(state, {"--job-name": name, "--array": array})

    def tasks(self) -> list[dict[str, Any]]:
        with self._state() as state:
            return state["tasks"]

    def set(self, task_id: str, word: str, reason: str = "None", **facts: Any) -> None:
        """SLURM's word for a task, or for all of a job, and what else it says of it.

        `in_squeue=False` is a task that the controller has forgotten, `in_sacct=False` one that
        the accounting never knew.
        """
        with self._state() as state:
            found = [task for task in state["tasks"] if programs.is_named(task, task_id)]
            assert found, f"there is no task {task_id}"
            for task in found:
                task |= {"word": word, "reason": reason, **facts}

    def forget(self, task_ids: Collection[str]) -> None:
        """These tasks ended well, and so long ago that the controller has forgotten them."""
        with self._state() as state:
            for task in state["tasks"]:
                if programs.task_id(task) in task_ids:
                    task |= {"word": "COMPLETED", "in_squeue": False}

    def requeue(self, task_id: str, word: str) -> None:
        """A start of the task has ended with this word, and it waits for the next one."""
        with self._state() as state:
            for task in state["tasks"]:
                if programs.is_named(task, task_id):
                    programs.requeue(task, word)

    def add(self, task: dict[str, Any]) -> None:
        """One more row, such as an older one that the accounting still tells."""
        with self._state() as state:
            state["tasks"].append(task)

    def lose_everything(self, first_id: int = 77) -> None:
        """The controller comes back without its jobs, and gives their ids away again."""
        with self._state() as state:
            state["next_id"] = first_id
            for task in state["tasks"]:
                task["in_squeue"] = False

    # ---- faults

    def fail(
        self,
        command: str,
        says: str,
        *,
        status: int = 1,
        done: bool = False,
        hangs: bool = False,
        times: int | None = None,
    ) -> None:
        """Let a command fail with this message, so many `times` or for ever.

        `done`: it does what it was asked to all the same. `hangs`: it says nothing, and stays.
        """
        with self._state() as state:
            state["faults"][command] = {
                "says": says, "status": status, "done": done, "hangs": hangs, "times": times
            }  # fmt: skip

    def fail_all(self, says: str) -> None:
        """No command reaches the controller."""
        for command in programs.COMMANDS:
            self.fail(command, says)

    def disable_accounting(self) -> None:
        with self._state() as state:
            state["accounting"] = False

    def mend(self) -> None:
        with self._state() as state:
            state["faults"] = {}

    def lag(self, asks: int) -> None:
        """New jobs are shown only when squeue, and sacct, have been asked so often."""
        with self._state() as state:
            state["lag_asks"] = asks

    def limit(self, tasks: int, says: str) -> None:
        """sbatch refuses, with this message, what would make more unfinished tasks than these."""
        with self._state() as state:
            state["limit"] = {"tasks": tasks, "says": says}

    # ---- the questions

    def calls(self) -> list[list[str]]:
        """Every command that was run since this was asked last, with its words."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        path.unlink()
        return [json.loads(line) for line in lines]

    def commands(self) -> list[str]:
        """The same without the words."""
        return [command for command, *_ in self.calls()]

    def _state(self) -> AbstractContextManager[dict[str, Any]]:
        return programs.open_state(str(self.folder))
