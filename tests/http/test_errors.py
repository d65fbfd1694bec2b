"""Every error has one form, `{"detail": …}`, says what to do, and none is a 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from assertions import JSON, UNKNOWN, assert_error

from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer

BLOCK, AGENT, TOOL = f"block-{UNKNOWN}", f"agent-{UNKNOWN}", f"tool-{UNKNOWN}"

ROUTES = (
    ("GET", "/v1/health"),
    ("GET", "/v1/blocks"),
    ("GET", "/v1/blocks/count"),
    ("GET", "/v1/agents"),
    ("GET", "/v1/agents/count"),
    ("GET", "/v1/tools"),
    ("GET", "/v1/tools/count"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/embedding"),
    ("GET", "/v1/tags"),
)
"""What can be asked of a server that has nothing."""

OF_AN_ID = (
    ("GET", "/v1/blocks/{block}"),
    ("PATCH", "/v1/blocks/{block}"),
    ("DELETE", "/v1/blocks/{block}"),
    ("GET", "/v1/blocks/{block}/agents"),
    ("GET", "/v1/agents/{agent}"),
    ("PATCH", "/v1/agents/{agent}"),
    ("DELETE", "/v1/agents/{agent}"),
    ("GET", "/v1/agents/{agent}/tools"),
    ("GET", "/v1/agents/{agent}/core-memory"),
    ("GET", "/v1/agents/{agent}/core-memory/blocks"),
    ("GET", "/v1/agents/{agent}/core-memory/blocks/human"),
    ("PATCH", "/v1/agents/{agent}/core-memory/blocks/human"),
    ("PATCH", f"/v1/agents/{{agent}}/core-memory/blocks/attach/{BLOCK}"),
    ("PATCH", f"/v1/agents/{{agent}}/core-memory/blocks/detach/{BLOCK}"),
    ("GET", "/v1/agents/{agent}/messages"),
    ("POST", "/v1/agents/{agent}/messages"),
    ("GET", "/v1/tools/{tool}"),
)
"""What can be asked of one thing."""

BODIES = {"POST": {"input": "hi"}, "PATCH": {"value": "x"}}

no_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For what is refused before any store is asked: once is enough."""


def ask(http: httpx.Client, method: str, path: str, **ids: str) -> httpx.Response:
    return http.request(method, path.format(**ids), json=BODIES.get(method))


def kind_of(path: str) -> str:
    return path.partition("{")[2].partition("}")[0]


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_slash_at_the_end_makes_no_difference(http: httpx.Client, method: str, path: str) -> None:
    for address in (path, path + "/"):
        answer = http.request(method, address, follow_redirects=False)
        assert answer.status_code == 200, answer.text


def test_a_body_and_a_query_come_through_with_either_slash(http: httpx.Client, new_block: NewBlock) -> None:
    for address in ("/v1/blocks", "/v1/blocks/"):
        block = http.post(address, json={"label": "x", "value": "v"}).json()
        for end in ("", "/"):
            changed = http.patch(f"/v1/blocks/{block['id']}{end}", json={"value": end or "none"})
            assert changed.json()["value"] == (end or "none")
            found = http.get(address, params={"label": "x", "limit": 1})
            assert [one["label"] for one in found.json()] == ["x"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/blocks/x/y/z", "/v2/blocks", "/v1", "/v1/agents/a/b"])
@no_store
def test_an_unknown_route_is_404(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert_error(answer, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/blocks"),
        ("DELETE", "/v1/blocks"),
        ("POST", f"/v1/blocks/{BLOCK}"),
        ("DELETE", "/v1/agents"),
        ("POST", f"/v1/agents/{AGENT}"),
        ("PUT", f"/v1/agents/{AGENT}/messages"),
        ("DELETE", f"/v1/agents/{AGENT}/core-memory"),
        ("GET", f"/v1/agents/{AGENT}/tools/attach/{TOOL}"),
        ("POST", "/v1/models"),
        ("POST", "/v1/health"),
    ],
)
@no_store
def test_a_wrong_method_is_405(http: httpx.Client, method: str, path: str) -> None:
    assert_error(http.request(method, path), 405, method)


@pytest.mark.parametrize(("method", "path"), OF_AN_ID)
def test_an_unknown_id_is_404_and_named(http: httpx.Client, method: str, path: str) -> None:
    answer = ask(http, method, path, block=BLOCK, agent=AGENT, tool=TOOL)
    assert_error(answer, 404, {"block": BLOCK, "agent": AGENT, "tool": TOOL}[kind_of(path)])


@pytest.mark.parametrize(("method", "path"), OF_AN_ID)
@pytest.mark.parametrize("bad", ["nonsense", f"run-{UNKNOWN}"])
@no_store
def test_a_malformed_id_is_422_with_an_example(http: httpx.Client, method: str, path: str, bad: str) -> None:
    kind = kind_of(path)
    body = assert_error(ask(http, method, path, **{kind: bad}), 422, kind, repr(bad))
    assert body["examples"] == [f"{kind}-123e4567-e89b-42d3-8456-426614174000"]


@pytest.mark.parametrize(
    "bad",
    [
        "block-1",
        f"{BLOCK}0",
        f"{BLOCK} ",
        UNKNOWN,
        f"block_{UNKNOWN}",
        f"block-{UNKNOWN.replace('-', '')}",
        "block-00000000-0000-9000-8000-000000000000",
        "%20",
        "%ff",
        "' OR 1=1 --",
        "é" * 300,
        "block-٠٠٠٠٠٠٠٠-٠٠٠٠-٤٠٠٠-٨٠٠٠-٠٠٠٠٠٠٠٠٠٠٠٠",
    ],
    ids=ascii,
)
@no_store
def test_what_is_no_identifier_is_422(http: httpx.Client, bad: str) -> None:
    body = assert_error(http.get(f"/v1/blocks/{bad}"), 422, "block_id")
    assert len(body["detail"]) < 300


@no_store
def test_a_slash_in_an_identifier_leads_nowhere(http: httpx.Client) -> None:
    assert_error(http.get("/v1/blocks/..%2f..%2fetc"), 404)


@pytest.mark.parametrize(
    "path", ["/v1/blocks/%00", f"/v1/blocks/{BLOCK}%00", "/v1/blocks?label=%00", "/v1/agents?name=a%00b", "/v1/%00"]
)
@no_store
def test_a_nul_in_an_address_is_400(http: httpx.Client, path: str) -> None:
    assert_error(http.get(path), 400, "NUL")


@pytest.mark.parametrize(
    "query", ["label=%ff", "label=%ed%a0%80", "tags=%f0%28", "=&&=", "limit", "label=" + "a" * 9000]
)
def test_a_strange_query_is_never_a_500(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/blocks?{query}")
    assert answer.status_code in (200, 422), answer.text


# -- bodies --------------------------------------------------------------------------------------------------

POSTS = ("/v1/blocks", "/v1/agents", f"/v1/agents/{AGENT}/messages")
PATCHES = (f"/v1/blocks/{BLOCK}", f"/v1/agents/{AGENT}", f"/v1/agents/{AGENT}/core-memory/blocks/human")
WRITES = [("POST", path) for path in POSTS] + [("PATCH", path) for path in PATCHES]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "body", ["{", "", "nonsense", '{"label": "x",}', "{'label': 1}", '{"a": 1} {"b": 2}', "[", '"\\x"']
)
@no_store
def test_malformed_json_is_422(http: httpx.Client, method: str, path: str, body: str) -> None:
    assert_error(http.request(method, path, content=body.encode(), headers=JSON), 422)


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("body", ["[]", "null", "5", '"text"', "true", "[{}]"])
@no_store
def test_json_that_is_no_object_is_422(http: httpx.Client, method: str, path: str, body: str) -> None:
    assert_error(http.request(method, path, content=body, headers=JSON), 422, "body")


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\xfa",
        b'{"label": "\xe9", "value": ""}',
        b'{"metadata": {"k": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"metadata": {"k": ' + b"9" * 5000 + b"}}",
    ],
    ids=["no text", "latin-1", "endless depth", "endless number"],
)
@no_store
def test_a_body_that_cannot_be_read_is_the_callers_error(
    http: httpx.Client, method: str, path: str, body: bytes
) -> None:
    answer = http.request(method, path, content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert_error(answer, answer.status_code)


@no_store
def test_the_place_of_malformed_json_is_told(http: httpx.Client) -> None:
    assert_error(http.post("/v1/blocks", content='{"label": }', headers=JSON), 422, "JSON", "10")


@no_store
def test_many_faults_are_told_together_but_not_all(http: httpx.Client) -> None:
    body = {"label": 1, "value": 2, "limit": "x", "read_only": "x", "description": 3, "metadata": 4, "tags": 5}
    assert_error(http.post("/v1/blocks", json=body), 422, "read_only", "description", "metadata", "tags", "2 more")


@no_store
def test_a_long_value_is_cut_in_the_error(http: httpx.Client) -> None:
    body = assert_error(http.post("/v1/blocks", json={"label": ["a" * 100_000], "value": ""}), 422, "label")
    assert len(body["detail"]) < 500


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 100_000):
        yield b" " * 100_000


@pytest.mark.parametrize("path", POSTS)
@no_store
def test_a_body_that_is_too_large_is_413(http: httpx.Client, path: str) -> None:
    assert_error(http.post(path, content=b" " * 10_000_001, headers=JSON), 413, "10,000,000", "FOLKMOOT_MAX_BODY")


@pytest.mark.parametrize("path", POSTS)
@no_store
def test_a_body_that_turns_out_too_large_is_413(http: httpx.Client, path: str) -> None:
    answer = http.post(path, content=_pieces(10_200_000), headers=JSON)
    assert_error(answer, 413, "10,000,000")


def test_a_body_just_within_the_limit_is_taken(http: httpx.Client) -> None:
    head, tail = b'{"label": "x", "value": "', b'", "limit": 20000000}'
    body = head + b"a" * (10_000_000 - len(head) - len(tail)) + tail
    answer = http.post("/v1/blocks", content=body, headers=JSON)
    assert answer.status_code == 200
    assert len(answer.json()["value"]) == 10_000_000 - len(head) - len(tail)


BAD_BLOCKS = {
    "half a surrogate pair in metadata": r'{"label": "a", "value": "", "metadata": {"k": "\ud800"}}',
    "half a surrogate pair in a key": r'{"label": "a", "value": "", "metadata": {"\ud800": 1}}',
    "metadata that is too deep": '{"label": "a", "value": "", "metadata": {"k": ' + "[" * 500 + "]" * 500 + "}}",
}


def test_metadata_that_cannot_be_shown_is_refused_and_breaks_no_list(start_server: StartServer) -> None:
    """Its own server: a block that cannot be shown would break every list of the shared one."""
    server = start_server()
    faults: dict[str, Any] = {}
    for what, body in BAD_BLOCKS.items():
        with plain_client(server.url) as http:
            answer = http.post("/v1/blocks", content=body, headers=JSON)
        with plain_client(server.url) as http:
            listed = http.get("/v1/blocks", params={"limit": 1, "order": "desc"})
        if answer.status_code != 422 or listed.status_code != 200:
            faults[what] = (answer.status_code, listed.status_code)
    assert faults == {}


@pytest.mark.parametrize(
    "metadata",
    [
        '{"k": "a\\u0000b"}',
        '{"\\u0000": 1}',
        '{"k": 1e400}',
        '{"k": ' + "9" * 300 + "}",
        '{"": {"": []}}',
        '{"k": -0.0}',
    ],
)
@pytest.mark.every_case_on_both
def test_strange_metadata_is_kept_or_refused(http: httpx.Client, metadata: str) -> None:
    answer = http.post("/v1/blocks", content=f'{{"label": "a", "value": "", "metadata": {metadata}}}', headers=JSON)
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        again = http.get(f"/v1/blocks/{answer.json()['id']}")
        assert again.json()["metadata"] == answer.json()["metadata"]


def test_nothing_of_the_server_is_in_an_error(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    for answer in (
        http.get(f"/v1/blocks/{BLOCK}"),
        http.post("/v1/blocks", content="{", headers=JSON),
        http.patch(f"/v1/agents/{agent.id}", json={"tool_ids": [TOOL]}),
    ):
        assert all(word not in answer.text for word in ("Traceback", ".py", "sqlalchemy", "asyncpg", "SELECT"))
