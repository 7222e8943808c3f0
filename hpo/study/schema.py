"""hpo's own tables beside Optuna's: made, and brought up to date, whatever version of hpo made them.

The version only grows, and each version adds tables, or columns that have a default: an older hpo goes on writing to
newer tables that it has open, and readers of a newer one read older tables as they are.
"""

import weakref

import sqlalchemy as sa

from hpo.errors import StorageError

SCHEMA_VERSION = 3  # 1 lacked the columns of ADDED, 2 the files

metadata = sa.MetaData()
versions = sa.Table("hpo_version", metadata, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))
tickets = sa.Table(
    "hpo_tickets",
    metadata,
    sa.Column("study", sa.String(32), primary_key=True),  # the study's own random key: ids and names get reused
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("trial_id", sa.Integer),
    sa.Column("state", sa.String(16), nullable=False, default="free"),
    sa.Column("worker", sa.String(128)),
    sa.Column("token", sa.String(32), index=True),
    sa.Column("beat", sa.Integer, nullable=False, default=0),
    sa.Column("takeovers", sa.Integer, nullable=False, default=0),
    sa.Column("seconds", sa.Float, nullable=False, default=0.0),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Column("epochs", sa.Integer),
    sa.Column("value", sa.Float(53)),
    sa.Column("outcome", sa.String(16)),
    sa.Column("seen", sa.Float(53)),
    sa.Column("deaths", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("decided", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("verdict", sa.String(16)),
)
ADDED: dict[str, int | None] = {"deaths": 0, "decided": 0, "verdict": None}  # by version 2, with what was true before
files = sa.Table(
    "hpo_files",
    metadata,
    sa.Column("study", sa.String(32), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("content", sa.LargeBinary),  # None where the file is no longer needed: workers may delete no rows
)

_up_to_date: "weakref.WeakSet[sa.Engine]" = weakref.WeakSet()  # engines whose tables have been seen to lack no column


def create_tables(engine: sa.Engine) -> None:
    """Make the tables where there are none, bring older ones up to date. Call under storage.setup_lock.

    Raises:
        StorageError: A newer hpo made them.
    """
    found = check_schema(engine)
    if found == SCHEMA_VERSION:
        return
    metadata.create_all(engine)
    if engine.dialect.name == "postgresql":  # weights do not compress, and it would try with each
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {files.name} ALTER COLUMN content SET STORAGE EXTERNAL")
    # Looked for one by one: SQLite commits each ALTER TABLE by itself, and a kill may come between two.
    for name in missing_columns(engine):
        column = sa.schema.CreateColumn(tickets.c[name]).compile(dialect=engine.dialect)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {tickets.name} ADD COLUMN {column}")
    with engine.begin() as connection:
        query = sa.insert(versions) if found is None else sa.update(versions)
        connection.execute(query.values(version=SCHEMA_VERSION))


def check_schema(engine: sa.Engine) -> int | None:
    """Return the version of the tables, which may be an older one and can be read; None where there are none.

    Raises:
        StorageError: A newer hpo made them.
    """
    if not sa.inspect(engine).has_table(versions.name):
        return None
    with engine.connect() as connection:
        found = connection.scalar(sa.select(versions.c.version))
    if found is not None and found > SCHEMA_VERSION:
        raise StorageError(
            f"This database was made by a newer hpo: its tables have version {found}, this hpo knows {SCHEMA_VERSION}.",
            "Install that hpo, or name another database with --storage.",
        )
    return found


def missing_columns(engine: sa.Engine) -> set[str]:
    """Return the columns of the tickets that tables of an older version lack."""
    if engine in _up_to_date:
        return set()
    missing = set(ADDED) - {column["name"] for column in sa.inspect(engine).get_columns(tickets.name)}
    if not missing:
        _up_to_date.add(engine)
    return missing


def keys(engine: sa.Engine) -> set[str]:
    """Return the keys of the studies that have tickets."""
    if not sa.inspect(engine).has_table(tickets.name):
        return set()
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(tickets.c.study).distinct()))
