"""On one block one agent may write, one only insert, one only read; every memory tool keeps to it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import Letta

from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel

TOOLS = (
    "memory_insert",
    "memory_replace",
    "memory_rethink",
    "memory_apply_patch",
    "core_memory_append",
    "core_memory_replace",
    "memory",
)

ADDING = [
    pytest.param("memory_insert", {"new_string": "new"}, id="insert"),
    pytest.param("memory_insert", {"new_string": "new", "insert_line": 0}, id="insert in front"),
    pytest.param("core_memory_append", {"content": "new"}, id="append"),
    pytest.param("memory", {"command": "insert", "insert_text": "new"}, id="memory insert"),
]
CHANGING = [
    pytest.param("memory_replace", {"old_string": "kept", "new_string": "new"}, id="replace"),
    pytest.param("memory_rethink", {"new_memory": "new"}, id="rethink"),
    pytest.param("memory_apply_patch", {"patch": "-kept\n+new"}, id="patch"),
    pytest.param("memory_apply_patch", {"patch": " kept\n+new"}, id="patch that only adds"),
    pytest.param("core_memory_replace", {"old_content": "kept", "new_content": "new"}, id="core replace"),
    pytest.param("memory", {"command": "str_replace", "old_string": "kept", "new_string": "new"}, id="memory replace"),
    pytest.param("memory", {"command": "delete"}, id="memory delete"),
    pytest.param("memory", {"command": "rename", "new_path": "/memories/renamed"}, id="memory rename"),
]


def attach(http: httpx.Client, agent: Any, block: Any, access: str | None = None) -> httpx.Response:
    body = None if access is None else {"access": access}
    return http.patch(f"/v1/agents/{agent.id}/core-memory/blocks/attach/{block.id}", json=body)


def attached(http: httpx.Client, agent: Any) -> dict[str, tuple[str, bool]]:
    blocks = http.get(f"/v1/agents/{agent.id}/core-memory/blocks").json()
    return {block["id"]: (block["access"], block["read_only"]) for block in blocks}


def use(client: Letta, agent: Any, block: Any, tool: str, arguments: dict[str, Any]) -> Any:
    if tool == "memory":
        path = "old_path" if arguments["command"] == "rename" else "path"
        arguments = {**arguments, path: f"/memories/{block.label}"}
    else:
        arguments = {"label": block.label, **arguments}
    turn = client.agents.messages.create(agent.id, input=f"CALL {tool} {json.dumps(arguments)}")
    (returned,) = [message for message in turn.messages if message.message_type == "tool_return_message"]
    return returned


@pytest.fixture
def agent(new_agent: NewAgent) -> Any:
    return new_agent(include_base_tools=False, tools=list(TOOLS))


@pytest.mark.parametrize(("tool", "arguments"), [*ADDING, *CHANGING])
def test_a_reader_changes_nothing_by_any_tool(
    client: Letta, http: httpx.Client, agent: Any, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="kept")
    attach(http, agent, block, "read")
    returned = use(client, agent, block, tool, arguments)
    assert returned.status == "error"
    assert "read-only" in returned.tool_return
    assert_unchanged(client, http, agent, block, "read")


@pytest.mark.parametrize(("tool", "arguments"), ADDING)
def test_an_appender_may_add(
    client: Letta, http: httpx.Client, agent: Any, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="kept")
    attach(http, agent, block, "append")
    assert use(client, agent, block, tool, arguments).status == "success"
    assert sorted((client.blocks.retrieve(block.id).value or "").split("\n")) == ["kept", "new"]


@pytest.mark.parametrize(("tool", "arguments"), CHANGING)
def test_an_appender_changes_nothing_that_stands(
    client: Letta, http: httpx.Client, agent: Any, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="kept")
    attach(http, agent, block, "append")
    returned = use(client, agent, block, tool, arguments)
    assert returned.status == "error"
    assert "memory_insert" in returned.tool_return
    assert_unchanged(client, http, agent, block, "append")


@pytest.mark.parametrize(("tool", "arguments"), [*ADDING, *CHANGING])
def test_a_writer_may_do_everything(
    client: Letta, http: httpx.Client, agent: Any, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="kept")
    attach(http, agent, block, "write")
    assert use(client, agent, block, tool, arguments).status == "success"


@pytest.mark.parametrize("access", ["write", "append"])
@pytest.mark.parametrize(("tool", "arguments"), ADDING)
def test_a_read_only_block_is_so_whatever_the_attachment_says(
    client: Letta,
    http: httpx.Client,
    agent: Any,
    new_block: NewBlock,
    tool: str,
    arguments: dict[str, Any],
    access: str,
) -> None:
    block = new_block(value="kept", read_only=True)
    attach(http, agent, block, access)
    assert "read-only" in use(client, agent, block, tool, arguments).tool_return
    assert client.blocks.retrieve(block.id).value == "kept"


def test_every_access_may_be_viewed(client: Letta, http: httpx.Client, agent: Any, new_block: NewBlock) -> None:
    for access in ("read", "append", "write"):
        block = new_block(value="to be seen")
        attach(http, agent, block, access)
        returned = use(client, agent, block, "memory", {"command": "view"})
        assert returned.status == "success"
        assert "to be seen" in returned.tool_return


def test_one_block_with_three_accesses_is_shown_as_each_agent_has_it(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="shared")
    agents = {access: new_agent() for access in ("write", "append", "read")}
    for access, agent in agents.items():
        reply = attach(http, agent, block, access)
        assert reply.status_code == 200
        (shown,) = [one for one in reply.json()["memory"]["blocks"] if one["id"] == block.id]
        assert (shown["access"], shown["read_only"]) == (access, access == "read")
        assert attached(http, agent)[block.id] == (access, access == "read")
        one = http.get(f"/v1/agents/{agent.id}/core-memory/blocks/{block.label}").json()
        assert (one["access"], one["read_only"]) == (access, access == "read")
        client.agents.messages.create(agent.id, input="hello")
        memory = scripted_model.requests[-1]["messages"][-1]["content"]
        assert f'access="{access}" read_only="{str(access == "read").lower()}"' in memory
    assert http.get(f"/v1/blocks/{block.id}").json()["read_only"] is False


def test_the_owner_may_write_what_the_agent_may_only_read(http: httpx.Client, agent: Any, new_block: NewBlock) -> None:
    block = new_block(value="kept")
    attach(http, agent, block, "read")
    path = f"/v1/agents/{agent.id}/core-memory/blocks/{block.label}"
    assert http.patch(path, json={"value": "by the owner"}).status_code == 200


def test_attaching_again_changes_the_access_and_without_one_keeps_it(
    client: Letta, http: httpx.Client, agent: Any, new_block: NewBlock
) -> None:
    block = new_block(value="kept")
    attach(http, agent, block)
    assert attached(http, agent)[block.id] == ("write", False)
    attach(http, agent, block, "read")
    attach(http, agent, block)
    assert attached(http, agent)[block.id] == ("read", True)
    assert use(client, agent, block, "memory_rethink", {"new_memory": "new"}).status == "error"
    attach(http, agent, block, "append")
    assert use(client, agent, block, "memory_insert", {"new_string": "new"}).status == "success"
    attach(http, agent, block, "write")
    assert use(client, agent, block, "memory_rethink", {"new_memory": "new"}).status == "success"


def test_an_access_that_does_not_exist_is_refused(http: httpx.Client, agent: Any, new_block: NewBlock) -> None:
    block = new_block()
    assert_error(attach(http, agent, block, "admin"), 422, "access", "admin")
    assert block.id not in attached(http, agent)
    path = f"/v1/agents/{agent.id}/core-memory/blocks/attach/block-{UNKNOWN}"
    assert_error(http.patch(path, json={"access": "read"}), 404, UNKNOWN)


def assert_unchanged(client: Letta, http: httpx.Client, agent: Any, block: Any, access: str) -> None:
    now = client.blocks.retrieve(block.id)
    assert (now.value, now.version, now.label) == ("kept", 1, block.label)  # type: ignore[attr-defined]
    assert attached(http, agent)[block.id] == (access, access == "read")
