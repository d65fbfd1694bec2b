"""Agents, blocks and what must hold of them, over plain HTTP: many requests at once, to any of several processes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from folkmoot.memory.edits import KINDS, Revert, apply
from support.clients import NO_CERTIFICATES
from support.fixtures import MODEL
from support.polling import PATIENCE

EDITING = ("memory_insert", "memory_replace", "memory_rethink")

LOST = (httpx.TransportError,)
"""What a client gets when the server goes away under it."""


def open_http(url: str) -> httpx.AsyncClient:
    """Return a client of the server at `url` that takes any number of requests at once."""
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1)  # uvicorn hangs up after 5 s
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, verify=NO_CERTIFICATES, trust_env=False)


async def make_block(http: httpx.AsyncClient, value: str = "", **fields: Any) -> dict[str, Any]:
    """Make a block of a new label."""
    body = {"label": f"label_{uuid4().hex[:12]}", "value": value, **fields}
    return ok(await http.post("/v1/blocks", json=body))


async def make_agent(
    http: httpx.AsyncClient, *blocks: dict[str, Any], tools: Sequence[str] = EDITING, **fields: Any
) -> dict[str, Any]:
    """Make an agent that has `blocks`."""
    body = {
        "name": f"agent_{uuid4().hex[:12]}",
        "model": MODEL,
        "block_ids": [block["id"] for block in blocks],
        "include_base_tools": False,
        "tools": list(tools),
        **fields,
    }
    return ok(await http.post("/v1/agents", json=body))


async def make_agents(
    http: httpx.AsyncClient, count: int, *blocks: dict[str, Any], **fields: Any
) -> list[dict[str, Any]]:
    """Make `count` agents that share `blocks`."""
    return list(await asyncio.gather(*(make_agent(http, *blocks, **fields) for _ in range(count))))


def call(tool: str, **arguments: Any) -> str:
    """Return the script that lets an agent call a tool."""
    return f"CALL {tool} {json.dumps(arguments)}"


def calls(*pairs: tuple[str, dict[str, Any]]) -> str:
    """Return the script that lets an agent call several tools in one step."""
    return f"CALLS {json.dumps(pairs)}"


def insertion(block: dict[str, Any], line: str) -> str:
    """Return the script that lets an agent insert a line at the block's end."""
    return call("memory_insert", label=block["label"], new_string=line)


async def post(http: httpx.AsyncClient, agent: dict[str, Any], script: str) -> httpx.Response:
    """Say something to an agent."""
    return await http.post(f"/v1/agents/{agent['id']}/messages", json={"input": script})


async def say(http: httpx.AsyncClient, agent: dict[str, Any], script: str) -> dict[str, Any]:
    """Say something to an agent and return its turn, which must succeed."""
    return ok(await post(http, agent, script))


def ok(response: httpx.Response) -> Any:
    """Return the body of a 200."""
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    return response.json()


def tool_returns(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the turn's tool returns."""
    return [message for message in turn["messages"] if message["message_type"] == "tool_return_message"]


async def read(http: httpx.AsyncClient, block: dict[str, Any]) -> dict[str, Any]:
    """Return the block as it is now."""
    body: dict[str, Any] = ok(await http.get(f"/v1/blocks/{block['id']}"))
    return body


async def write(
    http: httpx.AsyncClient, block: dict[str, Any], text: str, expected: int | None = None
) -> httpx.Response:
    """Overwrite the block's text, with `expected` only when it is at that version."""
    headers = {} if expected is None else {"If-Match": f'"{expected}"'}
    return await http.patch(f"/v1/blocks/{block['id']}", json={"value": text}, headers=headers)


async def history(http: httpx.AsyncClient, block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all versions of the block with their texts, the oldest first, each read by its number."""
    now = await read(http, block)
    gate = asyncio.Semaphore(32)

    async def one(number: int) -> dict[str, Any]:
        async with gate:
            version: dict[str, Any] = ok(await http.get(f"/v1/blocks/{block['id']}/history/{number}"))
            return version

    return list(await asyncio.gather(*(one(number) for number in range(1, now["version"] + 1))))


async def assert_one_order(http: httpx.AsyncClient, block: dict[str, Any]) -> list[dict[str, Any]]:
    """Check that the block's text is exactly its history replayed: each version is the one before, edited.

    Nobody may write to the block meanwhile. Texts of edits must be shorter than what a history row keeps of them.
    """
    now = await read(http, block)
    listed: list[dict[str, Any]] = []
    while page := ok(
        await http.get(
            f"/v1/blocks/{block['id']}/history",
            params={"order": "asc", "limit": 1000, "after": listed[-1]["version"] if listed else 0},
        )
    ):
        listed += page
    assert [version["version"] for version in listed] == list(range(1, now["version"] + 1))
    versions = await history(http, block)
    assert [{**version, "value": None} for version in versions] == [{**version, "value": None} for version in listed]
    text = versions[0]["value"]
    for version in versions[1:]:
        edit = dict(version["edit"])
        kind = edit.pop("kind")
        if KINDS[kind] is Revert:
            edit["text"] = versions[edit["version"] - 1]["value"]
        text = apply(text, KINDS[kind](**edit), now["limit"])
        assert version["value"] == text, f"version {version['version']}"
        assert version["characters"] == len(version["value"])
    assert now["value"] == text
    return versions


async def assert_whole_turns(http: httpx.AsyncClient, agent: dict[str, Any]) -> list[dict[str, Any]]:
    """Check that each tool call of the agent has its return, in the same step, and return the messages."""
    path = f"/v1/agents/{agent['id']}/messages"
    messages: list[dict[str, Any]] = []
    while page := ok(
        await http.get(
            path, params={"order": "asc", "limit": 200, **({"after": messages[-1]["id"]} if messages else {})}
        )
    ):
        messages += page
    made = [
        (m["tool_call"]["tool_call_id"], m["step_id"]) for m in messages if m["message_type"] == "tool_call_message"
    ]
    returned = [(m["tool_call_id"], m["step_id"]) for m in messages if m["message_type"] == "tool_return_message"]
    assert made == returned
    return messages


async def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the database, beside the server, and return its rows."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            return [tuple(row) for row in database.execute(statement)]
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def end_leases(url: str) -> None:
    """Let every lease be over, as fifteen seconds of silence would."""
    await rows(url, "UPDATE runs SET lease_expires_at = 1 WHERE status = 'running'")
