from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from jobs.sweep_dir import SweepDir
from launcher.fitting import short_id
from launcher.plan import State
from launcher.run_status import RunStatus
from launcher.status import sweep_status
from launcher.table import SweepTable
from tests.launcher.conftest import add_attempt


def render(runs: list[RunStatus], width: int, limit: int | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(SweepTable("tiny", runs, limit))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def make_run(number: int, state: State, **facts: object) -> RunStatus:
    run = RunStatus(
        f"resnet18-s{number}-{number:012x}", state, label=f"resnet18 lr=0.05 s{number}", epochs=200
    )
    return replace(run, **facts)  # type: ignore[arg-type]


RUNNING = make_run(
    1, State.RUNNING, attempts=4, causes={"preempted": 2, "time_limit": 1}, node="n3",
    gpu="Tesla V100-SXM2-16GB", epoch=150, done=0.75, eta_s=8000.0, test_top1=71.25,
)  # fmt: skip


def test_the_table_shows_a_row_for_each_run_and_why_one_failed(sweep: SweepDir) -> None:
    first, second = sweep.runs()
    add_attempt(first, cause="code_error", message="KeyError: 'x'")
    sweep.add_matrix("changed", [first.run_id])
    table = "\n".join(render(sweep_status(sweep), 120))
    assert table.startswith("tiny: failed 1, planned 1\n")
    assert f"resnet_small s0 ({short_id(first.run_id)}): code_error: KeyError: 'x'" in table
    assert "(no longer in the matrix) sresnet_small s0" in table
    assert short_id(second.run_id) in table
    assert table.endswith("`launcher logs --failed tiny` shows the last words of what failed")


def test_of_a_damaged_run_only_what_is_known_is_shown(sweep: SweepDir) -> None:
    first, second = sweep.runs()
    add_attempt(first)
    (first.path / "attempts" / "1.json").write_text("{")
    (second.path / "config.json").write_text("{")
    rows = render(sweep_status(sweep), 160)[2:4]
    assert rows[0].split() == ["resnet_small", "s0", short_id(first.run_id), "failed", "0/2", "0"]
    assert rows[1].split() == [second.run_id, short_id(second.run_id), "failed", "0"]


def test_a_wide_table_tells_the_causes_and_the_gpu_and_a_narrow_one_what_matters_most() -> None:
    queued = make_run(2, State.QUEUED, expected_start_unix_s=time.time() + 3 * 3600 + 60)
    wide = render([RUNNING, queued], 160)
    for said in ("4 (2 preempted, 1 time limit)", "n3 V100-SXM2-16GB", "━━━━━━", "2.2 h"):
        assert said in wide[2]
    assert ", in 3.0 h" in wide[3]
    assert "n3" in render([RUNNING, queued], 90)[2]
    assert render([RUNNING], 80)[2].split() == [
        *("resnet18", "lr=0.05", "s1", "00000000", "running"),
        *("150/200", "71.25", "2.2", "h", "4"),
    ]


@pytest.mark.parametrize(
    ("attempts", "causes", "said"),
    [
        (1, {"finished": 1}, "1"),
        (1, {"code_error": 1}, "1 (code error)"),
        (2, {"stopped": 2}, "2 (stopped)"),
        (2, {"stopped": 1}, "2 (1 stopped)"),
        (3, {"preempted": 2, "time_limit": 1}, "3 (2 preempted, 1 time limit)"),
    ],
)
def test_the_attempts_are_told_with_how_many_ended_in_which_way(
    attempts: int, causes: dict[str, int], said: str
) -> None:
    run = make_run(1, State.STOPPED, attempts=attempts, causes=causes)
    assert render([run], 160)[2].split("0/200")[1].strip() == said


def test_options_keep_their_names_before_columns_do() -> None:
    long = "resnet50 lr={} weight_decay=0.0005 label_smoothing=0.1 s0"
    runs = [replace(RUNNING, run_id=f"r-{n}", label=long.format(n / 10)) for n in range(2)]
    runs.append(replace(RUNNING, run_id="r-2", label="resnet18 lr=0.1 weight_decay=0.0001 s0"))
    head, first, *_ = render(runs, 80)[1:]
    assert first.startswith("resnet50 lr=0.0 wd=0.0005 smoothing=0.1 ")
    assert head.split() == ["run", "id", "state", "epoch", "top-1", "%", "left"]
    head, first, *_ = render(runs, 70)[1:]
    assert first.startswith("resnet50 lr=0.0 wd=0.0005 smoothing=0.1 ")
    assert head.split() == ["run", "id", "state", "epoch"]
    _, first, *_ = render(runs, 56)[1:]
    assert first.startswith("resnet50 0.0 0.0005 0.1 "), "they cannot be kept"


def test_the_time_that_is_left_has_a_line_of_its_own_where_there_is_no_room() -> None:
    queued = make_run(2, State.QUEUED)
    assert render([RUNNING, queued], 120)[0].startswith("tiny: running 1, queued 1; about")
    head, own = render([RUNNING, queued], 60)[:2]
    assert head == "tiny: running 1, queued 1"
    assert own.startswith("  about ")
    assert own.endswith(" h to go if as many go on at once")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160])
def test_no_row_is_wider_than_the_terminal_and_no_two_look_the_same(width: int) -> None:
    long = "lambda_resnet50 k=16 heads=8 weight_decay=0.0005 attention=spatial_skips_dilation"
    runs = [replace(RUNNING, run_id="r-0", label=f"{long} lr=0.{n} s{n}") for n in range(12)]
    rows = render(runs, width)[2:14]
    assert all(len(row) <= width for row in rows)
    assert len(set(rows)) == 12


def test_a_long_table_shows_what_moves_first_and_counts_the_rest() -> None:
    suspect = make_run(8, State.RUNNING, suspect=True, detail="no sign of life for 12 min")
    runs = [make_run(n, State.FINISHED) for n in range(2000)] + [RUNNING, suspect]
    table = render(runs, 120, limit=2)
    assert table[0].startswith("tiny: running 2, finished 2,000; 1 of them suspect; about 2.2 h")
    assert "running?" in table[2]
    assert "n3" in table[3]
    assert table[-1] == "  and 2,000 more; --all lists them"


def test_what_holds_for_many_runs_is_said_once_also_for_those_that_are_hidden() -> None:
    start = time.time() + 7200
    runs = [
        make_run(n, State.QUEUED, detail="others first", expected_start_unix_s=start + 60 + n)
        for n in range(50)
    ]
    table = render(runs, 120, limit=5)
    said = [line for line in table if "others first" in line]
    assert len(said) == 1
    assert said[0].startswith("  50 queued: others first; SLURM means to start the first ")
    assert said[0].endswith(", in 2.0 h")


def test_in_a_short_table_little_is_said_and_the_rest_is_counted() -> None:
    runs = [make_run(n, State.FAILED, detail=f"code_error: line {n}") for n in range(9)]
    table = render(runs, 120, limit=8)
    assert sum("code_error" in line for line in table) == 4
    assert "  and 4 more to be said; --all says it" in table
    assert sum("code_error" in line for line in render(runs, 120)) == 9
