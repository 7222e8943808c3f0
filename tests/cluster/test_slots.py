"""What no slot could be filled with is refused before an engine is asked, in one message."""

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer
from postgres import Postgres
from tiny_study import TINY
from toy import ToyStudy
from typer.testing import CliRunner

from hpo.__main__ import app
from hpo.cluster.driver import fill
from hpo.cluster.seen import look
from hpo.cluster.slots import NOT_FOR_SLOTS, NOT_READ, check_more, check_sessions
from hpo.database import connections, count_sessions
from hpo.database.address import parse_address
from hpo.errors import HpoError, OptionError, StudyMismatchError
from hpo.run import app as run_app

SLURM = ["cluster", "slurm", "--study", "tiny", "--time", "1:00:00", "--workers"]
KUBERNETES = ["cluster", "kubernetes", "--study", "tiny", "--image", "hpo", "--workers"]
NOWHERE = "postgresql://hpo@127.0.0.1:9/hpo"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "tiny.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*SLURM, "2"], "SQLite is a file"),
        ([*KUBERNETES, "1"], "SQLite database is"),
        ([*SLURM, "2", "--storage", "postgresql://me:hunter2@db/hpo"], "holds a secret"),
        ([*SLURM, "2", "--storage", "postgresql://me@db/hpo?sslpassword=hunter2"], "holds a secret"),
        ([*KUBERNETES, "2", "--storage", "postgresql://me@db/hpo?password=hunter2"], "holds a secret"),
        ([*SLURM, "1", "--", "--new-generation"], "--new-generation is not for workers"),
        ([*SLURM, "1", "--", "--timeout=10m"], "--timeout is not for workers"),
        ([*SLURM, "1", "--", "--workers", "4"], "Give --workers before the --"),
        ([*SLURM, "1", "--sbatch", "account=me"], "no option of sbatch"),
        (["cluster", "slurm", "--study", "absent", "--time", "1:00:00", "--workers", "1"], "no study named"),
    ],
)
def test_a_mistake_is_one_message(words: list[str], said: str, folder: Path) -> None:
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, HpoError)
    assert said in f"{done.exception.message} {done.exception.hint}"
    assert "hunter2" not in f"{done.exception.message} {done.exception.hint}"
    assert not done.stdout


def test_further_options_are_read_as_hpo_run_reads_them(folder: Path) -> None:
    done = CliRunner().invoke(app, [*SLURM, "1", "--", "--trails", "7"])
    assert done.exit_code == 2
    check_more(["--trials", "7", "--target=0.9"])


def test_no_slot_obeys_a_variable_that_it_would_refuse_as_an_option(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    variables = {max(one.opts, key=len): one.envvar for one in typer.main.get_command(run_app).params}
    assert {variables[option] for option in NOT_FOR_SLOTS} == set(NOT_READ)
    for name in NOT_READ:
        monkeypatch.setenv(name, "1")
    done = CliRunner().invoke(app, [*SLURM, "1", "--storage", NOWHERE])
    assert done.stderr.startswith(
        "note: HPO_TIMEOUT, HPO_NEW_GENERATION, HPO_FINISH, HPO_WHEN_DONE, HPO_JSON, HPO_LIST of"
    )
    lines = done.stdout.splitlines()
    begun = next(number for number, line in enumerate(lines) if line.startswith("unset "))
    for name in NOT_READ:
        monkeypatch.setenv(name, "1")
    shell = subprocess.run(["bash", "-c", f"{lines[begun]}\nenv"], capture_output=True, text=True, check=True)
    assert not [line for line in shell.stdout.splitlines() if line.partition("=")[0] in NOT_READ]
    assert lines[begun + 1].endswith(" &"), "and then the worker is started"
    monkeypatch.setattr("sys.executable", "/bin/false")
    given: list[dict[str, str]] = []
    monkeypatch.setattr("hpo.cluster.driver.subprocess.Popen", lambda *_, env, **__: given.append(env) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fill(["--study", "tiny"], NOWHERE)
    assert not set(given[0]) & set(NOT_READ)


def test_slots_run_the_stored_file_only_where_that_is_typed(folder: Path) -> None:
    words = [*SLURM, "1", "--storage", NOWHERE]
    assert "--trust-stored-file" not in CliRunner().invoke(app, words).stdout
    assert " --trust-stored-file " in CliRunner().invoke(app, [*words, "--", "--trust-stored-file"]).stdout


def test_a_database_that_is_not_seen_from_here_is_a_note(folder: Path) -> None:
    done = CliRunner().invoke(app, [*SLURM, "8", "--storage", NOWHERE])
    assert done.exit_code == 0
    assert done.stderr.count("\n") == 1
    assert "Workers may well reach it where they run." in done.stderr
    assert done.stdout.startswith("#!/bin/bash\n# 8 worker slots for 'tiny'")


def test_more_workers_than_the_database_has_sessions_are_refused() -> None:
    check_sessions(97, 32)
    check_sessions(None, 1000)
    with pytest.raises(OptionError, match="64 workers open up to 192 connections, and the database grants 97") as told:
        check_sessions(97, 64)
    assert "--workers 32" in told.value.hint


def test_the_study_s_threads_are_taken_and_others_refused(
    new_study: Callable[..., ToyStudy], database_url: str
) -> None:
    new_study(facts={"n_threads": 3})
    address = parse_address(database_url)
    assert look(address, "toy", None).n_threads == 3
    assert look(address, "other", None).n_threads is None
    with pytest.raises(StudyMismatchError, match="trains with 3 threads"):
        look(address, "toy", 2)


def test_a_database_without_tables_yet_is_no_problem(postgres: Postgres) -> None:
    seen = look(parse_address(postgres.new_database()), "toy", None)
    assert (seen.problem, seen.n_threads) == (None, None)
    assert seen.n_sessions


def test_sessions_are_as_many_as_the_least_limit_grants(postgres: Postgres) -> None:
    url = sa.make_url(postgres.new_database())
    most = count_sessions(url)
    assert most is not None
    assert 10 < most < 1000
    postgres.execute(f'ALTER DATABASE "{url.database}" CONNECTION LIMIT 7')
    assert count_sessions(url) == 7
    assert count_sessions(sa.make_url("sqlite:///x.db")) is None


def test_a_pooler_that_shares_sessions_is_known_by_it(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for PgBouncer: whoever asks gets the one session that there is."""
    url = sa.make_url(postgres.new_database())
    engine = sa.create_engine(url)
    with engine.connect() as shared:
        monkeypatch.setattr(connections, "single_connection", lambda url: contextlib.nullcontext(shared))
        assert count_sessions(url) is None
    engine.dispose()
