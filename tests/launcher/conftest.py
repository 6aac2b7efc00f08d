from __future__ import annotations

from pathlib import Path

import pytest

from jobs.run_dir import SweepDir
from launcher.matrix import read_matrix
from launcher.submit import plan_submission

# Two networks of which one run takes about a second, after the import of torch.
MATRIX = """\
name: tiny
base:
  dataset: synthetic
  epochs: 2
  train_images: 64
  test_images: 32
  batch_size: 32
  threads: 1
  progress_every_s: 0
axes:
  model: [resnet_small, sresnet_small]
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(MATRIX)
    return path


@pytest.fixture
def sweep(matrix: Path, tmp_path: Path) -> SweepDir:
    """The matrix planned on disk, and nothing started."""
    submission = plan_submission(read_matrix(matrix), tmp_path / "runs")
    submission.write()
    return submission.sweep
