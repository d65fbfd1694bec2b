"""Signing in to servers of tools: the stream that tells how it goes, and where the browser comes back to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from folkmoot.errors import BadRequest, FolkmootError
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.mcp_access import check_may_start
from folkmoot.server.routes.mcp_servers import OfAgent, variables_of
from folkmoot.server.state import ServersStore, ServerState, State
from folkmoot.server.wire.mcp import OldServer, old_configuration, show_listed
from folkmoot.tools.mcp.authorizations import take_answer
from folkmoot.tools.mcp.connection import NeedsAuthorization
from folkmoot.tools.mcp.servers import ToolServer, find_server, find_server_named

CALLBACK = "/v1/tools/mcp/oauth/callback"

router = APIRouter(tags=["mcp-servers"])

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><p>{text}</p></html>
"""


@router.get("/v1/mcp-servers/connect/{mcp_server_id}")
async def connect(mcp_server_id: str, request: Request, state: State, agent_id: OfAgent = None) -> Response:
    """Connect to a server, and lead somebody through signing in where it wants that; a stream tells how it goes.

    The events are `connection_attempt`; where a sign-in is needed `oauth_required`, `authorization_url` (with `url`)
    and `waiting_for_auth`; in the end `success` with the server's tools, or `error`.
    """
    sealer = state.shared.sealer
    server = await state.store.read(lambda transaction: find_server(transaction, mcp_server_id, sealer))
    variables = await variables_of(state, agent_id)
    return EventStream(_stream(_connect(state, server, variables, redirect_uri(request))))


@router.post("/v1/tools/mcp/servers/connect")
async def connect_old(body: OldServer, request: Request, state: State) -> Response:
    """The same for a server in the older form; one that wants a sign-in has to be added first."""
    configuration = old_configuration(body)
    check_may_start(state, configuration)
    state.mcp.check(configuration)
    try:
        server = await state.store.read(
            lambda transaction: find_server_named(transaction, body.server_name, state.shared.sealer)
        )
    except BadRequest:
        server = None
    if server is not None and server.configuration.server_url == configuration.server_url is not None:
        return EventStream(_stream(_connect(state, server, {}, redirect_uri(request))))

    async def once() -> AsyncIterator[dict[str, Any]]:
        yield {"event": "connection_attempt", "server_name": body.server_name}
        yield {
            "event": "success",
            "tools": show_listed(await state.mcp.try_out(state.store, body.server_name, configuration)),
        }

    return EventStream(_stream(once()))


@router.get(CALLBACK, include_in_schema=True)
async def come_back(
    request: Request,
    store: ServersStore,
    code: Annotated[str | None, Query(max_length=5000)] = None,
    state: Annotated[str | None, Query(max_length=500)] = None,
    error: Annotated[str | None, Query(max_length=500)] = None,
    error_description: Annotated[str | None, Query(max_length=2000)] = None,
    iss: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """Take what a browser comes back with from a sign-in; the state in it is the proof that it was begun here."""
    given = {"code": code, "state": state, "error": error, "error_description": error_description, "iss": iss}
    server: ServerState = request.app.state.server
    try:
        await take_answer(store, server.shared.sealer, {name: value for name, value in given.items() if value})
    except BadRequest as problem:
        return _page("Not signed in", problem.message, 400)
    if error is not None or code is None:
        return _page("Not signed in", "The sign-in was refused. You can close this page.", 400)
    return _page("Signed in", "You can close this page.", 200)


def redirect_uri(request: Request) -> str:
    """Return where browsers come back to from a sign-in that this request begins."""
    return f"{str(request.base_url).rstrip('/')}{CALLBACK}"


async def _connect(
    state: ServerState, server: ToolServer, variables: Mapping[str, str], back: str
) -> AsyncIterator[dict[str, Any]]:
    yield {"event": "connection_attempt", "server_name": server.name}
    try:
        listed = await state.mcp.list_tools(state.store, server, variables)
    except NeedsAuthorization:
        yield {"event": "oauth_required", "message": f"{server.name} wants somebody to sign in."}
    else:
        await state.mcp.look(state.store, server.id, variables)
        yield {"event": "success", "tools": show_listed(listed)}
        return
    way, connection = await state.mcp.sign_in(state.store, server, variables, back)
    opened = asyncio.ensure_future(connection.opened())
    try:
        await asyncio.wait((opened, way.address), return_when=asyncio.FIRST_COMPLETED)
        if way.address.done():
            yield {"event": "authorization_url", "url": way.address.result(), "session_id": server.id}
            yield {"event": "waiting_for_auth", "session_id": server.id}
        await opened
    finally:
        opened.cancel()
        with suppress(FolkmootError, asyncio.CancelledError):
            await connection.close()
    await state.mcp.look(state.store, server.id, variables)
    yield {"event": "success", "tools": show_listed(await state.mcp.list_tools(state.store, server, variables))}


async def _stream(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[ServerSentEvent]:
    """Encode events; a failure is the last of them."""
    try:
        async for event in events:
            yield ServerSentEvent(json.dumps(event).encode())
    except FolkmootError as error:
        yield ServerSentEvent(json.dumps({"event": "error", "message": error.message}).encode())


def _page(title: str, text: str, status: int) -> Response:
    headers = {
        "Content-Security-Policy": "default-src 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return Response(_PAGE.format(title=escape(title), text=escape(text)), status, headers, media_type="text/html")
