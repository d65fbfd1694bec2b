"""Agents move through files: everything comes along, twice the same, all or nothing."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from folkmoot.server.wire.agent_files import complete
from support.fixtures import MODEL, NewAgent, NewBlock, one_store
from support.polling import until
from support.tool_servers import PLAIN_SERVER, program

IDENTIFIER = re.compile(r"\b[a-z_]+(?:-[a-z]+)?-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")


def exported(http: httpx.Client, agent_id: str, **query: Any) -> dict[str, Any]:
    """Return an agent's file."""
    answer = http.get(f"/v1/agents/{agent_id}/export", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def imported(http: httpx.Client, content: Any, **fields: str) -> dict[str, Any]:
    """Take a file in and return the answer."""
    answer = posted(http, content, **fields)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def posted(http: httpx.Client, content: Any, **fields: str) -> httpx.Response:
    """Send a file."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return http.post("/v1/agents/import", files={"file": ("agent.af", data)}, data=fields)


def without_ids(content: dict[str, Any]) -> dict[str, Any]:
    """Return a file without when it was made, and with one word for every identifier in a text."""
    told: dict[str, Any] = json.loads(IDENTIFIER.sub("ID", json.dumps({**content, "created_at": None})))
    return told


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield where two files differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif one != other:
        yield f"{place}: {one!r} became {other!r}"


@pytest.fixture
def moving(client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> str:
    """An agent with a bit of everything, and its file twice the same."""
    shared = new_block(value="one\ntwo", description="for all", metadata={"k": [1]}, tags=["b", "a"])
    read = new_block(value="rules", read_only=True)
    agent = new_agent(
        block_ids=[shared.id, read.id],
        tags=["shop", "front"],
        system="You keep a shop.",
        secrets={"KEY": "value"},
        metadata={"desk": 1},
        timezone="Europe/Berlin",
        tool_rules=[{"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 3}],
        model_settings={"provider_type": "openai", "temperature": 0.5},
    )
    path = f"/v1/agents/{agent.id}"
    http.patch(f"{path}/core-memory/blocks/attach/{shared.id}", json={"access": "append"})
    call = json.dumps({"label": shared.label, "new_string": "three"})
    http.post(f"{path}/messages", json={"input": f"THINK hm\nCALL memory_insert {call}\nTHEN ECHO written"})
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    content = [{"type": "text", "text": "ECHO seen"}, picture]
    http.post(f"{path}/messages", json={"messages": [{"role": "user", "content": content, "name": "Ada"}]})
    own = {"isolated_block_labels": [shared.label], "summary": "aside"}
    other = http.post("/v1/conversations", params={"agent_id": agent.id}, json=own).json()["id"]
    http.post(f"/v1/conversations/{other}/messages", json={"input": "ECHO aside", "streaming": False})
    client.conversations.create(agent_id=agent.id)
    assert http.post(f"/v1/conversations/{other}/fork").status_code == 200
    return agent.id


def test_export_import_export_gives_the_same_file(http: httpx.Client, moving: str) -> None:
    first = exported(http, moving)
    made = imported(http, first, append_copy_suffix="false")
    assert made["left_out"] == []
    second = exported(http, made["agent_ids"][0])
    assert list(differences(without_ids(first), without_ids(second))) == []
    own = first["folkmoot"]
    assert [len(each["messages"]) for each in own["conversations"]] == [3, 1, 3]
    assert max(len(each["versions"]) for each in own["histories"]) == 2
    assert {row["role"] for row in first["agents"][0]["messages"]} == {"system", "user", "assistant", "tool"}
    assert len(first["blocks"]) == 4, "two of the agent, and a copy for each conversation that has one"


def test_what_was_said_and_written_is_there_as_before(http: httpx.Client, moving: str) -> None:
    """Not by the file's word alone: by the routes that show it."""
    made = imported(http, exported(http, moving), name="elsewhere", secrets='{"KEY": "new"}')["agent_ids"][0]

    def told(agent_id: str) -> Any:
        path = f"/v1/agents/{agent_id}"
        said = http.get(f"{path}/messages", params={"conversation_id": "default", "order": "asc", "limit": 100}).json()
        blocks = http.get(f"{path}/core-memory/blocks").json()
        history = [http.get(f"/v1/blocks/{block['id']}/history").json() for block in blocks]
        blame = [http.get(f"/v1/blocks/{block['id']}/blame").json() for block in blocks]
        kept = ("label", "value", "description", "metadata", "tags", "read_only", "version", "access", "limit")
        shown = [{name: block.get(name) for name in kept} for block in blocks]
        versions = [[(v["version"], v["edit"], v["created_at"], v["author"]["name"]) for v in each] for each in history]
        lines = [[(line["text"], line["version"]) for line in each["lines"]] for each in blame]
        words = [
            {name: value for name, value in message.items() if name not in ("id", "run_id", "step_id", "otid", "date")}
            for message in said[1:]
        ]
        return words, shown, versions, lines

    assert told(made) == told(moving)
    shown = http.get(f"/v1/agents/{made}").json()
    assert (shown["name"], shown["timezone"], shown["metadata"]) == ("elsewhere", "Europe/Berlin", {"desk": 1})
    assert [each["value"] for each in shown["secrets"]] == ["new"]
    assert shown["message_ids"] != http.get(f"/v1/agents/{moving}").json()["message_ids"]
    answer = http.post(f"/v1/agents/{made}/messages", json={"input": "ECHO I go on."}).json()
    assert answer["messages"][-1]["content"] == "I go on."
    conversations = http.get("/v1/conversations", params={"agent_id": made}).json()
    assert len(conversations) == 3
    aside = http.get(f"/v1/conversations/{conversations[0]['id']}/messages").json()
    assert aside, "each conversation has what was said in it"


def test_a_file_never_has_secrets_and_has_no_words_when_none_are_wanted(http: httpx.Client, moving: str) -> None:
    whole = exported(http, moving)
    assert whole["agents"][0]["secrets"] == {"KEY": ""}
    assert '"value"' not in json.dumps(whole["agents"][0]["secrets"])
    bare = exported(http, moving, scrub_messages="true")
    agent = bare["agents"][0]
    assert (agent["messages"], agent["in_context_message_ids"], bare["folkmoot"]["conversations"]) == ([], [], [])
    made = imported(http, whole, strip_messages="true")["agent_ids"][0]
    said = http.get(f"/v1/agents/{made}/messages").json()
    assert [each["message_type"] for each in said] == ["system_message"]


def test_one_conversation_can_be_the_file_s(http: httpx.Client, moving: str) -> None:
    other = http.get("/v1/conversations", params={"agent_id": moving, "order": "asc"}).json()[0]
    file = exported(http, moving, conversation_id=other["id"])
    texts = json.dumps(file["agents"][0]["messages"])
    assert "aside" in texts
    assert "written" not in texts
    unknown = http.get(f"/v1/agents/{moving}/export", params={"conversation_id": f"conv-{uuid4()}"})
    assert unknown.status_code == 404
    assert http.get(f"/v1/agents/agent-{uuid4()}/export").status_code == 404
    assert http.get(f"/v1/agents/{moving}/export", params={"use_legacy_format": "true"}).status_code == 400


def test_what_is_compacted_stays_so(http: httpx.Client, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    path = f"/v1/agents/{agent.id}"
    for number in range(6):
        http.post(f"{path}/messages", json={"input": f"ECHO number {number}"})
    assert http.post(f"{path}/summarize", json={}).status_code < 300
    http.post(f"{path}/messages", json={"input": "ECHO after"})
    file = exported(http, agent.id)
    entry = file["agents"][0]
    roles = {row["id"]: row["role"] for row in entry["messages"]}
    assert [roles[each] for each in entry["in_context_message_ids"]][:2] == ["system", "summary"]
    assert len(entry["in_context_message_ids"]) < len(entry["messages"])
    made = imported(http, file)["agent_ids"][0]
    assert without_ids(exported(http, made))["agents"][0]["messages"] == without_ids(file)["agents"][0]["messages"]
    seen, before = (http.get(f"/v1/agents/{each}/context").json() for each in (made, agent.id))
    assert seen["summary_memory"] == before["summary_memory"]
    assert seen["num_messages"] == before["num_messages"]
    http.patch(f"{path}/reset-messages", json={}).raise_for_status()
    entry = exported(http, agent.id)["agents"][0]
    assert [roles[each] for each in entry["in_context_message_ids"]] == ["system"], "its summary is in there no more"
    assert len(entry["messages"]) == len(roles)


def test_sharing_within_a_file_is_kept_and_files_share_nothing(http: httpx.Client, moving: str) -> None:
    file = exported(http, moving)
    twin = json.loads(json.dumps(file["agents"][0])) | {"id": "agent-9", "messages": [], "in_context_message_ids": []}
    file["agents"].append(twin)
    one, other = imported(http, file, append_copy_suffix="false")["agent_ids"]
    blocks = [
        [block["id"] for block in http.get(f"/v1/agents/{each}/core-memory/blocks").json()]
        for each in (one, other, moving)
    ]
    assert blocks[0] == blocks[1]
    assert not set(blocks[0]) & set(blocks[2])


@one_store
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"nope", "is no JSON"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"", "is empty"),
        (b"[]", "a JSON list"),
        ({}, "an object with nothing in it"),
        ({"agent_type": "memgpt_agent", "messages": []}, "older agent file of a single agent"),
        ({"spec": "chara_card_v2", "data": {}}, "a character card"),
        ({"agents": {}}, "agents is no list"),
        ({"agents": [{"id": "agent-0"}]}, "llm_config is required"),
        ({"agents": [], "blocks": [{"label": "a"}]}, "has no id"),
        ({"agents": [], "folkmoot": {"version": 99}}, "newer one"),
        ({"agents": [], "folkmoot": {"version": 1, "archives": ["a"]}}, "archives is no list of objects"),
    ],
)
def test_other_formats_are_refused_by_name(http: httpx.Client, content: Any, named: str) -> None:
    answer = posted(http, content)
    assert (answer.status_code, named in answer.json()["detail"]) == (400, True), answer.text


@one_store
def test_a_file_is_taken_whole_or_not_at_all(http: httpx.Client, moving: str) -> None:
    file = exported(http, moving)
    before = [http.get(f"/v1/{things}/count").json() for things in ("agents", "blocks")]

    def refused(changed: dict[str, Any], status: int, named: str, **fields: str) -> None:
        answer = posted(http, changed, **fields)
        assert (answer.status_code, named in answer.text) == (status, True), answer.text
        assert [http.get(f"/v1/{things}/count").json() for things in ("agents", "blocks")] == before

    def with_agent(**changes: Any) -> dict[str, Any]:
        changed: dict[str, Any] = json.loads(json.dumps(file))
        changed["agents"][0] |= changes
        return changed

    refused(with_agent(tool_ids=["tool-99"]), 400, "'tool-99'")
    refused(with_agent(block_ids=["block-99"]), 400, "'block-99'")
    refused(with_agent(in_context_message_ids=["message-99"]), 400, "'message-99'")
    refused(with_agent(agent_type="king"), 400, "agent_type")
    refused(with_agent(timezone="Nowhere"), 400, "timezone")
    twice = json.loads(json.dumps(file))
    twice["blocks"].append(twice["blocks"][0])
    refused(twice, 400, "'block-0' stands in blocks and once more")
    forged = json.loads(json.dumps(file))
    next(each for each in forged["folkmoot"]["histories"] if len(each["versions"]) > 1)["versions"][-1]["length"] = 1
    refused(forged, 400, "does not follow")
    broken = json.loads(json.dumps(file))
    broken["agents"][0]["messages"][1]["role"] = "king"
    refused(broken, 400, "nobody has the role 'king'")
    label = json.loads(json.dumps(file))
    for block in label["blocks"]:
        block["label"] = "same"
    refused(label, 409, "same")
    refused(file, 400, "secrets must be a valid JSON string", secrets="{nope")
    refused(file, 400, "secrets must be a valid JSON string", secrets="[" * 50_000)
    refused(file, 404, "nobody", model="nobody/nothing")
    refused(file, 400, "nobody", embedding="nobody/nothing")


HISTORY, OTHER = ("folkmoot", "histories", 0), ("folkmoot", "conversations", 0)
LAST = (*HISTORY, "versions", -1)
DAMAGE: tuple[tuple[tuple[str | int, ...], Any, str], ...] = (
    (("agents", 0, "messages"), {}, "messages is no list"),
    (("agents", 0, "messages", 1), "hello", "messages is no list of objects"),
    (("agents", 0, "messages", 1, "id"), "message-0", "two of its messages"),
    (("agents", 0, "files_agents"), [5], "files_agents is no list of objects"),
    (("agents", 0, "folkmoot", "given", "tool_rules"), [{"tool_name": "x"}], "tool_rules"),
    (("agents", 0, "folkmoot", "access"), {"block-0": "own"}, "'own' is no access"),
    (("agents", 0, "folkmoot", "archives"), {"archive-9": "read"}, "is no archive"),
    (("agents", 0, "folkmoot", "archives"), {"archive-9": []}, "is no archive"),
    (("agents", 0, "folkmoot", "identity_ids"), ["identity-9"], "no identity"),
    (("agents", 0, "folkmoot", "identity_ids"), [{}], "no identity"),
    (("folkmoot", "left_out"), [5], "left_out is no list"),
    ((*HISTORY, "block_id"), "block-99", "which is not in it"),
    ((*HISTORY, "block_id"), {}, "which is not in it"),
    ((*HISTORY, "versions"), [], "0 versions"),
    ((*HISTORY, "versions"), [5], "does not fit"),
    ((*LAST, "length"), -1, "no number of characters"),
    ((*LAST, "length"), 10**9, "together"),
    ((*LAST, "version"), 7, "is missing"),
    ((*LAST, "author_type"), "king", "'king' is no author"),
    ((*LAST, "author_name"), 5, "author without a name"),
    ((*LAST, "created_at"), "now", "no time"),
    ((*LAST, "created_at"), 10**18, "no time"),
    ((*LAST, "edit"), "5", "no edit"),
    ((*LAST, "edit"), "[" * 50_000, "does not fit"),
    (("blocks", 0, "value"), "another", "its last version is not the block's text"),
    ((*OTHER, "agent_id"), "agent-9", "is of no agent"),
    ((*OTHER, "agent_id"), [], "is of no agent"),
    ((*OTHER, "id"), None, "is of no agent"),
    ((*OTHER, "created_at"), 10**18, "times in microseconds"),
    ((*OTHER, "archived_at"), "now", "times in microseconds"),
    ((*OTHER, "archived_at"), [], "times in microseconds"),
    ((*OTHER, "summary"), 5, "summary is a text"),
    ((*OTHER, "messages"), 5, "messages is no list"),
    ((*OTHER, "messages"), ["hello"], "messages is no list of objects"),
    ((*OTHER, "in_context_message_ids"), 5, "in_context_message_ids is no list"),
    ((*OTHER, "configuration"), [], "configuration is no object"),
    ((*OTHER, "access"), {}, "do not fit"),
    ((*OTHER, "block_ids"), [[]], "do not fit"),
    ((*OTHER, "access"), {"block-2": "own"}, "or no access"),
    ((*OTHER, "access"), {"block-2": []}, "or no access"),
    (("groups",), [{"id": "group-0", "manager_config": 5}], "manager_config is an object"),
    (
        ("groups",),
        [
            {
                "id": "group-0",
                "description": "",
                "agent_ids": [],
                "manager_config": {"manager_type": "supervisor", "manager_agent_id": {}},
            }
        ],
        "not in the file",
    ),
    (("mcp_servers",), [{"id": "mcp_server-0", "server_url": "https://a.example"}], "no server_name"),
    (("tools",), [{"id": f"tool-{number}"} for number in range(10_001)], "tools are 10,001"),
)


def damaged(file: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a file with another value somewhere in it."""
    changed = thing = json.loads(json.dumps(file))
    for step in path[:-1]:
        thing = thing[step]
    thing[path[-1]] = value
    return changed


@one_store
def test_wherever_a_file_is_damaged_it_is_refused_by_name(http: httpx.Client, moving: str) -> None:
    file, before = exported(http, moving), http.get("/v1/agents/count").json()
    for path, value, named in DAMAGE:
        answer = posted(http, damaged(file, path, value))
        assert (answer.status_code, named in answer.text) == (400, True), (path, value, answer.text)
    assert http.get("/v1/agents/count").json() == before


@pytest.mark.parametrize("encoded", ["once", "twice", "in UTF-16"])
def test_what_no_database_can_keep_is_shown_as_such_wherever_it_stands(
    http: httpx.Client, moving: str, encoded: str
) -> None:
    file = exported(http, moving)
    odd = file
    for path in ((*LAST, "author_name"), (*OTHER, "summary"), ("agents", 0, "description")):
        odd = damaged(odd, path, "a\0b\ud800")
    odd["sources"] = [{"id": "source-0", "name": f"shelf \ud800 {uuid4().hex}", "description": "\0"}]
    odd["agents"][0]["source_ids"] = ["source-0"]
    odd["agents"][0].setdefault("metadata", {})["far"] = float("inf")
    text = json.dumps(json.dumps(odd)) if encoded == "twice" else json.dumps(odd)
    made = imported(http, text.encode("utf-16" if encoded == "in UTF-16" else "utf-8"))["agent_ids"][0]
    again = exported(http, made)
    assert "Infinity" not in json.dumps(again)
    assert again["agents"][0]["description"] == "a\ufffdb\ufffd"
    assert again["folkmoot"]["conversations"][0]["summary"] == "a\ufffdb\ufffd"
    assert again["folkmoot"]["histories"][0]["versions"][-1]["author_name"] == "a\ufffdb\ufffd"
    assert "shelf \ufffd " in again["sources"][0]["name"]


def test_what_cannot_be_taken_is_told_and_left_out_when_that_is_wanted(http: httpx.Client, moving: str) -> None:
    file = exported(http, moving)
    entry = file["agents"][0]
    file["tools"].append({"id": "tool-90", "name": "gone", "tool_type": "custom", "source_code": None})
    file["tools"].append({"id": "tool-91", "name": "remote", "tool_type": "external_mcp", "source_code": None})
    file["mcp_servers"].append({"id": "mcp_server-0", "server_name": "far", "server_url": "https://far.example/mcp"})
    entry |= {
        "tool_ids": [*entry["tool_ids"], "tool-90", "tool-91"],
        "model": "nobody/nothing",
        "llm_config": {"model": "nothing", "model_endpoint_type": "nobody"},
    }
    entry["messages"][1]["created_at"] = None
    answer = posted(http, file)
    assert answer.status_code == 400
    told = answer.json()
    for named in ("'gone'", "'message-1'", "leave_out=true"):
        assert named in told["detail"]
    assert len(told["refused"]) == 2
    made = imported(http, file, leave_out="true")
    for named in ("'nobody/nothing'", "'gone'", "'message-1'", "'remote'", "https://far.example/mcp"):
        assert any(named in line for line in made["left_out"]), (named, made)
    agent = http.get(f"/v1/agents/{made['agent_ids'][0]}").json()
    assert "gone" not in [tool["name"] for tool in agent["tools"]]
    assert agent["model"] == "nobody/nothing", "it is kept, for who gives it a provider"
    other = imported(http, file, leave_out="true", model=MODEL)
    assert not any("nothing" in line for line in other["left_out"])
    said = http.post(f"/v1/agents/{other['agent_ids'][0]}/messages", json={"input": "ECHO on"})
    assert said.status_code == 200


@one_store
def test_a_tool_comes_with_its_source_and_takes_the_place_of_one_here_only_when_that_is_wanted(
    http: httpx.Client, client: Letta, new_agent: NewAgent
) -> None:
    name = f"price_{uuid4().hex[:8]}"

    def source(price: int) -> str:
        words = '"""Price.\n\n    Args:\n        item (str): what\n    """'
        return f'def {name}(item: str) -> str:\n    {words}\n    return "{price}"\n'

    tool = client.tools.create(source_code=source(1), tags=["shop"], return_char_limit=99)
    agent = new_agent(tool_ids=[tool.id])
    file = exported(http, agent.id)
    assert imported(http, file)["left_out"] == [], "the same one is here"
    client.tools.update(tool.id, source_code=source(2))
    for asked in ({}, {"override_existing_tools": "false"}):
        (told,) = imported(http, file, **asked)["left_out"]
        assert f"tool '{name}': another one" in told, "agents have it, and nobody asked for another one"
        assert client.tools.retrieve(tool.id).source_code == source(2)
    (told,) = imported(http, file, override_existing_tools="true")["changed"]
    assert f"tool '{name}': is the file's now" in told
    assert client.tools.retrieve(tool.id).source_code == source(1)
    client.tools.delete(tool.id)
    made = imported(http, file)["agent_ids"][0]
    there = next(each for each in http.get(f"/v1/agents/{made}/tools").json() if each["name"] == name)
    assert (there["source_code"], there["tags"], there["return_char_limit"]) == (source(1), ["shop"], 99)
    assert without_ids(exported(http, made))["tools"] == without_ids(file)["tools"]


@one_store
def test_a_file_opens_no_hosts_and_sets_nothing_that_a_route_would_refuse(
    http: httpx.Client, client: Letta, new_agent: NewAgent, moving: str
) -> None:
    name = f"ask_{uuid4().hex[:8]}"
    code = f'def {name}() -> str:\n    """Ask."""\n    return "1"\n'
    reaching = {"source_code": code, "metadata_": {"allowed_hosts": ["prices.example"], "team": "shop"}}
    tool = http.post("/v1/tools", json=reaching).json()["id"]
    file = exported(http, new_agent(tool_ids=[tool]).id)
    assert imported(http, file)["left_out"] == [], "it reaches them already, and is the same"
    other = json.loads(json.dumps(file))
    other["tools"][-1]["source_code"] = code.replace('"1"', '"2"')
    (told,) = imported(http, other, override_existing_tools="true")["left_out"]
    assert "prices.example, which stay closed" in told
    assert http.get(f"/v1/tools/{tool}").json()["metadata_"] == {"team": "shop"}, "what another source may not reach"
    imported(http, other, open_hosts="true", override_existing_tools="true")
    assert http.get(f"/v1/tools/{tool}").json()["metadata_"]["allowed_hosts"] == ["prices.example"]

    said = exported(http, moving)
    own = said["folkmoot"]["conversations"][0]
    for wrong in ({"context_window_limit": 5}, {"model_settings": 3}, {"model": 3}, []):
        own["configuration"] = wrong
        answer = posted(http, said)
        assert (answer.status_code, "conversation" in answer.text) == (400, True), (wrong, answer.text)
    own["configuration"] = {"model": "nobody/nothing", "description": "aside", "strange": 1}
    made = imported(http, said)
    assert any("'nobody/nothing' is not configured" in line for line in made["left_out"])
    again = exported(http, made["agent_ids"][0])["folkmoot"]["conversations"][0]
    assert again["configuration"] == {"description": "aside"}


@one_store
def test_tools_of_servers_are_found_where_their_server_is(http: httpx.Client, new_agent: NewAgent) -> None:
    name = f"server {uuid4().hex[:8]}"
    config = program(PLAIN_SERVER, TOKEN="hush-hush")
    server = http.post("/v1/mcp-servers", json={"server_name": name, "config": config}).json()["id"]
    tool = http.get(f"/v1/mcp-servers/{server}/tools").json()[0]
    file = exported(http, new_agent(tool_ids=[tool["id"]]).id)
    assert "hush-hush" not in json.dumps(file)
    made = imported(http, file, append_copy_suffix="false")
    assert made["left_out"] == []
    assert tool["id"] in [each["id"] for each in http.get(f"/v1/agents/{made['agent_ids'][0]}/tools").json()]
    assert list(differences(without_ids(file), without_ids(exported(http, made["agent_ids"][0])))) == []
    http.delete(f"/v1/mcp-servers/{server}")
    told = imported(http, file)["left_out"]
    assert any(f"server of tools '{name}': is not here" in line for line in told), told
    assert any(f"tool '{tool['name']}'" in line for line in told), told


@one_store
def test_groups_and_skills_that_a_file_cannot_carry_are_told(http: httpx.Client, new_agent: NewAgent) -> None:
    leader, member = new_agent(), new_agent()
    config = {"manager_type": "supervisor", "manager_agent_id": leader.id}
    asked = {"agent_ids": [member.id], "description": "both", "manager_config": config}
    group = http.post("/v1/groups", json=asked).raise_for_status().json()["id"]
    for agent, missing in ((leader, "one of its agents"), (member, "who manages it")):
        file = exported(http, agent.id)
        assert file["groups"] == []
        assert (
            f"not in the file: group {group} (supervisor): {missing} is not in the file."
            in (imported(http, file)["left_out"])
        )
    skill = {"name": "baking", "files": {"SKILL.md": "# Baking"}}
    file = http.post(f"/v1/agents/{member.id}/export", json={"skills": [skill]}).raise_for_status().json()
    file["groups"] = [{"id": "group-0", **asked, "agent_ids": ["agent-9"], "manager_config": None}]
    answer = posted(http, file)
    assert (answer.status_code, answer.json()["refused"]) == (
        400,
        ["Group 'group-0': names the agent 'agent-9', which is not in the file."],
    )
    told = imported(http, file, leave_out="true")["left_out"]
    assert any("'agent-9'" in line for line in told), told
    assert any("skills 'baking'" in line for line in told), told


@one_store
def test_archives_and_identities_come_along(http: httpx.Client, new_agent: NewAgent) -> None:
    one, other = new_agent(), new_agent()
    archive = http.post("/v1/archives", json={"name": "lore", "description": "Tea.", "metadata": {"k": 1}}).json()["id"]
    said = [{"text": f"Kettle {number}.", "tags": ["b", "a"]} for number in range(3)]
    for passage in said:
        assert http.post(f"/v1/archives/{archive}/passages", json=passage).status_code == 200
    for agent in (one, other):
        http.patch(f"/v1/agents/{agent.id}/archives/attach/{archive}", json={"access": "read"})
    http.post(f"/v1/agents/{one.id}/archival-memory", json={"text": "Its own.", "created_at": "2020-01-01T00:00:00Z"})
    key = f"ada-{uuid4().hex[:8]}"
    properties = [{"key": "vip", "value": True, "type": "boolean"}]
    identity = {"identifier_key": key, "name": "Ada", "identity_type": "user", "properties": properties}
    known = http.post("/v1/identities", json={**identity, "agent_ids": [one.id]}).json()["id"]
    file = exported(http, one.id)
    made = imported(http, file, append_copy_suffix="false")
    assert made["left_out"] == []
    again = made["agent_ids"][0]
    assert list(differences(without_ids(file), without_ids(exported(http, again)))) == []
    assert [each["name"] for each in http.get(f"/v1/identities/{known}/agents").json()] == [one.name, one.name]
    archives = {each["name"]: each for each in http.get("/v1/archives", params={"agent_id": again}).json()}
    assert archives["lore"]["id"] != archive
    assert (archives["lore"]["access"], archives["lore"]["passage_count"]) == ("read", 3)
    http.delete(f"/v1/identities/{known}")
    third = imported(http, file)["agent_ids"][0]
    (found,) = http.get("/v1/identities", params={"identifier_key": key}).json()
    assert found["properties"] == properties
    assert [each["id"] for each in http.get(f"/v1/identities/{found['id']}/agents").json()] == [third]
    late = [{"text": "Tea.", "created_at": 10**18}]
    for wrong in ({"name": ""}, {"passages": [{"text": ""}]}, {"embedding": 3}, {"passages": {}}, {"passages": late}):
        broken = json.loads(json.dumps(file))
        broken["folkmoot"]["archives"][0] |= wrong
        assert posted(http, broken).status_code == 400
    own = dict.fromkeys(file["agents"][0]["folkmoot"]["archives"], "own")
    assert "is no archive it may have" in posted(http, damaged(file, ("agents", 0, "folkmoot", "archives"), own)).text


def test_folders_come_with_the_texts_of_their_files(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, name = new_agent(), f"shelf {uuid4().hex[:8]}"
    folder = http.post("/v1/folders", json={"name": name, "instructions": "Look here."}).json()["id"]
    for file in ("a.md", "b.txt"):
        data = f"# {file}\n\nThe kettle of {file} is red.\n".encode()
        assert http.post(f"/v1/folders/{folder}/upload", files={"file": (file, data)}).status_code == 200
    read_all(http, folder)
    http.patch(f"/v1/agents/{agent.id}/folders/attach/{folder}")
    file = exported(http, agent.id)
    made = imported(http, file)
    assert made["left_out"] == []
    copy = http.get(f"/v1/agents/{made['agent_ids'][0]}/folders").json()[0]
    assert copy["name"].startswith(f"{name}_"), "one of that name is here"
    read_all(http, copy["id"])
    again = exported(http, made["agent_ids"][0])
    texts = [{each["original_file_name"]: each["content"] for each in f["files"]} for f in (file, again)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 2
    shown = [
        sorted((each["start_line"], each["is_open"]) for each in f["agents"][0]["files_agents"]) for f in (file, again)
    ]
    assert shown[0] == shown[1]
    for path, value, named in (
        (("sources", 0, "name"), "", "no name that can be used"),
        (("files", 0, "source_id"), [], "none of its sources"),
        (("files", 0, "source_id"), "agent-0", "none of its sources"),
        (("files", 0, "original_file_name"), "a/../", "file-0"),
        (("agents", 0, "files_agents", 0, "start_line"), 10**30, "Nothing was taken"),
    ):
        answer = posted(http, damaged(file, path, value))
        assert (answer.status_code, named in answer.text) == (400, True), (path, answer.text)
    odd = damaged(file, ("files", 0, "content"), None)
    odd["files"][0]["error_message"] = "it was a picture"
    odd["agents"][0]["files_agents"][1] |= {"last_accessed_at": "never"}
    odd["agents"][0]["files_agents"] += [{"file_id": "agent-0"}, {"file_id": []}, {}]
    told = imported(http, odd)
    assert [line for line in told["left_out"] if "has no text (it was a picture)" in line]
    kept = exported(http, told["agent_ids"][0])
    assert (len(kept["files"]), len(kept["agents"][0]["files_agents"])) == (1, 1)


def read_all(http: httpx.Client, folder_id: str) -> None:
    """Return when the folder's files are read."""
    until(lambda: not http.get("/v1/jobs", params={"source_id": folder_id, "active": True}).json())


@one_store
def test_the_official_client_exports_and_imports(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(name="mover")
    text = client.agents.export_file(agent.id)
    data = text if isinstance(text, str) else json.dumps(text)
    made = client.agents.import_file(file=("mover.af", data.encode()), append_copy_suffix=True)
    assert client.agents.retrieve(made.agent_ids[0]).name == "mover_copy"
    twice = client.agents.import_file(file=("mover.af", json.dumps(data).encode()), name="again")
    assert client.agents.retrieve(twice.agent_ids[0]).name == "again"


@one_store
def test_a_very_large_file_is_refused_before_it_is_sent(http: httpx.Client) -> None:
    """Of 200 MB nothing is read: the answer is there when the server has heard how many they are."""
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=30) as connection:
        head = (
            "POST /v1/agents/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = connection.makefile("rb").readline()
    assert answer.split()[1] == b"413"


def test_a_large_file_is_encoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is encoded nothing else in the process has a turn: none is larger than a message."""
    said = [{"id": f"message-{number}", "content": [{"type": "text", "text": "é" * 500}]} for number in range(300)]
    versions = [{"value": "v" * 500} for _ in range(300)]
    own = {"version": 1, "conversations": [{"id": "conv-0", "messages": said}], "histories": [{"versions": versions}]}
    blocks = [{"id": f"block-{number}", "value": "v" * 500, "tags": [], "metadata": {}} for number in range(300)]
    content = {"agents": [], "blocks": blocks, "folkmoot": own}
    pieces, encode = [], json.dumps
    monkeypatch.setattr(json, "dumps", lambda value, **how: pieces.append(encode(value, **how)) or pieces[-1])
    file = json.loads(complete(content, {}))
    assert {name: file[name] for name in content} == content
    assert max(map(len, pieces)) < 1000
