"""Everybody at once on one block: an agent of the server, a program over HTTP, members with two kinds of client."""

from __future__ import annotations

import asyncio
import json

import httpx
from letta_client import AsyncLetta
from members import NewMember, call, joined

from support.fixtures import NewAgent, NewBlock, one_store
from support.server import ServerProcess

LINES = 5


def grant(block_id: str, access: str = "append") -> dict[str, str]:
    return {"block": block_id, "access": access}


async def test_all_lines_land_and_each_has_its_author(
    server: ServerProcess,
    async_client: AsyncLetta,
    async_http: httpx.AsyncClient,
    http: httpx.Client,
    new_block: NewBlock,
    new_agent: NewAgent,
    new_member: NewMember,
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    keys = {name: new_member(name, blocks=[grant(block.id)]) for name in ("claude-code", "cursor")}

    async def by_agent() -> None:
        for number in range(LINES):
            arguments = json.dumps({"label": block.label, "new_string": f"{agent.name} {number}"})
            await async_client.agents.messages.create(agent.id, input=f"CALL memory_insert {arguments}")

    async def by_program() -> None:
        for number in range(LINES):
            edit = {"kind": "insert", "new_string": f"local {number}"}
            (await async_http.post(f"/v1/blocks/{block.id}/edits", json=edit)).raise_for_status()

    async def by_member(name: str, generation: str) -> None:
        async with joined(server.url, keys[name], generation, name=name) as member:
            for number in range(LINES):
                await call(member, "insert", label=block.label, new_string=f"{name} {number}")

    await asyncio.gather(
        by_agent(), by_program(), by_member("claude-code", "2026-07-28"), by_member("cursor", "legacy")
    )
    lines = [line for line in http.get(f"/v1/blocks/{block.id}/blame").json()["lines"] if line["text"]]
    names = (agent.name, "local", "claude-code", "cursor")
    assert sorted(line["text"] for line in lines) == sorted(f"{name} {n}" for name in names for n in range(LINES))
    assert all(line["text"].startswith(f"{line['author']['name']} ") for line in lines)
    types = {line["author"]["name"]: line["author"]["type"] for line in lines}
    assert types == {agent.name: "agent", "local": "api", "claude-code": "member", "cursor": "member"}


@one_store
async def test_another_implementations_client_works_too(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock, new_member: NewMember
) -> None:
    import fastmcp  # two seconds of who collects the tests
    from fastmcp.client.transports import StreamableHttpTransport

    block = new_block(value="one")
    transport = StreamableHttpTransport(f"{server.url}/mcp", auth=new_member("fast", blocks=[grant(block.id, "write")]))
    async with fastmcp.Client(transport) as client:
        assert "replace" in {tool.name for tool in await client.list_tools()}
        answer = await client.call_tool("insert", {"label": block.label, "new_string": "two"})
        assert "version 2" in answer.content[0].text  # type: ignore[union-attr]
        assert [str(each.uri) for each in await client.list_resources()] == [f"memory://{block.label}"]
        read = await client.read_resource(f"memory://{block.label}")
        assert read[0].text == "one\ntwo"  # type: ignore[union-attr]
        refused = await client.call_tool(
            "replace", {"label": block.label, "old_string": "none", "new_string": "x"}, raise_on_error=False
        )
        assert refused.is_error
    assert http.get(f"/v1/blocks/{block.id}").json()["updated_by"]["name"] == "fast"
