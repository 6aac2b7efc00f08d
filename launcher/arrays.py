"""Submitting runs to SLURM as job arrays, each exactly once.

Before sbatch is called, all that the array's tasks need is on disk: the record of the submission,
with the runs in the order of the tasks and a token that stands in the job's name, the frozen code,
and the pickle that the tasks share. So it does not matter where the launcher dies, or whether an
answer of sbatch is lost: the job finds what it needs, and the next command finds the job by its
token and adopts it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import DelayedSubmission, clean_env

from jobs.errors import ExecutionError
from jobs.processes import is_running, this_host, this_process
from jobs.run_dir import RunDir, SweepDir
from jobs.slurm_job import ArrayJob
from launcher import slurm
from launcher.cluster import Layout, SlurmProfile
from launcher.plan import State

# submitit counts time-outs and gives up; here a run that makes progress may be stopped for ever.
MAX_TIMEOUTS = 1_000_000

# A signal that comes before the run's own handler stands must wait for it, not kill the process.
# `env --block-signal` would do, but the coreutils of many clusters are older.
BLOCK_STOP_SIGNALS = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM}); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)

# What sbatch says at the end of a refusal; some errors of the network are told in the same way.
REFUSED = "Batch job submission failed"

# An sbatch that outlived its launcher may still be accepted, and the accounting lags behind.
ANSWER_LAG_S = 60.0


def submit_arrays(
    sweep: SweepDir, run_ids: Sequence[str], profile: SlurmProfile, code: Path
) -> Iterator[str]:
    """Submit runs as arrays as large as the cluster allows; yields each job's id once it has one.

    The jobs of an array ask for the same, so runs on different numbers of GPUs go into several.
    Raises ExecutionError when SLURM refuses one; what was accepted until then stays.
    """
    cluster = slurm.ask_config()
    largest = max(1, cluster.max_array_size)  # 0 where a site has switched arrays off
    groups = defaultdict(list)
    for run_id in run_ids:
        groups[profile.layout(sweep.run(run_id).read_config().gpus)].append(run_id)
    for array in cut(groups, largest, profile.array_parallelism):
        yield _submit_array(sweep, array, profile, code, cluster.name)


@dataclass(frozen=True)
class Array:
    """Runs in the order of the tasks, what each asks for, and how many may run at once."""

    run_ids: Sequence[str]
    layout: Layout
    parallelism: int


def cut(
    groups: Mapping[Layout, Sequence[str]], max_array_size: int, parallelism: int
) -> list[Array]:
    """The arrays for groups of runs, each with indices from 0 on.

    SLURM's limit is one of the index, so an array that began higher would be refused. The arrays
    share the parallelism as evenly as it goes, but each gets at least one.
    """
    pieces = [
        (run_ids[start : start + max_array_size], layout)
        for layout, run_ids in groups.items()
        for start in range(0, len(run_ids), max_array_size)
    ]
    share, rest = divmod(parallelism, max(1, len(pieces)))
    return [
        Array(run_ids, layout, max(1, share + (number < rest)))
        for number, (run_ids, layout) in enumerate(pieces)
    ]


def _submit_array(
    sweep: SweepDir, array: Array, profile: SlurmProfile, code: Path, cluster: str
) -> str:
    token = secrets.token_hex(4)
    record: dict[str, Any] = {
        "token": token,
        "executor": "slurm",
        "name": f"{sweep.name}-{token}",
        "cluster": cluster,
        "runs": list(array.run_ids),
        **asdict(array.layout),
        "profile": profile.model_dump(mode="json"),
        "code": code.name,
        "user": getpass.getuser(),
        "submitted_unix_s": time.time(),
        **this_process(),
    }
    path = sweep.write_submission(record).resolve()
    folder = sweep.job_folder(token).resolve()
    job = ArrayJob(path)
    pickle = folder / "task.pkl"
    DelayedSubmission(job).dump(pickle)
    executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
    executor.update_parameters(
        **sbatch_parameters(profile, record["name"], array, code.resolve(), pickle)
    )
    try:
        with _outside_of_any_job():
            submitted = executor.submit_array([job] * len(array.run_ids))
        job_id = submitted[0].job_id.partition("_")[0]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        said = _last_line(error)
        if _is_refusal(said):
            sweep.write_submission({**record, "refused": said}, path)
            raise ExecutionError(f"sbatch refused: {said}") from None
        # The answer may be lost while the job was accepted: ask by the token.
        accepted = _find_job(record)
        if accepted is None:
            raise ExecutionError(
                f"sbatch gave no answer ({said}); `launcher status {sweep.name}` knows in a "
                "minute whether the job was accepted, and then `launcher resume` goes on"
            ) from None
        job_id = accepted
    sweep.write_submission({**record, "job_id": job_id}, path)
    return job_id


def sbatch_parameters(
    profile: SlurmProfile, name: str, array: Array, code: Path, pickle: Path
) -> dict[str, Any]:
    """What submitit writes into the batch script. The profile alone brings shell lines."""
    setup = [
        "set -e",
        *profile.setup,
        "# the frozen code, before whatever lies in the working directory",
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        "# without this, every task would use all the CPUs of a node that does not confine it",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
        "# all tasks share one pickle, which is here before the launcher could move it",
        f"shared={shlex.quote(str(pickle))}",
        'task="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"',
        'own="$(dirname "$shared")/${task:-$SLURM_JOB_ID}_submitted.pkl"',
        'test -e "$own" || cp "$shared" "$own"',
    ]
    named = {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "gres": profile.gres_per_node(array.layout),
        "mem": profile.mem_per_node(array.layout),
        "constraint": profile.constraint,
        "mail_user": profile.mail_user,
        "mail_type": profile.mail_type,
    }
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
            "--kill-on-bad-exit=1",  # the others would wait for ever for a task that has died
            f"--cpus-per-task={profile.cpus_per_task}",  # SLURM 22.05 and later forget sbatch's
            *(sys.executable, "-I", "-S", "-c", BLOCK_STOP_SIGNALS),
        ],
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own is refused where keys are checked
        "additional_parameters": {"requeue": True},
        **{key: value for key, value in named.items() if value is not None},
    }


def _find_job(record: dict[str, Any]) -> str | None:
    """The id of a submission's job, by its token: from squeue, else from the accounting."""
    asked = [record["name"]], record["submitted_unix_s"]
    tasks = slurm.squeue(*asked) or slurm.sacct(*asked)
    return tasks[0].job_id if tasks else None


def is_being_submitted(record: dict[str, Any]) -> bool:
    """Whether a launcher is between writing the record and knowing the job's id."""
    if "job_id" in record or "refused" in record:
        return False
    if record["host"] == this_host():
        return is_running(record)
    return time.time() - record["submitted_unix_s"] < slurm.TIMEOUT_S


@dataclass(frozen=True)
class _Place:
    """Where a run stands in the newest submission that holds it."""

    run: RunDir
    submission: Path
    record: dict[str, Any]
    index: int

    @property
    def key(self) -> tuple[str, int]:
        return self.record["name"], self.index


def tasks_of_runs(sweeps: Sequence[SweepDir]) -> dict[Path, slurm.Task]:
    """What SLURM says of each unfinished run that was submitted to it, by the run's path.

    One squeue for everything, and one sacct for what squeue has forgotten. A submission whose
    launcher did not live to write down the job's id is adopted. What ended for good is written
    down, so that nobody has to ask again; nothing is asked when nothing is open.
    """
    places = [
        place
        for sweep in sweeps
        for place in _newest_places(sweep)
        if not place.run.is_finished() and not ended_in_slurm(place.run, place.record["token"])
    ]
    found = _ask(places)
    job_ids = {name: task.job_id for (name, _), task in found.items()}
    for submission, record in {place.submission: place.record for place in places}.items():
        if "job_id" not in record:
            _adopt(submission, record, job_ids.get(record["name"]))
    tasks = {}
    for place in places:
        task = found.get(place.key) or _absent(place)
        if task is None:
            continue
        tasks[place.run.path] = task
        if task.is_over and place.key in found:
            _write_down(place.run, place.record["token"], task)
    return tasks


def _ask(places: Sequence[_Place]) -> dict[tuple[str, int], slurm.Task]:
    """The tasks that SLURM knows, by name and index.

    What squeue shows, it knows best. What it does not show has ended, and the accounting tells how:
    one that waits or runs only there was lost by a controller that crashed.
    """
    found = _ask_about(places, slurm.squeue)
    missing = [place for place in places if place.key not in found]
    ended = {key: task for key, task in _ask_about(missing, slurm.sacct).items() if task.is_over}
    return ended | found


def _ask_about(
    places: Sequence[_Place], ask: Callable[[Sequence[str], float], list[slurm.Task]]
) -> dict[tuple[str, int], slurm.Task]:
    if not places:
        return {}
    names = sorted({place.record["name"] for place in places})
    since_unix_s = min(place.record["submitted_unix_s"] for place in places)
    return {(task.name, task.index): task for task in ask(names, since_unix_s)}


def _adopt(submission: Path, record: dict[str, Any], job_id: str | None) -> None:
    """Complete the record of a submission whose launcher did not live to do it."""
    sweep = SweepDir(submission.parents[1])
    if job_id is not None:
        sweep.write_submission({**record, "job_id": job_id}, submission)
    elif _is_settled(record):
        sweep.write_submission({**record, "refused": "never reached SLURM"}, submission)


def _absent(place: _Place) -> slurm.Task | None:
    """What is to be thought of a task that neither squeue nor the accounting shows.

    Only on its own cluster has it ended. None if it never got to SLURM.
    """
    record = place.record
    if not _is_here(record):
        word, reason = "PENDING", f"submitted to cluster {record['cluster']}: ask there"
    elif record["user"] != getpass.getuser():
        word, reason = "PENDING", f"submitted by {record['user']}, whose jobs are not shown to you"
    elif not _is_settled(record):
        word, reason = "PENDING", "SLURM does not show it yet; ask again in a minute"
    elif "job_id" in record:
        word, reason = "UNKNOWN", ""
    else:
        return None
    return slurm.Task(record["name"], record.get("job_id", ""), place.index, word, reason)


def _is_settled(record: dict[str, Any]) -> bool:
    """Whether a submission that SLURM does not know will not turn up there any more."""
    return time.time() - record["submitted_unix_s"] > ANSWER_LAG_S and _is_here(record)


def _is_here(record: dict[str, Any]) -> bool:
    return record["cluster"] == slurm.ask_config().name


def open_tasks(sweep: SweepDir) -> list[slurm.Task]:
    """Every task that waits or runs for a sweep, also of submissions that newer ones replaced."""
    names = [
        record["name"]
        for record in sweep.submissions().values()
        if record["executor"] == "slurm" and "refused" not in record
    ]
    return [task for task in slurm.squeue(names) if not task.is_over] if names else []


def ended_in_slurm(run: RunDir, token: str) -> bool:
    """Whether it is written down that the run's job of this submission has ended."""
    return any(event["event"] == "ended" and event["token"] == token for event in run.observed())


def _newest_places(sweep: SweepDir) -> list[_Place]:
    """The places of the runs that SLURM was given last, and not refused."""
    newest: dict[str, _Place] = {}
    for path, record in sweep.submissions().items():
        if "refused" in record or is_being_submitted(record):
            continue
        for index, run_id in enumerate(record["runs"]):
            if record["executor"] == "slurm":
                newest[run_id] = _Place(sweep.run(run_id), path, record, index)
            else:
                newest.pop(run_id, None)
    return list(newest.values())


def _write_down(run: RunDir, token: str, task: slurm.Task) -> None:
    # A sweep that belongs to a colleague can be looked at without being written.
    with contextlib.suppress(PermissionError):
        run.observe("ended", token=token, word=task.word, job_id=task.id, nodes=task.reason)
        if task.state is State.CANCELLED:
            run.observe("cancelled", token=token)


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Without the variables of a job that this process may be in; they would be taken over."""
    conf = os.environ.get("SLURM_CONF")
    with clean_env():
        if conf is not None:
            os.environ["SLURM_CONF"] = conf
        yield


def _is_refusal(said: str) -> bool:
    """Whether sbatch said no, and not that it could not hear an answer."""
    lost = ("timed out", "unable to contact", "connection", "zero bytes", "socket")
    return REFUSED in said and not any(word in said.lower() for word in lost)


def _last_line(error: Exception) -> str:
    """SLURM's own words, which submitit puts at the end of a longer message."""
    lines = [line.strip() for line in str(error).splitlines() if "sbatch: error:" in line]
    return "; ".join(line.removeprefix("sbatch: error: ") for line in lines) or str(error)
