"""A database's address: URLs as people write them, and as they may be shown."""

import re
from pathlib import Path
from urllib.parse import unquote

import sqlalchemy as sa

from hpo.errors import PasswordError, StorageError
from hpo.password import read_password

PASSWORD_FILE = "password_file"  # of the URL's query, read here: libpq would refuse it


def default_url(runs_dir: Path) -> str:
    """Return the URL of the SQLite file under a runs folder."""
    return f"sqlite:///{runs_dir / 'hpo.db'}"


def parse_url(text: str) -> sa.URL:
    """Read a database URL as people write it.

    postgres:// and postgresql:// mean psycopg2 (SQLAlchemy 2.1 would load psycopg 3). A password may hold any
    characters, percent-encoded or not: it ends at the last @. With ?password_file=FILE it is that file's first line.

    Raises:
        StorageError: It is no URL, or of a database that hpo does not support.
        PasswordError: Its password file cannot be read.
    """
    # A file's path may hold an @; what comes before a server's @ is user and password.
    login = "()()" if text.startswith("sqlite") else "(?:([^:@/]*)(?::(.*))?@)?"
    rest = ".*" if text.startswith("sqlite") else "[^@]*"
    match = re.fullmatch(rf"([A-Za-z0-9+]+)://{login}({rest})", text, re.DOTALL)
    hint = "Write sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
    if match is None:
        raise StorageError("The storage is not a database URL.", hint)
    scheme, user, password, rest = match.groups()
    try:
        url = sa.make_url(f"{scheme}://{rest}")
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StorageError(f"The storage is not a database URL: {scheme}://... cannot be read.", hint) from error
    if user:
        url = url.set(username=unquote(user), password=None if password is None else unquote(password))
    backend = scheme.partition("+")[0]
    if backend == "sqlite":
        _check_sqlite(url, hint)
        return url
    if backend not in ("postgres", "postgresql"):
        raise StorageError(f"hpo stores studies in SQLite or PostgreSQL, not in {backend}.", hint)
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise StorageError(f"hpo reaches PostgreSQL through psycopg2, not through {scheme}.", hint)
    return _with_password(url.set(drivername="postgresql+psycopg2"))


def public_url(url: sa.URL) -> str:
    """Return a URL that Optuna opens (a SQLite path made absolute), without its password."""
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(Path(str(url.database)).absolute()))
    query = {name: value for name, value in url.query.items() if not is_secret(name)}
    bare = sa.URL.create(  # url.set(password=None) would keep it
        url.drivername, username=url.username, host=url.host, port=url.port, database=url.database, query=query
    )
    return bare.render_as_string()


def is_secret(name: str) -> bool:
    """Whether a parameter of a URL's query holds a password, or where one is: libpq knows several."""
    return "pass" in name


def _check_sqlite(url: sa.URL, hint: str) -> None:
    if PASSWORD_FILE in url.query:
        raise StorageError("A SQLite file has no password.", hint)
    if not url.database or url.database == ":memory:":
        raise StorageError("A SQLite storage needs a file: workers are processes and cannot share memory.", hint)


def _with_password(url: sa.URL) -> sa.URL:
    path = url.query.get(PASSWORD_FILE)
    if path is None:
        return url
    if url.password is not None:
        raise StorageError("The database URL has a password and a password_file.", "Leave one of them out.")
    try:
        password = read_password(Path(str(path)))
    except PasswordError as error:
        raise PasswordError(error.message, "It must hold the password of the database's user.") from error
    return url.difference_update_query([PASSWORD_FILE]).set(password=password)
