"""Sessions of the protocol's older revisions: their identifier, and the stream over which they are told of changes.

A session's identifier says what its client is called, so that no process has to remember it; what it has subscribed to
stands in the store, so that any process can tell it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing

from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.resources import Updated, changes, until_stopped
from folkmoot.memory.subscriptions import Session
from folkmoot.server.event_stream import ServerSentEvent
from folkmoot.server.state import LONGEST_CLIENT

HEADER = "mcp-session-id"


def new_session_id(client: str) -> str:
    """Return the identifier of a new session of a client."""
    return f"{secrets.token_urlsafe(16)}.{base64.urlsafe_b64encode(client.encode()).decode()}"


def client_of(session_id: str) -> str | None:
    """Return what the client of a session called itself.

    >>> client_of(new_session_id("cursor/9"))
    'cursor/9'
    """
    try:
        named = base64.urlsafe_b64decode(session_id.rpartition(".")[2]).decode()
    except ValueError:
        return None
    return named[:LONGEST_CLIENT] if named.isprintable() else None


def session_of(member: Member, session_id: str) -> Session:
    """Return a member's session."""
    return Session(session_id, member.state.principal.id or "")


async def told(member: Member, session: Session, stopped: asyncio.Event) -> AsyncIterator[ServerSentEvent]:
    """Yield what a session is told of the resources that it has subscribed to, until the server stops."""
    async with (
        aclosing(changes(member, {}, session=session)) as all_changes,  # type: ignore[type-var]
        aclosing(until_stopped(all_changes, stopped)) as some,  # type: ignore[type-var]
    ):
        async for change in some:
            if isinstance(change, Updated):
                params = {"uri": change.address}
                message = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params}
                yield ServerSentEvent(json.dumps(message).encode(), "message")
