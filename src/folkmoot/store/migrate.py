"""Bring a database's schema up to this version's, safely when several processes start at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.errors import StartupError
from folkmoot.store.files import APPLICATION_ID
from folkmoot.store.migrations import HEAD

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

_LOCK = 0x666F6C6B
"""The key of the advisory lock that one migrating process holds ("folk")."""


def migrate_sqlite(path: Path) -> None:
    """Migrate the SQLite file at `path`, which this process has locked; it is made when missing.

    Raises:
        StartupError: a newer Folkmoot has written it, or it cannot be written.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                # Before there is any table: a file that is left half-made must be known as Folkmoot's.
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise StartupError(f"The database {path} cannot be opened: {error}.") from error
        found = []
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{path} is not a Folkmoot database: {error}.") from error
    if found == [HEAD]:
        return

    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError

    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def no_implicit_transactions(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # else a table made before a crash would stay

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as locked:
            create_or_upgrade(locked)
    except DBAPIError as error:
        raise StartupError(f"The database {path} cannot be written: {error.orig}.") from error
    finally:
        engine.dispose()


async def migrate_postgres(url: str) -> None:
    """Migrate the PostgreSQL database at `url`; of several processes one does it and the others wait.

    Raises:
        StartupError: a newer Folkmoot has written it, or it cannot be reached.
    """
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as error:
        raise StartupError(f"PostgreSQL cannot be reached: {error or type(error).__name__}.") from error
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is not None:
            found = await connection.fetch("SELECT version_num FROM alembic_version")
            if [row[0] for row in found] == [HEAD]:
                return
    finally:
        await connection.close()
    await _upgrade_postgres(url)


async def _upgrade_postgres(url: str) -> None:
    import asyncpg
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine

    # asyncpg reads the address itself, so that it takes the same options here as everywhere.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url))

    def locked_upgrade(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        create_or_upgrade(connection)

    try:
        async with engine.begin() as connection:
            await connection.run_sync(locked_upgrade)
    except DBAPIError as error:
        reason = str(error.orig).rpartition(": ")[2]
        raise StartupError(f"The tables could not be made or migrated in PostgreSQL: {reason}.") from error
    finally:
        await engine.dispose()


def create_or_upgrade(connection: Connection) -> None:
    """Make the tables of this version in an empty database; run the migrations that any other one lacks.

    Both come to the same schema, as a test holds them to. An empty database needs no Alembic, which takes a tenth of a
    second and ten megabytes.
    """
    from sqlalchemy import inspect

    if inspect(connection).get_table_names():
        upgrade(connection)
    else:
        _create(connection)


def _create(connection: Connection) -> None:
    from sqlalchemy import text

    from folkmoot.store import postgres, sqlite
    from folkmoot.store.tables import metadata

    metadata.create_all(connection, checkfirst=False)
    for statement in {"sqlite": sqlite, "postgresql": postgres}[connection.dialect.name].FULLTEXT:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def configuration() -> Config:
    """Return Alembic's configuration for the migrations of this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(connection: Connection) -> None:
    """Run every migration that the database on `connection` lacks, in its open transaction."""
    from alembic import command
    from alembic.util import CommandError

    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StartupError(
            f"The database was written by a newer Folkmoot ({error}). Upgrade Folkmoot, or use another database."
        ) from error
