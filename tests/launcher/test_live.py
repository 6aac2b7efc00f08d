from __future__ import annotations

import pytest

from jobs.sweep_dir import SweepDir
from launcher.live import train_here
from launcher.local import LocalQueue


def test_a_message_that_looks_like_markup_does_not_end_the_queue(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(queue: LocalQueue) -> None:
        queue.report("failed: [/pytorch/gloo/pair.cc:547] Connection closed [bold]")

    monkeypatch.setattr(LocalQueue, "work", work)
    train_here(sweep, {}, [])
    assert "failed: [/pytorch/gloo/pair.cc:547] Connection closed [bold]" in capsys.readouterr().out
