"""What may be between Folkmoot and PostgreSQL: poolers, and what forgets connections."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from sqlalchemy import func, select

from folkmoot.errors import StartupError, StoreOverloaded
from folkmoot.store import postgres
from folkmoot.store.bulk_opening import open_snapshot
from folkmoot.store.engine import Transaction
from folkmoot.store.migrations import HEAD
from folkmoot.store.opening import open_store
from folkmoot.store.postgres_connections import LISTENER
from folkmoot.store.tables import organizations
from support.clients import official_async_client
from support.fixtures import MODEL, StartServer
from support.polling import PATIENCE
from support.pooler import Pooler
from support.stores import open_default

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)


async def test_a_pooler_in_session_mode_serves(database_url: str, start_server: StartServer) -> None:
    async with Pooler(database_url, mode="session") as pooler:
        server = await asyncio.to_thread(start_server, database=pooler.url)
        async with official_async_client(server.url) as client:
            agent = await client.agents.create(model=MODEL, memory_blocks=[{"label": "human", "value": "Ada"}])
            told = 'CALL memory_insert {"label": "human", "new_string": "lives in London"}'
            await client.agents.messages.create(agent.id, messages=[{"role": "user", "content": told}])
            block = await client.agents.blocks.retrieve("human", agent_id=agent.id)
            assert block.value == "Ada\nlives in London"
        async with open_snapshot(pooler.url) as snapshot:
            assert snapshot.schema == HEAD
        await asyncio.to_thread(server.stop)


async def test_a_pooler_in_transaction_mode_is_refused_before_anything_is_done(database_url: str) -> None:
    async with Pooler(database_url, mode="transaction") as pooler:
        with pytest.raises(StartupError, match=r"127\.0\.0\.1:\d+ is behind a pooler in transaction mode"):
            await open_store(pooler.url, 5.0)
        with pytest.raises(StartupError, match="transaction mode"):
            async with open_snapshot(pooler.url):
                pass


async def test_connections_that_something_between_forgot_are_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CLOCK_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "CLOCK_PATIENCE", 0.5)
    monkeypatch.setattr(postgres, "LONGEST_SCAN", 0.1)
    monkeypatch.setattr(postgres, "LATER", 0.1)
    watching = await asyncpg.connect(database_url)
    listeners = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{LISTENER}' AND query LIKE 'SELECT%'"

    async def found(transaction: Transaction) -> object:
        return await transaction.first(select(func.count()).select_from(organizations))

    async def listening() -> set[int]:
        async with asyncio.timeout(PATIENCE):
            while not (rows := await watching.fetch(listeners + " AND datname = current_database()")):
                await asyncio.sleep(0.01)
        return {row["pid"] for row in rows}

    async with Pooler(database_url, mode="session") as pooler:
        store = await open_default(pooler.url, 0.5)
        await store.scan(found)
        first = await listening()
        pooler.forget()
        with pytest.raises(StoreOverloaded):
            await store.scan(found)
        assert await store.scan(found)
        async with asyncio.timeout(PATIENCE):
            while await listening() <= first:
                await asyncio.sleep(0.01)
        await store.close()
    await watching.close()
