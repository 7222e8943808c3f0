"""What is typed wrongly is told as every other error is: one line, one hint, exit code 2, in nobody else's words."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from hpo.__main__ import app
from hpo.command import run_command


def told(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["hpo", *words])
    with pytest.raises(SystemExit) as caught:
        run_command(app, name="hpo")
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "variables", "lines"),
    [
        (["run", "--trials", "0"], {}, ["--trials: '0' is not a whole number from 1 to 1000000."]),
        (["run", "--trials=1.5"], {}, ["--trials: '1.5' is not a whole number from 1 to 1000000."]),
        (["run", "--seed", "9" * 30], {}, [f"--seed: '{'9' * 30}' is not a whole number of at most 64 bits."]),
        (["run"], {"HPO_TRIALS": "ten"}, ["HPO_TRIALS: 'ten' is not a whole number from 1 to 1000000."]),
        (["run", "--trials", "0"], {"HPO_TRIALS": "3"}, ["--trials: '0' is not a whole number from 1 to 1000000."]),
        (["run"], {"HPO_JSON": "perhaps"}, ["HPO_JSON: write 1 or 0."]),
        (["run", "--timeout", "3x"], {}, ["--timeout: '3x' is not a duration; write 90s, 10m, 2h or 1h30m."]),
        (["dashboard", "--port", "99999"], {}, ["--port: '99999' is not a whole number from 0 to 65535."]),
        (["run"], {}, ["No study is named.", "Name one with --study NAME; --list shows them."]),
        (["study", "pause"], {}, ["--study is missing.", "hpo study pause --help shows what there is."]),
        (["study", "add", "--study", "x"], {}, ["PARAMETERS is missing.", "hpo study add --help shows what there is."]),
        (["run", "--trils", "3"], {}, [
            "There is no option --trils. Did you mean --list or --threads or --trials?",
            "hpo run --help shows what there is.",
        ]),
        (["rnu"], {}, ["No such command 'rnu'. Did you mean 'run'?", "hpo --help shows what there is."]),
        (["run", "--study"], {}, ["Option '--study' requires an argument."]),
    ],
)  # fmt: skip
def test_wrong_words_are_told_in_one_style(
    words: list[str],
    variables: dict[str, str],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("HPO_STUDY", "HPO_TRIALS", "HPO_JSON"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    err = told(*words, monkeypatch=monkeypatch, capsys=capsys)
    assert err.splitlines() == [f"error: {lines[0]}", *(f"       {line}" for line in lines[1:])]


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield words
    for name, one in inner.items():
        yield from leaves(one, (*words, name))


@pytest.mark.parametrize("words", list(leaves(typer.main.get_command(app))), ids=" ".join)
def test_help_names_what_follows_an_option_in_the_words_of_the_reference(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hpo", *words, "--help"])
    with pytest.raises(SystemExit):
        run_command(app, name="hpo")
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: hpo {' '.join(words)} ")
    assert not re.search(r"<|\d{12}", shown.partition("\nOptions:")[2])


@pytest.mark.parametrize("words", [[], ["study"]])
def test_command_without_words_shows_its_help(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hpo", *words])
    with pytest.raises(SystemExit):
        run_command(app, name="hpo")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).startswith("Usage: hpo ")
    assert "error" not in shown.err


def test_exit_code_of_a_command_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["one"])

    def end(code: int) -> None:
        raise typer.Exit(code)

    for code in (0, 5, 130):
        one = typer.Typer()
        one.command()(lambda code=code: end(code))
        with pytest.raises(SystemExit) as caught:
            run_command(one, name="one")
        assert caught.value.code == code
