"""Checkpoints and models in the database, beside their trials: for who is on a machine without the runs folder.

In PostgreSQL only: all processes of one SQLite file share a disk. Everything is written with the ticket's token checked
in the same transaction, so a worker that lost its trial overwrites nothing of its successor's.
"""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hpo.study.schema import files as _files
from hpo.study.tickets import TicketTable

_columns = _files.c
PIECE_BYTES = 2**20  # on its way a row takes ten times its size of memory
WHOLE = -1  # in the place of a trial's number: a file of the study itself


@dataclass(frozen=True, kw_only=True)
class CarriedFile:
    """A file in the database.

    Attributes:
        trial: Its trial's number; WHOLE for the study's own.
        name: As in the trial's folder; of the study's own, as in the study's.
        epoch: Of its content.
        n_bytes: Of its content.
    """

    trial: int
    name: str
    epoch: int
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class CarriedFiles:
    """The files of one study and its trials; methods pass on what SQLAlchemy raises when the database is away.

    Attributes:
        tickets: The study's.
    """

    tickets: TicketTable

    def put(self, token: str, trial: int, name: str, *, epoch: int, content: bytes) -> None:
        """Store a file of the trial whose ticket is held with a token, in place of an older one.

        Raises:
            LeaseLostError: The token is no longer the current one; nothing is stored.
        """
        with self.tickets.engine.begin() as connection:
            self._write(connection, trial, name, epoch=epoch, content=content)
            self.tickets.check(connection, token)  # last: it locks the ticket, which beats meanwhile

    def put_folder(self, folder: str, contents: Mapping[str, bytes]) -> None:
        """Store a folder of the study itself, by its files' names, in place of what was stored of it."""
        is_in = sa.and_(_columns.trial == WHOLE, _columns.name.startswith(f"{folder}/", autoescape=True))
        newest = sa.select(sa.func.max(_columns.epoch)).where(_columns.study == self.tickets.study, is_in)
        with self.tickets.engine.begin() as connection:
            epoch = 1 + (connection.scalar(newest) or 0)  # of all its files: who reads meanwhile mixes none of two
            connection.execute(sa.update(_files).where(self._is_there(), is_in).values(content=None))
            for name in sorted(contents):
                self._write(connection, WHOLE, f"{folder}/{name}", epoch=epoch, content=contents[name])

    def _write(self, connection: sa.Connection, trial: int, name: str, *, epoch: int, content: bytes) -> None:
        whole, row = memoryview(content), {"study": self.tickets.study, "trial": trial, "name": name, "epoch": epoch}
        insert = postgresql.insert(_files)
        changed = {"epoch": insert.excluded.epoch, "content": insert.excluded.content}
        upsert = insert.on_conflict_do_update(index_elements=list(_files.primary_key), set_=changed)
        n_pieces = math.ceil(len(content) / PIECE_BYTES)
        is_left = sa.and_(_columns.trial == trial, _columns.name == name, _columns.piece >= n_pieces)
        for piece in range(n_pieces):
            part = bytes(whole[piece * PIECE_BYTES : (piece + 1) * PIECE_BYTES])
            connection.execute(upsert, {**row, "piece": piece, "content": part})
        connection.execute(sa.update(_files).where(self._is_there(), is_left).values(content=None))

    def find(self, trial: int, name: str) -> CarriedFile | None:
        """Look for a file."""
        return next((one for one in self.listed(trial) if one.name == name), None)

    def listed(self, trial: int | None = None) -> list[CarriedFile]:
        """Return all files, or those of a trial, without their content; what is not whole is left out."""
        query = (
            sa.select(
                _columns.trial,
                _columns.name,
                sa.func.max(_columns.epoch).label("epoch"),
                sa.func.sum(sa.func.octet_length(_columns.content)).label("n_bytes"),
            )
            .where(self._is_there(), sa.true() if trial is None else _columns.trial == trial)
            .group_by(_columns.trial, _columns.name)
            .having(sa.func.count() == sa.func.max(_columns.piece) + 1)
            .having(sa.func.max(_columns.epoch) == sa.func.min(_columns.epoch))
            .order_by(_columns.trial, _columns.name)
        )
        with self.tickets.engine.connect() as connection:
            return [CarriedFile(**row._mapping) for row in connection.execute(query)]

    def read(self, found: CarriedFile) -> bytes | None:
        """Return the content of a file that was found; None where it was dropped or replaced meanwhile."""
        is_found = sa.and_(_columns.trial == found.trial, _columns.name == found.name, _columns.epoch == found.epoch)
        query = sa.select(_columns.content).where(self._is_there(), is_found)
        content = bytearray()
        with self.tickets.engine.connect() as connection:
            for piece in itertools.count():
                part = connection.scalar(query.where(_columns.piece == piece))
                if part is None or len(content) + len(part) > found.n_bytes:
                    break
                content += part
        return bytes(content) if len(content) == found.n_bytes else None

    def drop(self, dropped: Collection[tuple[int, str]]) -> None:
        """Free the space of files that are needed no more, by trial and name; one that is not there is none."""
        if not dropped:
            return
        is_one = sa.tuple_(_columns.trial, _columns.name).in_(dropped)
        with self.tickets.engine.begin() as connection:
            connection.execute(sa.update(_files).where(self._is_there(), is_one).values(content=None))

    def _is_there(self) -> sa.ColumnElement[bool]:
        return sa.and_(_columns.study == self.tickets.study, _columns.content.is_not(None))


def carried_of(tickets: TicketTable) -> CarriedFiles | None:
    """Return the files of a study in PostgreSQL; None in SQLite, and where an older hpo made the tables."""
    if tickets.engine.dialect.name != "postgresql" or not has_files(tickets.engine):
        return None
    return CarriedFiles(tickets=tickets)


def has_files(engine: sa.Engine) -> bool:
    """Whether the database can hold files: not where an older hpo made the tables."""
    return sa.inspect(engine).has_table(_files.name)


def add_to_study(tickets: TicketTable, name: str, content: bytes) -> None:
    """Store a small file of a study itself, which it has none of that name of yet; in SQLite too."""
    row = {"study": tickets.study, "trial": WHOLE, "name": name, "piece": 0, "epoch": 0, "content": content}
    with tickets.engine.begin() as connection:
        connection.execute(sa.insert(_files).values(row))


def read_of_study(tickets: TicketTable, name: str) -> bytes | None:
    """Return such a file's content; None where there is none."""
    is_it = sa.and_(_columns.study == tickets.study, _columns.trial == WHOLE, _columns.name == name)
    if not has_files(tickets.engine):
        return None
    with tickets.engine.connect() as connection:
        content: bytes | None = connection.scalar(sa.select(_columns.content).where(is_it, _columns.piece == 0))
    return content


def delete_files(tickets: TicketTable) -> None:
    """Delete all files of a study's that the database has, in SQLite too."""
    if has_files(tickets.engine):
        with tickets.engine.begin() as connection:
            connection.execute(sa.delete(_files).where(_columns.study == tickets.study))
