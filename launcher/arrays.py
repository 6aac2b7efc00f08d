"""Submitting runs to SLURM as job arrays, each exactly once.

Before sbatch is called, all that the array's tasks need is on disk: the record of the submission,
with the runs in the order of the tasks and a token that stands in the job's name, the frozen code,
and the pickle that the tasks share. So it does not matter where the launcher dies, or whether an
answer of sbatch is lost: the job finds what it needs, and the next command finds the job by its
token and adopts it.
"""

from __future__ import annotations

import getpass
import itertools
import math
import secrets
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jobs.errors import ExecutionError
from jobs.processes import this_process
from jobs.slurm_job import ArrayJob
from jobs.sweep_dir import SweepDir
from launcher import sbatch, slurm
from launcher.cluster import Layout, SlurmProfile
from launcher.tasks import find_job

# A signal that comes before the run's own handler stands must wait for it, not kill the process.
# `env --block-signal` would do, but the coreutils of many clusters are older.
BLOCK_STOP_SIGNALS = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM}); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)

# More tasks go into several arrays, also where a cluster would take them in one: each has some
# files in the submission's folder while it runs, and file systems become slow in huge folders.
MAX_TASKS = 1000

# How long is waited between two tries.
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_WAIT_S = 30.0

# A request without an answer is given up when SLURM has answered, and shown no job, for so long.
ABSENT_FOR_S = 30.0
POLL_S = 3.0

PICKLE = "task.pkl"


class SubmitLimitError(ExecutionError):
    """SLURM took a part of the runs only; the others are planned as before."""

    def __init__(self, sweep: SweepDir, submitted: int, waiting: int, said: str) -> None:
        self.submitted, self.said = submitted, said
        super().__init__(
            f"{submitted} of {submitted + waiting} runs submitted, {waiting} wait: SLURM takes no "
            f"more now ({said}); `launcher resume {sweep.name}` tops up"
        )


def submit_arrays(
    sweep: SweepDir,
    profiles: Mapping[str, SlurmProfile],
    gpus: Mapping[str, int],
    base_profile: SlurmProfile,
    code_hash: str,
    after: Sequence[str] = (),
    pilot_steps: int | None = None,
) -> Iterator[str]:
    """Submit runs, with the profile and the GPUs of each, as few arrays; yields each job's id.

    The records keep `base_profile`, which the runs' own wishes were added to. `code_hash` names the
    frozen code. The jobs wait until those in `after` have ended. Those of a pilot end after so many
    steps.

    Raises ExecutionError when SLURM refuses an array, and SubmitLimitError when it takes no more
    now; what was accepted until then stays.
    """
    cluster = slurm.ask_config()
    facts = {
        "cluster": cluster.name,
        "base_profile": base_profile.model_dump(mode="json"),
        "code": code_hash,
        **({"after": list(after)} if after else {}),
        **({"pilot_steps": pilot_steps} if pilot_steps else {}),
    }
    # As long as nothing was refused, twice as many as there are count as too many.
    rooms: dict[Any, _Room] = defaultdict(lambda: _Room(2 * len(profiles)))
    waiting, said = 0, ""
    for rest in cut(profiles, gpus, cluster.max_array_size):
        room = rooms[rest.queue]
        while rest.run_ids and not room.is_full:
            try:
                job_id, rest = _submit_first(sweep, rest, room, facts)
            except sbatch.LimitError:
                break
            yield job_id
        waiting += len(rest.run_ids)
        said = room.said or said
    if waiting:
        raise SubmitLimitError(sweep, len(profiles) - waiting, waiting, said)


@dataclass
class _Room:
    """How many jobs SLURM still takes, as far as its refusals tell: fewer than `too_many`."""

    too_many: int
    said: str = ""

    @property
    def is_full(self) -> bool:
        return self.too_many <= 1

    def size(self, wanted: int) -> int:
        """How many to try: the middle between none and too many."""
        return min(wanted, math.ceil(self.too_many / 2))


def estimate_starts(
    sweep: SweepDir, profiles: Mapping[str, SlurmProfile], gpus: Mapping[str, int]
) -> Iterator[tuple[Array, float, str]]:
    """Each array that these runs would be, when SLURM would start the first job (UTC seconds), and
    where. Writes nothing, so the script names folders that are not there."""
    folder = sweep.path.resolve() / "test-only"
    for array in cut(profiles, gpus, slurm.ask_config().max_array_size):
        script = _batch_script(sweep, folder, {"name": sweep.name, "code": "test-only"}, array)
        start_unix_s, nodes = sbatch.test_only(script.text(array.jobs))
        yield array, start_unix_s, nodes


@dataclass(frozen=True)
class Array:
    """Runs in the order of the jobs, what each job asks for, and how many may run at once."""

    run_ids: list[str]
    profile: SlurmProfile
    layout: Layout
    parallelism: int

    @property
    def queue(self) -> tuple[str | None, ...]:
        """What SLURM's limits of submission are about."""
        return self.profile.partition, self.profile.account, self.profile.qos

    @property
    def jobs(self) -> int:
        return math.ceil(len(self.run_ids) / self.layout.runs_per_job)

    @property
    def runs_of_jobs(self) -> list[int]:
        """How many runs each job trains."""
        size = self.layout.runs_per_job
        return [min(size, len(self.run_ids) - job * size) for job in range(self.jobs)]

    def split(self, size: int, room: int) -> tuple[Array, Array]:
        """The first `size` jobs, with their share of what may run at once, and the others.

        If SLURM takes fewer than `room` in all, the share is of these.
        """
        share = min(size, math.ceil(self.parallelism * size / min(room, self.jobs)))
        left = max(1, self.parallelism - share)
        runs = size * self.layout.runs_per_job
        first = replace(self, run_ids=self.run_ids[:runs], parallelism=share)
        return first, replace(self, run_ids=self.run_ids[runs:], parallelism=left)


def cut(
    profiles: Mapping[str, SlurmProfile], gpus: Mapping[str, int], max_array_size: int
) -> list[Array]:
    """The arrays for runs, each with indices from 0 on.

    The jobs of an array ask for the same; where each trains several runs, the last one may have
    fewer. SLURM's limit of its size is one of the index, so an array that began higher would be
    refused. The arrays of a profile share its parallelism as evenly as it goes, but each gets at
    least one.
    """
    groups: dict[SlurmProfile, dict[Layout, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run_id, profile in profiles.items():
        groups[profile][profile.layout(gpus[run_id])].append(run_id)
    arrays = []
    for profile, layouts in groups.items():
        pieces = [
            (run_ids[start : start + size], layout)
            for layout, run_ids in map(_without_idle_tasks, layouts.items())
            for size in [_runs_of_an_array(layout, max_array_size)]
            for start in range(0, len(run_ids), size)
        ]
        share, rest = divmod(profile.array_parallelism, len(pieces))
        arrays += [
            Array(run_ids, profile, layout, max(1, share + (number < rest)))
            for number, (run_ids, layout) in enumerate(pieces)
        ]
    return arrays


def _without_idle_tasks(group: tuple[Layout, list[str]]) -> tuple[Layout, list[str]]:
    """The layout of runs that share a GPU, if they are too few to fill it."""
    layout, run_ids = group
    if len(run_ids) < layout.runs_per_job:
        layout = Layout(1, len(run_ids), len(run_ids))
    return layout, run_ids


def _runs_of_an_array(layout: Layout, max_array_size: int) -> int:
    """How many runs an array can have; SLURM's limit is 0 where a site has switched arrays off."""
    jobs = min(max_array_size, MAX_TASKS // layout.runs_per_job)
    return max(1, jobs) * layout.runs_per_job


def _submit_first(
    sweep: SweepDir, array: Array, room: _Room, facts: Mapping[str, Any]
) -> tuple[str, Array]:
    """Submit the first runs of an array, as many as there may be room for.

    Returns the job's id and the array that is left. One record serves all tries, because a refused
    job does not exist. Raises LimitError when SLURM does not take a single run.
    """
    token = secrets.token_hex(4)
    first, rest = array.split(room.size(array.jobs), room.too_many)
    record: dict[str, Any] = {
        "token": token,
        "executor": "slurm",
        "name": f"{sweep.name}-{token}",
        "runs": first.run_ids,
        **asdict(array.layout),
        "profile": array.profile.model_dump(mode="json"),
        **facts,
        "user": getpass.getuser(),
        "submitted_unix_s": time.time(),
        **this_process(),
    }
    path = sweep.write_submission(record).resolve()
    while True:
        try:
            script = _write_script(sweep, path, record, first)
            job_id = _submit_once(sweep, path, record, script)
            break
        except sbatch.RefusedError as error:
            if isinstance(error, sbatch.LimitError):
                room.too_many, room.said = first.jobs, str(error)
            if not isinstance(error, sbatch.LimitError) or room.is_full:
                sweep.write_submission({**record, "refused": str(error)}, path)
                raise
        first, rest = array.split(room.size(array.jobs), room.too_many)
        record["runs"] = first.run_ids
    room.too_many -= first.jobs
    sweep.write_submission({**record, "job_id": job_id}, path)
    return job_id, rest


def _write_script(sweep: SweepDir, path: Path, record: Mapping[str, Any], array: Array) -> Path:
    """Put all that the job needs into a folder of its own; returns the batch script."""
    folder = sweep.job_folder(record["token"]).resolve()
    script = _batch_script(sweep, folder, record, array)
    script.write_pickle(ArrayJob(path), folder / PICKLE)
    file = folder / "submission.sh"
    file.write_text(script.text(array.jobs))
    return file


def _batch_script(
    sweep: SweepDir, folder: Path, record: Mapping[str, Any], array: Array
) -> sbatch.BatchScript:
    code = sweep.code_folder(record["code"]).resolve()
    parameters = sbatch_parameters(
        array, record["name"], code, folder / PICKLE, record.get("after", ())
    )
    return sbatch.BatchScript(folder, **parameters)


def _submit_once(sweep: SweepDir, path: Path, record: dict[str, Any], script: Path) -> str:
    """The id of the one job that bears this record's name, whatever sbatch answers.

    It is tried again only when the request before has made no job. Raises RefusedError if there is
    none in the end, and ExecutionError if SLURM does not say whether there is.
    """
    give_up_s = time.monotonic() + sbatch.RETRY_FOR_S
    may_be_there = False
    for wait_s in itertools.chain(BACK_OFF_S, itertools.repeat(LONGEST_WAIT_S)):
        record["submitted_unix_s"] = time.time()
        sweep.write_submission(record, path)
        try:
            return sbatch.submit(script)
        except sbatch.FullError:
            # It was stopped between two tries, or was it in the second?
            if (job_id := find_job(record)) is not None:
                return job_id
            raise
        except sbatch.NotSentError as error:
            said = f"SLURM cannot be reached ({error})"
        except sbatch.NoAnswerError as error:
            may_be_there = True
            said = f"sbatch gave no answer ({error})"
            _tell(f"{said}; asking whether the job is there")
            if (job_id := _wait_for_job(record, said, give_up_s)) is not None:
                return job_id
        if time.monotonic() + wait_s > give_up_s:
            break
        _tell(f"{said}; trying again in {wait_s:.0f} s")
        time.sleep(wait_s)
    if may_be_there:
        raise ExecutionError(_unknown(said))
    raise sbatch.RefusedError(f"{said}: nothing was submitted; try again when SLURM is back")


def _wait_for_job(record: Mapping[str, Any], said: str, give_up_s: float) -> str | None:
    """The id of a job that may be there; None once SLURM has shown none for long enough."""
    shown_none_s = None
    while time.monotonic() < give_up_s:
        try:
            if (job_id := find_job(record)) is not None:
                return job_id
        except ExecutionError:
            shown_none_s = None
        else:
            shown_none_s = shown_none_s or time.monotonic()
            if time.monotonic() - shown_none_s >= ABSENT_FOR_S:
                return None
        time.sleep(POLL_S)
    raise ExecutionError(_unknown(said))


def _unknown(said: str) -> str:
    return (
        f"{said}, and it is not known yet whether the job is there; `launcher status` will tell "
        "when SLURM answers again, and then `launcher resume` goes on"
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def sbatch_parameters(
    array: Array, name: str, code: Path, pickle: Path, after: Sequence[str] = ()
) -> dict[str, Any]:
    """What submitit writes into the batch script. The profile alone brings shell lines."""
    profile = array.profile
    setup = [
        "set -e",
        *profile.setup,
        "# the frozen code, before whatever lies in the working directory",
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        "# without this, every task would use all the CPUs of a node that does not confine it",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
        "# all tasks share one pickle; what submitit puts beside it goes when a task has ended",
        f"shared={shlex.quote(str(pickle))}",
        'own="$(dirname "$shared")/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"',
        'own="$own${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
        """trap 'rm -f "${own}_submitted.pkl" "$own"_*_result.pkl' EXIT""",
        'ln -sf "$shared" "${own}_submitted.pkl"',
    ]
    named = {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "gres": profile.gres_per_node(array.layout),
        "mem": profile.mem_per_node(array.layout),
        "constraint": profile.constraint,
        "exclude": profile.exclude,
        "nodelist": profile.nodelist,
        "mail_user": profile.mail_user,
        "mail_type": profile.mail_type or (profile.mail_user and "END,FAIL"),
        "dependency": f"afterany:{':'.join(after)}" if after else None,
    }
    unknown_to_submitit = {"reservation": profile.reservation, "nice": profile.nice}
    return {
        "job_name": name,
        "time": profile.time_min,
        "nodes": array.layout.nodes,
        "ntasks_per_node": array.layout.tasks_per_node,
        "cpus_per_task": profile.cpus_per_task,
        "signal_delay_s": profile.signal_delay_s,
        "array_parallelism": array.parallelism,
        "setup": setup,
        "srun_args": [
            *_when_a_task_ends(array.layout),
            f"--cpus-per-task={profile.cpus_per_task}",  # SLURM 22.05 and later forget sbatch's
            *(sys.executable, "-I", "-S", "-c", BLOCK_STOP_SIGNALS),
        ],
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own is refused where keys are checked
        "additional_parameters": {"requeue": True, **_given(unknown_to_submitit)},
        **_given(named),
    }


def _when_a_task_ends(layout: Layout) -> list[str]:
    """The others would wait for ever for one that has died, unless each is a run of its own.

    Said in both cases, as sites have defaults of their own.
    """
    if layout.runs_per_job == 1:
        return ["--kill-on-bad-exit=1"]
    return ["--kill-on-bad-exit=0", "--wait=0"]


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
