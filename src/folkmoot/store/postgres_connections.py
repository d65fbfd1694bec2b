"""Connections to PostgreSQL: what an address asks for, what each session begins with, and what it must not go through.

Addresses are those of libpq, which hosts of databases hand out; the driver knows most of their parameters.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from folkmoot.errors import StartupError

SERVER = "folkmoot"
"""What PostgreSQL shows of servers' connections."""

LISTENER = "folkmoot listener"
"""What it shows of the one by which a server hears the others; a server that rests may have no other."""

SERVERS = f"""
SELECT DISTINCT coalesce(host(client_addr), 'this machine') AS address
FROM pg_stat_activity
WHERE application_name IN ('{SERVER}', '{LISTENER}') AND datname = current_database() ORDER BY address
"""  # noqa: S608 - our own names
"""From where servers are connected to this database."""

NO_ANSWER = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # none of the hosts is as target_session_attrs wants it
    TimeoutError,
    ValueError,
)
"""What comes of it when nothing can be reached, it does not let one in, or the address makes no sense."""

READ_ONLY = (
    "it is a standby, or default_transaction_read_only is on for this database or user. Name the primary, or have that "
    "set to off"
)

FOR_LONG_WORK = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}
"""Settings for what reads or writes a whole database, or waits for who does: limits are meant for requests."""

_EVERYWHERE = {
    "default_transaction_isolation": "read committed",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "60",
}
"""Whatever the database or the user is set to. Row locks are enough: a stricter level would only have work done again.
Who listens is idle, and what is between must not forget a connection for that: many do after four minutes."""

_SINCE = {"idle_session_timeout": 14, "transaction_timeout": 17}
"""PostgreSQL's version from which on it has a setting."""

_WITHOUT_EFFECT: dict[str, frozenset[str] | None] = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "connect_timeout": None,  # FOLKMOOT_STORE_WAIT says how long
    "fallback_application_name": None,
    "gssencmode": frozenset({"disable", "prefer"}),
    "keepalives": None,
    "keepalives_count": None,
    "keepalives_idle": None,
    "keepalives_interval": None,
    "sslcompression": None,
    "sslsni": None,
    "tcp_user_timeout": None,
}
"""Parameters of libpq that the driver would hand to PostgreSQL, which refuses them, and the values that ask for nothing
that is not so anyway (None: any)."""

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")

_MIXED = (
    "PostgreSQL at {place} is behind a pooler in transaction mode. Folkmoot listens, locks and prepares statements on "
    "its connections: name PostgreSQL itself, or a pooler in session mode."
)

_ROUNDS = 5
"""How often it is looked whether connections are mixed up, should others use the pooler meanwhile."""


async def connect(
    url: str, settings: Mapping[str, str], *, name: str, timeout: float = 10, **options: Any
) -> asyncpg.Connection[Any]:
    """Open a connection whose session has `settings`.

    They are set when it is there: a pooler takes no connection that asks for them as it begins.

    Args:
        url: the database's address.
        settings: of PostgreSQL's, by name.
        name: what PostgreSQL shows of who is connected.
        timeout: seconds that it may take.
        options: others of the driver's.

    Raises:
        StartupError: the address has a parameter that cannot be kept.
        Exception: one of `NO_ANSWER`.
    """
    connection = await dial(url, timeout=timeout, server_settings={"application_name": name}, **options)
    try:
        await _set(connection, settings, timeout)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def connect_first(url: str, *, name: str) -> asyncpg.Connection[Any]:
    """Open a connection for long work, and see that what answers gives each connection a session of its own.

    A pooler in transaction mode has each transaction go where there is room. What a connection listens to, has locked,
    prepared or set would be another one's.

    Args:
        url: the database's address.
        name: what PostgreSQL shows of who is connected.

    Raises:
        StartupError: it is such a pooler, or the address has a parameter that cannot be kept.
        Exception: one of `NO_ANSWER`.
    """
    # Without a cache, statements are prepared without a name, which such a pooler may have for somebody else.
    connection = await dial(url, timeout=10, statement_cache_size=0, server_settings={"application_name": name})
    try:
        await _refuse_mixed_connections(url, connection)
        await _set(connection, FOR_LONG_WORK, 10)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _set(connection: asyncpg.Connection[Any], settings: Mapping[str, str], timeout: float) -> None:
    version = connection.get_server_version().major
    known = {key: value for key, value in {**_EVERYWHERE, **settings}.items() if _SINCE.get(key, 0) <= version}
    await connection.execute("; ".join(f"SET {key} = '{value}'" for key, value in known.items()), timeout=timeout)


async def dial(url: str, **options: Any) -> asyncpg.Connection[Any]:
    """Open a connection as it comes, to an address that may have what libpq knows and the driver does not.

    Args:
        url: the database's address.
        options: the driver's.

    Raises:
        StartupError: the address has a parameter that cannot be kept.
        Exception: one of `NO_ANSWER`.
    """
    plain, certificates = _for_driver(url)
    if certificates is not None:
        options["ssl"] = certificates
    connection: asyncpg.Connection[Any] = await asyncpg.connect(plain, **options)
    return connection


def _for_driver(url: str) -> tuple[str, ssl.SSLContext | None]:
    """Return an address without what the driver does not know, and the system's certificates if they are asked for."""
    address, mark, query = url.partition("?")
    asked = {key: values[-1] for key, values in parse_qs(query).items()}
    if asked.get("channel_binding") == "require":
        raise StartupError(
            "database: channel_binding=require in the address cannot be kept, the driver has no channel binding. Leave "
            "it out; sslmode=verify-full sees to it that the server is the right one."
        )
    for key in _FILES:
        if (path := asked.get(key, "system")) != "system" and not Path(path).is_file():
            raise StartupError(f"database: {key} in the address: there is no file {path}.")
    by_system = asked.get("sslrootcert") == "system"
    drop = {"sslrootcert", "sslmode"} if by_system else set()
    drop |= {key for key, value in asked.items() if _is_without_effect(key, value)}
    kept = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in drop)
    certificates = ssl.create_default_context() if by_system else None
    return (f"{address}{mark}{kept}" if kept else address), certificates


def _is_without_effect(parameter: str, value: str) -> bool:
    if parameter not in _WITHOUT_EFFECT:
        return False
    values = _WITHOUT_EFFECT[parameter]
    return values is None or value in values


def unreachable(url: str, error: Exception) -> StartupError:
    """Return the error that says which PostgreSQL cannot be reached, without its password, and why.

    >>> unreachable("postgresql://ada:secret@db/moot", OSError("Connection refused")).message
    'PostgreSQL at db:5432 cannot be reached: Connection refused.'
    >>> unreachable("postgresql:///moot?host=/run/postgresql", OSError("No such file")).message
    'PostgreSQL at /run/postgresql cannot be reached: No such file.'
    >>> unreachable("postgresql://db/moot", TimeoutError()).message
    'PostgreSQL at db:5432 cannot be reached: it does not answer.'
    """
    return StartupError(f"PostgreSQL at {_place(url)} cannot be reached: {in_one_line(error)}.")


def in_one_line(error: BaseException) -> str:
    """Return what an error says; the driver's put their hints on lines of their own."""
    unsaid = "it does not answer" if isinstance(error, TimeoutError) else type(error).__name__
    return " ".join(str(error).split()).rstrip(".") or unsaid


def _place(url: str) -> str:
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    place = unquote(parts.netloc.rpartition("@")[2]) or asked.get("host", ["localhost"])[-1]
    has_port = place.startswith("/") or ":" in place.rpartition("]")[2]
    return place if has_port else f"{place}:{asked.get('port', ['5432'])[-1]}"


async def _refuse_mixed_connections(url: str, one: asyncpg.Connection[Any]) -> None:
    """Refuse a pooler over which the transactions of `one` and of another connection meet."""
    mine = await _process(one)
    if mine == one.get_server_pid():  # a pooler says another number than that of the process that it goes to
        return
    other = await dial(url, timeout=10, statement_cache_size=0)
    try:
        for _ in range(_ROUNDS):
            async with other.transaction():
                if await _process(other) == mine or await _process(one) != mine:
                    raise StartupError(_MIXED.format(place=_place(url)))
    finally:
        await other.close()


async def _process(connection: asyncpg.Connection[Any]) -> int:
    """Return the process that a connection's next transaction is led to; within one, that transaction's."""
    async with connection.transaction():
        process: int = await connection.fetchval("SELECT pg_backend_pid()")
        return process
