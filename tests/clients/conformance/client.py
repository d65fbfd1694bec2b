"""How servers of tools are asked, for the protocol's conformance suite: `relay.py` says which scenario is on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx

from folkmoot.errors import BadRequest, ToolServerFailed
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Store
from folkmoot.store.sealing import Sealer
from folkmoot.tools.mcp.authorizations import Authorization, Renewals, SignIn, take_answer
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import Connection, ConnectionOptions
from folkmoot.tools.mcp.servers import create_server
from support.polling import PATIENCE

EXAMPLES: dict[Any, Any] = {"integer": 5, "number": 5, "boolean": True, "object": {}, "array": []}
AT_ONCE = 4
"""Scenarios that are played; the suite starts all of them together, and a busy machine would be too slow for each."""

HEARD_FIRST = frozenset({"sse-retry"})
"""Scenarios that take a connection's own stream, where it opens late, for another one opened anew."""

_heard: ContextVar[asyncio.Event] = ContextVar("heard")

AUTHOR = Author("suite", "key", "suite")
REDIRECT = "http://localhost:8283/v1/tools/mcp/oauth/callback"


class Hearing(logging.Handler):
    """Notes which connection's own stream is open, as the SDK logs it in the connection's context."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look at what is logged."""
        if record.getMessage() == "GET SSE connection established":
            _heard.get().set()


class Person(SignIn):
    """A sign-in whose person follows each address at once, and is sent back by the server."""

    async def show(self, address: str) -> None:
        """Take note of the address, and go through it as a browser does."""
        await super().show(address)
        async with httpx.AsyncClient(timeout=PATIENCE) as browser:
            answer = await browser.get(address)
        with suppress(BadRequest):
            await take_answer(self._store.everywhere, self._sealer, dict(answer.next_request.url.params))


@asynccontextmanager
async def clients(socket: Path, store: Store, sealer: Sealer, left_out: Collection[str]) -> AsyncIterator[None]:
    """Play the client of each scenario that a relay asks for at `socket`, but for those that are left out."""
    places = asyncio.Semaphore(AT_ONCE)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wanted = json.loads(await reader.readline())
        async with places:
            with suppress(ToolServerFailed):  # whether that was right, the suite's checks say
                if wanted["scenario"] not in left_out:
                    await _play(wanted["scenario"], wanted["address"], wanted["context"], store, sealer)
        writer.close()

    sdk, hearing = logging.getLogger("mcp.client.streamable_http"), Hearing()
    sdk.setLevel(logging.DEBUG)
    sdk.addHandler(hearing)
    server = await asyncio.start_unix_server(serve, socket)
    async with server:
        yield
    sdk.removeHandler(hearing)
    sdk.setLevel(logging.NOTSET)


async def _play(scenario: str, address: str, context: Mapping[str, Any], store: Store, sealer: Sealer) -> None:
    """List the server's tools and call each once, with the arguments that the suite wants or some that fit."""
    configuration = ServerConfiguration("streamable_http", server_url=address)
    server = await store.write(lambda transaction: create_server(transaction, scenario, configuration, AUTHOR, sealer))

    async def auth() -> Any:
        person = Person(store, sealer, server.id)
        renewals = Renewals(allow_private=True)
        authorization = Authorization(store, sealer, server.id, "", address, renewals, REDIRECT)
        await authorization.load()
        return authorization.auth(person.show, person.wait)

    options = ConnectionOptions(allow_private=True, auth=auth if scenario.startswith("auth/") else None)
    _heard.set(asyncio.Event())
    connection = Connection("conformance", configuration, options, lambda: None)
    wanted = {call["name"]: call["arguments"] for call in context.get("toolCalls", ())}
    try:
        tools = await connection.list_tools()
        if scenario in HEARD_FIRST:
            await asyncio.wait_for(_heard.get().wait(), PATIENCE)
        for tool in tools:
            properties = tool.input_schema.get("properties", {})
            fitting = {name: EXAMPLES.get(each.get("type"), "x") for name, each in properties.items()}
            if tool.name == "json_schema_echo":  # wants to hear what schema the other tool has
                fitting = {"schema": next(each for each in tools if each is not tool).input_schema}
            with suppress(ToolServerFailed):
                await connection.call(tool.name, wanted.get(tool.name, fitting), PATIENCE)
    finally:
        await connection.close()
