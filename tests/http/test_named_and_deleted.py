"""What a request names and another deletes in that instant is not found; what several make at once is there once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import httpx
import pytest

from chaos.moot import ok, rows
from support.clients import plain_async_client
from support.fixtures import MODEL
from support.server import ServerProcess

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def made(http: httpx.AsyncClient, path: str, **body: object) -> str:
    """Make a thing and return its identifier."""
    return str(ok(await http.post(path, json=body))["id"])


async def agent(http: httpx.AsyncClient) -> str:
    """Make an agent."""
    return await made(http, "/v1/agents", name="a", model=MODEL)


async def block(http: httpx.AsyncClient) -> str:
    """Make a block."""
    return await made(http, "/v1/blocks", label=uuid4().hex, value="v")


async def folder(http: httpx.AsyncClient) -> str:
    """Make a folder."""
    return await made(http, "/v1/folders", name=uuid4().hex)


async def archive(http: httpx.AsyncClient) -> str:
    """Make an archive."""
    return await made(http, "/v1/archives", name="a")


async def identity(http: httpx.AsyncClient) -> str:
    """Make an identity."""
    return await made(http, "/v1/identities", identifier_key=uuid4().hex, name="n", identity_type="user")


async def tool_server(http: httpx.AsyncClient) -> str:
    """Add a server of tools, which cannot be reached."""
    config = {"mcp_server_type": "stdio", "command": "/nonexistent/program", "args": []}
    return await made(http, "/v1/mcp-servers", server_name=uuid4().hex, config=config)


ROUND_ROBIN = {"description": "d", "manager_config": {"manager_type": "round_robin"}}
ONCE = {"type": "one-time", "scheduled_at": 4102444800000}
SAID = [{"role": "user", "content": "hi"}]
Maker = Callable[[httpx.AsyncClient], Awaitable[str]]

NAMED: dict[str, tuple[str, Maker, str, str, dict[str, object]]] = {
    "a block that an agent is given": (
        "blocks",
        block,
        "PATCH",
        "/v1/agents/AGENT/core-memory/blocks/attach/THING",
        {},
    ),
    "a block of a new agent": ("blocks", block, "POST", "/v1/agents", {"model": MODEL, "block_ids": ["THING"]}),
    "a block of those of an agent": ("blocks", block, "PATCH", "/v1/agents/AGENT", {"block_ids": ["THING"]}),
    "a block of a new group": (
        "blocks",
        block,
        "POST",
        "/v1/groups",
        {**ROUND_ROBIN, "agent_ids": ["AGENT"], "shared_block_ids": ["THING"]},
    ),
    "a block of an identity": ("blocks", block, "PATCH", "/v1/identities/IDENTITY/blocks/attach/THING", {}),
    "a folder that an agent is given": ("folders", folder, "PATCH", "/v1/agents/AGENT/folders/attach/THING", {}),
    "a folder of a new agent": ("folders", folder, "POST", "/v1/agents", {"model": MODEL, "folder_ids": ["THING"]}),
    "an archive that an agent is given": ("archives", archive, "PATCH", "/v1/agents/AGENT/archives/attach/THING", {}),
    "an archive that something is put into": (
        "archives",
        archive,
        "POST",
        "/v1/archives/THING/passages",
        {"text": "t"},
    ),
    "an identity of a new agent": (
        "identities",
        identity,
        "POST",
        "/v1/agents",
        {"model": MODEL, "identity_ids": ["THING"]},
    ),
    "an agent that is given a block": (
        "agents",
        agent,
        "PATCH",
        "/v1/agents/THING/core-memory/blocks/attach/BLOCK",
        {},
    ),
    "an agent that is given a folder": ("agents", agent, "PATCH", "/v1/agents/THING/folders/attach/FOLDER", {}),
    "an agent that is given an archive": ("agents", agent, "PATCH", "/v1/agents/THING/archives/attach/ARCHIVE", {}),
    "an agent that keeps a passage": ("agents", agent, "POST", "/v1/agents/THING/archival-memory", {"text": "t"}),
    "an agent that gets a conversation": ("agents", agent, "POST", "/v1/conversations?agent_id=THING", {}),
    "an agent of a new group": ("agents", agent, "POST", "/v1/groups", {**ROUND_ROBIN, "agent_ids": ["THING"]}),
    "an agent of an identity": ("agents", agent, "PATCH", "/v1/identities/IDENTITY/agents/attach/THING", {}),
    "an agent that is told something later": (
        "agents",
        agent,
        "POST",
        "/v1/agents/THING/schedule",
        {"messages": SAID, "schedule": ONCE},
    ),
    "an agent that is told something": ("agents", agent, "POST", "/v1/agents/THING/messages/async", {"messages": SAID}),
    "an agent of a batch": (
        "agents",
        agent,
        "POST",
        "/v1/messages/batches",
        {"requests": [{"agent_id": "THING", "messages": SAID}]},
    ),
    "a server of tools that is changed": (
        "mcp_servers",
        tool_server,
        "PATCH",
        "/v1/mcp-servers/THING",
        {"server_name": "n", "config": {"mcp_server_type": "stdio", "command": None, "args": None}},
    ),
}


@pytest.mark.parametrize("name", NAMED)
async def test_what_is_named_and_deleted_in_that_instant_is_not_found(server: ServerProcess, name: str) -> None:
    table, make, method, path, body = NAMED[name]
    async with plain_async_client(server.url) as http:
        thing = await make(http)
        text = json.dumps([path, body]).replace("THING", thing)
        for word, other in {
            "AGENT": agent,
            "BLOCK": block,
            "FOLDER": folder,
            "ARCHIVE": archive,
            "IDENTITY": identity,
        }.items():
            if word in text:
                text = text.replace(word, await other(http))
        path, body = json.loads(text)
        connection = await asyncpg.connect(server.database)
        try:
            async with connection.transaction():
                await connection.execute(f"DELETE FROM {table} WHERE id = $1", thing)
                asking = asyncio.create_task(http.request(method, path, json=body))
                while not await rows(server.database, WAITING) and not asking.done():
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()
        answer = await asking
        assert (answer.status_code, thing in answer.text) == (404, True), answer.text


async def test_an_identity_that_several_put_at_once_is_made_once(server: ServerProcess) -> None:
    body = {"identifier_key": uuid4().hex, "name": "n", "identity_type": "user"}
    async with plain_async_client(server.url) as http:
        put = [http.put("/v1/identities", json=body) for _ in range(8)]
        assert len({ok(answer)["id"] for answer in await asyncio.gather(*put)}) == 1


async def test_of_several_who_make_a_thing_of_one_name_the_others_are_told_its_name(server: ServerProcess) -> None:
    name = uuid4().hex
    async with plain_async_client(server.url) as http:
        answers = await asyncio.gather(*(http.post("/v1/folders", json={"name": name}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert all(name in answer.text for answer in answers), [answer.text for answer in answers]
