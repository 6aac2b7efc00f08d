from __future__ import annotations

import pytest

from jobs.run_dir import SweepDir
from launcher.local import LocalQueue
from launcher.show import train_here


def test_a_message_that_looks_like_markup_does_not_end_the_queue(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(queue: LocalQueue) -> None:
        queue.report("failed: [/pytorch/gloo/pair.cc:547] Connection closed [bold]")

    monkeypatch.setattr(LocalQueue, "work", work)
    train_here(sweep, {}, [])
    assert "failed: [/pytorch/gloo/pair.cc:547] Connection closed [bold]" in capsys.readouterr().out
