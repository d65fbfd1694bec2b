"""Open the store that a database address names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import StartupError
from folkmoot.store.engine import Store
from folkmoot.store.files import (
    check_database_file,
    close_database_files,
    make_private_file,
    make_private_folder,
)
from folkmoot.store.signals import Signals


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """Where an embedded database is."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a PostgreSQL database is, as its driver is told."""

    url: str


def read_address(url: str) -> SqliteAddress | PostgresAddress:
    """Return what a database's address names.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user:password@host:port/name`.

    Raises:
        StartupError: it names nothing that Folkmoot knows.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator and rest.startswith("/") and len(rest) > 1:
        # SQLite's own files, and the lock, lie beside the file and not beside a link to it.
        return SqliteAddress(Path(rest[1:]).expanduser().resolve())
    if scheme.split("+")[0] in ("postgresql", "postgres") and separator:
        return PostgresAddress(f"postgresql://{rest}")
    raise StartupError(
        f"database: {scheme or url!r} is not a database Folkmoot knows; "
        "use sqlite:///path/to/file or postgresql://user:password@host/name."
    )


async def open_store(url: str, wait: float) -> Store:
    """Migrate the database at `url` and return its store, as it is for every organisation.

    Args:
        url: its address, as `read_address` takes it.
        wait: seconds that work waits for the database before it is refused.

    Raises:
        StartupError: the address, the database or its schema cannot be used.
    """
    address = read_address(url)
    if isinstance(address, SqliteAddress):
        return _open_sqlite(address.path, wait)
    from folkmoot.store.migrate import migrate_postgres
    from folkmoot.store.postgres import PostgresEngine

    await migrate_postgres(address.url)
    return Store(await PostgresEngine.open(address.url, Signals(), wait))


def _open_sqlite(path: Path, wait: float) -> Store:
    from folkmoot.store.migrate import migrate_sqlite
    from folkmoot.store.sqlite import SqliteEngine, lock_file

    check_database_file(path)
    try:
        make_private_folder(path.parent)
        lock = lock_file(path)
        make_private_file(path)
        close_database_files(path)
    except OSError as error:
        raise StartupError(f"The database {path} cannot be opened: {error.strerror}.") from error
    try:
        migrate_sqlite(path)
    except BaseException:
        lock.close()
        raise
    return Store(SqliteEngine(path, Signals(), wait, lock))
