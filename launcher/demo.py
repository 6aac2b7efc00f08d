"""`make demo`: the shipped demo matrix, with a run that is preempted on the way, and its table.

A person's commands are run as a person would run them; the preemption is the signal that SLURM
sends. The preempted run is then trained once more without a disturbance, and compared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobs.errors import ExecutionError, run_command
from jobs.run_dir import RunDir
from jobs.run_records import NOT_REPRODUCED, Attempt
from jobs.sweep_dir import SweepDir
from launcher.plan import State
from launcher.status import sweep_status

MATRIX = Path(__file__).parents[1] / "jobs" / "matrices" / "demo.yaml"
RUNS = Path("runs")
BASELINE = "preact_resnet_small"
PREEMPT_FROM_EPOCH = 3
POLL_S = 0.2


def main() -> None:
    sweep = SweepDir(RUNS / "demo")
    # Two at a time on any machine: a run's share of the CPUs is a part of its arithmetic.
    submit = ["launcher", "submit", str(MATRIX), "--runs", str(RUNS), "--executor", "local"]
    submit += ["--workers", "2"]
    launcher = _start(submit)
    stopped = _preempt_one(sweep, launcher)
    _finish(launcher, submit)
    if stopped is None:
        print(f"\nnothing was left to preempt; remove {sweep.path} to see the demo from the start")
    else:
        _compare_with_undisturbed(*stopped, submit)
    for words in (["table"], ["plot", "--baseline", BASELINE]):
        _run(["analysis", *words, sweep.name, "--runs", str(RUNS)])


def _preempt_one(
    sweep: SweepDir, launcher: subprocess.Popen[bytes]
) -> tuple[RunDir, Attempt] | None:
    """Preempt a run that is well on its way, in the middle of an epoch; None if none is left."""
    tried: set[str] = set()
    while launcher.poll() is None:
        time.sleep(POLL_S)
        for status in sweep_status(sweep):
            if status.state is not State.RUNNING or status.epoch < PREEMPT_FROM_EPOCH:
                continue
            if status.run_id in tried:
                continue
            tried.add(status.run_id)
            run = sweep.run(status.run_id)
            attempt = _preempt(run)
            # A stop between two epochs is no proof, so then the next run is taken as well.
            if attempt is not None and attempt["last_step"] % attempt["steps_per_epoch"]:
                return run, attempt
    return None


def _preempt(run: RunDir) -> Attempt | None:
    """Send the signal, wait for the end of the attempt; None if it was over before."""
    number = run.attempts()[-1]["attempt"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(run.attempts()[-1]["pid"], signal.SIGUSR2)
    while run.holder() is not None and len(run.attempts()) == number:
        time.sleep(POLL_S / 10)
    attempt = run.attempts()[number - 1]
    return attempt if attempt.get("cause") == "stopped" else None


def _compare_with_undisturbed(preempted: RunDir, stop: Attempt, submit: list[str]) -> None:
    """Train the same run in a sweep of its own, and compare every metric and the weights."""
    config = preempted.read_config()
    epoch, batch = divmod(stop["last_step"], stop["steps_per_epoch"])
    print(
        f"\n{preempted.run_id} was preempted after batch {batch} of {stop['steps_per_epoch']} in "
        f"epoch {epoch + 1} and went on. The same run without a disturbance, to compare:\n"
    )
    overrides = ["name=demo-undisturbed", f"model={config.model}", f"seeds=[{config.seed}]"]
    _run([*submit, *(word for text in overrides for word in ("--set", text))])
    undisturbed = SweepDir(RUNS / "demo-undisturbed").run(preempted.run_id)
    result, reference = preempted.read_result(), undisturbed.read_result()
    assert result is not None, "the queue ended with every run finished"
    assert reference is not None, "the queue ended with every run finished"
    same_weights = result["weights_sha256"] == reference["weights_sha256"]
    same_metrics = _metrics(preempted) == _metrics(undisturbed)
    print(
        f"\npreempted ({result['attempts']} attempts) and undisturbed: "
        f"weights {'identical to the bit' if same_weights else 'DIFFERENT'}, "
        f"metrics of all {config.epochs} epochs {'identical' if same_metrics else 'DIFFERENT'}\n"
    )
    if stop["environment"]["device"] == "cpu" and not (same_weights and same_metrics):
        raise ExecutionError("the resumed run is not the undisturbed one")


def _metrics(run: RunDir) -> list[dict[str, object]]:
    return [
        {key: value for key, value in record.items() if key not in NOT_REPRODUCED}
        for record in run.read_metrics()
    ]


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *words])


def _finish(process: subprocess.Popen[bytes], words: list[str]) -> None:
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it has heard Ctrl-C too, and lets its runs save
        raise
    if status != 0:
        raise ExecutionError(f"`{' '.join(words)}` ended with status {status}")


def _run(words: list[str]) -> None:
    _finish(_start(words), words)


if __name__ == "__main__":
    run_command(main)
