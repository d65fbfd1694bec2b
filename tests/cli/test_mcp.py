"""`folkmoot mcp`: the door over stdin and stdout, of a running server and of none."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import Implementation

from folkmoot.mcp_server.clients import CLIENTS, STDIO, USUAL_URL, line_for
from support.fixtures import NewAgent, NewBlock, one_store
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.scripts import folkmoot_program
from support.server import ServerProcess

FRESH = (sys.executable, "-c", "from folkmoot.cli import main; main()", "mcp")
each_generation = pytest.mark.parametrize(
    "generation", ["2026-07-28", "legacy", pytest.param("auto", marks=pytest.mark.by_command)]
)


def environ(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FOLKMOOT_")} | variables


async def unheard(message: Any) -> None:
    """Take a message that a test does not look at."""


def joined(
    generation: str, hear: Callable[[Any], Awaitable[None]] = unheard, *, by_command: bool = False, **variables: str
) -> Client:
    program, *arguments = FRESH if by_command else folkmoot_program("mcp")
    bridge = StdioServerParameters(command=program, args=arguments, env=environ(**variables))
    info = Implementation(name="desk", version="4")
    return Client(bridge, mode=generation, client_info=info, message_handler=hear)


async def call(client: Client, tool: str, /, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


@one_store
@each_generation
async def test_a_client_that_starts_a_program_joins_the_running_server(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock, generation: str, by_command: bool
) -> None:
    block = new_block(value="one", label=f"größe {new_block().label}")
    key = http.post("/v1/keys", json={"name": "desk", "blocks": [{"block": block.id}]}).json()["key"]
    changed: asyncio.Queue[Any] = asyncio.Queue()
    variables = {"FOLKMOOT_URL": server.url, "FOLKMOOT_API_KEY": key}
    async with joined(generation, changed.put, by_command=by_command, **variables) as member:
        answers = await asyncio.gather(
            *(call(member, "insert", label=block.label, new_string=f"line {number}") for number in range(20))
        )
        assert len(answers) == 20
        (resource,) = (await member.list_resources()).resources
        text = (await member.read_resource(resource.uri)).contents[0].text  # type: ignore[union-attr]
        assert sorted(text.split("\n")) == sorted(["one", *(f"line {number}" for number in range(20))])
        if generation != "legacy":
            async with member.listen(resource_subscriptions=[resource.uri]) as told:
                http.patch(f"/v1/blocks/{block.id}", json={"value": "two"})
                async with asyncio.timeout(PATIENCE):
                    assert await anext(aiter(told)) == ResourceUpdated(resource.uri)
        else:
            with pytest.warns(MCPDeprecationWarning):
                await member.subscribe_resource(resource.uri)
            http.patch(f"/v1/blocks/{block.id}", json={"value": "two"})
            async with asyncio.timeout(PATIENCE):
                assert (await changed.get()).params.uri == resource.uri
        await call(member, "insert", label=block.label, new_string="last")
    author = http.get(f"/v1/blocks/{block.id}").json()["updated_by"]
    assert (author["type"], author["name"], author["client"]) == ("member", "desk", "desk/4")


@one_store
@pytest.mark.parametrize("generation", ["2026-07-28", "legacy"])
async def test_a_call_that_is_taken_back_cancels_the_turn(
    server: ServerProcess, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, generation: str
) -> None:
    agent = new_agent()
    async with joined(generation, FOLKMOOT_URL=server.url) as member:
        with scripted_model.hold() as held:
            asking = asyncio.create_task(call(member, "ask_agent", agent=agent.id, message="Please:\nECHO too late"))
            await asyncio.to_thread(held.wait_for, 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            async with asyncio.timeout(PATIENCE):
                while [run["status"] for run in http.get("/v1/runs", params={"agent_id": agent.id}).json()] != [
                    "cancelled"
                ]:
                    await asyncio.sleep(0.01)


async def test_where_no_server_runs_the_database_itself_is_served(tmp_path: Path) -> None:
    variables = {"FOLKMOOT_DATA": str(tmp_path / "data"), "HOME": str(tmp_path)}
    made = await _run("keys", "create", "ada", "--role", "admin", **variables)
    assert made.startswith("Key ")
    for _ in range(2):
        async with joined("auto", **variables) as member:
            assert await call(member, "list_memory") == "You reach no blocks."


@one_store
async def test_a_key_that_opens_nothing_is_told(server: ServerProcess) -> None:
    told = pytest.RaisesExc(MCPError, match="needs an API key")
    with pytest.RaisesGroup(told, flatten_subgroups=True):
        async with joined("legacy", FOLKMOOT_URL=server.url, FOLKMOOT_API_KEY="fm-wrong") as member:
            await member.list_tools()


async def test_no_server_at_the_address_that_was_set_is_an_error(tmp_path: Path) -> None:
    process = await _start("mcp", FOLKMOOT_URL="http://127.0.0.1:9", HOME=str(tmp_path))
    _, errors = await process.communicate(b"")
    assert process.returncode == 1
    assert b"No server answers at http://127.0.0.1:9" in errors


@one_store
async def test_nonsense_is_answered_and_stdout_has_nothing_else(server: ServerProcess) -> None:
    process = await _start("mcp", FOLKMOOT_URL=server.url)
    hello = {"jsonrpc": "2.0", "id": "a", "method": "tools/list", "params": {}}
    said = b"{\n[]\n\n" + json.dumps(hello).encode() + b"\n"
    told, _ = await process.communicate(said)
    answers = [json.loads(line) for line in told.splitlines()]
    assert [answer["id"] for answer in answers] == [None, None, "a"]
    assert "tools" in answers[2]["result"]


async def test_help_prints_how_each_client_joins() -> None:
    told = await _run("mcp", "--help")
    for client in CLIENTS:
        assert f"  {client}:\n    {line_for(client, USUAL_URL)}\n" in told
    assert STDIO in told


async def _start(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *folkmoot_program(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, env=environ(**variables)
    )


async def _run(*arguments: str, **variables: str) -> str:
    process = await _start(*arguments, **variables)
    told, errors = await process.communicate(b"")
    assert process.returncode == 0, errors
    return told.decode()
