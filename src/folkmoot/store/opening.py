"""Open the store that a database address names."""

from __future__ import annotations

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


async def open_store(url: str, wait: float) -> Store:
    """Migrate the database at `url` and return its store, as it is for every organisation.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user:password@host:port/name`.
        wait: seconds that work waits for the database before it is refused.

    Raises:
        StartupError: the address, the database or its schema cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator and rest.startswith("/") and len(rest) > 1:
        return _open_sqlite(Path(rest[1:]).expanduser(), wait)
    if scheme.split("+")[0] in ("postgresql", "postgres") and separator:
        from folkmoot.store.migrate import migrate_postgres
        from folkmoot.store.postgres import PostgresEngine

        plain = f"postgresql://{rest}"
        await migrate_postgres(plain)
        return Store(await PostgresEngine.open(plain, Signals(), wait))
    raise StartupError(
        f"database: {scheme or url!r} is not a database Folkmoot knows; "
        "use sqlite:///path/to/file or postgresql://user:password@host/name."
    )


def _open_sqlite(path: Path, wait: float) -> Store:
    from folkmoot.store.migrate import migrate_sqlite
    from folkmoot.store.sqlite import SqliteEngine, lock_file

    path = path.resolve()  # SQLite's own files, and the lock, lie beside the file and not beside a link to it
    check_database_file(path)
    try:
        make_private_folder(path.parent)
        lock = lock_file(path)
        make_private_file(path)
        close_database_files(path)
    except OSError as error:
        raise StartupError(f"The database {path} cannot be opened: {error.strerror}.") from error
    migrate_sqlite(path)
    return Store(SqliteEngine(path, Signals(), wait, lock))
