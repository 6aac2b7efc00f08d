"""The command line as a person uses it: real processes, their output and their exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.errors import InputError
from jobs.run_dir import RunDir
from jobs.run_records import Imported
from jobs.sweep_dir import SweepDir
from launcher.cli import app

OUTPUT = Path("output.txt")

# The launcher, and the run that it trains.
Endless = tuple[subprocess.Popen[bytes], RunDir]


def launcher(*words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    if words[0] == "submit" and "--executor" not in words:  # this machine may have an sbatch
        words = (*words, "--executor", "local")
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "120", "NO_COLOR": "1"},
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def endless(matrix: Path) -> Iterator[Endless]:
    """A submission with a run that does not end by itself, in a session like a terminal's own."""
    words = ["submit", str(matrix), "--set", "epochs=100000", "--workers", "1"]
    words += ["--executor", "local"]
    with open(OUTPUT, "wb") as output:  # a pipe would be held open by what outlives the launcher
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    sweep = SweepDir(Path("runs/tiny").absolute())
    try:
        yield process, _wait_for_a_run(sweep)
    finally:  # a test that failed leaves them at work
        process.kill()
        process.wait()
        for run in sweep.runs():
            if (holder := run.holder()) is not None:
                os.kill(holder["pid"], signal.SIGKILL)


def _wait_for_a_run(sweep: SweepDir) -> RunDir:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        for run in sweep.runs():
            if run.holder() is not None and run.read_progress() is not None:
                return run
        time.sleep(0.05)
    raise AssertionError("no run began")


# ---- help


@pytest.mark.parametrize(
    "command", ["submit", "resume", "status", "cancel", "list", "logs", "doctor"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    said = launcher(command, "--help").stdout
    assert "Example" in said
    assert f"launcher {command}" in said
    assert "--runs" in said


def test_help_and_plan_load_no_torch(matrix: Path) -> None:
    code = (
        "import sys; sys.argv = ['launcher', 'submit', sys.argv[1], '--dry-run']\n"
        "from launcher.cli import app\n"
        "app(standalone_mode=False); print(*sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-c", code, str(matrix)], text=True)
    assert not {"torch", "pandas", "matplotlib"} & set(said.split())


def test_a_look_at_runs_that_it_remembers_loads_no_pydantic(sweep: SweepDir) -> None:
    code = (
        "import sys; sys.argv = ['launcher', 'status', '--runs', sys.argv[1]]\n"
        "from jobs import look; look.WORTH_KEEPING = 1\n"
        "from launcher.cli import app\n"
        "app(standalone_mode=False); print(*sys.modules)"
    )
    for run in sweep.runs():
        os.utime(run.path, (1e9, 1e9))
    words = [sys.executable, "-c", code, str(sweep.path.parent)]
    wide = os.environ | {"COLUMNS": "160"}  # labels that must be shortened need all options' names
    first, second = (subprocess.check_output(words, text=True, env=wide) for _ in range(2))
    assert "pydantic" in first.split()
    assert not {"pydantic", "torch"} & set(second.split())


def test_only_selects_in_every_command_and_what_selects_nothing_is_a_mistake(
    sweep: SweepDir, matrix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit, resume = ["submit", str(matrix), "--executor", "local"], ["resume", "--workers", "1"]
    chosen = ["--only", "model == sresnet_small"]
    for words, said in (
        ([*submit, "--dry-run", *chosen], "1 run: start 1 "),
        ([*submit, "--dry-run", *chosen], "  1 more in the matrix, which --only leaves"),
        ([*resume, "--dry-run", *chosen], "1 run: start 1 "),
        (["status", *chosen], "tiny: planned 1\n"),
        (["cancel", "tiny", *chosen], "cancelled 1 run"),
        (["list"], "cancelled 1, planned 1"),
        (["list", "--json"], '"runs": 2'),
        (["list", "--json", *chosen], '"runs": 1,'),
    ):
        app(words, standalone_mode=False)
        assert said in capsys.readouterr().out
    for words in (submit, resume, ["status"], ["cancel", "tiny"], ["list"], ["logs"]):
        with pytest.raises(InputError, match=r"^--only 'seed > 1': it selects no run: seed is 0$"):
            app([*words, "--only", "seed > 1"], standalone_mode=False)


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--watch", "--json"],
        ["logs", "--failed", "--follow"],
        ["logs", "--failed", "--attempts"],
        ["logs", "tiny", "--attempts", "--tail", "3"],
        ["doctor", "--rehearse", "--json"],
        ["doctor", "--wait", "2h"],
        ["doctor", "--keep"],
    ],
    ids=" ".join,
)
def test_an_option_that_would_do_nothing_is_a_mistake(words: list[str], sweep: SweepDir) -> None:
    with pytest.raises(InputError, match=r"--\w+ .*--\w+"):
        app(words, standalone_mode=False)


# ---- the main path


def test_submitting_trains_and_submitting_again_does_nothing(matrix: Path) -> None:
    first = launcher("submit", matrix, "--workers", "2").stdout
    assert "2 runs: start 2" in first
    assert "tiny: finished 2" in first
    second = launcher("submit", matrix).stdout
    assert "2 runs: leave 2" in second
    assert "started" not in second
    assert len(SweepDir("runs/tiny").submissions()) == 1


def test_a_dry_run_shows_the_plan_and_writes_nothing(matrix: Path) -> None:
    said = launcher("submit", matrix, "--dry-run", "--set", "seeds=30").stdout
    assert "60 runs: start 60" in said
    assert said.count("not started yet") == 20
    assert "and 40 more; --all lists them" in said
    said = launcher("submit", matrix, "--dry-run", "--set", "seeds=30", "--all").stdout
    assert said.count("not started yet") == 60
    assert not Path("runs").exists()


def test_runs_on_several_gpus_are_shown_with_what_they_take_and_checked_first(matrix: Path) -> None:
    profile = "{executor: slurm, time: 2h, gres: gpu:v100:1, gpus_per_node: 4}"
    Path("cluster.yaml").write_text(f"default: v100\nprofiles: {{v100: {profile}}}\n")
    slurm = ["submit", matrix, "--executor", "slurm"]
    shown = launcher(*slurm, "--dry-run", "--set", "gpus=[1,2,8]").stdout
    assert shown.count("not started yet\n") == 2
    assert shown.count("not started yet, on 1 node x 2 GPUs\n") == 2
    assert shown.count("not started yet, on 2 nodes x 4 GPUs\n") == 2
    shown = launcher("submit", matrix, "--dry-run", "--set", "gpus=2").stdout
    assert shown.count("not started yet, in 2 processes\n") == 2
    for words, wrong in [
        ([*slurm, "--set", "gpus=6"], "gpus 6 do not fill nodes with gpus_per_node 4"),
        ([*slurm, "--set", "gpus=6", "--dry-run"], "gpus 6 do not fill"),
        (["submit", matrix, "--set", "gpus=2", "--workers", "1"], "give --workers 2 or more"),
    ]:
        assert wrong in launcher(*words, status=2).stderr
    assert not Path("runs").exists()


def test_a_run_that_would_fail_again_is_left_until_it_is_asked_for(matrix: Path) -> None:
    data = ["--set", "train_images=1000", "--set", "model=resnet_small"]
    failed = launcher("submit", matrix, *data, status=1)
    assert "input_error: train_images: 1000, but synthetic has 512" in failed.stdout
    assert "error: not all runs of tiny finished: `launcher logs ID` says why" in failed.stderr
    for command in (["submit", matrix, *data], ["resume", "tiny"]):
        left = launcher(*command, "--dry-run").stdout
        assert "1 run: leave 1" in left
        assert "but synthetic has 512" in left
        assert "; left without --failed" in left
        assert "retry 1" in launcher(*command, "--failed", "--dry-run").stdout


def test_missing_data_is_told_once_before_any_run_starts(matrix: Path) -> None:
    said = launcher("submit", matrix, "--set", "dataset=cifar10", status=2)
    assert said.stderr.count("the files of cifar10 are not in") == 1
    assert SweepDir("runs/tiny").submissions() == {}
    said = launcher("submit", matrix, "--set", "init_from=no.pt", status=2)
    assert said.stderr.count("init_from: there is no file of weights") == 1


def test_a_failure_in_one_sweep_does_not_keep_the_next_from_going_on(matrix: Path) -> None:
    launcher("submit", matrix, "--set", "train_images=1000", "--set", "name=a", status=1)
    launcher("submit", matrix, "--set", "name=b", "--workers", "2")
    launcher("submit", matrix, "--set", "name=b", "--set", "seeds=2", "--dry-run")
    for run in SweepDir("runs/b").runs():
        (run.path / "result.json").unlink()
    failed = launcher("resume", "--failed", "--workers", "2", status=1)
    assert "b: finished 2" in failed.stdout
    assert "error: a: not all runs of a finished" in failed.stderr
    assert failed.stderr.endswith("error: 1 of 2 sweeps failed: a\n")


def test_resume_leaves_runs_that_were_started_by_hand_unless_they_are_named(matrix: Path) -> None:
    config = RunConfig(model="resnet_small", dataset="synthetic")
    SweepDir("runs/foreground").run(config.run_id).write_config(config)
    launcher("resume", status=2)
    assert "start 1" in launcher("resume", "foreground", "--dry-run").stdout


def test_a_sweep_of_imported_runs_is_listed_and_otherwise_left_alone(matrix: Path) -> None:
    imported = Imported(
        format="tsv", files=[], model="x", seed=None, options={}, notes=[], imported_unix_s=1.0
    )
    SweepDir("runs/others").run("plain").write_imported(imported, [])
    assert "imported 1" in launcher("list").stdout
    for command in ("status", "resume", "cancel"):
        said = launcher(command, "others", status=2).stderr
        assert "`analysis table others` compares them" in said
    assert "there is no sweep in runs" in launcher("status", status=2).stderr


def test_resume_takes_as_many_workers_as_were_asked_for_at_submission(matrix: Path) -> None:
    launcher("submit", matrix, "--workers", "2")
    for run in SweepDir("runs/tiny").runs():
        (run.path / "result.json").unlink()
    launcher("resume")
    records = SweepDir("runs/tiny").submissions().values()
    assert [record["workers"] for record in records] == [2, 2]


def test_cells_no_longer_named_are_left_alone_and_shown_as_such(matrix: Path) -> None:
    launcher("submit", matrix, "--workers", "2")
    said = launcher("submit", matrix, "--set", "model=resnet_small").stdout
    assert "1 run of this sweep is no longer in the matrix and is left alone" in said
    assert "(no longer in the matrix) sresnet_small" in launcher("status").stdout


# ---- stopping and going on


def test_ctrl_c_in_a_terminal_saves_and_resume_goes_on(endless: Endless) -> None:
    """A terminal sends Ctrl-C to every process of the group, not to the launcher alone."""
    process, run = endless
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    said = OUTPUT.read_text()
    assert "stopping: the runs save first" in said
    assert "`launcher resume tiny` goes on from here" in said
    attempt = run.attempts()[0]
    assert (attempt["cause"], attempt["message"].split()[0]) == ("stopped", "SIGTERM")
    plan = launcher("resume", "--dry-run").stdout
    assert "continue" in plan
    assert "start" in plan


def test_a_closed_terminal_stops_gracefully_too(endless: Endless) -> None:
    process, run = endless
    os.killpg(process.pid, signal.SIGHUP)
    process.wait(timeout=60)
    assert run.attempts()[0]["cause"] == "stopped"


def test_after_the_launcher_was_killed_its_runs_go_on_and_status_says_so(endless: Endless) -> None:
    process, run = endless
    process.kill()
    process.wait()
    rows = {row["run_id"]: row for row in json.loads(launcher("status", "--json").stdout)}
    assert rows.pop(run.run_id)["state"] == "running"
    assert [row["state"] for row in rows.values()] == ["planned"]
    assert "leave     resnet_small s0" in launcher("resume", "--dry-run").stdout
    launcher("cancel", "tiny")
    assert run.attempts()[0]["cause"] == "stopped"


def test_what_was_cancelled_stays_cancelled_until_asked_for(matrix: Path, endless: Endless) -> None:
    process, run = endless
    said = launcher("cancel", "tiny").stdout
    assert "tiny: cancelled 2 runs, 1 of them running" in said
    process.wait(timeout=60)
    assert run.attempts()[0]["cause"] == "stopped"
    assert "tiny: cancelled 2" in launcher("status").stdout
    assert "leave 2" in launcher("resume", "tiny").stdout
    assert "leave 2" in launcher("submit", matrix, "--set", "epochs=100000").stdout
    assert "continue 2" in launcher("resume", "tiny", "--cancelled", "--dry-run").stdout
    assert "tiny: cancelled 2" in launcher("status").stdout
    assert "tiny: cancelled 0 runs" in launcher("cancel", "tiny").stdout


def test_resume_trains_what_is_planned(sweep: SweepDir) -> None:
    said = launcher("resume", "--runs", sweep.path.parent, "--workers", "2").stdout
    assert "tiny: finished 2" in said


def test_a_run_released_from_its_cancellation_is_trained(sweep: SweepDir) -> None:
    launcher("cancel", "tiny")
    said = launcher("resume", "--cancelled", "--workers", "2").stdout
    assert "tiny: finished 2" in said


# ---- looking


def test_watching_ends_when_nothing_moves(sweep: SweepDir) -> None:
    assert "tiny: planned 2" in launcher("status", "tiny", "--watch").stdout


def test_the_log_of_an_attempt_is_printed_and_followed(sweep: SweepDir) -> None:
    launcher("resume", "--workers", "2")
    run_id = sweep.named_runs()[1]
    said = launcher("logs", run_id).stdout
    assert "epoch 2/2" in said
    assert launcher("logs", run_id, "--attempt", "1").stdout == said
    assert launcher("logs", f"tiny/{run_id[:12]}", "--follow").stdout == said
    assert launcher("logs", run_id[-8:]).stdout == said


# ---- bad input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submit", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["status", "nosuch"], "'nosuch' is not a known sweep. Valid: tiny (looked in runs)"),
        (["cancel", "tyny"], "'tyny' is not a known sweep; did you mean 'tiny'?"),
        (["resume", "nosuch"], "'nosuch' is not a known sweep"),
        (["status", "--runs", "empty"], "there is no sweep in empty; submit a matrix first"),
        (["logs", "nosuch"], "no run in runs is called 'nosuch'; `launcher status` lists them"),
        (["logs", "small"], "'small' is a part of several runs' names; say which:"),
        (["logs", "tiny/sresnet"], "has said nothing yet: it has not been started"),
        (["submit", "tiny.yaml", "--set", "epoch=2"], "did you mean 'epochs'?"),
        (["submit", "tiny.yaml", "--profile", "nosuch"], "'nosuch' is not a known local profile"),
        (["submit", "tiny.yaml", "--cluster", "nosuch.yaml"], "nosuch.yaml: No such file"),
        (["submit", "tiny.yaml", "--workers", "0"], "--workers"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(
    words: list[str], message: str, sweep: SweepDir
) -> None:
    done = launcher(*words, status=2)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_bad_matrix_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "base:\n  dataset: digits\naxes:\n  model:\n    - resnet_small\n    - resnt50\n"
    )
    said = launcher("submit", path, status=2).stderr
    assert f"{path}:6: " in said
    assert "did you mean 'resnet50'?" in said


def test_a_runs_folder_that_cannot_be_written_is_a_failure(matrix: Path) -> None:
    Path("file").write_text("")
    done = launcher("submit", matrix, "--runs", "file/runs", status=1)
    assert "error: " in done.stderr
    assert "file/runs" in done.stderr


def test_a_run_that_someone_edited_is_refused_and_nothing_is_lost(
    sweep: SweepDir, matrix: Path
) -> None:
    launcher("resume", "--workers", "2")
    run = sweep.runs()[0]
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 9'))
    for words in (["submit", str(matrix)], ["resume"]):
        done = launcher(*words, status=2)
        assert f"{path.relative_to(Path.cwd())}: its configuration was edited" in done.stderr
    assert run.read_result() is not None
    assert "failed 1, finished 1" in launcher("status").stdout
