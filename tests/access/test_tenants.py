"""No request of one organisation finds or changes anything of another's: every route is walked with its identifiers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest
from tenants import NewOrganization, Organization, bearer

from folkmoot.application import create_app
from folkmoot.server.gate import OPEN_PATHS
from folkmoot.settings import Settings
from support.clients import plain_client
from support.fixtures import one_store
from support.polling import PATIENCE
from support.routes import described, walk

STREAM_SECONDS = 1.0
"""How long an endless stream is listened to."""

ENDLESS = ("/events", "/watch")
NOT_ITS_OWN = re.compile(r"/(models|static|login|logout|session|docs|redoc|openapi)\b|/v1/(health|ready)")
"""What is the same for all organisations: models, the page's own files."""


HARMLESS = {
    ("POST", "/v1/agents/{agent_id}/messages/cancel"),
    ("POST", "/v1/sandbox-config/{sandbox_type}/default"),
}
"""Cancelling what is under way of an agent that is not there cancels nothing, and is answered so; settings that are
made are the stranger's own."""


PAGES = {
    ("GET", "/"): ("around",),
    ("GET", "/search"): ("q",),
    ("GET", "/activity"): ("agent",),
    ("GET", "/runs"): ("agent",),
    ("GET", "/agents/{agent_id}"): ("conversation", "edit"),
}
"""Pages that are narrowed by what somebody has; the API's description has no pages."""


@cache
def routes() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return method, path and the names of the query's parameters of every route."""
    application = create_app(Settings(), {})
    queries: dict[tuple[str, str], tuple[str, ...]] = {}
    for path, methods in described().items():
        for method, operation in methods.items():
            names = (each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
            queries[method.upper(), path] = tuple(names)
    queries |= PAGES
    found = sorted(set(walk(application.routes)))
    assert len(found) > 200
    return [(method, path, queries.get((method, re.sub(":path}", "}", path)), ())) for method, path in found]


def filled(path: str, ids: dict[str, str]) -> str:
    """Return a path with an organisation's identifiers in it."""
    return re.sub(r"{(\w+)(:\w+)?}", lambda match: ids.get(match[1], "x"), path)


def query_of(names: tuple[str, ...], ids: dict[str, str], path: str) -> list[dict[str, str]]:
    """Return queries that name what is the organisation's, one for each parameter that takes an identifier."""
    cursors = {"after": cursor_of(path, ids), "before": cursor_of(path, ids)}
    known = {
        **ids,
        **cursors,
        "agentId": ids["agent_id"],
        "source_id": ids["folder_id"],
        "agent_ids": ids["agent_id"],
        "tags": ids["block_label"],
        "label": ids["block_label"],
        "name": ids["block_label"],
        "author": ids["block_label"],
        "q": ids["block_label"],
        "agent": ids["agent_id"],
        "around": ids["agent_id"],
        "conversation": ids["conversation_id"],
        "edit": ids["message_id"],
        "before_message_id": ids["message_id"],
        "query": ids["block_label"],
        "query_text": ids["block_label"],
        "value_search": ids["block_label"],
        "label_search": ids["block_label"],
        "created_by_id": f"user-{ids['organization'].partition('-')[2]}",
    }
    base = {"agent_id": ids["agent_id"]} if path == "/v1/conversations" else {}
    return [base, *({name: known[name]} for name in names if name in known)]


def cursor_of(path: str, ids: dict[str, str]) -> str:
    kind = next(
        (
            kind
            for kind in (
                "message",
                "run",
                "step",
                "conversation",
                "block",
                "archive",
                "passage",
                "job",
                "file",
                "folder",
            )
            if f"/{kind}" in path
        ),
        "agent",
    )
    return ids[f"{kind}_id"]


def body_of(ids: dict[str, str], path: str = "") -> dict[str, Any]:
    """Return a body that means something to the route, or to most, and names what is the organisation's."""
    if path.endswith("/responses"):
        return {"model": ids["agent_id"], "input": "taken", "previous_response_id": ids["response_id"]}
    return {
        "name": "taken",
        "label": "taken",
        "value": "taken",
        "description": "taken",
        "model": ids["agent_id"],
        "messages": [{"role": "user", "content": "taken"}],
        "agent_id": ids["agent_id"],
        "metadata": {"agent_id": ids["agent_id"]},
        "conversation_id": ids["conversation_id"],
        "run_id": ids["run_id"],
        "run_ids": [ids["run_id"]],
        "block_ids": [ids["block_id"]],
        "folder_ids": [ids["folder_id"]],
        "query": ids["block_label"],
        "content": "taken",
        "text": "taken",
        "archive_id": ids["archive_id"],
        "version": 1,
        "requires_approval": "true",
        "message": "taken",
        "agent": ids["agent_id"],
        "conversation": ids["conversation_id"],
        "edited": ids["message_id"],
        "approval": ids["approval_id"],
        "tool_name": "taken",
        "arguments": {"taken": "taken"},
        "block": ids["block_id"],
        "tool": ids["tool_id"],
        "approve": "call-1",
        "organization": ids["organization"],
        "hostname": "https://app.example.org",
        "policy": [{"type": "agent", "id": ids["agent_id"], "access": ["read_agent", "write_agent"]}],
    }


def listed(owner: Organization) -> dict[str, Any]:
    """Return everything that an organisation can read, but for what tells the time."""
    shown: dict[str, Any] = {}
    for method, path, _ in routes():
        if method != "GET" or not path.startswith(("/v1/", "/openai/")):
            continue
        if re.search("watch|stream|/context$|/ready$", path):
            continue
        query = {"agent_id": owner.ids["agent_id"]} if path == "/v1/conversations" else {}
        response = owner.http.get(filled(path, owner.ids), params=query)
        text = re.sub(
            r'"last_used_at":("[^"]*"|null)|, "created_at": "[^"]*"}$', "", response.text
        )  # the latter: a file's
        shown[path] = (response.status_code, text)
    assert sum(owner.word in text for _, text in shown.values()) > 10, "it is shown what is its own"
    return shown


def ask(client: httpx.Client, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, str]:
    """Return an answer's status and text; of an endless stream what comes in a while."""
    text = b""
    endless = path.endswith(ENDLESS)
    timeout = httpx.Timeout(60, read=STREAM_SECONDS) if endless else httpx.Timeout(60)
    content: dict[str, Any] = {}
    if method not in ("GET", "HEAD", "DELETE"):
        is_form = not path.startswith(("/v1/", "/openai/"))
        content = (
            {"data": {name: value for name, value in body.items() if isinstance(value, str)}}
            if is_form
            else {"json": body}
        )
    try:
        with client.stream(method, path, params=query, timeout=timeout, **content) as response:
            for piece in response.iter_bytes():
                text += piece
    except httpx.ReadTimeout:
        assert endless, path
    return response.status_code, text.decode()


def asked(client: httpx.Client, ids: dict[str, str]) -> Iterator[tuple[str, str, int, str]]:
    """Yield every route's method, path, status and text, asked with an organisation's identifiers."""
    for method, path, names in routes():
        for query in query_of(names, ids, path):
            status, text = ask(client, method, filled(path, ids), query, body_of(ids, path))
            yield method, path, status, text


def test_no_route_finds_or_changes_anything_of_another_organisation(new_organization: NewOrganization) -> None:
    owner, stranger = new_organization(), new_organization()
    owner.fill()
    stranger.fill()
    before, found = listed(owner), set()
    for method, path, status, text in asked(stranger.http, owner.ids):
        assert status < 500 or status == 501, (method, path, text)
        # What was sent may be said again: identifiers, and the word where it was searched for. What it stands in, not.
        for shown in ("keeps", "says"):
            assert f"{owner.word} {shown}" not in text, (method, path)
        if "{" in path and not NOT_ITS_OWN.search(path) and status < 400:
            found.add((method, path))
    assert found == HARMLESS
    assert listed(owner) == before


@one_store
def test_a_scoped_token_reaches_only_the_routes_and_agents_of_its_policy(new_organization: NewOrganization) -> None:
    owner = new_organization()
    owner.fill()
    other = owner.ask("POST", "/v1/agents", json={"name": "other", "model": "openai/gpt-4o-mini"})
    access = ["read_messages", "write_messages", "read_agent", "write_agent"]
    policy = [{"type": "agent", "id": other["id"], "access": access}]
    fields = {"hostname": "https://app.example.org", "policy": policy}
    token = owner.ask("POST", "/v1/client-side-access-tokens", json=fields)["token"]
    before = listed(owner)
    with plain_client(str(owner.http.base_url), headers=bearer(token)) as client:
        for method, path, status, text in asked(client, owner.ids):
            opened = path in (*OPEN_PATHS, "/metrics") or path.startswith("/static")  # figures are told on this machine
            assert opened or status == 403, (method, path, text)
            for shown in ("keeps", "says"):
                assert f"{owner.word} {shown}" not in text, (method, path)
        own = {**owner.ids, "agent_id": other["id"]}
        open_routes = {
            (method, path)
            for method, path, _ in routes()
            if "{agent_id}" in path and ask(client, method, filled(path, own), {}, {})[0] != 403
        }
    agent, messages = "/v1/agents/{agent_id}", "/v1/agents/{agent_id}/messages"
    assert open_routes == {
        ("GET", agent),
        ("PATCH", agent),
        ("GET", f"{agent}/tools"),
        ("GET", f"{agent}/core-memory"),
        ("GET", f"{agent}/core-memory/blocks"),
        ("GET", f"{agent}/core-memory/blocks/{{block_label:path}}"),
        ("PATCH", f"{agent}/core-memory/blocks/{{block_label:path}}"),
        ("GET", messages),
        ("POST", messages),
        ("POST", f"{messages}/stream"),
        ("POST", f"{messages}/async"),
        ("POST", f"{messages}/cancel"),
    } | {("GET", path) for _, path, _ in routes() if path == f"{agent}/core-memory/watch"}
    after = listed(owner)
    assert {path for path in before if before[path] != after[path]} <= {"/v1/agents", "/v1/runs", "/v1/messages"}


def test_the_pages_news_are_those_of_ones_own_organisation(new_organization: NewOrganization) -> None:
    owner, stranger = new_organization(), new_organization()
    owner.fill()
    stranger.fill()
    heard: list[bytes] = []
    begun, told = threading.Event(), threading.Event()

    def listen() -> None:
        with stranger.http.stream("GET", "/events") as stream:
            for piece in stream.iter_lines():
                heard.append(piece.encode())
                begun.set()
                if '"version": 2' in piece:
                    told.set()
                if '"version": 3' in piece:  # what came with the first has been told by then
                    return

    listening = threading.Thread(target=listen)
    listening.start()
    assert begun.wait(PATIENCE)
    owner.ask("PATCH", f"/v1/blocks/{owner.ids['block_id']}", json={"value": f"{owner.word} keeps more"})
    memory = f"/v1/agents/{owner.ids['agent_id']}/core-memory/blocks"
    owner.ask("PATCH", f"{memory}/detach/{owner.ids['block_id']}")
    stranger.ask("PATCH", f"/v1/blocks/{stranger.ids['block_id']}", json={"value": "its own news"})
    assert told.wait(PATIENCE)
    stranger.ask("PATCH", f"/v1/blocks/{stranger.ids['block_id']}", json={"value": "more of its own news"})
    listening.join(PATIENCE)
    assert not listening.is_alive()
    text = b"\n".join(heard).decode()
    assert owner.ids["block_id"] not in text
    assert owner.word not in text
    assert "event: shape" not in text


def test_runs_are_attributed_to_who_asked(new_organization: NewOrganization) -> None:
    owner = new_organization()
    owner.fill()
    user = f"user-{owner.id.partition('-')[2]}"
    agent = owner.ask("GET", f"/v1/agents/{owner.ids['agent_id']}")
    block = owner.ask("GET", f"/v1/blocks/{owner.ids['block_id']}")
    step = owner.ask("GET", f"/v1/steps/{owner.ids['step_id']}")
    assert (agent["created_by_id"], block["created_by_id"], agent["tools"][0]["created_by_id"]) == (user, user, user)
    assert step["organization_id"] == owner.id
    assert json.dumps(block["updated_by"]) == json.dumps(
        {**block["updated_by"], "type": "api", "id": owner.key_id, "name": f"{owner.name}-admin"}
    )


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_every_identifier_in_a_path_is_filled_with_a_real_one(new_organization: NewOrganization) -> None:
    owner = new_organization()
    owner.fill()
    named = {name for _, path, _ in routes() for name in re.findall(r"{(\w+)", path)}
    not_built = {"archive_id", "connection_id", "device_id", "file_id", "folder_id"}
    not_built |= {"group_id", "job_id", "memory_id", "passage_id", "source_id"}
    assert named - set(owner.ids) <= not_built, "fill these too: what they name has been built"
