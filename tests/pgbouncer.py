"""A real PgBouncer in transaction mode before a test's PostgreSQL. Needs Debian's pgbouncer, or any other."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg2
import sqlalchemy as sa
from toy import wait_for

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER_USER = "pgserver"  # as whom the tests' PostgreSQL runs where they are root's, whom PgBouncer refuses
CONFIGURATION = """\
[databases]
{database} = host={host} port={port} dbname={database} user=postgres
[pgbouncer]
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = {n_sessions}
query_wait_timeout = {wait_seconds}
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
"""


class PgBouncer:
    """A pooler of one database, with so many sessions for all of its clients.

    Args:
        folder: Its own, of a short path: its socket is there.
        url: The database's.
        n_sessions: Of the server.
        wait_seconds: A client that gets none of them for so long is sent away.
    """

    def __init__(self, folder: Path, url: str, *, n_sessions: int, wait_seconds: int = 60) -> None:
        assert PROGRAM is not None
        self._folder, server = folder, sa.make_url(url)
        self._database = server.database
        host, port = server.query.get("host") or server.host, server.query.get("port") or server.port or 5432
        (folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                database=server.database,
                host=host,
                port=port,
                folder=folder,
                n_sessions=n_sessions,
                wait_seconds=wait_seconds,
            )
        )
        folder.chmod(0o777)
        as_user = ["-u", SERVER_USER] if os.getuid() == 0 else []
        self._process = subprocess.Popen([PROGRAM, "-q", *as_user, str(folder / "pgbouncer.ini")])
        wait_for(self._answers)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/{self._database}?host={self._folder}&port=6432"

    @property
    def log(self) -> str:
        return (self._folder / "pgbouncer.log").read_text()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log
        try:
            psycopg2.connect(self.url).close()
        except psycopg2.OperationalError:
            return False
        return True
