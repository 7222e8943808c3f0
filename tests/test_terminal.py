"""What others wrote can neither command a terminal nor run in a spreadsheet."""

import io

import pytest

from hpo.command import plain_app, run_command
from hpo.errors import StorageError
from hpo.terminal import plain, plain_cell, plain_lines


@pytest.mark.parametrize("text", ["", "adam", "lr = 1e-3 [relu] 'x' \\n", "größer als π", "日本語", "👍"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == plain_lines(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("\x1b]52;c;cm0gLXJm\x07", r"\x1b]52;c;cm0gLXJm\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\tc\x7fd\x00", r"a\rb\tc\x7fd\x00"),
        ("one\ntwo", r"one\ntwo"),
        ("one\u2028two\u2029\x85", r"one\u2028two\u2029\x85"),
        ("\u202egpj.exe\u2066\u200b\ufeff", r"\u202egpj.exe\u2066\u200b\ufeff"),
        ("\ud800é", r"\ud800é"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_commands_a_terminal_or_hides_is_shown(text: str, shown: str) -> None:
    assert plain(text) == shown
    plain(text).encode()


def test_lines_stay_lines_and_nothing_else_breaks_them() -> None:
    assert (
        plain_lines("ValueError: no\x1b[2J\n  file.py, line 3\r\n") == "ValueError: no\\x1b[2J\n  file.py, line 3\\r\n"
    )


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\t=1+1", r"\t=1+1"),
        ("\r=1", r"\r=1"),
        ("one\n=two", r"one\n=two"),
        ("-1e-05", "-1e-05"),
        ("+3", "+3"),
        ("adam", "adam"),
        (-3, -3),
        (-0.5, -0.5),
        (None, None),
        (True, True),
    ],
)
def test_formulas_are_text_and_numbers_stay_numbers(value: object, cell: object) -> None:
    assert plain_cell(value) == cell


def test_every_command_s_error_is_plain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["hpo"])
    app = plain_app()

    @app.command()
    def fail() -> None:
        raise StorageError("gone:\x1b[2J\nfile.py, line 3", "say \u202eno")

    with pytest.raises(SystemExit) as ended:
        run_command(app)
    assert ended.value.code == 5
    assert capsys.readouterr().err == "error: gone:\\x1b[2J\nfile.py, line 3\n       say \\u202eno\n"


def test_name_that_the_terminal_s_encoding_lacks_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    app = plain_app()
    app.command()(lambda: print("größe"))
    monkeypatch.setattr("sys.argv", ["hpo"])
    monkeypatch.setattr("sys.stdout", stream)
    with pytest.raises(SystemExit):
        run_command(app)
    stream.flush()
    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfe\n"
