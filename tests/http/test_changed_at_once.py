"""Two requests that change different fields of one thing at the same moment: both changes stand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg
import httpx
import pytest

from chaos.moot import ok, rows
from support.clients import plain_async_client
from support.fixtures import MODEL, one_store
from support.server import ServerProcess

Body: TypeAlias = dict[str, Any]
Change: TypeAlias = tuple[str, str, Body]
"""Method, path and body of a request."""

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
STDIO = {"mcp_server_type": "stdio", "command": "/nonexistent/program", "args": ["old"]}
KEPT = {"mcp_server_type": "stdio", "command": None, "args": None}


def made(http: httpx.Client, path: str, body: Body) -> str:
    """Make a thing and return its identifier."""
    return str(http.post(path, json=body).raise_for_status().json()["id"])


def patches(path: str, thing: str, *bodies: Body) -> tuple[str, list[Change]]:
    """Return a thing and the requests that change it."""
    return thing, [("PATCH", f"{path}/{thing}", body) for body in bodies]


def source(name: str) -> str:
    """Return a tool's source."""
    return f'def {name}() -> str:\n    """Say hello."""\n    return "hello"\n'


def agent(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change the name and the settings, which are kept together, of an agent."""
    thing = made(http, "/v1/agents", {"name": "a", "model": MODEL})
    return patches("/v1/agents", thing, {"metadata": {"a": 1}}, {"max_files_open": 3}, {"description": "d"})


def block(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a block's fields beside its text."""
    thing = made(http, "/v1/blocks", {"label": "l", "value": "v"})
    return patches("/v1/blocks", thing, {"metadata": {"a": 1}}, {"description": "d"}, {"value": "new"})


def tool(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a tool, its source too."""
    name = f"t{uuid4().hex}"
    thing = made(http, "/v1/tools", {"source_code": source(name)})
    other = source(name).replace("Say", "Tell")
    return patches("/v1/tools", thing, {"tags": ["a"]}, {"return_char_limit": 77}, {"source_code": other})


def tool_of_its_name(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a tool by making it again."""
    code = source(f"t{uuid4().hex}")
    thing = made(http, "/v1/tools", {"source_code": code})
    more: list[Body] = [{"tags": ["a"]}, {"return_char_limit": 77}]
    return thing, [("PUT", "/v1/tools", {"source_code": code, **each}) for each in more]


def identity(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change an identity and what is known of it."""
    body = {"identifier_key": uuid4().hex, "name": "n", "identity_type": "user"}
    thing = made(http, "/v1/identities", body)
    known = [[{"key": key, "value": "v", "type": "string"}] for key in "ab"]
    return patches("/v1/identities", thing, *({"properties": each} for each in known), {"name": "m"})


def folder(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a folder."""
    thing = made(http, "/v1/folders", {"name": uuid4().hex})
    return patches("/v1/folders", thing, {"description": "d"}, {"instructions": "i"}, {"metadata": {"a": 1}})


def archive(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change an archive."""
    return patches("/v1/archives", made(http, "/v1/archives", {"name": "a"}), {"name": "b"}, {"description": "d"})


def tool_server(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change how a server of tools is reached."""
    thing = made(http, "/v1/mcp-servers", {"server_name": uuid4().hex, "config": STDIO})
    more: list[Body] = [{"args": ["new"]}, {"allowed_hosts": ["example.org"]}]
    return patches("/v1/mcp-servers", thing, *({"config": {**KEPT, **each}} for each in more))


def provider(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a provider."""
    body = {"name": uuid4().hex, "provider_type": "azure", "api_key": "k", "base_url": "https://a.example.org"}
    thing = made(http, "/v1/providers", body)
    return patches("/v1/providers", thing, {"base_url": "https://b.example.org", "api_key": "l"}, {"api_version": "2"})


def group(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a group."""
    member = made(http, "/v1/agents", {"name": "a", "model": MODEL})
    body = {"agent_ids": [member], "description": "d", "manager_config": {"manager_type": "round_robin"}}
    turns = {"manager_config": {"manager_type": "round_robin", "max_turns": 7}}
    return patches("/v1/groups", made(http, "/v1/groups", body), {"description": "e"}, turns)


def conversation(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a conversation."""
    speaker = made(http, "/v1/agents", {"name": "a", "model": MODEL})
    thing = made(http, f"/v1/conversations?agent_id={speaker}", {})
    settings = {"model_settings": {"provider_type": "openai", "temperature": 0.5}}
    return patches("/v1/conversations", thing, {"summary": "s"}, {"model": "openai/gpt-4.1"}, settings)


def variable(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change a variable of tools' calls."""
    settings = made(http, "/v1/sandbox-config/local/default", {})
    path = f"/v1/sandbox-config/{settings}/environment-variable"
    thing = made(http, path, {"key": f"V_{uuid4().hex}", "value": "v"})
    return patches("/v1/sandbox-config/environment-variable", thing, {"value": "w"}, {"description": "d"})


def member(http: httpx.Client) -> tuple[str, list[Change]]:
    """Change what a member's key reaches."""
    label = uuid4().hex
    shared = made(http, "/v1/blocks", {"label": label, "value": "v"})
    asked = made(http, "/v1/agents", {"name": uuid4().hex, "model": MODEL})
    thing = made(http, "/v1/keys", {"name": "m", "blocks": [{"block": shared}], "agents": []})
    return patches("/v1/keys", thing, {"blocks": []}, {"agents": [asked]})


TABLES: dict[Callable[[httpx.Client], tuple[str, list[Change]]], str] = {
    agent: "agents",
    block: "blocks",
    tool: "tools",
    tool_of_its_name: "tools",
    identity: "identities",
    folder: "folders",
    archive: "archives",
    tool_server: "mcp_servers",
    provider: "model_providers",
    group: "groups",
    conversation: "conversations",
    variable: "sandbox_variables",
    member: "api_keys",
}


def has(shown: Any, sent: Any) -> bool:
    """Tell whether what is shown of a thing has what was sent to change it."""
    if isinstance(sent, dict):
        wanted = {key: value for key, value in sent.items() if value is not None and key != "api_key"}
        return isinstance(shown, dict) and all(has(shown.get(key, shown), value) for key, value in wanted.items())
    if isinstance(sent, list) and sent:
        return all(any(has(each, wanted) for each in shown) for wanted in sent)
    return bool(shown == sent)


def check(answers: list[httpx.Response], changes: list[Change]) -> None:
    """See that no request was refused, and that the one that came last shows what all have changed."""
    shown = [ok(answer) for answer in answers]
    assert any(all(has(each, body) for _, _, body in changes) for each in shown), json.dumps(shown)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
async def test_what_several_change_at_once_has_all_changes(
    server: ServerProcess, http: httpx.Client, kind: Callable[[httpx.Client], tuple[str, list[Change]]]
) -> None:
    thing, changes = kind(http)
    connection = await asyncpg.connect(server.database)
    try:
        async with plain_async_client(server.url) as client:
            async with connection.transaction():  # all have begun before one of them can write
                await connection.execute(f"SELECT 1 FROM {TABLES[kind]} WHERE id = $1 FOR UPDATE", thing)
                requests = [
                    asyncio.create_task(client.request(method, path, json=body)) for method, path, body in changes
                ]
                count = 1 if kind is block else len(requests)  # updates of one block share a transaction
                while len(await rows(server.database, WAITING)) < count:
                    assert not any(request.done() for request in requests)
                    await asyncio.sleep(0.02)
            check(list(await asyncio.gather(*requests)), changes)
    finally:
        await connection.close()


@one_store
@pytest.mark.parametrize("kind", [tool, tool_server], ids=lambda kind: kind.__name__)
async def test_so_has_one_that_is_read_before_it_is_written(
    server: ServerProcess, http: httpx.Client, kind: Callable[[httpx.Client], tuple[str, list[Change]]]
) -> None:
    _, changes = kind(http)
    async with plain_async_client(server.url) as client:
        requests = [client.request(method, path, json=body) for method, path, body in changes]
        check(list(await asyncio.gather(*requests)), changes)
