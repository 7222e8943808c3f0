"""A database's address: its URL, read once as people write it, and as it may be shown.

What is wrong with one is said without a value out of it: any of them may be a password that was typed in a wrong place.
"""

import difflib
import os
import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import sqlalchemy as sa

from hpo.errors import PasswordError, StorageError
from hpo.password import read_password

HINT = "Write sqlite:///FILE or postgresql://USER@HOST:PORT/DATABASE?password_file=FILE."
OPTIONS_HINT = "After the ? come password_file=FILE and libpq's parameters: NAME=VALUE&NAME=VALUE."
PASSWORD_FILE = "password_file"  # read here: libpq would refuse it
SECRET = {PASSWORD_FILE, "password", "passfile", "sslpassword"}
LIBPQ = """
application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssdelegation
gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
load_balance_hosts options port require_auth requirepeer service sslcert sslcertmode sslcrl sslcrldir sslkey
sslmode sslnegotiation sslrootcert sslsni ssl_max_protocol_version ssl_min_protocol_version target_session_attrs
tcp_user_timeout user
"""
KNOWN = SECRET | set(LIBPQ.split())
REPEATED = {"host", "port"}  # SQLAlchemy's way to name several servers
PLAIN_VALUE = re.compile(r"[\w./,:-]*")  # where a & was mistyped, a value holds the password that follows


@dataclass(frozen=True, repr=False)
class DatabaseAddress:
    """Where a database is. Its str and repr show nothing that may be secret.

    Attributes:
        url: SQLAlchemy's, with the password.
        typed: As it was written; it may hold a password.
    """

    url: sa.URL
    typed: str

    def __str__(self) -> str:
        return sa.make_url(self.public).set(drivername=self.url.get_backend_name()).render_as_string()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.public!r})"

    @property
    def public(self) -> str:
        """The URL as Optuna opens it (a SQLite path made absolute), without what may be secret."""
        path = self.sqlite_path
        return _public(self.url if path is None else self.url.set(database=str(path.absolute())))

    @property
    def sqlite_path(self) -> Path | None:
        """The SQLite file; None where it is no SQLite database."""
        return Path(str(self.url.database)) if self.url.get_backend_name() == "sqlite" else None

    @property
    def has_password(self) -> bool:
        """Whether the URL, as it was typed, holds a password itself."""
        is_inside = re.match(r"\w+(\+\w+)?://[^:@/]*:.*@", self.typed, re.DOTALL) is not None
        return is_inside or "password" in _options(self.typed)

    @property
    def is_typable(self) -> bool:
        """Whether typable says all that was typed, and nothing that is secret."""
        rest = ((name, value) for name, value in _options(self.typed).items() if name != PASSWORD_FILE)
        return not self.has_password and not any(_is_secret(name, value) for name, value in rest)

    def with_password_file(self, path: str) -> str:
        """Return the URL to type where the password is in another file, in a container say."""
        return sa.make_url(str(self)).update_query_dict({PASSWORD_FILE: path}).render_as_string().replace("%2F", "/")

    @property
    def typable(self) -> str:
        """The URL to type in another command: as it is shown, with its password file.

        In place of a password stands PASSWORD.
        """
        path, public = _options(self.typed).get(PASSWORD_FILE), sa.make_url(str(self))
        if path is not None:
            return public.update_query_dict({PASSWORD_FILE: str(Path(path).absolute())}).render_as_string()
        if self.has_password:
            return public.set(password="PASSWORD").render_as_string(hide_password=False)
        return str(self)

    def is_default(self, runs_dir: Path) -> bool:
        """Whether commands find it without being told."""
        return self.typed == _default(runs_dir)

    def as_options(self, runs_dir: Path) -> str:
        """Return the options by which another command finds it, with a space before; never a password."""
        if self.is_default(runs_dir):
            return "" if runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(runs_dir))}"
        if self.has_password and os.environ.get("HPO_STORAGE") == self.typed:
            return ""  # the next command reads it there too
        return f" --storage {shlex.quote(self.typable)}"

    def without_secrets(self, text: str) -> str:
        """Strike out of a driver's or server's message, in one line, what of the URL may be secret."""
        hidden = (str(value) for name, value in self.url.query.items() if _is_secret(name, value))
        text = " ".join(text.split())
        for secret in filter(None, [self.url.password, *hidden]):
            text = text.replace(" ".join(str(secret).split()) or str(secret), "***")
        return text


def address_of(storage: str | None, runs_dir: Path) -> DatabaseAddress:
    """Return the address that a command was given, or that of the SQLite file under its runs folder.

    Raises:
        HpoError: As parse_address does.
    """
    return parse_address(storage or _default(runs_dir))


def _default(runs_dir: Path) -> str:
    return f"sqlite:///{runs_dir / 'hpo.db'}"


def parse_address(text: str) -> DatabaseAddress:
    """Read a database URL as people write it.

    postgres:// and postgresql:// mean psycopg2 (SQLAlchemy 2.1 would load psycopg 3). A password may hold any
    characters, percent-encoded or not: it ends at the last @. With ?password_file=FILE it is that file's first line.

    Raises:
        StorageError: It is no URL, or of a database that hpo does not support.
        PasswordError: Its password file cannot be read, or holds what no password can.
    """
    # A file's path may hold an @; what comes before a server's @ is user and password.
    login = "()()" if text.startswith("sqlite") else "(?:([^:@/]*)(?::(.*))?@)?"
    rest = ".*" if text.startswith("sqlite") else "[^@]*"
    match = re.fullmatch(rf"([A-Za-z0-9+]+)://{login}({rest})", text, re.DOTALL)
    if match is None:
        raise StorageError("The storage is not a database URL.", HINT)
    scheme, user, password, rest = match.groups()
    backend = scheme.partition("+")[0]
    if backend not in ("sqlite", "postgres", "postgresql"):
        raise StorageError(f"hpo stores studies in SQLite or PostgreSQL, not in {backend}.", HINT)
    if backend != "sqlite" and scheme not in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise StorageError(f"hpo reaches PostgreSQL through psycopg2, not through {scheme}.", HINT)
    _check_characters(text, is_encoded=backend != "sqlite")
    _check_options(rest.partition("?")[2], backend, password or "")
    try:
        url = sa.make_url(f"{scheme}://{rest}")
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StorageError(f"The storage is not a database URL: {scheme}://... cannot be read.", HINT) from error
    if user:
        url = url.set(username=unquote(user), password=None if password is None else unquote(password))
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StorageError("A SQLite storage needs a file: workers are processes and cannot share memory.", HINT)
        return DatabaseAddress(url, text)
    return DatabaseAddress(_with_password(url.set(drivername="postgresql+psycopg2")), text)


def _public(url: sa.URL) -> str:
    query = {name: value for name, value in url.query.items() if not _is_secret(name, value)}
    bare = sa.URL.create(  # url.set(password=None) would keep it
        url.drivername, username=url.username, host=url.host, port=url.port, database=url.database, query=query
    )
    return bare.render_as_string()


def _options(text: str) -> dict[str, str]:
    return dict(parse_qsl(text.rpartition("@")[2].partition("?")[2]))


def _is_secret(name: str, value: str | tuple[str, ...]) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return name in SECRET or not all(PLAIN_VALUE.fullmatch(one) for one in values)


def _check_characters(text: str, *, is_encoded: bool) -> None:
    """Refuse what neither a server nor a terminal takes: %00 would be cut, or end in psycopg2 with a traceback."""
    try:
        decoded = unquote(text, errors="strict") if is_encoded else text
    except UnicodeDecodeError as error:
        raise StorageError("A %xx in the database URL is not UTF-8.", "Write % itself as %25.") from error
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in decoded):
        what = "a control character, or one that is no text"
        raise StorageError(f"The database URL holds {what}.", "As %xx it is one too: write % itself as %25.")


def _check_options(query: str, backend: str, password: str) -> None:
    if any(name in KNOWN for name in re.findall(r"[?&](\w+)=", password)):
        raise StorageError("An @ after the ? of a database URL would end the password.", "Write it as %40.")
    if query and backend == "sqlite":
        raise StorageError("A SQLite file takes no options, no password either, and a ? in its path is one.", HINT)
    seen: set[str] = set()
    for number, (name, value) in enumerate(parse_qsl(query, keep_blank_values=True), 1):
        if name not in KNOWN:
            near = difflib.get_close_matches(name, sorted(KNOWN), 1)
            meant = f" Is {near[0]} meant?" if near else ""
            raise StorageError(f"Option {number} of the database URL is none that is known.{meant}", OPTIONS_HINT)
        if not value:
            raise StorageError(f"The database URL's option {name} has no value.", OPTIONS_HINT)
        if name in seen - REPEATED:
            raise StorageError(f"The database URL has the option {name} twice.", OPTIONS_HINT)
        seen.add(name)


def _with_password(url: sa.URL) -> sa.URL:
    path = url.query.get(PASSWORD_FILE)
    if path is None:
        return url
    if url.password is not None or "password" in url.query:
        raise StorageError("The database URL has a password and a password_file.", "Leave one of them out.")
    hint = "It must hold the password of the database's user."
    try:
        password = read_password(Path(str(path)))
    except PasswordError as error:
        raise PasswordError(error.message, hint) from error
    if "\0" in password:
        raise PasswordError(f"The password file {path} holds a zero byte.", hint)
    return url.difference_update_query([PASSWORD_FILE]).set(password=password)
