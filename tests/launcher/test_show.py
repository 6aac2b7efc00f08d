from __future__ import annotations

import pytest

from jobs.run_dir import SweepDir
from launcher.cluster import SlurmProfile
from launcher.local import LocalQueue
from launcher.show import show_plan, train_here


def test_a_message_that_looks_like_markup_does_not_end_the_queue(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(queue: LocalQueue) -> None:
        queue.report("failed: [/pytorch/gloo/pair.cc:547] Connection closed [bold]")

    monkeypatch.setattr(LocalQueue, "work", work)
    train_here(sweep, {}, [])
    assert "failed: [/pytorch/gloo/pair.cc:547] Connection closed [bold]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("time_limit", "named", "told"),
    [
        ("24:00:00", "v100", "on SLURM, profile v100, 24 h each"),
        ("90", "", "on SLURM, 1.5 h each"),
        ("45", "slow", "on SLURM, profile slow, 45 min each"),
    ],
)
def test_the_plan_says_which_profile_and_how_long(
    time_limit: str,
    named: str,
    told: str,
    sweep: SweepDir,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile = SlurmProfile(time=time_limit)
    show_plan(sweep, [], {}, profile, {}, profile_name=named, show_all=False)
    assert told in capsys.readouterr().out
