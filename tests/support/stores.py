"""A store in the test's own process, as the organisation sees it that everybody has who makes no other."""

from __future__ import annotations

from folkmoot.identifiers import ORGANIZATION
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.opening import open_store
from folkmoot.store.tables import agents


async def open_default(url: str, wait: float = 10.0) -> Store:
    """Migrate and open the database at `url`; work waits `wait` seconds for it."""
    return (await open_store(url, wait)).of(ORGANIZATION)


async def insert_agent(transaction: Transaction, agent_id: str) -> None:
    """Insert an agent that has nothing, not even its conversation."""
    fields: dict[str, object] = {"id": agent_id, "name": "a", "agent_type": "letta_v1_agent"}
    fields |= {"system": "s", "model": "offline/x", "timezone": "UTC", "configuration": "{}"}
    fields |= {"created_at": 1, "updated_at": 1}
    await transaction.insert(agents, [fields])
