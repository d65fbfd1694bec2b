"""Open the database that an address names, to be read whole or filled; only its engine is loaded."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from folkmoot.store.bulk import Loading, Snapshot
from folkmoot.store.opening import SqliteAddress, read_address


def open_snapshot(url: str) -> AbstractAsyncContextManager[Snapshot]:
    """Give the database at `url` as it is now; a server may go on serving it.

    Raises:
        StartupError: there is none, or it cannot be read, or its schema is another than this version's.
    """
    address = read_address(url)
    if isinstance(address, SqliteAddress):
        from folkmoot.store.bulk_sqlite import sqlite_snapshot

        return sqlite_snapshot(address.path)
    from folkmoot.store.bulk_postgres import postgres_snapshot

    return postgres_snapshot(address.url)


def open_loading(url: str, schema: str, *, replace: bool) -> AbstractAsyncContextManager[Loading]:
    """Give the database at `url` to be filled, empty, with the tables of `schema`.

    At the end it is brought up to this version's schema and takes the place of what was there, all at once; when
    anything is raised, or the process ends, what was there stays as it was.

    Args:
        url: where; a SQLite file is made when missing.
        schema: the revision whose tables are filled.
        replace: whether what the database has goes; otherwise it must have no rows.

    Raises:
        StartupError: it is not empty, is being served, or cannot be written.
    """
    address = read_address(url)
    if isinstance(address, SqliteAddress):
        from folkmoot.store.bulk_sqlite import sqlite_loading

        return sqlite_loading(address.path, schema, replace=replace)
    from folkmoot.store.bulk_postgres import postgres_loading

    return postgres_loading(address.url, schema, replace=replace)


async def refuse_served(url: str) -> None:
    """Refuse a database that a server works with now, before anything is done for its replacement.

    Raises:
        StartupError: a server has it, or it cannot be reached.
    """
    address = read_address(url)
    if isinstance(address, SqliteAddress):
        from folkmoot.store.bulk_sqlite import sqlite_refuse_served

        sqlite_refuse_served(address.path)
        return
    from folkmoot.store.bulk_postgres import postgres_refuse_served

    await postgres_refuse_served(address.url)


async def has_rows(url: str) -> bool:
    """Tell whether there is anything in the database at `url`; one that is not there has nothing.

    Raises:
        StartupError: it cannot be read, or is not Folkmoot's.
    """
    address = read_address(url)
    if isinstance(address, SqliteAddress):
        from folkmoot.store.bulk_sqlite import sqlite_has_rows

        return sqlite_has_rows(address.path)
    from folkmoot.store.bulk_postgres import postgres_has_rows

    return await postgres_has_rows(address.url)
