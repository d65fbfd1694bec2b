"""The key that a tool's call is lent: for this server, to do what its agent may do, until the call is over."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import select

from folkmoot.access.keys import Key, lend_key, take_back
from folkmoot.access.principals import Errand, Grants
from folkmoot.errors import StoreError
from folkmoot.memory.attachments import attached_rows
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agent_tools
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.tools.tool import ToolContext

logger = logging.getLogger(__name__)

GRACE = 30_000_000
"""Microseconds that a key is good for beyond a tool's time, if its process dies and nobody takes it back."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where this server is, for itself and for code in the sandbox."""

    address: str
    """Address and port that the server listens on."""

    url: str
    """Where the code finds it."""

    @property
    def knows_code(self) -> bool:
        """Whether the server can tell code from people, by where on loopback it connects from."""
        return self.address.startswith("127.")

    @classmethod
    def of(cls, settings: Settings) -> Home:
        """Return where the server of these settings is."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
        address = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
        walls = settings.tool_sandbox == "strict"  # inside them the server is at loopback, wherever it listens
        return cls(address, f"http://127.0.0.1:{settings.port}" if walls else f"http://{address}")


@asynccontextmanager
async def lent_key(context: ToolContext) -> AsyncIterator[str]:
    """Give a key that is good for as long as this lasts: to do what the calling agent may do, in its name."""
    expires_at = clock.now() + int(context.settings.tool_timeout * 1e6) + GRACE

    async def lend(transaction: Transaction) -> tuple[Key, str]:
        rows = await attached_rows(transaction, context.agent_id, context.conversation_id)
        errand = Errand(
            agent_id=context.agent_id,
            agent_name=context.agent_name,
            run_id=context.run_id or None,
            step_id=context.step_id or None,
            asks_agents=await _asks_agents(transaction, context.agent_id),
            chain=tuple(context.chain),
            hops=context.hops,
        )
        return await lend_key(
            transaction, Grants({row["id"]: row["access"] for row in rows}, errand=errand), expires_at
        )

    key, secret = await context.store.write(lend)
    try:
        yield secret
    finally:
        try:
            await context.store.write(lambda transaction: take_back(transaction, key.id))
        except StoreError as error:
            logger.warning("A key that was lent to a tool ends by itself, in a while: %s", error.message)


async def _asks_agents(transaction: Transaction, agent_id: str) -> bool:
    """Tell whether an agent has a tool with which it asks others."""
    asking = [tool.id for tool in BUILTIN_TOOLS.values() if tool.tool_type == "letta_multi_agent_core"]
    statement = select(agent_tools.c.tool_id).where(
        agent_tools.c.agent_id == agent_id, agent_tools.c.tool_id.in_(asking)
    )
    return await transaction.first(statement.limit(1)) is not None
