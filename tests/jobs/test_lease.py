from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.checkpoint import save_checkpoint
from jobs.errors import ExecutionError
from jobs.lease import STALE_AFTER_S, LeaseHeldError, LeaseLostError, claimed
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Progress
from jobs.sweep_dir import SweepDir


def test_a_run_has_one_holder_at_a_time(run: RunDir) -> None:
    holder = run.take_lease("local", "1", 0)
    with pytest.raises(LeaseHeldError, match="is being trained by process"):
        run.take_lease("local", "2", 0)
    run.release_lease(holder)
    run.release_lease(run.take_lease("local", "2", 0))
    assert run.holder() is None


def test_a_dead_process_loses_its_lease(run: RunDir) -> None:
    code = f"from jobs.run_dir import RunDir; RunDir({str(run.path)!r}).take_lease('local', '1', 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert run.lease() is not None
    assert run.holder() is None
    assert run.take_lease("local", "2", 0)["job_id"] == "2"


def test_a_process_that_is_seen_to_run_keeps_its_lease_whatever_the_scheduler_says(
    run: RunDir,
) -> None:
    """A controller that crashed may think that a job has ended which goes on."""
    run.take_lease("lab", "20", 2)
    with pytest.raises(LeaseHeldError, match=r"\(job 20\)"):
        run.take_lease("lab", "34", 0, lambda held: True)


def test_who_was_taken_over_writes_nothing_more(run: RunDir) -> None:
    """On another host SLURM's word is all that there is; what it has lost may still run there."""
    ours, elsewhere = run.take_lease("lab", "20", 2), RunDir(run.path)
    (run.path / "lease").write_text(json.dumps(ours | {"host": "n4"}))
    elsewhere.take_lease("lab", "34", 0, lambda held: True)
    writes: list[Callable[[], None]] = [
        lambda: run.write_progress({}),  # type: ignore[typeddict-item]
        lambda: run.append_metrics({}),  # type: ignore[typeddict-item]
        lambda: run.write_result({}),  # type: ignore[typeddict-item]
        lambda: save_checkpoint(run, {}),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError, match=r"job 34 on .* has taken the run over"):
            write()
    assert {path.name for path in run.path.iterdir()} == {"config.json", "lease"}
    run.release_lease(ours)
    assert elsewhere.holder() is not None
    save_checkpoint(elsewhere, {})


def test_a_holder_on_another_host_is_alive_while_its_heartbeat_is_fresh(run: RunDir) -> None:
    holder = RunDir(run.path).take_lease("local", "1", 0) | {"host": "elsewhere"}
    lease = run.path / "lease"
    lease.write_text(json.dumps(holder))
    assert run.holder() is not None
    lease.write_text(json.dumps(holder | {"time_unix_s": time.time() - 2 * STALE_AFTER_S}))
    assert run.holder() is None
    run.write_progress(
        Progress(
            attempt=1, epoch=0, epochs=1, step=0, steps=1, eta_s=None, test_top1=None,
            time_unix_s=time.time(),
        )
    )  # fmt: skip
    assert run.holder() is not None


def test_of_many_that_try_at_once_one_gets_the_lease(run: RunDir) -> None:
    """Real processes, and a dead holder's lease in the way, so that the take-over is raced too."""
    stale = run.take_lease("local", "old", 0) | {"boot_id": "another"}
    (run.path / "lease").write_text(json.dumps(stale))
    code = (
        "import sys, time; from jobs.run_dir import RunDir\n"
        "from jobs.lease import LeaseHeldError\n"
        f"run = RunDir({str(run.path)!r}); sys.stdin.readline()\n"
        "try: run.take_lease('local', '1', 0); print('mine', flush=True)\n"
        "except LeaseHeldError: print('held', flush=True)\n"
        "time.sleep(2)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    time.sleep(1)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in processes]
    assert sorted(said) == ["held"] * 5 + ["mine"]


# ---- claim: of a sweep, by a launcher


def test_one_launcher_at_a_time_submits_runs_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.lease.CLAIM_TIMEOUT_S", 0.0)
    sweep = SweepDir(tmp_path / "demo")
    another = SweepDir(sweep.path).claim()
    told = pytest.raises(ExecutionError, match="another launcher is submitting runs of demo")
    with sweep.claim(), told, another:
        pass
    with sweep.claim():
        pass


def test_the_claim_of_a_launcher_that_was_killed_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.lease.CLAIM_TIMEOUT_S", 0.0)
    dead = this_process() | {"boot_id": "another"}
    (tmp_path / "claim").write_text(json.dumps(dead))
    with claimed(tmp_path / "claim", "demo"):
        assert json.loads((tmp_path / "claim").read_text()) == this_process()
    assert not list(tmp_path.iterdir())


def test_a_launcher_that_was_taken_to_be_gone_leaves_the_claim_of_the_next_one(
    tmp_path: Path,
) -> None:
    claim = tmp_path / "claim"
    another = json.dumps(this_process() | {"host": "another"})
    with claimed(claim, "demo"):
        claim.unlink()
        claim.write_text(another)
    assert claim.read_text() == another
