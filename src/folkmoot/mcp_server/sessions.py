"""Sessions of the protocol's older revisions: their identifier, and the stream over which they are told of changes.

A session's identifier says what its client is called, and which lists it began with, so that no process has to remember
it; what it has subscribed to stands in the store, so that any process can tell it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing

from folkmoot.conversations.messages import clean_text
from folkmoot.errors import BadRequest
from folkmoot.mcp_server.lists import Lists, lists_of
from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.resources import ListsChanged, Updated, changes, until_stopped
from folkmoot.memory.subscriptions import Session
from folkmoot.server.event_stream import ServerSentEvent
from folkmoot.server.state import LONGEST_CLIENT

HEADER = "mcp-session-id"

LONGEST_ID = 40 + 4 * LONGEST_CLIENT * 4 // 3 + 4
"""Characters of a session's identifier, at the most: those of its client, in UTF-8 and base64, and 40 before them."""


def new_session_id(client: str, listed: Lists) -> str:
    """Return the identifier of a new session of a client that is listed so much."""
    return f"{secrets.token_urlsafe(16)}.{listed.fingerprint}.{base64.urlsafe_b64encode(client.encode()).decode()}"


def called(name: object, version: object) -> str:
    """Return what a client is called; its own words may have half a character, or NUL, which no store keeps."""
    return clean_text(f"{name}/{version}"[:LONGEST_CLIENT])


def client_of(session_id: str) -> str | None:
    """Return what the client of a session called itself.

    >>> client_of(new_session_id("cursor/9", Lists((), {})))
    'cursor/9'
    """
    try:
        named = base64.urlsafe_b64decode(session_id.rpartition(".")[2]).decode()
    except ValueError:
        return None
    return named[:LONGEST_CLIENT] if named.isprintable() else None


def session_of(member: Member, session_id: str) -> Session:
    """Return a member's session.

    Raises:
        BadRequest: it is none that this server gave.
    """
    if len(session_id) > LONGEST_ID:
        raise BadRequest(f"{HEADER}: is not a session of this server; send initialize to begin one.")
    return Session(session_id, member.state.principal.id or "")


async def told(member: Member, session: Session, stopped: asyncio.Event) -> AsyncIterator[ServerSentEvent]:
    """Yield what a session is told until the server stops: changes of what it is listed, and has subscribed to.

    One that is listed something else than when it began is told so, since it may have missed the change.
    """
    listed = await lists_of(member)
    if f".{listed.fingerprint}." not in session.id:
        for each in _lists_changed(ListsChanged(tools=True, resources=True)):
            yield each
    async with (
        aclosing(changes(member, {}, listed=listed, session=session)) as all_changes,  # type: ignore[type-var]
        aclosing(until_stopped(all_changes, stopped)) as some,  # type: ignore[type-var]
    ):
        async for change in some:
            match change:
                case Updated(address):
                    yield _notification("resources/updated", {"uri": address})
                case ListsChanged():
                    for each in _lists_changed(change):
                        yield each


def _lists_changed(change: ListsChanged) -> Iterator[ServerSentEvent]:
    if change.tools:
        yield _notification("tools/list_changed")
    if change.resources:
        yield _notification("resources/list_changed")


def _notification(what: str, params: Mapping[str, str] | None = None) -> ServerSentEvent:
    message = {"jsonrpc": "2.0", "method": f"notifications/{what}", **({"params": params} if params else {})}
    return ServerSentEvent(json.dumps(message).encode(), "message")
