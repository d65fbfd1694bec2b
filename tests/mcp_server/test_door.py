"""The door itself: the gate before it, subscriptions, several processes, who loads what when."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.subscriptions import Subscription
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged
from members import GENERATIONS, NewMember, begin_session, call, joined, knock, knock_tool
from sqlalchemy import select

from folkmoot.access.keys import lend_key
from folkmoot.access.principals import Errand, Grants
from folkmoot.agents.deletion import remove_block
from folkmoot.application import create_app
from folkmoot.identifiers import ORGANIZATION
from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.resources import MOST_SUBSCRIBED, look
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block, labels_topic, update_block
from folkmoot.memory.listing import blocks_labelled
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import mcp_subscriptions
from support.clients import plain_client
from support.fixtures import NewBlock, StartServer, one_store
from support.polling import PATIENCE
from support.server import ServerProcess
from support.streams import lines_of

each_generation = pytest.mark.parametrize("generation", GENERATIONS)
on_postgres = pytest.mark.parametrize("store", ["postgres"], indirect=True)


def grant(block: Any, access: str = "write") -> dict[str, str]:
    return {"block": block.id if hasattr(block, "id") else block["id"], "access": access}


async def next_event(subscription: Subscription) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await anext(aiter(subscription))


def test_a_start_does_not_load_the_protocol() -> None:
    code = "import sys, folkmoot.serving; print([name for name in sys.modules if name.split('.')[0] == 'mcp'])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@one_store
@pytest.mark.parametrize(
    ("accept", "plain", "asking"),
    [
        ("application/json, text/event-stream", "application/json", "text/event-stream"),
        ("*/*", "application/json", "text/event-stream"),
        ("", "application/json", "text/event-stream"),
        ("application/json", "application/json", "application/json"),
        ("text/event-stream", "text/event-stream", "text/event-stream"),
        ("text/html", None, None),
    ],
)
def test_a_client_is_answered_in_the_form_that_it_accepts(
    server: ServerProcess, accept: str, plain: str | None, asking: str | None
) -> None:
    def kind(params: dict[str, Any]) -> str | None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
        answer = httpx.post(f"{server.url}/mcp", json=call, headers={"accept": accept}, timeout=PATIENCE)
        assert (answer.status_code, b"list_memory" in answer.content) in ((200, True), (406, False))
        return answer.headers["content-type"] if answer.status_code == 200 else None

    assert (kind({}), kind({"_meta": {"progressToken": 1}})) == (plain, asking)


@one_store
def test_the_gate_guards_the_door(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key", "FOLKMOOT_MAX_BODY": "2000"})
    with httpx.Client(timeout=PATIENCE) as client:

        def status(key: str | None = "the-key", **headers: str) -> int:
            authorization = {"authorization": f"Bearer {key}"} if key is not None else {}
            answer = client.request(**knock(server.url, "tools/list", None, **authorization, **headers))
            if answer.status_code != 200:
                assert answer.json()["error"]["message"] == answer.json()["detail"]
            return answer.status_code

        assert status() == 200
        assert status(None) == 401
        assert status("wrong") == 401
        assert status(None, host="evil.example") == 421
        assert status(None, origin="https://evil.example") in (401, 403)
        large = knock_tool(server.url, "the-key", "insert", label="x", new_string="x" * 3000)
        assert client.request(**large).status_code == 413
        bearer = {"authorization": "Bearer the-key"}
        for method in ("GET", "DELETE"):
            assert client.request(method, f"{server.url}/mcp", headers=bearer).status_code == 405
        assert client.post(f"{server.url}/mcp/", headers=bearer, content=b"{").status_code in (400, 406)


@one_store
def test_pages_of_other_sites_do_not_get_in(server: ServerProcess, http: httpx.Client) -> None:
    asked = knock(server.url, "tools/list", None, origin="https://evil.example", **{"sec-fetch-site": "cross-site"})
    assert http.request(**asked).status_code == 403


@one_store
def test_a_body_of_too_many_values_is_refused(server: ServerProcess, http: httpx.Client) -> None:
    asked = knock(server.url, "tools/list", {"x": [[]] * 200_000})
    assert http.request(**asked).status_code == 422


@one_store
def test_what_cannot_be_subscribed_to_is_refused(server: ServerProcess, http: httpx.Client) -> None:
    many = [f"memory://block-{number}" for number in range(MOST_SUBSCRIBED + 1)]
    asked = knock(server.url, "subscriptions/listen", {"notifications": {"resourceSubscriptions": many}})
    with http.stream(**asked) as answer:
        assert f"more than {MOST_SUBSCRIBED} resources" in next(answer.iter_text())
    session = begin_session(server.url, "nobody's")
    del session.headers["mcp-session-id"]
    assert "needs the session" in session.ask("resources/subscribe", uri="memory://notes")["error"]["message"]


@one_store
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"jsonrpc": "2.0"}', b'{"jsonrpc":"2.0","id":1,"method":"nothing/there"}']
)
@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25", "1999-01-01", None])
def test_nonsense_is_answered_with_an_error(http: httpx.Client, body: bytes, revision: str | None) -> None:
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    if revision is not None:
        headers["mcp-protocol-version"] = revision
    answer = http.post("/mcp", content=body, headers=headers)
    assert answer.status_code < 500, answer.text
    assert "error" in answer.json()


@one_store
def test_a_token_for_a_page_does_not_open_the_door(server: ServerProcess, http: httpx.Client) -> None:
    agent = http.post("/v1/agents", json={"name": "for-token", "model": "openai/gpt-4o-mini"}).json()
    policy = [{"type": "agent", "id": agent["id"], "access": ["read_agent"]}]
    made = http.post("/v1/client-side-access-tokens", json={"hostname": "https://a.example", "policy": policy}).json()
    asked = knock(server.url, "tools/list", None, authorization=f"Bearer {made['token']}")
    assert http.request(**asked).status_code == 403


@one_store
async def test_a_reader_reads(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with plain_client(server.url, headers={"authorization": "Bearer the-key"}) as admin:
        admin.post("/v1/blocks", json={"label": "notes", "value": "one"}).raise_for_status()
        key = admin.post("/v1/keys", json={"name": "eye", "role": "reader"}).json()["key"]
    async with joined(server.url, key) as reader:
        names = [tool.name for tool in (await reader.list_tools()).tools]
        assert names == ["list_memory", "read_memory", "history", "blame", "search"]
        assert "You may read it" in await call(reader, "read_memory", label="notes")


async def test_a_change_by_anybody_reaches_who_has_subscribed(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock, new_member: NewMember
) -> None:
    block, other = new_block(value="one"), new_block(value="one", label=f"zwei {new_block().label}/ü")
    async with joined(server.url, new_member(blocks=[grant(block, "read"), grant(other, "read")])) as member:
        resources = {each.name: each.uri for each in (await member.list_resources()).resources}
        assert set(resources) == {block.label, other.label}
        async with member.listen(resource_subscriptions=list(resources.values())) as told:
            http.patch(f"/v1/blocks/{block.id}", json={"value": "two"})
            assert await next_event(told) == ResourceUpdated(resources[block.label])
            read = await member.read_resource(resources[block.label])
            assert read.contents[0].text == "two"  # type: ignore[union-attr]
            http.post(f"/v1/blocks/{other.id}/edits", json={"kind": "insert", "new_string": "three"})
            assert await next_event(told) == ResourceUpdated(resources[other.label])
            http.delete(f"/v1/blocks/{other.id}")
            assert await next_event(told) == ResourceUpdated(resources[other.label])


def test_a_session_of_the_older_revisions_is_told_of_changes(start_server: StartServer, store: str) -> None:
    """Subscribed by one request, told over the session's stream, written by somebody else: each at any process."""
    servers = [start_server() for _ in range(2 if store == "postgres" else 1)]
    listening, subscribing, writing = servers[0].url, servers[-1].url, servers[0].url
    with plain_client(writing) as http:
        block = http.post("/v1/blocks", json={"label": "notes", "value": "one"}).json()
        made = http.post("/v1/keys", json={"name": "cursor", "blocks": [grant(block, "read")]}).json()
        other = http.post("/v1/keys", json={"name": "other", "blocks": [grant(block, "read")]}).json()
        session = begin_session(subscribing, made["key"])
        with session.stream(listening) as told, session.stream(listening, key=other["key"]) as overheard:
            session.ask("resources/subscribe", uri="memory://notes")
            http.post(f"/v1/blocks/{block['id']}/edits", json={"kind": "insert", "new_string": "two"})
            assert next(told) == {"uri": "memory://notes"}
            http.patch(f"/v1/blocks/{block['id']}", json={"value": "three"})
            assert next(told) == {"uri": "memory://notes"}
            session.ask("resources/unsubscribe", uri="memory://notes")
            session.ask("resources/subscribe", uri=f"memory://{block['id']}")
            http.patch(f"/v1/blocks/{block['id']}", json={"value": "four"})
            assert next(told) == {"uri": f"memory://{block['id']}"}, "and not of what it unsubscribed from"
            blocks = [grant(block, "write")]
            httpx.patch(f"{subscribing}/v1/keys/{made['id']}", json={"blocks": blocks}, timeout=PATIENCE)
            assert next(told) == {"list_changed": "tools"}, "by a change at another process"
            http.delete(f"/v1/keys/{other['id']}")
            assert list(overheard) == [], "whose session it is not is told nothing"
        with session.stream(listening) as told:
            assert [next(told), next(told)] == [{"list_changed": "tools"}, {"list_changed": "resources"}]


@one_store
def test_a_session_is_told_what_it_missed_and_ends_with_its_key(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="one")
    made = http.post("/v1/keys", json={"name": "cursor", "blocks": [grant(block, "read")]}).json()
    session = begin_session(server.url, made["key"])
    session.ask("resources/subscribe", uri=f"memory://{block.label}")
    http.patch(f"/v1/blocks/{block.id}", json={"value": "two"})
    with session.stream(server.url) as told:
        assert next(told) == {"uri": f"memory://{block.label}"}, "of what changed before it listened"
    assert session.ask("resources/subscribe", uri="memory://nothing")["error"]["code"] == -32002
    session.ask("resources/unsubscribe", uri=f"memory://{block.label}")
    with session.stream(server.url) as told:
        http.patch(f"/v1/blocks/{block.id}", json={"value": "three"})
        http.delete(f"/v1/keys/{made['id']}")
        assert list(told) == [], "nothing is told of what it unsubscribed from, and the stream ends with the key"


@one_store
async def test_a_change_of_what_the_key_reaches_is_told(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock
) -> None:
    block, other = new_block(value="one"), new_block(value="one")
    made = http.post("/v1/keys", json={"name": "claude-code", "blocks": [grant(block)]}).json()
    uri = f"memory://{other.label}"
    async with (
        joined(server.url, made["key"]) as member,
        member.listen(tools_list_changed=True, resources_list_changed=True, resource_subscriptions=[uri]) as told,
    ):
        http.patch(f"/v1/keys/{made['id']}", json={"blocks": [grant(other, "read")]})
        events = {await next_event(told) for _ in range(3)}
        assert events == {ToolsListChanged(), ResourcesListChanged(), ResourceUpdated(uri)}
        http.patch(f"/v1/blocks/{other.id}", json={"value": "two"})
        assert await next_event(told) == ResourceUpdated(uri)


@one_store
@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
async def test_a_client_of_the_older_revisions_is_told_of_other_lists(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock
) -> None:
    block, other = new_block(value="one"), new_block(value="one")
    made = http.post("/v1/keys", json={"name": "cursor", "blocks": [grant(block)]}).json()
    heard = asyncio.Queue[Any]()

    async def told() -> str:
        async with asyncio.timeout(PATIENCE):
            return str((await heard.get()).method)

    def give(*grants: dict[str, str]) -> None:
        http.patch(f"/v1/keys/{made['id']}", json={"blocks": grants}).raise_for_status()

    async with joined(server.url, made["key"], "legacy", heard=heard.put) as member:
        capabilities = member.server_capabilities
        assert capabilities.tools is not None and capabilities.tools.list_changed
        assert capabilities.resources is not None and capabilities.resources.list_changed
        await member.session.subscribe_resource(f"memory://{block.label}")
        http.patch(f"/v1/blocks/{block.id}", json={"value": "two"})
        assert await told() == "notifications/resources/updated", "its stream is there"
        give(grant(block, "read"))
        assert await told() == "notifications/tools/list_changed"
        assert "insert" not in {tool.name for tool in (await member.list_tools()).tools}
        give(grant(block, "read"), grant(other, "read"))
        assert await told() == "notifications/resources/list_changed"
        assert {each.name for each in (await member.list_resources()).resources} == {block.label, other.label}
        http.patch(f"/v1/blocks/{other.id}", json={"label": f"{other.label}_renamed"}).raise_for_status()
        assert await told() == "notifications/resources/list_changed"
        http.delete(f"/v1/blocks/{other.id}").raise_for_status()
        assert await told() == "notifications/resources/list_changed"
        http.patch(f"/v1/blocks/{block.id}", json={"value": "three"})
        assert await told() == "notifications/resources/updated", "and of nothing else meanwhile"


@one_store
async def test_a_subscription_ends_with_its_key(server: ServerProcess, http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    made = http.post("/v1/keys", json={"name": "claude-code", "blocks": [grant(block)]}).json()
    asked = knock(
        server.url,
        "subscriptions/listen",
        {"notifications": {"resourceSubscriptions": [f"memory://{block.label}"]}},
        authorization=f"Bearer {made['key']}",
    )
    with http.stream(**asked) as stream:
        lines = lines_of(stream.iter_lines())
        assert "acknowledged" in next(line for line in lines if line.startswith("data: "))
        http.delete(f"/v1/keys/{made['id']}")
        with pytest.raises((StopIteration, httpx.RemoteProtocolError)):
            while True:
                assert "updated" not in next(lines)


@one_store
def test_a_server_that_stops_ends_subscriptions(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        http.post("/v1/blocks", json={"label": "notes", "value": "one"}).raise_for_status()
        asked = knock(
            server.url, "subscriptions/listen", {"notifications": {"resourceSubscriptions": ["memory://notes"]}}
        )
        with http.stream(**asked) as stream:
            lines = (line for line in lines_of(stream.iter_lines()) if line.startswith("data: "))
            assert "acknowledged" in next(lines)
            server.process.send_signal(signal.SIGTERM)
            assert '"result"' in next(lines)
    assert server.process.wait(PATIENCE) == 0


@on_postgres
@each_generation
async def test_every_process_answers(start_server: StartServer, generation: str) -> None:
    first, second = start_server(), start_server()
    with plain_client(first.url) as http:
        block = http.post("/v1/blocks", json={"label": "notes", "value": "one"}).json()
        key = http.post("/v1/keys", json={"name": "claude-code", "blocks": [grant(block)]}).json()["key"]
    async with joined(first.url, key, generation) as one:
        asked = knock_tool(second.url, key, "insert", label="notes", new_string="by the second")
        assert httpx.request(**asked, timeout=PATIENCE).json()["result"]["isError"] is False
        assert "by the second" in await call(one, "read_memory", label="notes")
    if generation != "legacy":
        async with joined(second.url, key) as two, two.listen(resource_subscriptions=["memory://notes"]) as told:
            async with joined(first.url, key) as one:
                await call(one, "insert", label="notes", new_string="by the first")
            assert await next_event(told) == ResourceUpdated("memory://notes")


@on_postgres
async def test_a_session_of_the_older_revisions_goes_on_in_another_process(start_server: StartServer) -> None:
    """What its client is called stays known: the session's identifier says it."""
    first, second = start_server(), start_server()
    headers = {"accept": "application/json, text/event-stream"}
    info = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "cursor", "version": "9"}}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": info}
    with httpx.Client(timeout=PATIENCE, headers=headers) as http:
        block = http.post(f"{first.url}/v1/blocks", json={"label": "notes", "value": "one"}).json()
        session = http.post(f"{first.url}/mcp", json=hello).headers["mcp-session-id"]
        params = {"name": "insert", "arguments": {"label": "notes", "new_string": "two"}}
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
        going_on = {"mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
        answer = http.post(f"{second.url}/mcp", json=asked, headers=going_on)
        assert answer.json()["result"]["isError"] is False
        author = http.get(f"{first.url}/v1/blocks/{block['id']}").json()["updated_by"]
        assert author["client"] == "cursor/9"
        forged = http.post(f"{second.url}/mcp", json=asked, headers={**going_on, "mcp-session-id": "%%%"})
        assert forged.status_code == 200


@each_generation
@one_store
async def test_a_fresh_agent_is_told_how_to_work(server: ServerProcess, generation: str) -> None:
    async with joined(server.url, generation=generation) as member:
        prompts = (await member.list_prompts()).prompts
        assert [prompt.name for prompt in prompts] == ["shared_memory"]
        told = (await member.get_prompt("shared_memory")).messages[0].content.text  # type: ignore[union-attr]
        tools = {tool.name for tool in (await member.list_tools()).tools}
        assert {word for word in tools if word in told} >= {
            "list_memory",
            "read_memory",
            "insert",
            "replace",
            "rethink",
        }
        with pytest.raises(MCPError):
            await member.get_prompt("another")
        templates = (await member.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == ["memory://{label}"]


@one_store
async def test_a_key_lent_for_one_errand_subscribes_to_nothing(database_url: str, tmp_path: Path) -> None:
    application = create_app(Settings(database=database_url, data=tmp_path, allowed_hosts=["moot"]), {})
    async with application.router.lifespan_context(application):
        store = application.state.server.store.of(ORGANIZATION)
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://moot") as http:
            block = (await http.post("/v1/blocks", json={"label": "notes", "value": "a"})).json()
            errand = Errand("agent-1", "scout", None, None, asks_agents=False)
            grants = Grants({block["id"]: "read"}, errand=errand)
            _, secret = await store.write(lambda each: lend_key(each, grants, clock.now() + 60_000_000))
            lent = {"authorization": f"Bearer {secret}"}
            uri = "memory://notes"
            listening = {"notifications": {"resourceSubscriptions": [uri]}}
            reading = knock("http://moot", "resources/read", {"uri": uri}, **lent, **{"mcp-name": uri})
            assert "contents" in (await http.request(**reading)).json()["result"], "it may read"
            told = (await http.request(**knock("http://moot", "subscriptions/listen", listening, **lent))).text
            assert "cannot subscribe" in told
            older = {**lent, "accept": "application/json, text/event-stream", "mcp-session-id": "made-up"}
            asked = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri}}
            assert "cannot subscribe" in (await http.post("/mcp", json=asked, headers=older)).text
            assert (await http.get("/mcp", headers=older)).status_code == 403
        assert await store.read(lambda each: each.all(select(mcp_subscriptions))) == []


@one_store
async def test_who_goes_away_leaves_no_listener_behind(database_url: str, tmp_path: Path) -> None:
    """It would look for changes, and keep its subscriptions alive, for as long as the server runs."""
    application = create_app(Settings(database=database_url, data=tmp_path, allowed_hosts=["moot"]), {})
    headers = [(b"host", b"moot"), (b"mcp-session-id", b"made-up")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "root_path": "",
    }
    scope |= {"query_string": b"", "scheme": "http", "server": ("moot", 80), "client": ("127.0.0.1", 1)}
    begun, gone = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        begun.set()

    def steps() -> list[str]:
        """Return what waits for the next value of a generator, in a task of its own."""
        return [name for task in asyncio.all_tasks() if "asend" in (name := type(task.get_coro()).__name__)]

    async with application.router.lifespan_context(application):
        answering = asyncio.create_task(application({**scope, "headers": headers}, receive, send))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            while not steps():
                await asyncio.sleep(0)
            gone.set()
            await answering
        assert steps() == []


@one_store
async def test_a_changed_label_wakes_nobody_of_another_organisation(database_url: str, tmp_path: Path) -> None:
    application = create_app(Settings(database=database_url, data=tmp_path, allowed_hosts=["moot"]), {})
    async with application.router.lifespan_context(application):
        server = application.state.server
        author = Author("api")
        with (
            server.store.signals.listening(labels_topic("org-one")) as one,
            server.store.signals.listening(labels_topic("org-two")) as two,
        ):
            store = server.store.of("org-one")
            block = await store.write(lambda each: create_block(each, {"label": "a", "value": "x"}, author))
            await store.write(lambda each: update_block(each, block.id, {"label": "b"}, author))
            assert (one.is_set(), two.is_set()) == (True, False)
            one.clear()
            await remove_block(store, block.id, author)
            assert (one.is_set(), two.is_set()) == (True, False)


@on_postgres
async def test_a_block_that_goes_while_it_is_looked_for_is_not_there(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two statements, as it may on PostgreSQL: it would end the subscription of who hears of it."""
    application = create_app(Settings(database=database_url, data=tmp_path), {})
    async with application.router.lifespan_context(application):
        server = application.state.server
        state = server.of(server.principal, "")
        block = await state.store.write(lambda each: create_block(each, {"label": "notes", "value": "x"}, state.author))

        async def find_and_remove(transaction: Transaction, name: str) -> list[str]:
            found = await blocks_labelled(transaction, name)
            await remove_block(state.store, block.id, state.author)
            return found

        monkeypatch.setattr("folkmoot.mcp_server.member.blocks_labelled", find_and_remove)
        assert await look(Member(state), ["memory://notes"]) == {"memory://notes": None}
