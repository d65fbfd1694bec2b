"""The connections of the PostgreSQL engine: used again, never more than a number, and none that is in doubt."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import func, select

from folkmoot.errors import StoreOverloaded
from folkmoot.identifiers import ORGANIZATION
from folkmoot.store import postgres_pool
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.postgres import PostgresEngine, PostgresTransaction
from folkmoot.store.signals import Signals
from support.polling import PATIENCE
from support.postgres import PostgresDatabases

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)

MOST = 3
WAIT = 2.0
OURS = "datname = current_database() AND application_name = 'folkmoot'"
"""Not the one that listens, which is in no pool."""

_process = select(func.pg_backend_pid().label("pid"))
_moment = select(func.pg_sleep(0.01))
_endless = select(func.pg_sleep(PATIENCE))


async def process_of(transaction: Transaction) -> int:
    row = await transaction.first(_process)
    assert row is not None
    return int(row["pid"])


async def open_few(database: str) -> Store:
    """Open a database with few connections, which are not waited for long."""
    return Store(await PostgresEngine.open(database, Signals(), WAIT, MOST), ORGANIZATION)


@pytest.fixture
async def few(database_url: str) -> Store:
    return await open_few(database_url)


@pytest.fixture
async def watching(database_url: str) -> asyncpg.Connection:
    """A connection of the test's own."""
    return await asyncpg.connect(database_url)


async def until_there_are(watching: asyncpg.Connection, number: int, of_which: str = "true") -> None:
    async with asyncio.timeout(PATIENCE):
        while await watching.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND {of_which}") != number:
            await asyncio.sleep(0.01)


async def test_work_takes_the_connection_that_was_used_last(few: Store) -> None:
    assert len({await few.read(process_of) for _ in range(5)}) == 1
    assert await few.write(process_of) == await few.read(process_of)
    await few.close()


async def test_no_more_than_the_most_are_open_and_who_waits_too_long_is_refused(
    few: Store, watching: asyncpg.Connection
) -> None:
    release, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def hold(transaction: Transaction) -> int:
        begun.release()
        await release.wait()
        return await process_of(transaction)

    held = [asyncio.create_task(few.read(hold)) for _ in range(MOST)]
    for _ in held:
        await begun.acquire()
    with pytest.raises(StoreOverloaded):
        await few.read(process_of)
    release.set()
    assert len(set(await asyncio.gather(*held))) == MOST
    assert await few.read(process_of) in {task.result() for task in held}
    await few.close()
    await watching.close()


async def test_a_statement_that_nobody_waits_for_is_cancelled_and_its_connection_not_lent_again(
    few: Store, watching: asyncpg.Connection
) -> None:
    slept = set()
    for _ in range(2 * MOST):
        waiting = asyncio.create_task(few.read(lambda transaction: transaction.first(_endless)))
        await until_there_are(watching, 1, "query LIKE '%pg_sleep%' AND state = 'active'")
        slept.add(await watching.fetchval("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND " + OURS))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until_there_are(watching, 0, "state = 'active'")
    assert len(slept) == 2 * MOST
    assert not slept & set(await asyncio.gather(*(few.read(process_of) for _ in range(MOST)))), "their places are free"
    await few.close()
    await watching.close()


async def test_a_connection_that_the_server_ended_is_not_lent(few: Store, watching: asyncpg.Connection) -> None:
    noticed = asyncio.Event()

    async def work(transaction: PostgresTransaction) -> int:
        transaction._connection.add_termination_listener(lambda _: noticed.set())
        return await process_of(transaction)

    ended = await few.read(work)
    assert await watching.fetchval("SELECT pg_terminate_backend($1, $2)", ended, int(PATIENCE * 1000))
    await asyncio.wait_for(noticed.wait(), PATIENCE)
    assert await few.read(process_of) != ended
    await few.close()
    await watching.close()


async def test_connections_that_nobody_needs_are_closed(
    database_url: str, watching: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pool, "REST_SECONDS", 0.01)
    few = await open_few(database_url)
    await asyncio.gather(*(few.read(process_of) for _ in range(MOST)))
    await until_there_are(watching, 0)
    assert await few.read(process_of)
    await few.close()
    await watching.close()


async def test_where_postgresql_has_fewer_connections_work_waits_for_those(
    database_url: str, postgres_server: PostgresDatabases
) -> None:
    role = f"few_{uuid4().hex[:8]}"
    postgres_server.run_sql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    url = database_url.replace("postgres@", f"{role}@")
    store = Store(await PostgresEngine.open(url, Signals(), PATIENCE, 8), ORGANIZATION)

    async def work(transaction: Transaction) -> int:
        await transaction.first(_moment)
        return await process_of(transaction)

    assert len(set(await asyncio.gather(*(store.read(work) for _ in range(20))))) <= 2
    await store.close()
    postgres_server.run_sql(f"DROP ROLE {role}")
