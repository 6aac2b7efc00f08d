"""What sbatch's answers mean, with an sbatch that answers as a test wants it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jobs.errors import ExecutionError
from launcher import sbatch

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes the script of an sbatch."""
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def answer(script: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return answer


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{POLICY}", sbatch.LimitError, "AssocMax"),
        (f"sbatch: error: QOSGrpSubmitJobsLimit\n{FAILED}{POLICY}", sbatch.LimitError, "QOSGrpSub"),
        (
            f"sbatch: error: AssocGrpSubmitJobsLimit\n{FAILED}{POLICY}",
            sbatch.LimitError,
            "AssocGrp",
        ),
        (f"sbatch: error: MaxSubmitJobsPerAccount\n{FAILED}{POLICY}", sbatch.LimitError, "MaxSubm"),
        (FAILED + POLICY, sbatch.LimitError, "Batch job submission failed: Job violates"),
        (
            f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{FAILED}{POLICY}",
            sbatch.RefusedError,
            "sbatch refused: QOSMaxWallDurationPerJobLimit; Batch job submission failed: Job",
        ),
        (FAILED + "Invalid partition name specified", sbatch.RefusedError, "sbatch refused: Batch"),
        ("sbatch: error: cli_filter plugin says no", sbatch.RefusedError, "sbatch refused: cli_fi"),
        ("sbatch: unrecognized option '--x'", sbatch.RefusedError, "sbatch refused: unrecognized"),
        (
            FAILED + "Unable to contact slurm controller (connect failure)",
            sbatch.NotSentError,
            "Batch job submission failed: Unable to contact",
        ),
        (FAILED + "Slurm backup controller in standby mode", sbatch.NotSentError, "Batch job"),
        (FAILED + "Socket timed out on send/recv operation", sbatch.NoAnswerError, "Batch job"),
        (
            FAILED + "Unable to contact slurm controller (receive failure)",
            sbatch.NoAnswerError,
            "Batch job",
        ),
        (FAILED + "Zero Bytes were transmitted or received", sbatch.NoAnswerError, "Batch job"),
        ("Traceback of a site's own sbatch", sbatch.NoAnswerError, "Traceback"),
        ("", sbatch.NoAnswerError, "status 1"),
    ],
)
def test_only_a_clear_no_is_taken_for_one(
    said: str, error: type[ExecutionError], told: str, answer
) -> None:
    answer(f"cat >&2 <<'END'\n{said}\nEND\nexit 1" if said else "exit 1")
    with pytest.raises(ExecutionError) as caught:
        sbatch.submit(Path("script"))
    assert type(caught.value) is error
    assert str(caught.value).startswith(told)


def test_success_without_an_id_is_no_answer(answer) -> None:
    answer("echo 'Submitted batch job 123 on cluster lab'")
    assert sbatch.submit(Path("script")) == "123"
    answer("echo odd")
    with pytest.raises(sbatch.NoAnswerError):
        sbatch.submit(Path("script"))


def test_an_sbatch_that_hangs_is_ended_with_all_that_it_started(answer, monkeypatch) -> None:
    monkeypatch.setattr(sbatch, "TIMEOUT_S", 0.3)
    answer("sleep 60\nexit 0")  # the sleep is a child, and holds the pipes open
    began_s = time.monotonic()
    with pytest.raises(sbatch.NoAnswerError, match="did not end within 0 s"):
        sbatch.submit(Path("script"))
    assert time.monotonic() - began_s < 20


def test_where_the_controller_is_full_sbatch_is_not_left_to_sleep(answer, capsys) -> None:
    answer(
        "echo 'sbatch: error: Job creation temporarily disabled, retrying' >&2\n"
        "echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2\n"
        "sleep 60"
    )
    began_s = time.monotonic()
    with pytest.raises(sbatch.FullError) as caught:
        sbatch.submit(Path("script"))
    assert time.monotonic() - began_s < 20
    assert str(caught.value) == "Slurm temporarily unable to accept job"
    assert "temporarily disabled, retrying" in capsys.readouterr().err


def test_a_job_inherits_nothing_of_the_job_that_submits_it(answer, monkeypatch) -> None:
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SLURM_CONF"):
        monkeypatch.setenv(name, "4")
    answer('echo "job $SLURM_CONF$SLURM_JOB_ID$SBATCH_PARTITION$SLURM_TIME_FORMAT"')
    assert sbatch.submit(Path("script")) == "4"


def test_the_estimate_of_a_start_is_read_and_a_refusal_told_as_slurm_says_it(answer) -> None:
    answer(
        'test "$SLURM_TIME_FORMAT" = %s && test "$1" = --test-only && grep -q true "$2" || exit\n'
        "echo 'sbatch: Job 14 to start at 1795327602 using 1 processors on nodes n[1-2] in "
        "partition low' >&2"
    )
    assert sbatch.test_only("#!/bin/sh\ntrue\n") == (1795327602.0, "n[1-2] in partition low")
    answer("echo 'sbatch: error: Limit' >&2; echo 'allocation failure: Policy' >&2; exit 1")
    with pytest.raises(sbatch.RefusedError, match=r"^Limit; allocation failure: Policy$"):
        sbatch.test_only("")
