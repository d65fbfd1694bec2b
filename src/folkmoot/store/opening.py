"""Open the store that a database address names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from folkmoot.errors import StartupError
from folkmoot.store.engine import Store
from folkmoot.store.files import (
    check_database_file,
    close_database_files,
    make_private_file,
    make_private_folder,
)
from folkmoot.store.scans import AT_ONCE
from folkmoot.store.signals import Signals

_PLACE = re.compile(r"(?!:$)(?:\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>\d{0,5}))?")
"""A host and its port, of which an address of PostgreSQL may have several."""


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
        StartupError: it names nothing that Folkmoot knows, or cannot be read.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator and rest.startswith("/") and len(rest) > 1:
        # SQLite's own files, and the lock, lie beside the file and not beside a link to it.
        return SqliteAddress(Path(rest[1:]).expanduser().resolve())
    if scheme.split("+")[0] in ("postgresql", "postgres") and separator:
        _check_places(rest)
        return PostgresAddress(f"postgresql://{rest}")
    raise StartupError(
        f"database: {scheme or url!r} is not a database Folkmoot knows; "
        "use sqlite:///path/to/file or postgresql://user:password@host/name."
    )


def _check_places(rest: str) -> None:
    """Refuse an address whose hosts and ports cannot be read; what it has of a password is not told.

    Raises:
        StartupError: the driver would take a part of the password for a host, or a host's port is none.
    """
    parts = urlsplit(f"postgresql://{rest}")
    user, _, places = parts.netloc.rpartition("@")
    found = [_PLACE.fullmatch(place) for place in places.split(",")]
    if "@" in user or not all(place and int(place["port"] or 0) < 2**16 for place in found):
        raise StartupError(
            "database: the address's hosts and ports cannot be read; it is postgresql://user:password@host:port/name. "
            "In the name and the password of the user write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # and "
            "%25 for %."
        )
    try:
        parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise StartupError("database: behind ? the address needs parameters as in sslmode=require&…") from error


async def open_store(url: str, wait: float, connections: int = 21) -> Store:
    """Migrate the database at `url` and return its store, as it is for every organisation.

    Args:
        url: its address, as `read_address` takes it.
        wait: seconds that work waits for the database before it is refused.
        connections: how many are opened to PostgreSQL at most: of five one for scans, up to four, and one that listens.

    Raises:
        StartupError: the address, the database or its schema cannot be used.
    """
    address = read_address(url)
    if isinstance(address, SqliteAddress):
        return _open_sqlite(address.path, wait)
    from folkmoot.store.migrate import migrate_postgres
    from folkmoot.store.postgres import PostgresEngine

    await migrate_postgres(address.url)
    for_scans = min(connections // 5, AT_ONCE)
    engine = await PostgresEngine.open(address.url, Signals(), wait, connections - for_scans - 1, for_scans)
    return Store(engine)


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
