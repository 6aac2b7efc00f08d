from __future__ import annotations

import io
import math
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.causes import Cause
from jobs.errors import InputError
from jobs.processes import this_process
from jobs.run_dir import RunDir
from jobs.run_records import Progress
from jobs.sweep_dir import SweepDir, sweep_of
from launcher.fitting import short_id
from launcher.logs import (
    _Follower,
    _read_from,
    attempts_table,
    find_run,
    print_failures,
    print_log,
)
from launcher.matrix import read_matrix
from launcher.status import sweep_status
from launcher.submit import plan_submission
from tests.fake_slurm import NO_CONTROLLER, FakeSlurm
from tests.launcher.conftest import add_attempt, submit_by_hand


@pytest.fixture
def run(sweep: SweepDir) -> RunDir:
    return sweep.runs()[0]


def submission(run: RunDir) -> dict[str, Any]:
    """By a queue in this process, which is alive."""
    facts = {"token": "ab12", "executor": "local", "user": "me", "submitted_unix_s": 1.0}
    return {**facts, "runs": [run.run_id], **this_process()}


def write_log(run: RunDir, attempt: int, text: str) -> None:
    with open(run.log(attempt), "a") as log:
        log.write(text)


def test_a_run_is_found_by_any_unique_part_of_its_name(sweep: SweepDir, run: RunDir) -> None:
    runs = sweep.path.parent
    for name in (run.run_id, run.run_id[-8:], f"tiny/{run.run_id[-8:]}", str(run.path)):
        assert find_run(name, runs).path.resolve() == run.path.resolve()


def test_a_part_of_several_names_is_answered_with_those(sweep: SweepDir) -> None:
    with pytest.raises(InputError) as caught:
        find_run("synthetic", sweep.path.parent)
    for run, label in zip(sweep.runs(), ("resnet_small s0", "sresnet_small s0"), strict=True):
        assert f"\n  tiny/{run.run_id}  {label}" in str(caught.value)


def test_a_whole_label_comes_before_a_part_of_one_in_another_sweep(
    sweep: SweepDir, matrix: Path
) -> None:
    runs = sweep.path.parent
    matrix.write_text(f"{matrix.read_text()}  lr: [0.1, 0.2]\n")
    plan_submission(read_matrix(matrix, ["name=wider"]), runs).write()
    assert sweep_of(find_run("sresnet_small s0", runs)).name == "tiny"


def test_words_of_a_label_fit_as_a_narrow_table_shows_them_too(
    sweep: SweepDir, matrix: Path
) -> None:
    runs = sweep.path.parent
    matrix.write_text(f"{matrix.read_text()}  weight_decay: [0.001, 0.01]\n")
    plan_submission(read_matrix(matrix, ["name=wider"]), runs).write()
    for words in ("sresnet_small weight_decay=0.01", "wider/wd=0.01 sresnet_small"):
        config = find_run(words, runs).read_config()
        assert (config.model, config.weight_decay) == ("sresnet_small", 0.01)


def test_among_several_an_expression_says_which(sweep: SweepDir) -> None:
    runs = sweep.path.parent
    found = find_run("tiny/", runs, "model == sresnet_small")
    assert found.read_config().model == "sresnet_small"
    assert find_run("", runs, "model == resnet_small and state == planned").path != found.path
    with pytest.raises(InputError, match=r"^--only 'seed == 0' selects several runs; say which:"):
        find_run("", runs, "seed == 0")
    with pytest.raises(InputError, match="which run"):
        find_run("", runs)


def test_the_last_attempt_is_printed_unless_another_is_asked_for(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(run, 1, "first\n")
    write_log(run, 2, "second\n")
    print_log(run, None, follow=False)
    print_log(run, 1, follow=False)
    assert capsys.readouterr().out == "second\nfirst\n"
    with pytest.raises(InputError, match=r"no attempt 3\. Valid: 1, 2"):
        print_log(run, 3, follow=False)


def test_a_silent_run_says_where_its_job_may_have_spoken(run: RunDir) -> None:
    with pytest.raises(InputError, match="it has not been started"):
        print_log(run, None, follow=False)
    sweep_of(run).write_submission(submission(run))
    with pytest.raises(InputError, match=r"what its job printed is in .*/slurm/me/ab12"):
        print_log(run, None, follow=False)


def test_following_goes_on_over_a_preemption_until_the_run_is_at_rest(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between two attempts nobody holds the run, but a living queue is going to start it."""
    record = submission(run)
    path = sweep_of(run).write_submission(record)
    add_attempt(run)
    write_log(run, 1, "first\n")
    follower = threading.Thread(target=print_log, args=(run, None), kwargs={"follow": True})
    follower.start()
    follower.join(timeout=1)
    assert follower.is_alive()
    holder = run.take_lease("local", "1", 0)
    add_attempt(run)
    write_log(run, 2, "second\n")
    follower.join(timeout=1)
    write_log(run, 2, "third\n")
    run.release_lease(holder)
    sweep_of(run).write_submission({**record, "ended_unix_s": 1.0}, path)
    follower.join(timeout=20)
    assert not follower.is_alive()
    assert capsys.readouterr().out == (
        "first\n---- attempt 2 on here, after unknown ----\nsecond\nthird\n"
    )


def test_following_a_run_at_rest_prints_what_is_there_and_ends(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(run, 1, "all\n")
    print_log(run, None, follow=True)
    assert capsys.readouterr().out == "all\n"


def test_the_attempts_of_a_run_are_a_table_of_where_they_were_and_why_they_ended(
    run: RunDir,
) -> None:
    device: Any = {"environment": {"device": "Tesla V100"}, "gpu_ids": "3", "node": "n2"}
    steps = {"first_step": 0, "last_step": 66, "ended_unix_s": 121.0}
    add_attempt(run, cause="preempted", message="SIGUSR2 after step 66", **device, **steps)
    add_attempt(run, first_step=66)
    run.explain(2, Cause.NODE_FAILURE, "SLURM says NODE_FAIL", "n7")
    add_attempt(run)
    holder = run.take_lease("local", "1", 0)
    console = Console(file=io.StringIO(), width=160)
    console.print(attempts_table(run))
    assert isinstance(console.file, io.StringIO)
    _, first, second, third = console.file.getvalue().splitlines()
    assert re.search(
        r"^1 .* 2 min +n2 +V100 \(3\) +0-66 +preempted +SIGUSR2 after step 66 *$", first
    )
    assert re.search(r"^2 .* n7 +66-66\+ +node_failure SLURM says NODE_FAIL *$", second)
    assert re.search(r"^3 .* here +running *$", third)
    run.release_lease(holder)


def test_of_killed_attempts_the_steps_are_told_that_they_reached_at_least(run: RunDir) -> None:
    add_attempt(run, first_step=0)
    add_attempt(run, first_step=40)
    run.write_progress(
        Progress(
            attempt=2, epoch=1, epochs=2, step=55, steps=99, eta_s=1.0, test_top1=1.0,
            time_unix_s=time.time(),
        )
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=160)
    console.print(attempts_table(run))
    assert isinstance(console.file, io.StringIO)
    _, first, second = console.file.getvalue().splitlines()
    assert " 0-40+ " in first
    assert " 40-55+ " in second


def test_a_run_is_found_by_its_label_and_the_only_run_of_a_sweep_by_the_sweep(
    sweep: SweepDir, run: RunDir
) -> None:
    runs = sweep.path.parent
    assert find_run("resnet_small s0", runs).run_id.startswith("resnet_small-")
    assert find_run("tiny/sresnet_small s0", runs).run_id.startswith("sresnet_small-")
    with pytest.raises(InputError, match="'s0' is a part of several runs' names"):
        find_run("s0", runs)
    shutil.rmtree(run.path)
    (only,) = sweep.runs()
    assert find_run("", runs).path == find_run("tiny", runs).path == only.path


def test_the_line_between_two_attempts_says_why_and_how_long_it_waited(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    add_attempt(run, cause="time_limit", ended_unix_s=100.0)
    add_attempt(run, node="n3", started_unix_s=280.0)
    write_log(run, 1, "first\n")
    write_log(run, 2, "second\n")
    _Follower(run, 1, None).follow()
    assert (
        "\n---- attempt 2 on n3, after time limit, waited 3 min ----\n" in capsys.readouterr().out
    )


def test_following_says_once_why_a_run_waits_and_asks_slurm_seldom(
    sweep: SweepDir, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = submit_by_hand(sweep, fake)
    follower = _Follower(sweep.run(sweep.named_runs()[0]), 1, None)
    for _ in range(3):
        follower._ask()
    assert fake.commands().count("squeue") == 1
    fake.fail_all(NO_CONTROLLER)
    follower._asked_s = -math.inf
    follower._ask()
    said = capsys.readouterr().err
    assert said.count("---- queued: other jobs are before it (Priority)\n") == 1
    assert "waiting for SLURM to answer" in said
    fake.mend()
    fake.set(job_id, "CANCELLED")
    follower._asked_s = -math.inf
    follower.follow()


def test_the_last_lines_are_printed_also_of_a_log_that_is_begun_anew(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(run, 1, "one\ntwo\nthree\n")
    for follow in (False, True):
        print_log(run, None, follow=follow, tail=2)
    assert capsys.readouterr().out == "two\nthree\n" * 2
    assert _read_from(run.log(1), 8) == ("three\n", 14)
    run.log(1).write_text("anew\n")
    assert _read_from(run.log(1), 14) == ("anew\n", 5)


def test_of_runs_that_share_a_job_each_has_the_output_of_its_own_task(
    sweep: SweepDir, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = submit_by_hand(sweep, fake)
    ((path, record),) = sweep.submissions().items()
    sweep.write_submission(record | {"runs_per_job": 2}, path)
    folder = sweep.job_output(record)
    folder.mkdir(parents=True)
    runs = [sweep.run(run_id) for run_id in sweep.named_runs()]
    for rank, run in enumerate(runs):
        (folder / f"{job_id}_0_{rank}_log.out").write_text(f"{rank}\n")
        run.observe("ended", token="t1", word="FAILED", job_id=f"{job_id}_0", nodes="", shown=False)
    for run in runs:
        print_log(run, None, follow=False)
    assert capsys.readouterr().out == "0\n1\n"
    (folder / f"{job_id}_0_1_log.out").unlink()
    print_log(runs[1], None, follow=False)
    assert capsys.readouterr().out == "0\n", "the job's own, which may say why no task began"


def test_each_failed_run_is_shown_with_its_last_words_or_those_of_its_job(
    sweep: SweepDir, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = submit_by_hand(sweep, fake)
    fake.set(job_id, "FAILED", start=1, end=2)
    first, second = (sweep.run(run_id) for run_id in sweep.named_runs())
    add_attempt(first, cause="code_error", message="KeyError: 'x'", node="n3", job_id=f"{job_id}_0")
    write_log(first, 1, "".join(f"line {number}\n" for number in range(40)))
    (record,) = sweep.submissions().values()
    output = sweep.job_output(record) / f"{job_id}_1_0_log.out"
    output.parent.mkdir(parents=True)
    output.write_text("bash: module: command not found\n")
    print_failures([sweep], [sweep_status(sweep)], 2)
    said = capsys.readouterr().out
    assert f"==> tiny: resnet_small s0 ({short_id(first.run_id)}) on n3\n" in said
    assert "    code_error: KeyError: 'x'\nline 38\nline 39\n\n==> tiny: sresnet_small s0" in said
    assert "`launcher logs` shows its output\nbash: module: command not found\n" in said
    print_log(second, None, follow=False)
    assert capsys.readouterr().out == "bash: module: command not found\n"
