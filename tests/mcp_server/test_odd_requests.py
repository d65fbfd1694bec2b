"""Requests at the door that no honest client sends: names without a meaning, identifiers of no session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from members import begin_session, knock

from folkmoot.application import create_app
from folkmoot.memory.blocks import Block
from folkmoot.settings import Settings
from support.fixtures import NewBlock, one_store
from support.server import ServerProcess

on_postgres = pytest.mark.parametrize("store", ["postgres"], indirect=True)
HALF = "\ud800"
LONG = "a.b." + "".join(f"{number:x}" for number in range(2000))


def sent(asked: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a request of a client of another name, which may be no text that httpx would encode."""
    body = {**asked.pop("json")}
    body["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = name
    asked["headers"]["content-type"] = "application/json"
    return {**asked, "content": json.dumps(body)}


@one_store
def test_a_client_may_call_itself_half_a_character(http: httpx.Client) -> None:
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": HALF, "version": "1"}}
    asked = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info}
    headers = {"content-type": "application/json"}
    answer = http.post("/mcp", content=json.dumps(asked), headers=headers)
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("name", [HALF, "a\0b"])
def test_what_a_client_of_such_a_name_writes_is_kept(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock, name: str
) -> None:
    block = new_block(value="one")
    arguments = {"label": block.id, "new_string": "two"}
    asked = knock(server.url, "tools/call", {"name": "insert", "arguments": arguments})
    answer = http.request(**sent(asked, name)).json()["result"]
    assert answer["isError"] is False, answer
    version = http.get(f"/v1/blocks/{block.id}/history").json()[0]
    assert "\ufffd" in version["author"]["client"]


@on_postgres
def test_an_identifier_of_no_session_is_refused(server: ServerProcess, new_block: NewBlock) -> None:
    block = new_block()
    session = begin_session(server.url, "nobody's")
    session.headers["mcp-session-id"] = LONG
    error = session.ask("resources/subscribe", uri=f"memory://{block.id}")["error"]
    assert "send initialize" in error["message"]
    listened = session.request("GET", server.url)
    assert (listened.status_code, "send initialize" in listened.json()["detail"]) == (400, True)


@on_postgres
def test_what_the_store_refuses_is_told_in_our_words(server: ServerProcess) -> None:
    session = begin_session(server.url, "nobody's")
    for method, params in (("resources/list", {"cursor": "\0"}), ("resources/read", {"uri": "memory://%00"})):
        error = session.ask(method, **params)["error"]
        assert (error["code"], "cannot be stored" in error["message"]) == (-32602, True)
    error = session.ask("resources/read", uri="memory://" + "x" * 100_000)["error"]
    assert len(error["message"]) < 1000


@one_store
async def test_lists_and_errors_read_no_texts(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred blocks of megabytes held up everybody for more than a second, once for each name that is not there."""
    application = create_app(Settings(database=database_url, data=tmp_path, allowed_hosts=["moot"]), {})
    transport = httpx.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://moot") as http,
    ):
        await http.post("/v1/blocks", json={"label": "notes", "value": "x" * 100})

        def read_text(row: Any) -> NoReturn:
            raise AssertionError("a text was read")

        monkeypatch.setattr(Block, "from_row", read_text)
        for tool, arguments, told in (
            ("list_memory", {}, '\\"characters\\": 100'),
            ("read_memory", {"label": "nothing"}, "Your blocks: 'notes'"),
        ):
            asked = knock("http://moot", "tools/call", {"name": tool, "arguments": arguments})
            assert told in (await http.request(**asked)).text
        assert "memory://notes" in (await http.request(**knock("http://moot", "resources/list"))).text
        subscribed = knock("http://moot", "resources/subscribe", {"uri": "memory://notes"})
        older = {"mcp-session-id": "a", "accept": "application/json", "mcp-protocol-version": "2025-11-25"}
        answer = await http.post("/mcp", json=subscribed["json"], headers=older)
        assert "error" not in answer.json(), answer.text
