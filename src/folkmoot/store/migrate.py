"""Bring a database's schema up to this version's, safely when several processes start at once."""

from __future__ import annotations

import logging
import re
import sqlite3
from contextlib import closing, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.errors import StartupError
from folkmoot.store.files import APPLICATION_ID, make_private_file, replace_durably
from folkmoot.store.migrations import HEAD

if TYPE_CHECKING:
    import asyncpg
    from alembic.config import Config
    from sqlalchemy import Connection, Dialect
    from sqlalchemy.exc import DBAPIError

logger = logging.getLogger(__name__)

_NOT_MADE = "The tables could not be made or migrated in PostgreSQL: {reason}.{remedy}"

_NO_SCHEMA = (
    " The user needs a schema to make them in: let it own the database, or run GRANT USAGE, CREATE ON SCHEMA public "
    "TO it; search_path=NAME in the address names another schema."
)

_OF_ANOTHER = (
    "What is in this PostgreSQL database is another application's (its alembic_version says {found}); nothing was "
    "changed. Give Folkmoot a database of its own, or a schema: search_path=NAME in the address. If it is the retired "
    "server's, `folkmoot import` with its address takes over what is in it."
)

_NOT_UNICODE = (
    "The database's encoding is {encoding}, and texts are Unicode: make one with createdb --encoding UTF8 --template "
    "template0 NAME."
)

_NAME = "folkmoot migration"
"""What PostgreSQL shows of connections that migrate."""

UNICODE = "UTF8"
"""The encoding of a PostgreSQL database that holds every text."""

_REVISION = re.compile(r"\d{4}")
"""How Folkmoot names the revisions of its schema; other applications that use Alembic name theirs otherwise."""

LOCK = 0x666F6C6B
"""The key of the advisory lock that one migrating process holds ("folk")."""

ENDING_LOOKS = 20
"""How often, a tenth of a second apart, it is looked whether they are gone: PostgreSQL notices an end a bit later."""


def migrate_sqlite(path: Path) -> None:
    """Migrate the SQLite file at `path`, which this process has locked; it is made when missing.

    Before an upgrade the file is copied beside itself, so that there is a way back to the version before.

    Raises:
        StartupError: a newer Folkmoot has written it, or it cannot be written.
    """
    found = _schema_of_file(path)
    if found == HEAD:
        return
    if found is not None and found < HEAD:
        _keep_copy(path, found)
    migrate_file(path, HEAD)


def _schema_of_file(path: Path) -> str | None:
    """Mark a SQLite file as Folkmoot's, and return the revision of its schema; None when it has none yet."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                # Before there is any table: a file that is left half-made must be known as Folkmoot's.
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise StartupError(f"The database {path} cannot be opened: {error}.") from error
        return None
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{path} is not a Folkmoot database: {error}.") from error
    return row[0] if row else None


def copies_beside(path: Path) -> list[Path]:
    """Return the copies of a SQLite file that were made before upgrades, and what is left of one that was begun."""
    return sorted(path.parent.glob(f"{escape(path.name)}.schema-*"))


def _keep_copy(path: Path, schema: str) -> None:
    """Copy a SQLite file that is to be upgraded beside itself; the copy of an earlier upgrade goes."""
    copy = path.with_name(f"{path.name}.schema-{schema}")
    begun = path.with_name(f"{copy.name}.part")
    try:
        _remove_begun(begun)
        make_private_file(begun)
        with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(begun)) as target:
            database.backup(target)
        replace_durably(begun, copy)
        for earlier in copies_beside(path):
            if earlier != copy:
                earlier.unlink()
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            _remove_begun(begun)  # it may be what has filled the disk
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartupError(
            f"The database {path} needs an upgrade, and cannot be copied to {copy} before: {reason}. Nothing was "
            "changed."
        ) from error
    logger.info("The database is upgraded from schema %s to %s; as it was, it is kept in %s", schema, HEAD, copy)


def _remove_begun(copy: Path) -> None:
    for each in (copy, copy.with_name(f"{copy.name}-journal")):
        each.unlink(missing_ok=True)


def migrate_file(path: Path, revision: str) -> None:
    """Bring a SQLite file's schema to a revision, or make it there, in one transaction.

    Raises:
        StartupError: a newer Folkmoot has written it, or it cannot be written.
    """
    from sqlalchemy import URL, create_engine, event
    from sqlalchemy.exc import DBAPIError

    from folkmoot.store.sqlite_planning import plan_for_many

    engine = create_engine(URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def no_implicit_transactions(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # else a table made before a crash would stay

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as locked:
            create_or_upgrade(locked, revision)
            plan_for_many(locked)
    except DBAPIError as error:
        raise StartupError(f"The database {path} cannot be written: {_first(error).orig}.") from error
    finally:
        engine.dispose()


def _first(error: DBAPIError) -> DBAPIError:
    """Return what went wrong first: with a full disk SQLite ends the transaction, and then Alembic misses a table."""
    from sqlalchemy.exc import DBAPIError

    first, each = error, error.__cause__
    while each is not None:
        if isinstance(each, DBAPIError):
            first = each
        each = each.__cause__ or each.__context__
    return first


async def migrate_postgres(url: str) -> None:
    """Migrate the PostgreSQL database at `url`; of several processes one does it and the others wait.

    Raises:
        StartupError: a newer Folkmoot has written it, servers of an older one work with it, or it cannot be reached.
    """
    import asyncpg

    from folkmoot.store.postgres_connections import (
        NO_ANSWER,
        READ_ONLY,
        connect_first,
        in_one_line,
        unreachable,
    )

    try:
        connection = await connect_first(url, name=_NAME)
    except NO_ANSWER as error:
        raise unreachable(url, error) from error
    try:
        if await schema_of(connection) is None:
            refuse_encoding(connection)
            await _create_postgres(connection)
        elif connection.get_settings().server_encoding != UNICODE:  # made by a version that did not look
            logger.warning("The database's encoding is not UTF8: not every text can be kept. Move by `folkmoot copy`")
        if await schema_of(connection) == HEAD:
            return
    except asyncpg.PostgresError as error:
        remedy = ""
        if isinstance(error, asyncpg.InsufficientPrivilegeError | asyncpg.InvalidSchemaNameError):
            remedy = _NO_SCHEMA
        elif isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            remedy = f" PostgreSQL is read-only: {READ_ONLY}."
        raise StartupError(_NOT_MADE.format(reason=in_one_line(error), remedy=remedy)) from error
    finally:
        await connection.close()
    await _upgrade_postgres(url)


async def schema_of(connection: asyncpg.Connection[Any]) -> str | None:
    """Return the revision of a PostgreSQL database's schema; None when it has none yet.

    Raises:
        StartupError: the tables are another application's.
    """
    table = "to_regclass(quote_ident(current_schema()) || '.alembic_version')"  # one behind in the path is another's
    if await connection.fetchval(f"SELECT {table}") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise StartupError(_OF_ANOTHER.format(found=revision))
    return revision


def refuse_encoding(connection: asyncpg.Connection[Any]) -> None:
    """Refuse to make tables that could not hold every text.

    Raises:
        StartupError: the database's encoding is not UTF-8.
    """
    encoding = connection.get_settings().server_encoding
    if encoding != UNICODE:
        raise StartupError(_NOT_UNICODE.format(encoding=encoding))


async def _create_postgres(connection: asyncpg.Connection[Any]) -> None:
    """Make the tables if there are none, without what migrations need: SQLAlchemy's asyncio layer loads its ORM."""
    from sqlalchemy.dialects.postgresql.asyncpg import dialect

    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema())"):
            await connection.execute(";\n".join(_creation(dialect())))  # type: ignore[no-untyped-call]


async def _upgrade_postgres(url: str) -> None:
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine

    from folkmoot.store.postgres_connections import FOR_LONG_WORK, connect

    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(url, FOR_LONG_WORK, name=_NAME))

    def locked_upgrade(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        _refuse_under_servers(connection)
        create_or_upgrade(connection)

    try:
        async with engine.begin() as connection:
            await connection.run_sync(locked_upgrade)
    except DBAPIError as error:
        reason = str(error.orig).rpartition(": ")[2]
        raise StartupError(_NOT_MADE.format(reason=reason, remedy="")) from error
    finally:
        await engine.dispose()


def _refuse_under_servers(connection: Connection) -> None:
    """Refuse to upgrade a database that servers of the version before work with: they do not know its new rows.

    Whoever waited for the lock finds the upgrade done, and other servers of this version at work.

    Raises:
        StartupError: there are such servers.
    """
    from sqlalchemy import inspect

    if not inspect(connection).has_table("alembic_version"):
        return
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is None or found == HEAD or not knows_schema(found):
        return
    if addresses := _servers(connection):
        raise StartupError(
            f"The database needs an upgrade from schema {found} to {HEAD}, and other Folkmoot processes work with it "
            f"(from {', '.join(addresses)}). Stop them first; nothing was changed."
        )
    logger.info("The database is upgraded from schema %s to %s", found, HEAD)


def _servers(connection: Connection) -> list[str]:
    """Return from where servers are connected; those that have just ended have a moment to be gone."""
    from folkmoot.store.postgres_connections import SERVERS

    for _ in range(ENDING_LOOKS):
        if not (addresses := list(connection.exec_driver_sql(SERVERS).scalars())):
            break
        connection.exec_driver_sql("SELECT pg_sleep(0.1), pg_stat_clear_snapshot()")
    return addresses


def create_or_upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Make the tables of this version in an empty database; run the migrations that any other one lacks.

    Both come to the same schema, as a test holds them to. An empty database needs no Alembic, which takes a tenth of a
    second and ten megabytes.

    Args:
        connection: in an open transaction.
        revision: whose schema is wanted.
    """
    from sqlalchemy import inspect

    inspector = inspect(connection)
    # Where PostgreSQL looks for tables, those of others may be behind the schema in which it makes them.
    if revision != HEAD or inspector.get_table_names(inspector.default_schema_name):
        upgrade(connection, revision)
    else:
        _create(connection)


def _create(connection: Connection) -> None:
    for statement in _creation(connection.dialect):
        connection.exec_driver_sql(statement)


def _creation(dialect: Dialect) -> list[str]:
    """Return the statements that make an empty database's tables, in order."""
    from sqlalchemy import create_mock_engine

    from folkmoot.store.tables import metadata

    if dialect.name == "postgresql":  # each with its driver, 4 MB, which the other need not have
        from folkmoot.store.postgres import FULLTEXT
    else:
        from folkmoot.store.sqlite import FULLTEXT
    made: list[str] = []
    maker = create_mock_engine(
        f"{dialect.name}+{dialect.driver}://", lambda ddl, *_: made.append(str(ddl.compile(dialect=dialect)))
    )
    metadata.create_all(maker, checkfirst=False)
    version = "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    return [
        *made,
        *FULLTEXT,
        f"CREATE TABLE alembic_version ({version})",
        f"INSERT INTO alembic_version VALUES ('{HEAD}')",  # noqa: S608
    ]


def knows_schema(revision: str) -> bool:
    """Tell whether a revision is this version's, or one of those before it: each migration's file begins with its own.

    Alembic is not asked, which would load every one of them.
    """
    versions = Path(__file__).parent / "migrations" / "versions"
    return any(path.name.partition("_")[0] == revision for path in versions.glob("[0-9]*.py"))


def configuration() -> Config:
    """Return Alembic's configuration for the migrations of this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Run every migration up to `revision` that the database on `connection` lacks, in its open transaction.

    Raises:
        StartupError: a newer Folkmoot has written the database.
    """
    from alembic import command
    from alembic.util import CommandError

    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise StartupError(
            f"The database was written by a newer Folkmoot ({error}). Upgrade Folkmoot, or use another database."
        ) from error
