"""Poolers between Folkmoot and PostgreSQL: one in session mode serves, one in transaction mode is refused."""

from __future__ import annotations

import asyncio

import pytest

from folkmoot.errors import StartupError
from folkmoot.store.bulk_opening import open_snapshot
from folkmoot.store.migrations import HEAD
from folkmoot.store.opening import open_store
from support.clients import official_async_client
from support.fixtures import MODEL, StartServer
from support.pooler import Pooler

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
