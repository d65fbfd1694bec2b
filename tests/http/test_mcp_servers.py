"""Servers of tools: kept, looked at, called by hand and in turns; and their secrets, which nobody is ever told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import BadRequestError, ConflictError, Letta, NotFoundError
from letta_client.types import AgentState

from support.clients import official_client, plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.polling import until
from support.scripted_model import ScriptedModel
from support.tool_servers import FASTMCP_SERVER, PLAIN_SERVER, TOOL_SERVER, program, running

SECRET = "hush-hush-0815"
PRIVATE = {"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"}


class NewServer:
    """Adds servers of tools to the shared server, and deletes them when the test ends."""

    def __init__(self, client: Letta) -> None:
        self.client = client
        self.ids: list[str] = []

    def __call__(self, config: dict[str, Any], name: str | None = None) -> Any:
        server = self.client.mcp_servers.create(
            server_name=name or f"server {uuid4().hex[:8]}",
            config=config,  # type: ignore[arg-type]
        )
        assert server.id is not None
        self.ids.append(server.id)
        return server

    def tools(self, server: Any) -> dict[str, str]:
        """Return the identifiers of a server's tools by name."""
        return {str(tool.name): tool.id for tool in self.client.mcp_servers.tools.list(server.id)}


@pytest.fixture
def new_server(client: Letta, http: httpx.Client) -> Iterator[NewServer]:
    make = NewServer(client)
    yield make
    for server_id in make.ids:
        http.delete(f"/v1/mcp-servers/{server_id}")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def say(client: Letta, agent: AgentState, text: str) -> list[Any]:
    """Return what the tools of a turn returned."""
    response = client.agents.messages.create(agent.id, messages=[{"role": "user", "content": text}])
    return [message for message in response.messages if message.message_type == "tool_return_message"]


def test_a_server_is_added_changed_and_deleted(client: Letta, new_server: NewServer) -> None:
    server = new_server(program(K="v1"))
    assert (server.mcp_server_type, server.args) == ("stdio", [str(PLAIN_SERVER), "stdio"])
    assert client.mcp_servers.retrieve(server.id) == server
    assert server in client.mcp_servers.list()
    tools = client.mcp_servers.tools.list(server.id)
    assert [tool.name for tool in tools] == sorted(str(tool.name) for tool in tools)
    (ok,) = (tool for tool in tools if tool.name == "ok")
    assert (ok.tool_type, ok.tags) == ("external_mcp", [f"mcp:{server.server_name}"])
    assert ok.id is not None
    assert client.mcp_servers.tools.retrieve(ok.id, mcp_server_id=server.id) == ok
    assert client.tools.retrieve(ok.id) == ok
    run = client.mcp_servers.tools.run(ok.id, mcp_server_id=server.id)
    assert (run.status, run.func_return) == ("success", "fine")

    renamed = client.mcp_servers.update(
        server.id,
        server_name=f"{server.server_name} 2",
        config={"mcp_server_type": "stdio", "command": None, "args": None},
    )
    assert (renamed.server_name, renamed.command) == (f"{server.server_name} 2", server.command)  # type: ignore[union-attr]
    assert client.tools.retrieve(ok.id).tags == [f"mcp:{server.server_name} 2"]
    assert client.mcp_servers.tools.run(ok.id, mcp_server_id=server.id).func_return == "fine"

    client.mcp_servers.delete(server.id)
    with pytest.raises(NotFoundError):
        client.mcp_servers.retrieve(server.id)
    with pytest.raises(NotFoundError):
        client.tools.retrieve(ok.id)
    with pytest.raises(BadRequestError):
        client.mcp_servers.delete(server.id)


def test_tools_whose_schemas_lie_are_not_taken(client: Letta, new_server: NewServer, http: httpx.Client) -> None:
    server = new_server(program())
    names = new_server.tools(server)
    assert "ok" in names
    assert not [name for name in names if name.startswith("lies_")]
    refused = {each["name"]: each["reasons"] for each in client.mcp_servers.refresh(server.id)["refused"]}  # type: ignore[index]
    assert refused.keys() == {"lies_deep", "lies_far", "lies_enum", "lies_large"}
    assert "outside of the schema" in refused["lies_far"][0]
    listed = http.get(f"/v1/tools/mcp/servers/{server.server_name}/tools").json()
    assert {tool["name"] for tool in listed if tool["health"]["status"] == "INVALID"} == refused.keys()


@one_store
def test_a_server_that_cannot_be_reached_is_added_all_the_same(new_server: NewServer, http: httpx.Client) -> None:
    server = new_server({"mcp_server_type": "stdio", "command": "/nonexistent/program", "args": []})
    assert new_server.tools(server) == {}
    answer = http.patch(f"/v1/mcp-servers/{server.id}/refresh")
    assert (answer.status_code, "is not found in" in answer.json()["detail"]) == (502, True)


def test_a_name_is_taken_once(client: Letta, new_server: NewServer) -> None:
    server, other = new_server(program()), new_server(program())
    with pytest.raises(ConflictError, match=server.server_name):
        new_server(program(), name=server.server_name)
    with pytest.raises(ConflictError, match=server.server_name):
        client.mcp_servers.update(
            other.id, server_name=server.server_name, config={"mcp_server_type": "stdio", "command": None, "args": None}
        )


def test_tools_of_the_same_name_are_each_their_servers(
    client: Letta, new_server: NewServer, new_agent: NewAgent
) -> None:
    first, second = new_server(program(K="1")), new_server(program(K="2"))
    for server, value in ((first, "1"), (second, "2")):
        agent = new_agent(tool_ids=[new_server.tools(server)["env_value"]])
        (returned,) = say(client, agent, 'CALL env_value {"key": "K"}')
        assert (returned.status, returned.tool_return) == ("success", value)
    oldest = next(iter(client.tools.list(name="env_value", order="asc")))
    named = new_agent(tools=["env_value"])
    assert oldest.id in [tool.id for tool in client.agents.tools.list(named.id)], "by name, the oldest"


def test_turns_call_tools_of_servers_under_rules_and_approval(
    client: Letta, new_server: NewServer, new_agent: NewAgent
) -> None:
    tools = new_server.tools(new_server(program()))
    agent = new_agent(
        tool_ids=[tools[name] for name in ("mcp_add", "shout", "record_of", "fails")],
        tool_rules=[
            {"type": "requires_approval", "tool_name": "shout"},
            {"type": "max_count_per_step", "tool_name": "fails", "max_count_limit": 1},
        ],
    )
    (added,) = say(client, agent, 'CALL mcp_add {"a": "20", "b": 22}')
    assert (added.status, added.tool_return) == ("success", "42"), "the model's text was read as the schema has it"
    (record,) = say(client, agent, 'CALL record_of {"name": "q"}')
    assert json.loads(record.tool_return) == {"name": "q", "n": 2}
    (failed,) = say(client, agent, 'CALL fails {"x": "q"}')
    assert (failed.status, failed.tool_return) == ("error", "mock failure q")
    (wrong,) = say(client, agent, 'CALL mcp_add {"a": "x"}')
    assert wrong.status == "error"
    assert "b is missing" in wrong.tool_return
    waiting = client.agents.messages.create(
        agent.id, messages=[{"role": "user", "content": 'CALL shout {"word": "hi"}'}]
    )
    (request,) = (m for m in waiting.messages if m.message_type == "approval_request_message")
    done = client.agents.messages.create(
        agent.id,
        messages=[
            {
                "type": "approval",
                "approvals": [
                    {"type": "approval", "approve": True, "tool_call_id": request.tool_call.tool_call_id}  # type: ignore[union-attr]
                ],
            }
        ],
    )
    assert "HI!" in str(done.messages)


def test_a_model_is_shown_what_a_servers_tool_drew(
    client: Letta, new_server: NewServer, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(tool_ids=[new_server.tools(new_server(program()))["picture"]])
    (returned,) = say(client, agent, "CALL picture {}")
    assert returned.tool_return == "(picture 1)"
    drawn = returned.tool_returns[0].tool_return[1].source.data
    assert base64.b64decode(drawn).startswith(b"\x89PNG")
    assert drawn in json.dumps(scripted_model.requests[-1]["messages"])


def test_an_agents_secrets_fill_the_configuration(
    client: Letta, new_server: NewServer, new_agent: NewAgent, http: httpx.Client
) -> None:
    server = new_server(program(USER="{{ MCP_USER | nobody }}", K=f"x{SECRET}"))
    tools = new_server.tools(server)
    ids = [tools["env_value"], tools["process"]]
    ann = new_agent(tool_ids=ids, secrets={"MCP_USER": f"ann-{SECRET}"})
    bob, plain = new_agent(tool_ids=ids, secrets={"MCP_USER": "bob"}), new_agent(tool_ids=ids)
    said = [say(client, agent, 'CALL env_value {"key": "USER"}')[0].tool_return for agent in (ann, bob, plain)]
    assert said == [f"ann-{SECRET}", "bob", "nobody"]
    processes = [say(client, agent, "CALL process {}")[0].tool_return for agent in (ann, bob, plain, ann)]
    assert len(set(processes)) == 3, "never shared across what was filled in"
    assert processes[0] == processes[3], "and kept"

    strict = new_server(program(USER="{{ MCP_USER }}"))
    assert new_server.tools(strict) == {}, "without an agent there is nothing to fill it with"
    refreshed = http.patch(f"/v1/mcp-servers/{strict.id}/refresh", params={"agent_id": bob.id}).json()
    assert "env_value" in refreshed["added"]
    lacking = new_agent(tool_ids=[new_server.tools(strict)["env_value"]])
    (returned,) = say(client, lacking, 'CALL env_value {"key": "USER"}')
    assert returned.status == "error"
    assert "MCP_USER" in returned.tool_return


def test_refresh_brings_new_tools_and_drops_gone_ones_and_says_who_loses_one(
    client: Letta, new_server: NewServer, new_agent: NewAgent, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)  # behind walls it is nobody who looks
    more = tmp_path / "more"
    server = new_server(program(TOOL_SERVER_MORE=str(more)) | {"readable_paths": [str(more.parent)]})
    before = new_server.tools(server)
    more.touch()
    touch = {"mcp_server_type": "stdio", "command": None, "args": None}
    client.mcp_servers.update(server.id, config={**touch, "env": {"TOOL_SERVER_MORE": "***", "N": "1"}})  # type: ignore[arg-type]
    assert new_server.tools(server).keys() - before.keys() == {"extra"}
    agent = new_agent(
        tool_ids=[new_server.tools(server)[name] for name in ("extra", "shout")], include_base_tools=False
    )
    unchanged = client.mcp_servers.refresh(server.id)
    assert {**unchanged, "refused": []} == {"added": [], "updated": [], "deleted": [], "agents": [], "refused": []}
    more.unlink()
    client.mcp_servers.update(server.id, config={**touch, "env": {"TOOL_SERVER_MORE": "***", "N": "2"}})  # type: ignore[arg-type]
    assert new_server.tools(server) == before, "the others keep their identifiers"
    assert [tool.name for tool in client.agents.tools.list(agent.id)] == ["shout"]


def test_a_server_that_tells_of_changes_is_followed(
    client: Letta, new_server: NewServer, new_agent: NewAgent, http: httpx.Client
) -> None:
    server = new_server(program())
    tools = new_server.tools(server)
    agent = new_agent(tool_ids=[tools["grow"], tools["shrink"]], include_base_tools=False)
    say(client, agent, 'CALL grow {"name": "grown"}')
    until(lambda: "grown" in new_server.tools(server))
    grown = new_server.tools(server)["grown"]
    client.agents.tools.attach(grown, agent_id=agent.id)
    assert say(client, agent, "CALL grown {}")[0].tool_return == "grown"
    http.post(f"/v1/tools/mcp/servers/{server.server_name}/tools/shrink/execute", json={"args": {"name": "grown"}})
    until(lambda: "grown" not in new_server.tools(server))
    until(lambda: {tool.name for tool in client.agents.tools.list(agent.id)} == {"grow", "shrink"})


def test_who_loses_a_tool_is_told_by_refresh(
    client: Letta, new_server: NewServer, new_agent: NewAgent, http: httpx.Client, tmp_path: Path
) -> None:
    """A program that is started anew has a tool less; nobody told of it."""
    tmp_path.chmod(0o755)  # behind walls it is nobody who looks
    more = tmp_path / "more"
    more.touch()
    server = new_server(program(TOOL_SERVER_MORE=str(more), N="{{ N | 1 }}") | {"readable_paths": [str(more.parent)]})
    agent = new_agent(tool_ids=[new_server.tools(server)["extra"]], secrets={"N": "2"}, include_base_tools=False)
    more.unlink()
    answer = http.patch(f"/v1/mcp-servers/{server.id}/refresh", params={"agent_id": agent.id}).json()
    assert answer["deleted"] == ["extra"]
    assert answer["agents"] == [{"agent_id": agent.id, "agent_name": agent.name, "tool": "extra"}]
    assert client.agents.tools.list(agent.id).items == []


def test_the_older_routes_are_the_same_servers(client: Letta, http: httpx.Client, new_server: NewServer) -> None:
    name = f"old {uuid4().hex[:8]}"
    base = "/v1/tools/mcp/servers"
    config = {key: value for key, value in program(K=SECRET).items() if key != "mcp_server_type"}
    answers = [http.put(base, json={"server_name": name, "type": "stdio", **config})]
    (added,) = (each for each in answers[0].json() if each["server_name"] == name)
    assert added == {"server_name": name, "type": "stdio", **config, "env": {"K": "***"}}
    answers.append(http.get(base))
    assert answers[-1].json()[name] == added
    (server,) = (each for each in client.mcp_servers.list() if each.server_name == name)
    assert server.id is not None
    new_server.ids.append(server.id)
    assert http.put(base, json={"server_name": name, "type": "stdio", **config}).status_code == 409
    answers.append(http.get(f"{base}/{name}/tools"))
    assert "ok" in [tool["name"] for tool in answers[-1].json()]
    answers.append(http.post(f"{base}/{name}/ok"))
    assert answers[-1].json()["id"] == new_server.tools(server)["ok"]
    assert http.post(f"{base}/{name}/nothing").status_code == 404
    run = http.post(f"{base}/{name}/tools/ok/execute", json={"args": {}})
    assert run.json() == {"result": "fine", "success": True}
    assert http.post(f"{base}/{name}/resync").json()["added"] == []
    answers.append(
        http.patch(f"{base}/{name}", json={"stdio_config": {"server_name": name, **config, "env": {"L": "w"}}})
    )
    assert answers[-1].json()["env"] == {"L": "***"}
    answers.append(http.post(f"{base}/test", json={"server_name": "t", "type": "stdio", **config}))
    assert answers[-1].json()["status"] == "success"
    dead = http.post(f"{base}/test", json={"server_name": "t", "type": "stdio", "command": "/nonexistent", "args": []})
    assert (dead.status_code, dead.json()["error"]["type"]) == (502, "mcp_connection_error")
    assert http.delete(f"{base}/{name}").status_code == 200
    assert http.delete(f"{base}/{name}").status_code == 400
    assert not [answer.text for answer in answers if SECRET in answer.text]


@one_store
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"mcp_server_type": "carrier", "command": "x", "args": []}, "stdio, sse or streamable_http"),
        ({"mcp_server_type": ["stdio"], "command": "x", "args": []}, "stdio, sse or streamable_http"),
        ({"mcp_server_type": "stdio", "args": []}, "command"),
        ({"mcp_server_type": "sse", "server_url": "file:///etc/passwd"}, "server_url"),
        ({"mcp_server_type": "sse", "server_url": "http://127.0.0.1:1/"}, "FOLKMOOT_PRIVATE_MCP_SERVERS"),
        ({"mcp_server_type": "streamable_http", "server_url": "http://localhost/mcp"}, "not a public address"),
        ({"server_url": "https://a.example/mcp", "custom_headers": {"Host": "x"}}, "Host"),
        ({"mcp_server_type": "stdio", "command": "x", "args": [], "env": {"A-B": "x"}}, "A-B"),
        ({"mcp_server_type": "stdio", "command": "x\0", "args": []}, "NUL"),
        ({"mcp_server_type": "stdio", "command": "x", "args": [], "readable_paths": ["srv"]}, "no absolute path"),
    ],
)
def test_what_cannot_be_a_server_is_refused(http: httpx.Client, config: dict[str, Any], words: str) -> None:
    answer = http.post("/v1/mcp-servers", json={"server_name": "never", "config": config})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert not [each for each in http.get("/v1/mcp-servers").json() if each["server_name"] == "never"]


SENT_SECRETS = {
    "server_url": f"https://a.invalid/mcp?key={SECRET}1",
    "auth_header": "X-Key",
    "auth_token": f"{SECRET}2",
    "custom_headers": {"X-A": f"{SECRET}3", "X-B": f"{{{{ V | {SECRET}4 }}}}"},
}


def test_secrets_stay_with_the_address_that_they_were_given_for(http: httpx.Client) -> None:
    config = {"mcp_server_type": "streamable_http", **SENT_SECRETS}
    made = http.post("/v1/mcp-servers", json={"server_name": f"moves_{uuid4().hex[:8]}", "config": config}).json()
    path = f"/v1/mcp-servers/{made['id']}"

    def moved(**fields: Any) -> httpx.Response:
        return http.patch(path, json={"config": {"mcp_server_type": "streamable_http", **fields}})

    assert moved(server_url="https://a.invalid/other").json()["auth_token"] == "***"
    answer = moved(server_url="https://evil.invalid/mcp", auth_token="***")
    assert answer.status_code == 422
    assert "auth_token" in answer.json()["detail"]
    gone = moved(server_url="https://evil.invalid/mcp").json()
    assert (gone.get("auth_token"), gone.get("custom_headers")) in ((None, None), (None, {}))
    http.delete(path)


def test_no_answer_tells_a_secret(start_server: StartServer, database_url: str) -> None:
    """Every field of every answer that tells of a server, of its tools or of what went wrong with it."""
    running_server = start_server(env=PRIVATE)
    with plain_client(running_server.url) as http:
        texts = []

        def ask(method: str, path: str, **more: Any) -> Any:
            answer = http.request(method, path, **more)
            texts.append(answer.text)
            assert answer.status_code < 500 or answer.status_code == 502, answer.text
            return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None

        remote = {"mcp_server_type": "streamable_http", **SENT_SECRETS}
        ask("POST", "/v1/mcp-servers", json={"server_name": "remote", "config": remote})
        broken = program(A=f"{SECRET}5", B=f"{{{{ V | {SECRET}6 }}}}")
        ask("POST", "/v1/mcp-servers", json={"server_name": "local", "config": broken})
        for server in ask("GET", "/v1/mcp-servers"):
            path = f"/v1/mcp-servers/{server['id']}"
            ask("GET", path)
            ask("PATCH", f"{path}/refresh")
            ask("PATCH", path, json={"config": {"mcp_server_type": server["mcp_server_type"]}})
            ask("GET", path.replace("mcp_server-", "connect/mcp_server-"))
            for tool in ask("GET", f"{path}/tools"):
                ask("GET", f"{path}/tools/{tool['id']}")
                if tool["name"] in ("ok", "die"):
                    ask("POST", f"{path}/tools/{tool['id']}/run", json={"args": {}})
        ask("GET", "/v1/tools/mcp/servers")
        for name in ("remote", "local"):
            ask("GET", f"/v1/tools/mcp/servers/{name}/tools")
            ask("POST", f"/v1/tools/mcp/servers/{name}/resync")
            ask("PATCH", f"/v1/tools/mcp/servers/{name}", json={})
        ask("POST", "/v1/tools/mcp/servers/test", json={"server_name": "t", "type": "sse", **SENT_SECRETS})
        ask("POST", "/v1/tools/mcp/servers/connect", json={"server_name": "t", "type": "sse", **SENT_SECRETS})
        ask("GET", "/v1/tools")
        ask("GET", "/tools")
        assert len(texts) > 20
        assert not [text for text in texts if SECRET in text]
    running_server.stop()
    if database_url.startswith("sqlite"):
        file = Path(database_url.removeprefix("sqlite:///"))
        assert SECRET.encode() not in b"".join(each.read_bytes() for each in file.parent.glob(f"{file.name}*"))


def test_only_admins_of_the_default_organisation_start_programs(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "root-key", **PRIVATE})
    with plain_client(server.url, headers=bearer("root-key")) as root:
        member = root.post("/v1/keys", json={"name": "m", "role": "member"}).json()["key"]
        reader = root.post("/v1/keys", json={"name": "r", "role": "reader"}).json()["key"]
        other = root.post("/v1/organizations", json={"name": "other"}).json()["id"]
        admin = root.post("/v1/keys", json={"name": "a", "role": "admin", "organization": other}).json()["key"]
        body = {"server_name": "x", "config": program()}
        old = {
            "server_name": "x",
            "type": "stdio",
            **{k: v for k, v in body["config"].items() if k != "mcp_server_type"},
        }
        remote = {"server_name": "r", "config": {"server_url": "http://127.0.0.1:9/"}}
        mine = root.post("/v1/mcp-servers", json={**body, "server_name": "mine"}).json()
        for key in (member, admin):
            with plain_client(server.url, headers=bearer(key)) as somebody:
                refused = [
                    somebody.post("/v1/mcp-servers", json=body),
                    somebody.put("/v1/tools/mcp/servers", json=old),
                    somebody.post("/v1/tools/mcp/servers/test", json=old),
                    somebody.post("/v1/tools/mcp/servers/connect", json=old),
                ]
                created = somebody.post("/v1/mcp-servers", json=remote).json()
                turned = {"config": {"mcp_server_type": "stdio", "command": "/bin/sh", "args": []}}
                refused.append(somebody.patch(f"/v1/mcp-servers/{created['id']}", json=turned))
                assert {answer.status_code for answer in refused} == {403}
        with plain_client(server.url, headers=bearer(member)) as somebody:
            assert somebody.patch(f"/v1/mcp-servers/{mine['id']}", json={"config": {"command": "x"}}).status_code == 403
            assert somebody.patch(f"/v1/mcp-servers/{mine['id']}/refresh").status_code == 200
        with plain_client(server.url, headers=bearer(admin)) as somebody:
            assert somebody.get(f"/v1/mcp-servers/{mine['id']}").status_code == 404
        with plain_client(server.url, headers=bearer(reader)) as somebody:
            assert somebody.get(f"/v1/mcp-servers/{mine['id']}").status_code == 200
            assert somebody.get(f"/v1/mcp-servers/connect/{mine['id']}").status_code == 403
            assert somebody.post("/v1/mcp-servers", json=remote).status_code == 403


@one_store
def test_only_admins_see_arguments_and_paths(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "root-key", **PRIVATE})
    with plain_client(server.url, headers=bearer("root-key")) as root:
        speaking = program()
        speaking["args"] = [
            "-c",
            f"import sys; sys.exit('no such user: {SECRET}-9')",
            f"--key={SECRET}-9",
            f"{SECRET}-9",
        ]
        address = f"http://127.0.0.1:9/{SECRET}/mcp?k={SECRET}"
        for name, config in (("program", speaking), ("remote", {"server_url": address})):
            root.post("/v1/mcp-servers", json={"server_name": name, "config": config}).raise_for_status()
        shown = root.get("/v1/mcp-servers").json()
        assert shown[0]["args"] == speaking["args"]
        assert shown[1]["server_url"] == f"http://127.0.0.1:9/{SECRET}/mcp?k=***"
        for role in ("member", "reader"):
            key = root.post("/v1/keys", json={"name": role, "role": role}).json()["key"]
            with plain_client(server.url, headers=bearer(key)) as somebody:
                answers = [
                    somebody.get("/v1/mcp-servers"),
                    somebody.get("/v1/tools/mcp/servers"),
                    somebody.get("/v1/tools"),
                ]
                for each in shown:
                    answers += [
                        somebody.get(f"/v1/mcp-servers/{each['id']}"),
                        somebody.get(f"/v1/mcp-servers/{each['id']}/tools"),
                        somebody.patch(f"/v1/mcp-servers/{each['id']}/refresh"),
                        somebody.post(f"/v1/tools/mcp/servers/{each['server_name']}/resync"),
                    ]
                    if role == "member":
                        answers.append(somebody.get(f"/v1/mcp-servers/connect/{each['id']}"))
                listed = answers[0].json()
                somebody.post("/login", data={"key": key})
                answers.append(somebody.get("/tools/servers"))
                if role == "member":
                    config = {"mcp_server_type": "streamable_http", "server_url": listed[1]["server_url"]}
                    answers.append(somebody.patch(f"/v1/mcp-servers/{shown[1]['id']}", json={"config": config}))
                assert all(answer.status_code in (200, 403, 502) for answer in answers)
                assert not [answer.text for answer in answers if SECRET in answer.text]
                assert (listed[0]["args"], listed[1]["server_url"]) == (["***"] * 4, "http://127.0.0.1:9/***")
        assert root.get("/v1/mcp-servers").json() == shown, "what came back as it was shown is as it was"


@one_store
def test_no_program_is_started_where_that_is_off(start_server: StartServer) -> None:
    first = start_server(env={"FOLKMOOT_SECRET_KEY": "k"})
    with official_client(first.url) as client:
        server = client.mcp_servers.create(server_name="s", config=program())  # type: ignore[arg-type]
        assert server.id is not None
        (ok,) = (tool for tool in client.mcp_servers.tools.list(server.id) if tool.name == "ok")
    first.stop()
    off = start_server(env={"FOLKMOOT_MCP_STDIO": "off", "FOLKMOOT_SECRET_KEY": "k"})
    with official_client(off.url) as client:
        with pytest.raises(BadRequestError, match="FOLKMOOT_MCP_STDIO"):
            client.mcp_servers.create(server_name="t", config=program())  # type: ignore[arg-type]
        assert ok.id is not None
        with pytest.raises(BadRequestError, match="FOLKMOOT_MCP_STDIO"):
            client.mcp_servers.tools.run(ok.id, mcp_server_id=server.id)
    off.stop()
    unwalled = start_server(env={"FOLKMOOT_TOOL_SANDBOX": "off", "FOLKMOOT_SECRET_KEY": "k"})
    with official_client(unwalled.url) as client:
        with pytest.raises(BadRequestError, match="FOLKMOOT_TOOL_SANDBOX"):
            client.mcp_servers.create(server_name="t", config=program())  # type: ignore[arg-type]
        with pytest.raises(BadRequestError, match="FOLKMOOT_TOOL_SANDBOX"):
            client.mcp_servers.tools.run(ok.id, mcp_server_id=server.id)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_processes_share_servers_and_their_tools(start_server: StartServer) -> None:
    env = {**PRIVATE, "FOLKMOOT_SECRET_KEY": "k"}
    one, other = start_server(env=env), start_server(env=env)
    with running(TOOL_SERVER, "http") as address, official_client(one.url) as here, official_client(other.url) as there:
        remote = {"mcp_server_type": "streamable_http", "server_url": address, "custom_headers": {"X-A": "here"}}
        server = here.mcp_servers.create(server_name="shared", config=remote)  # type: ignore[arg-type]
        assert server.id is not None
        tools = {tool.name: tool.id for tool in there.mcp_servers.tools.list(server.id)}
        agent = there.agents.create(name="a", model=MODEL, tools=["header_value", "shout"], include_base_tools=False)
        for client in (here, there):
            assert say(client, agent, 'CALL header_value {"key": "x-a"}')[0].tool_return == "here"
        there.mcp_servers.update(
            server.id,
            config={"mcp_server_type": "streamable_http", "server_url": None, "custom_headers": {"X-A": "there"}},
        )
        for client in (here, there):
            assert say(client, agent, 'CALL header_value {"key": "x-a"}')[0].tool_return == "there"
        here.mcp_servers.delete(server.id)
        with pytest.raises(NotFoundError):
            there.mcp_servers.tools.run(str(tools["shout"]), mcp_server_id=server.id)
        assert there.agents.tools.list(agent.id).items == []


@pytest.mark.parametrize("kind", ["http", "older-http", "sse", "fastmcp"])
@one_store
def test_servers_elsewhere_are_called_in_turns(start_server: StartServer, kind: str) -> None:
    script = FASTMCP_SERVER if kind == "fastmcp" else TOOL_SERVER
    with (
        running(script, "http" if kind == "fastmcp" else kind) as address,
        official_client(start_server(env=PRIVATE).url) as client,
    ):
        headers = {"Content-Type": "text/plain", "Accept": "application/json", "X-A": "1"}
        config = {
            "mcp_server_type": "sse" if kind == "sse" else "streamable_http",
            "server_url": address,
            "custom_headers": headers,
        }
        server = client.mcp_servers.create(server_name="s", config=config)  # type: ignore[arg-type]
        assert server.id is not None
        name = "multiply" if kind == "fastmcp" else "mcp_add"
        agent = client.agents.create(name="a", model=MODEL, tools=[name])
        wanted = "440" if kind == "fastmcp" else "42"
        assert say(client, agent, f'CALL {name} {{"a": 20, "b": 22}}')[0].tool_return == wanted


@one_store
def test_a_server_that_fails_costs_its_caller_an_error_in_time_and_nobody_else_anything(
    start_server: StartServer,
) -> None:
    server = start_server(env={"FOLKMOOT_TOOL_TIMEOUT": "2"})
    with official_client(server.url) as client, official_client(server.url) as meanwhile:
        made = client.mcp_servers.create(server_name="faulty", config=program())  # type: ignore[arg-type]
        assert made.id is not None
        faults = ("hang", "flood", "ask", "huge", "die", "garbage", "not_a_result", "input")
        agents = {name: client.agents.create(name=name, model=MODEL, tools=[name, "ok"]) for name in faults}
        stop, answered = threading.Event(), 0

        def go_on() -> None:
            nonlocal answered
            agent = meanwhile.agents.create(name="other", model=MODEL, include_base_tools=True)
            while not stop.wait(0.2):  # a turn now and then, as long as the others wait for what hangs
                assert say(meanwhile, agent, "CALL conversation_search {}")[0].status == "success"
                answered += 1

        other = threading.Thread(target=go_on)
        other.start()
        try:
            for name, agent in agents.items():
                (returned,) = say(client, agent, f"CALL {name} {{}}")
                assert returned.status == "error", name
                assert "faulty" in returned.tool_return or name in returned.tool_return
                assert say(client, agent, "CALL ok {}")[0].tool_return == "fine", "and the next call is made anew"
        finally:
            stop.set()
            other.join()
        assert answered > len(faults)


@one_store
def test_an_agent_is_asked_for_its_servers_and_their_tools(
    client: Letta, http: httpx.Client, new_server: NewServer, new_agent: NewAgent
) -> None:
    server, other = new_server(program(K="v1")), new_server(program(), f"other {uuid4().hex[:6]}")
    tools = new_server.tools(server)
    name, tool_id = "env_value", tools["env_value"]
    agent = new_agent(tool_ids=[tool_id])
    path = f"/v1/agents/{agent.id}/mcp-servers"
    assert [each["id"] for each in http.get(path).json()] == [server.id]
    assert [each["id"] for each in http.get(f"{path}/{server.id}/tools").json()] == [tool_id]
    assert http.get(f"{path}/{other.id}/tools").json() == []
    found = http.post(f"{path}/tools/search", json={"query": name.replace("_", " ")}).json()
    assert [each["tool"]["id"] for each in found] == [tool_id]
    ran = http.post(f"{path}/{server.id}/tools/{tool_id}/run", json={"args": {"key": "K"}}).json()
    assert (ran["status"], ran["func_return"]) == ("success", "v1")
    assert http.post(f"{path}/{other.id}/tools/{tool_id}/run", json={"args": {}}).status_code == 404
