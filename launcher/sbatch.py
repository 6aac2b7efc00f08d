"""Giving SLURM a job: the batch script, sbatch, and what its answers mean.

Whoever tries again must know whether a request may have arrived. So sbatch ends in one of four
ways: with the job's id, with a clear no (which may only mean "not so many now"), without having
reached SLURM, or without an answer, and then the job may be there or not.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission, clean_env

from jobs.errors import ExecutionError
from jobs.slurm_job import ArrayJob

# sbatch waits for MessageTimeout: 10 s, or up to 100 s where a site has chosen so.
TIMEOUT_S = 120.0

# A launcher goes on trying for so long.
RETRY_FOR_S = 300.0

# submitit counts time-outs and gives up; here a run that makes progress may be stopped for ever.
MAX_TIMEOUTS = 1_000_000

# What sbatch says at the end of a refusal; some errors of the network are told in the same way.
REFUSED = "Batch job submission failed"

# SLURM's reasons for "not so many now": AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit, ...
SUBMIT_LIMIT = re.compile(r"\w*(?:MaxSubmitJob|GrpSubmitJob)\w*")

# The same for all users together (MaxJobCount): sbatch sleeps and tries again for two minutes.
FULL = re.compile(r"(Slurm (?:temporarily unable to accept job|job queue full)), sleeping")

# Nothing was sent, or a controller that is not in charge has turned it away.
NOT_SENT = ("(connect failure)", "standby mode")

# sbatch calls it a failure, but only did not hear the answer.
NO_ANSWER = ("timed out", "unable to contact", "connection", "zero bytes", "socket")


class RefusedError(ExecutionError):
    """SLURM said no, and has created nothing."""


class LimitError(RefusedError):
    """SLURM takes no job of so many tasks now, and may take a smaller one."""


class FullError(LimitError):
    """The same, of an sbatch that would have gone on trying and was stopped."""


class NotSentError(ExecutionError):
    """The request cannot have reached SLURM."""


class NoAnswerError(ExecutionError):
    """The request may have reached SLURM, and the job may be there."""


class BatchScript(submitit.SlurmExecutor):
    """submitit's batch script and pickle for an array whose tasks are all the same job.

    By itself submitit writes a pickle for each task, calls sbatch without a time limit, and then
    renames every pickle. Of its private parts these are used: `map_count`, and the two methods
    that make the text. The golden scripts of the tests hold them.
    """

    def __init__(self, folder: Path, **parameters: Any) -> None:
        super().__init__(folder, max_num_timeout=MAX_TIMEOUTS)
        self.update_parameters(**parameters)

    def text(self, tasks: int) -> str:
        """The script of an array; of a plain job where there is one task."""
        self.parameters["map_count"] = tasks if tasks > 1 else None
        return self._make_submission_file_text(self._submitit_command_str, uid="")

    def write_pickle(self, job: ArrayJob, path: Path) -> None:
        delayed = DelayedSubmission(job)
        delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
        delayed.dump(path)


def submit(script: Path) -> str:
    """The id of the job that SLURM makes of a batch script.

    Raises RefusedError, LimitError, NotSentError or NoAnswerError, with SLURM's own words.
    """
    status, output, said = _run("sbatch", str(script))
    if status == 0 and (found := re.search(r"job (\d+)", output)):
        return found[1]
    raise _failure(status, said)


def test_only(text: str) -> tuple[float, str]:
    """When SLURM thinks that a batch script would begin, in UTC seconds, and on which nodes.

    Nothing is submitted. Raises RefusedError where SLURM would refuse it.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(text)
        script.flush()
        _, _, said = _run("sbatch", "--test-only", script.name, SLURM_TIME_FORMAT="%s")
    found = re.search(r"to start at (\d+) using .* on nodes (.+)", said)
    if found is None:
        raise RefusedError(_plain(said) or "`sbatch --test-only` says nothing")
    return float(found[1]), found[2]


def _failure(status: int, said: str) -> ExecutionError:
    """What it means that sbatch gave no id."""
    if limit := SUBMIT_LIMIT.search(said):
        return LimitError(limit[0])
    if full := FULL.search(said):
        return FullError(full[1])
    if any(words in said for words in NOT_SENT):
        return NotSentError(_plain(said))
    if status == -signal.SIGKILL:
        return NoAnswerError(f"it did not end within {TIMEOUT_S:.0f} s")
    # Before it sends anything, sbatch or a filter of the site refuses without the usual end.
    is_told = status > 0 and (REFUSED in said or "sbatch: " in said)
    if not is_told or any(words in said.lower() for words in NO_ANSWER):
        return NoAnswerError(_plain(said) or f"status {status}")
    # Some versions do not say which policy, so it may be the number.
    is_policy = _plain(said).startswith(f"{REFUSED}: Job violates accounting/QOS policy")
    if is_policy:
        return LimitError(_plain(said))
    return RefusedError(f"sbatch refused: {_plain(said)}; `launcher doctor` says what would fit")


def _plain(said: str) -> str:
    """SLURM's words in one line."""
    return "; ".join(re.sub(r"^sbatch: (error: )?", "", line) for line in said.splitlines())


def _run(*words: str, **variables: str) -> tuple[int, str, str]:
    """The status of an sbatch, its output, and what it said. It is stopped when it is late, and
    when SLURM is full: it would sit there for minutes without a word."""
    if conf := os.environ.get("SLURM_CONF"):
        variables["SLURM_CONF"] = conf
    with clean_env():  # the variables of a job that this process may be in would be taken over
        environment = os.environ | variables
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # with what a site's own sbatch may start
        )
    except OSError as error:
        raise RefusedError(f"sbatch cannot be started here: {error.strerror}") from None
    late = threading.Timer(TIMEOUT_S, _kill, [process])
    with process:
        late.start()
        try:
            said = _listen(process)
            assert process.stdout is not None
            output = process.stdout.read()
            return process.wait(), output, said
        finally:
            late.cancel()
            _kill(process)


def _listen(process: subprocess.Popen[str]) -> str:
    """What an sbatch says until it ends. That it tries again by itself is told at once."""
    said = ""
    assert process.stderr is not None
    for line in process.stderr:
        said += line
        if FULL.search(line):
            _kill(process)
        elif "retrying" in line:
            print(line, end="", file=sys.stderr)
    return said


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
