"""Nobody holds up anybody: what can be long is paged or refused with a way out, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from assertions import assert_error

from folkmoot.application import create_app
from folkmoot.errors import ClientLeft, InvalidInput
from folkmoot.server.bodies import MOST_VALUES, check_values
from folkmoot.server.scanning import Scanning
from folkmoot.settings import Settings
from folkmoot.store import scans
from folkmoot.store.engine import Transaction
from support.fixtures import NewAgent, NewBlock
from support.polling import PATIENCE

SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def nothing(_: Transaction) -> None:
    """Read nothing."""


async def test_health_and_reads_are_answered_while_every_scan_is_held(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database=database_url, data=tmp_path, allowed_hosts=["moot"])
    application = create_app(settings, {})
    begun, release = threading.Semaphore(0), threading.Event()

    def hold(_: None) -> None:
        begun.release()
        release.wait(PATIENCE)

    async with application.router.lifespan_context(application):
        store = application.state.server.store
        held = [asyncio.create_task(store.scan(nothing, hold)) for _ in range(scans.AT_ONCE)]
        for _ in held:
            assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://moot") as http:
            assert (await http.get("/v1/health")).status_code == 200
            block = (await http.post("/v1/blocks", json={"label": "a", "value": "b"})).json()
            assert (await http.get(f"/v1/blocks/{block['id']}")).json()["value"] == "b"
            counting = asyncio.create_task(http.get("/v1/blocks/count"))
            assert (await http.get("/v1/health")).status_code == 200
            assert not counting.done()
            assert not any(task.done() for task in held)
            release.set()
            assert (await counting).json() == 1
        await asyncio.gather(*held)


@SQLITE
async def test_a_scan_is_given_up_when_its_client_goes_away(database_url: str, tmp_path: Path) -> None:
    application = create_app(Settings(database=database_url, data=tmp_path), {})
    release, left = threading.Event(), asyncio.Event()

    class Request:
        async def receive(self) -> Any:
            await left.wait()
            return {"type": "http.disconnect"}

    async with application.router.lifespan_context(application):
        scan = Scanning(application.state.server.store, Request())  # type: ignore[arg-type]
        scanning = asyncio.create_task(scan(nothing, lambda _: release.wait(PATIENCE)))
        left.set()
        with pytest.raises(ClientLeft):
            await scanning
        release.set()


@SQLITE
def test_blame_comes_in_pages_of_lines(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="a\nb\nc\nd")
    http.patch(f"/v1/blocks/{block.id}", json={"value": "a\nB\nc\nd"}).raise_for_status()
    path = f"/v1/blocks/{block.id}/blame"
    page = http.get(path, params={"after": 1, "limit": 2}).json()
    assert page["line_count"] == 4
    assert [(line["number"], line["text"], line["version"]) for line in page["lines"]] == [(2, "B", 2), (3, "c", 1)]
    assert http.get(path, params={"after": 4}).json()["lines"] == []
    assert_error(http.get(path, params={"limit": 10_001}), 422, "limit", "10001")


@SQLITE
def test_the_page_of_a_long_block_shows_some_of_its_lines(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="\n".join(f"line-{number}." for number in range(1, 2_501)), limit=1_000_000)
    first = http.get(f"/blocks/{block.id}").text
    assert "line-1." in first
    assert 'value="1000"' in first
    assert 'value="1001"' not in first
    assert f"/blocks/{block.id}?after=1000" in first
    last = http.get(f"/blocks/{block.id}", params={"after": 2000}).text
    assert 'value="2001"' in last
    assert 'value="2500"' in last
    assert f"/blocks/{block.id}?after=1000" in last
    assert "Lines 2,001 to 2,500 of 2,500" in last


NEW_BLOCKS = [{"label": f"b{number}", "value": ""} for number in range(101)]
SAID = {"role": "user", "content": "a"}
MUCH = {"role": "user", "content": "x" * 100_000}


@SQLITE
@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/blocks", {"metadata": {"a": "x" * 100_001}}, ("metadata", "100,000", "keep less")),
        ("/v1/blocks", {"metadata": {"a": [0] * 50_001}}, ("metadata", "100,000", "keep less")),
        ("/v1/blocks", {"metadata": {"a": [10**4000] * 100}}, ("metadata", "100,000", "keep less")),
        ("/v1/blocks", {"tags": ["t" * 501]}, ("tags.0", "500")),
        ("/v1/blocks", {"tags": ["t"] * 1001}, ("tags", "1000")),
        ("/v1/blocks", {"value": [[]] * MOST_VALUES}, ("body", "100,000", "fewer items")),
        ("/v1/agents", {"memory_blocks": NEW_BLOCKS}, ("memory_blocks", "100")),
        ("/v1/agents", {"initial_message_sequence": [SAID] * 1001}, ("initial_message_sequence", "1000")),
        (
            "/v1/agents",
            {"initial_message_sequence": [MUCH] * 11},
            ("1,000,000", "several"),
        ),
        ("/v1/agents", {"tool_rules": [{}] * 101}, ("tool_rules", "100")),
        ("/v1/agents", {"timezone": "x" * 5000}, ("timezone", "Europe/Berlin")),
        ("/v1/agents", {"secrets": {str(number): "" for number in range(1001)}}, ("secrets", "1000")),
    ],
)
def test_what_is_too_much_for_one_request_is_refused(
    http: httpx.Client, path: str, body: dict[str, Any], words: tuple[str, ...]
) -> None:
    fields = {"label": "a", "value": ""} if path == "/v1/blocks" else {"model": "offline/notetaker"}
    assert_error(http.post(path, json=fields | body), 422, *words)


@SQLITE
def test_messages_beyond_a_request_are_refused(http: httpx.Client, new_agent: NewAgent) -> None:
    path = f"/v1/agents/{new_agent().id}/messages"
    assert_error(http.post(path, json={"messages": [SAID] * 1001}), 422, "messages", "1000")
    parts = [{"type": "text", "text": "a"}] * 1001
    assert_error(http.post(path, json={"messages": [{"role": "user", "content": parts}]}), 422, "content", "1000")


@SQLITE
@pytest.mark.parametrize("path", ["/v1/blocks?value_search=", "/v1/agents/count?query_text="])
def test_a_very_long_text_to_look_for_is_refused(http: httpx.Client, path: str) -> None:
    assert_error(http.get(path + "x" * 60_000), 422, "looked for", "25,000 characters")


@SQLITE
def test_half_a_character_names_no_run(http: httpx.Client, new_agent: NewAgent) -> None:
    path = f"/v1/agents/{new_agent().id}/messages/cancel"
    headers = {"content-type": "application/json"}
    assert_error(http.post(path, content=rb'{"run_ids": ["\ud800"]}', headers=headers), 422, "run_ids.0")


@SQLITE
def test_every_list_of_a_request_says_how_many_items_it_may_have(http: httpx.Client) -> None:
    """Each item that is wrong is an error of its own: 90,000 of them held up the server for a second."""
    described = http.get("/openapi.json").json()
    unbounded: set[str] = set()

    def look(schema: Any, place: str, inside: frozenset[str] = frozenset()) -> None:
        if name := schema.get("$ref", "").rpartition("/")[2]:
            if name not in inside:
                look(described["components"]["schemas"][name], name, inside | {name})
            return
        if schema.get("type") == "array" and "maxItems" not in schema:
            unbounded.add(place)
        for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
            look(choice, place, inside)
        for name, each in schema.get("properties", {}).items():
            look(each, f"{place}.{name}", inside)
        if "items" in schema:
            look(schema["items"], f"{place}.…", inside)

    for path, operations in described["paths"].items():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                look(content["schema"], path)
    assert unbounded == set()


@SQLITE
def test_a_patch_of_very_many_hunks_is_refused(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="".join(f"{number}\n" for number in range(3000)))
    patch = "".join(f"@@\n-{number}\n+x\n" for number in range(3000))
    assert_error(http.post(f"/v1/blocks/{block.id}/edits", json={"kind": "patch", "patch": patch}), 422, "2,000 hunks")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"value": "' + b"a, b: [c] {d}, " * 200_000 + b'"}', id="a long text"),
        pytest.param(b'{"value": "' + b'\\"a\\", \\\\' * 200_000 + b'"}', id="a long text with quotes"),
        pytest.param(b"[" + b"1," * (MOST_VALUES - 2) + b"1]", id="many numbers"),
    ],
)
def test_a_body_may_be_long(body: bytes) -> None:
    check_values(body)


@pytest.mark.parametrize("value", [b"1", b"[]", b'"a"', b'{"a":1}'])
def test_a_body_may_not_have_too_many_values(value: bytes) -> None:
    with pytest.raises(InvalidInput, match="100,000"):
        check_values(b"[" + b",".join([value] * (MOST_VALUES + 1)) + b"]")
