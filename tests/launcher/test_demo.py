"""`make demo`, whole: the shortest way to see that everything fits together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from jobs.sweep_dir import SweepDir


def demo() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "launcher.demo"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_preempts_a_run_which_ends_like_an_undisturbed_one() -> None:
    said = demo()
    assert "weights identical to the bit, metrics of all 30 epochs identical" in said
    sweep = SweepDir("runs/demo")
    attempts = [len(run.attempts()) for run in sweep.runs()]
    assert len(attempts) == 6
    assert max(attempts) >= 2
    preempted = next(run for run in sweep.runs() if len(run.attempts()) >= 2)
    stop = preempted.attempts()[0]
    assert stop["message"].startswith("SIGUSR2")
    assert stop["last_step"] % stop["steps_per_epoch"] != 0
    for network in ("preact_resnet_small", "bam_preact_resnet_small", "sresnet_small"):
        assert f"| {network} " in said
    for name in ("curves_test_top1.png", "seeds_test_top1.svg", "timeline.csv"):
        path = Path("runs/demo/figures") / name
        assert path.stat().st_size > 1000
        assert str(path) in said
    for run in sweep.runs():
        result = run.read_result()
        assert result is not None
        assert result["final_test_top1"] > 90

    again = demo()
    assert "nothing was left to preempt; remove runs/demo" in again
    assert "| sresnet_small " in again
