from __future__ import annotations

from pathlib import Path

import pytest

from jobs.config import make_config
from jobs.sweep_dir import SweepDir
from launcher.cluster import LocalProfile, SlurmProfile
from launcher.show import show_missing_data, show_plan


@pytest.mark.parametrize(
    ("time_limit", "named", "told"),
    [
        ("24:00:00", "v100", "on SLURM, profile v100, 24 h each"),
        ("90", "", "on SLURM, 1 h 30 min each"),
        ("42-00:00:00", "", "on SLURM, 1,008 h each"),
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


def test_data_that_is_not_here_is_told_once_before_it_waits_in_a_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"model": "resnet_small", "dataset": "cifar10", "data_dir": str(tmp_path)}
    configs = {key: make_config(options) for key in ("a", "b", "c")}
    slurm = SlurmProfile(executor="slurm", time="2h")
    show_missing_data({"a": slurm, "b": slurm}, configs)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"  warning: seen from here, the files of cifar10 are not in {tmp_path}")
    show_missing_data({"c": LocalProfile()}, configs)
    assert capsys.readouterr().out == ""
