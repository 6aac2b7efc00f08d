from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from jobs.errors import ExecutionError, InputError, run_app, run_command


def fail_with(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no such sweep"), 2),
        (ExecutionError("no such sweep"), 1),
        (FileNotFoundError("no such sweep"), 1),
    ],
)
def test_an_error_ends_in_one_line_and_its_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_command(fail_with(error))
    assert end.value.code == status
    assert capsys.readouterr().err == "error: no such sweep\n"


def test_an_interrupt_ends_silently_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_command(fail_with(KeyboardInterrupt()))
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(fail_with(ZeroDivisionError()))


def make_app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def sail(knots: int) -> None:
        if knots > 30:
            raise InputError("too fast")

    return app


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["12"], 0, ""),
        (["--help"], 0, "Usage: boat"),
        (["40"], 2, "error: too fast"),
        ([], 2, "Missing argument"),
        (["--bogus", "12"], 2, "No such option"),
        (["many"], 2, "Invalid value"),
    ],
)
def test_an_app_ends_with_the_status_that_fits(
    arguments: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["boat", *arguments])
    with pytest.raises(SystemExit) as end:
        run_app(make_app(), "boat")
    assert end.value.code == status
    out, err = capsys.readouterr()
    assert said in (err if status else out)
    assert "Traceback" not in err
