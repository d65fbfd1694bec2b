"""Tools over HTTP: which there are, and giving them to agents."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from typing import Any

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import Letta, NotFoundError
from letta_client.types import AgentState

from support.clients import official_client
from support.fixtures import MODEL, NewAgent, StartServer

TUTORIAL = {"memory_insert", "memory_replace", "memory_rethink", "conversation_search", "web_search"}


def tool_names(agent: AgentState | None) -> list[str | None]:
    assert agent is not None
    return [tool.name for tool in agent.tools]


def tool_id(client: Letta, name: str) -> str:
    (tool,) = client.tools.list(name=name)
    return tool.id


def test_the_built_in_tools_are_listed_by_name(client: Letta) -> None:
    tools = client.tools.list(exclude_tool_types=["custom"]).items
    names = [tool.name or "" for tool in tools]
    assert set(names) >= TUTORIAL
    assert names == sorted(names)
    for tool in tools:
        assert tool.id.startswith("tool-")
        assert tool.json_schema is not None
        assert (tool.json_schema["name"], tool.json_schema["description"]) == (tool.name, tool.description)
        parameters: Any = tool.json_schema["parameters"]
        assert parameters["type"] == "object"
        assert set(parameters["required"]) <= parameters["properties"].keys()
        assert all(property_["description"] for property_ in parameters["properties"].values())
        assert client.tools.retrieve(tool.id) == tool


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_the_client_pages_through_all_tools(client: Letta, limit: int) -> None:
    every = [tool.id for tool in client.tools.list(limit=1000).items]
    assert [tool.id for tool in itertools.islice(client.tools.list(limit=limit), len(every) + 1)] == every


def test_tools_can_be_listed_backwards(client: Letta) -> None:
    every = [tool.id for tool in client.tools.list(limit=1000).items]
    assert [tool.id for tool in client.tools.list(before=every[3], limit=2).items] == every[1:3]
    assert [tool.id for tool in client.tools.list(after=every[0], before=every[3]).items] == every[1:3]


def test_tools_by_name_kind_and_part_of_a_name(client: Letta) -> None:
    insert, search = tool_id(client, "memory_insert"), tool_id(client, "web_search")

    def names(**wanted: Any) -> set[str | None]:
        return {tool.name for tool in client.tools.list(**wanted).items}

    assert names(name="web_search") == {"web_search"}
    assert names(name="no_such_tool") == set()
    assert names(names=["web_search", "memory_insert", "no_such_tool"]) == {"web_search", "memory_insert"}
    assert names(tool_ids=[insert, search]) == {"web_search", "memory_insert"}
    assert names(search="Memory_ins") == {"memory_insert", "archival_memory_insert"}
    assert names(tool_types=["letta_builtin"]) >= {"web_search"}
    assert names(exclude_tool_types=["letta_sleeptime_core"]).isdisjoint({"memory_insert", "memory_rethink"})


def test_tools_are_counted(client: Letta, http: httpx.Client) -> None:
    assert http.get("/v1/tools/count").json() == len(client.tools.list(limit=1000).items)
    assert http.get("/v1/tools/count", params={"name": "web_search"}).json() == 1
    own = http.get("/v1/tools/count", params={"exclude_letta_tools": "true"}).json()
    assert own == len(client.tools.list(tool_types=["custom"], limit=1000).items)


def test_a_tools_id_is_the_same_on_every_server(client: Letta, start_server: StartServer) -> None:
    other = start_server()
    with official_client(other.url) as elsewhere:
        here = client.tools.list(limit=1000, exclude_tool_types=["custom"])
        assert elsewhere.tools.list(limit=1000).items == here.items


@pytest.mark.parametrize("cursor", [f"tool-{UNKNOWN}", "nonsense"])
def test_an_unknown_cursor_begins_anew(http: httpx.Client, cursor: str) -> None:
    assert http.get("/v1/tools/", params={"after": cursor}).json() == http.get("/v1/tools/").json()


def test_an_unknown_tool_is_not_found(client: Letta) -> None:
    with pytest.raises(NotFoundError, match=UNKNOWN):
        client.tools.retrieve(f"tool-{UNKNOWN}")


def test_base_tools_can_be_added_again_and_are_all_there(client: Letta, http: httpx.Client) -> None:
    answer = http.post("/v1/tools/add-base-tools")
    assert answer.status_code == 200
    built_in = client.tools.list(limit=1000, exclude_tool_types=["custom"])
    assert {tool["id"] for tool in answer.json()} == {tool.id for tool in built_in.items}


# -- running code ------------------------------------------------------------------------------------------


def returned_by(client: Letta, agent_id: str, code: str, language: str = "python") -> Any:
    """Return the tool return of `run_code`, called by the model."""
    call = json.dumps({"code": code, "language": language})
    response = client.agents.messages.create(agent_id, input=f"CALL run_code {call}")
    assert response.messages[-1].content == "done"
    return next(m for m in response.messages if m.message_type == "tool_return_message")


@pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_an_agent_runs_code_behind_walls(client: Letta, new_agent: NewAgent, http: httpx.Client) -> None:
    agent = new_agent(include_base_tools=False, tools=["run_code"])
    good = returned_by(client, agent.id, "import sys\nprint('hello')\nprint('oh', file=sys.stderr)\n[6 * 7]")
    assert (good.status, good.tool_return) == ("success", "hello\noh\n[42]")
    assert (good.stdout, good.stderr) == (["hello"], ["oh"])
    bad = returned_by(client, agent.id, "print('before')\n1 / 0")
    assert bad.status == "error"
    assert bad.tool_return.endswith("ZeroDivisionError: division by zero\n")
    assert bad.stdout == ["before"]
    assert returned_by(client, agent.id, "open('/etc/passwd')").status == "error"
    assert "python" in returned_by(client, agent.id, "1", "r").tool_return
    script = returned_by(client, agent.id, "console.log([1, 2].map((one) => one * 2))", "js").tool_return
    assert script == "[ 2, 4 ]" if shutil.which("node") else "Node.js is not installed" in script
    assert http.get("/v1/ready").json()["sandbox"].startswith("strict: ")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("mode", "says"), [("off", "FOLKMOOT_TOOL_SANDBOX=off"), ("trusted", "CODE RUNS WITHOUT WALLS")]
)
def test_a_server_without_walls_says_so(mode: str, says: str, start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_TOOL_SANDBOX": mode})
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL, include_base_tools=False, tools=["run_code"])
        told = returned_by(client, agent.id, "open('/etc/passwd').close(); 'read'").tool_return
    assert (says in told) if mode == "off" else told == '"read"'
    assert says in httpx.get(f"{server.url}/v1/ready").json()["sandbox"] or mode == "off"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("allowed", [False, True])
def test_an_agent_reads_a_page_where_it_may(allowed: bool, start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_WEBPAGES": str(allowed)})
    page = f"{server.url}/login"
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL, tools=["fetch_webpage"])
        response = client.agents.messages.create(agent.id, input=f'CALL fetch_webpage {{"url": "{page}"}}')
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert returned.status == ("success" if allowed else "error")
    if allowed:
        assert returned.tool_return.startswith(f"{server.url}/")
        assert "# Moot · folkmoot" in returned.tool_return
    else:
        assert "127.0.0.1 is not a public address" in returned.tool_return
        assert "FOLKMOOT_PRIVATE_WEBPAGES" in returned.tool_return


# -- an agent's tools ----------------------------------------------------------------------------------------


def test_attach_and_detach(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(include_base_tools=False, tools=["memory_insert"])
    search = tool_id(client, "web_search")
    for _ in range(2):
        after = client.agents.tools.attach(search, agent_id=agent.id)
        assert tool_names(after) == ["memory_insert", "web_search"]
    assert tool_names(client.agents.tools.detach(search, agent_id=agent.id)) == ["memory_insert"]
    assert tool_names(client.agents.retrieve(agent.id)) == ["memory_insert"]


def test_a_tool_that_is_not_attached_can_be_detached(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    after = client.agents.tools.detach(tool_id(client, "web_search"), agent_id=agent.id)
    assert tool_names(after) == tool_names(agent)


def test_the_model_is_told_of_the_tools_that_are_attached_now(
    client: Letta, new_agent: NewAgent, scripted_model: Any
) -> None:
    agent = new_agent(include_base_tools=False, tools=["memory_insert"])
    client.agents.tools.attach(tool_id(client, "web_search"), agent_id=agent.id)
    client.agents.messages.create(agent.id, input="ECHO hello")
    (request,) = scripted_model.requests
    assert [tool["function"]["name"] for tool in request["tools"]] == ["memory_insert", "web_search"]


def test_listing_an_agents_tools_comes_to_an_end(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(tools=["web_search"])
    listed = itertools.islice(client.agents.tools.list(agent.id), 20)
    assert sorted(tool.name or "" for tool in listed) == sorted(name or "" for name in tool_names(agent))


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_client_pages_through_an_agents_tools(client: Letta, new_agent: NewAgent, limit: int) -> None:
    agent = new_agent(tools=["web_search"])
    listed = itertools.islice(client.agents.tools.list(agent.id, limit=limit), 20)
    assert sorted(tool.id for tool in listed) == sorted(tool.id for tool in agent.tools)


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_tools_of_an_unknown_agent_are_not_found(client: Letta, http: httpx.Client, verb: str) -> None:
    search = tool_id(client, "web_search")
    assert_error(http.patch(f"/v1/agents/agent-{UNKNOWN}/tools/{verb}/{search}"), 404, f"agent-{UNKNOWN}")


def test_an_unknown_tool_cannot_be_attached(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    assert_error(http.patch(f"/v1/agents/{agent.id}/tools/attach/tool-{UNKNOWN}"), 404, UNKNOWN)
    assert_error(http.patch(f"/v1/agents/{agent.id}/tools/attach/nonsense"), 422, "'nonsense'", "tool-")


def test_two_agents_on_two_servers_use_one_id(client: Letta, start_server: StartServer) -> None:
    """A program that keeps a tool's id may use it on any server."""
    search = tool_id(client, "web_search")
    with official_client(start_server().url) as elsewhere:
        agent = elsewhere.agents.create(model=MODEL, tool_ids=[search], include_base_tools=False)
    assert tool_names(agent) == ["web_search"]
