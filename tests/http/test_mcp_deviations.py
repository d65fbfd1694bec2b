"""Servers of tools that deviate from the protocol as real ones do: their tools are there, and are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.clients import plain_client
from support.deviating_server import TOOL, DeviatingServer, Deviation
from support.server import ServerProcess

RESULT = b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "a'
OF_2025 = {"protocolVersion": "2025-06-18"}
FORGOTTEN = b'{"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request: No valid session ID provided"}}'
LISTED: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    # case: what is listed, which tools are there, which are refused
    "schema-missing": ({"tools": [{"name": "bare"}, TOOL]}, ["bare", "t"], []),
    "schema-null": ({"tools": [{"name": "bare", "inputSchema": None}, TOOL]}, ["bare", "t"], []),
    "schema-without-type": ({"tools": [{"name": "bare", "inputSchema": {"properties": {}}}]}, ["bare"], []),
    "schema-of-a-text": ({"tools": [{"name": "bad", "inputSchema": {"type": "banana"}}, TOOL]}, ["t"], ["bad"]),
    "name-missing": ({"tools": [{"inputSchema": {"type": "object"}}, TOOL]}, ["t"], []),
    "hints-are-none": ({"tools": [{**TOOL, "annotations": {"readOnlyHint": "perhaps"}, "icons": [{}]}]}, ["t"], []),
    "task-only": ({"tools": [{**TOOL, "name": "task", "execution": {"taskSupport": "required"}}]}, [], ["task"]),
    "cursor-empty": ({"tools": [TOOL], "nextCursor": ""}, ["t"], []),
    "cursor-endless": ({"tools": [TOOL], "nextCursor": "more"}, ["t"], []),
}
ANSWERED: dict[str, tuple[Deviation, str]] = {
    # case: how the server deviates, what a call returns
    "server-unnamed": (Deviation(hello=OF_2025), "fine"),
    "capabilities-true": (Deviation(hello={**OF_2025, "capabilities": {"tools": True, "logging": True}}), "fine"),
    "structured-only": (Deviation(result={"structuredContent": {"a": 1}}), '{"a": 1}'),
    "content-null": (Deviation(result={"content": None, "isError": None}), "(The tool returned nothing.)"),
    "content-text": (Deviation(result={"content": "fine"}), "fine"),
    "content-texts": (Deviation(result={"content": ["a", "b"]}), "a\nb"),
    "text-number": (Deviation(result={"content": [{"type": "text", "text": 42}]}), "42"),
    "kind-unknown": (Deviation(result={"content": [{"type": "json", "json": 1}]}), '{"type": "json", "json": 1}'),
    "kind-large": (
        Deviation(result={"content": [{"type": "film", "data": "x" * 1001}]}),
        '{"type": "film", "data": "(1,001 characters)"}',
    ),
    "hints-beyond": (
        Deviation(result={"content": [{"type": "text", "text": "fine", "annotations": {"priority": 5}}]}),
        "fine",
    ),
    "said-twice": (
        Deviation(result={"content": [{"type": "text", "text": "a\n"}], "structuredContent": {"content": "a\n"}}),
        "a\n",
    ),
    "picture-as-address": (
        Deviation(
            result={"content": [{"type": "image", "data": "data:image/png;base64,iVBO", "mimeType": "image/png"}]}
        ),
        "(picture 1)",
    ),
    "half-a-character": (
        Deviation(body=RESULT + rb'\ud83d \\ud83d \ud83c\udf33"}]}}'),
        "a\ufffd \\ud83d \N{DECIDUOUS TREE}",
    ),
    "half-in-events": (
        Deviation(body=b"data: " + RESULT + b'\\udc00"}]}}\n\n', kind="text/event-stream"),
        "a\ufffd",
    ),
    "no-utf-8": (Deviation(body=RESULT + b'\xff"}]}}'), "a\ufffd"),
    "byte-order-mark": (Deviation(body=b"\xef\xbb\xbf" + RESULT + b'"}]}}'), "a"),
    "slash": (Deviation(slash=True), "fine"),
}
REFUSED: dict[str, tuple[Deviation, str]] = {
    # case: how the server answers, what is said of it
    "said-in-json": (
        Deviation(status=429, body=b'{"error": "ten a minute"}'),
        "127.0.0.1 answered with status 429 Too Many Requests: ten a minute.",
    ),
    "said-in-text": (
        Deviation(status=503, body=b"Be back\nsoon", kind="text/plain"),
        "127.0.0.1 answered with status 503 Service Unavailable: Be back soon.",
    ),
    "said-in-a-page": (
        Deviation(status=500, body=b"<h1>Oops", kind="text/html"),
        "127.0.0.1 answered with status 500 Internal Server Error.",
    ),
    "said-without-id": (
        Deviation(status=500, body=b'{"jsonrpc": "2.0", "error": {"code": 1, "message": "The disk is full"}}'),
        "The disk is full",
    ),
    "said-with-data": (
        Deviation(
            body=b'{"jsonrpc": "2.0", "id": %d, "error": {"code": 1, "message": "No", "data": {"x": "too far"}}}'
        ),
        'No ({"x": "too far"})',
    ),
    "said-with-the-key": (
        Deviation(status=403, body=b'{"message": "The key hush-hush may not"}'),
        "127.0.0.1 answered with status 403 Forbidden: The key *** may not.",
    ),
    "key-over": (
        Deviation(status=401, body=b'{"message": "Expired."}'),
        "127.0.0.1 answered with status 401 Unauthorized: Expired. See whether its token is still right.",
    ),
    "too-long": (
        Deviation(body=b"data: " + RESULT + b"x" * 2_000_000 + b'"}]}}\n\n', kind="text/event-stream"),
        "it sent a message of more than 2,000,000 bytes.",
    ),
}
SESSIONS = {
    # case: what a server answers in a session that it has forgotten
    "400-of-the-sdk": (400, "application/json", FORGOTTEN),
    "400-in-words": (400, "text/plain", b"Invalid session ID"),
    "404-in-words": (404, "text/plain", b"session not found"),
}
CASES = {
    "wants-sign-in": Deviation(closed=401),
    **{case: Deviation(listing=listing) for case, (listing, *_) in LISTED.items()},
    **{case: deviation for case, (deviation, _) in (ANSWERED | REFUSED).items()},
    **{case: Deviation(forgotten=forgotten) for case, forgotten in SESSIONS.items()},
}


@pytest.fixture(scope="module")
def deviating() -> Iterator[DeviatingServer]:
    with DeviatingServer(CASES) as server:
        yield server


class Added:
    """A server that deviates, added to ours."""

    def __init__(self, http: httpx.Client, case: str, url: str) -> None:
        self._http = http
        config = {"mcp_server_type": "streamable_http", "server_url": url, "auth_token": "hush-hush"}
        made = http.post("/v1/mcp-servers", json={"server_name": case, "config": config}).raise_for_status().json()
        self.path = f"/v1/mcp-servers/{made['id']}"
        self.tools = {tool["name"]: tool["id"] for tool in http.get(f"{self.path}/tools").json()}

    def look(self) -> Any:
        return self._http.patch(f"{self.path}/refresh").json()

    def call(self) -> Any:
        return self._http.post(f"{self.path}/tools/{self.tools['t']}/run", json={"args": {}}).json()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Our server, which may ask one of this machine; no model is asked, and nothing depends on the store."""
    home = tmp_path_factory.mktemp("ours")
    database, env = f"sqlite:///{home / 'folkmoot.sqlite3'}", {"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"}
    with ServerProcess(database=database, home=home, env=env) as server, plain_client(server.url) as http:
        yield http


@pytest.fixture
def added(case: str, ours: httpx.Client, deviating: DeviatingServer) -> Added:
    return Added(ours, case, deviating.url(case))


@pytest.mark.parametrize("case", LISTED)
def test_tools_are_there_though_one_of_them_is_listed_wrongly(case: str, added: Added) -> None:
    _, there, refused = LISTED[case]
    assert sorted(added.tools) == there
    assert [each["name"] for each in added.look()["refused"]] == refused
    assert CASES[case].pages <= 4  # two looks, and who says that there is more without end is asked once more


@pytest.mark.parametrize("case", ANSWERED)
def test_what_a_server_means_is_understood(case: str, added: Added) -> None:
    answer = added.call()
    assert (answer.get("status"), answer.get("func_return")) == ("success", ANSWERED[case][1]), json.dumps(answer)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_told_in_the_servers_words(case: str, added: Added) -> None:
    assert added.call()["detail"] == f"{case}: {REFUSED[case][1]}"


def test_a_look_in_vain_says_how_to_sign_in(ours: httpx.Client, deviating: DeviatingServer) -> None:
    config = {"mcp_server_type": "streamable_http", "server_url": deviating.url("wants-sign-in")}
    made = ours.post("/v1/mcp-servers", json={"server_name": "wants-sign-in", "config": config}).json()
    told = ours.patch(f"/v1/mcp-servers/{made['id']}/refresh")
    assert told.status_code == 502
    assert f"GET /v1/mcp-servers/connect/{made['id']}" in told.json()["detail"]


@pytest.mark.parametrize("case", SESSIONS)
def test_a_session_that_is_forgotten_is_begun_anew(case: str, added: Added) -> None:
    for _ in range(3):
        assert added.call().get("func_return") == "fine"
