"""Signing in to servers of tools: by a browser, for an organisation or for who an agent's variables stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from support.clients import plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.polling import PATIENCE, until
from support.server import ServerProcess
from support.tool_servers import PLAIN_SERVER, SIGN_IN_SERVER, program, running

ENV = {"FOLKMOOT_PRIVATE_MCP_SERVERS": "true", "FOLKMOOT_SECRET_KEY": "k"}


@contextmanager
def connecting(http: httpx.Client, server_id: str, **query: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Give the events of a stream that leads through a sign-in."""
    with http.stream("GET", f"/v1/mcp-servers/connect/{server_id}", params=query) as response:
        assert response.status_code == 200
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: "))
        yield (json.loads(line) for line in lines)


@contextmanager
def under_two_names(
    start_server: StartServer, env: dict[str, str] | None = None
) -> Iterator[tuple[str, httpx.Client, httpx.Client]]:
    """Give the address of a server that wants a sign-in (with `env`), and clients of a Folkmoot by two of its names."""
    server = start_server(env=ENV)
    with (
        running(SIGN_IN_SERVER, "http", env) as address,
        plain_client(server.url) as http,
        plain_client(server.url.replace("127.0.0.1", "localhost")) as there,
    ):
        yield address, http, there


def add(http: httpx.Client, address: str, **config: Any) -> str:
    body = {"server_name": "signed", "config": {"server_url": address, **config}}
    answer = http.post("/v1/mcp-servers", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


def run(http: httpx.Client, server_id: str, name: str = "whoami") -> Any:
    (tool,) = (each for each in http.get(f"/v1/mcp-servers/{server_id}/tools").json() if each["name"] == name)
    answer = http.post(f"/v1/mcp-servers/{server_id}/tools/{tool['id']}/run", json={"args": {}}).json()
    assert answer["status"] == "success", answer
    return answer["func_return"]


def sign_in(http: httpx.Client, server_id: str, **query: str) -> list[dict[str, Any]]:
    """Go through a sign-in as a browser does; return the events."""
    seen = []
    with connecting(http, server_id, **query) as events:
        for event in events:
            seen.append(event)
            if event["event"] == "authorization_url":
                page = httpx.get(event["url"], follow_redirects=True)
                assert (page.status_code, "Signed in" in page.text) == (200, True)
                assert "/v1/tools/mcp/oauth/callback" in str(page.url)
    return seen


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_a_browser_signs_in_and_any_process_is_let_in(start_server: StartServer, store: str) -> None:
    one = start_server(env=ENV)
    other = start_server(env=ENV) if store == "postgres" else one
    with running(SIGN_IN_SERVER, "http") as address, plain_client(one.url) as http, plain_client(other.url) as there:
        server_id = add(http, address)
        assert http.get(f"/v1/mcp-servers/{server_id}/tools").json() == []
        refused = http.patch(f"/v1/mcp-servers/{server_id}/refresh")
        assert (refused.status_code, "401" in refused.text) == (502, True)
        with connecting(http, server_id) as events:
            begun = [next(events) for _ in range(4)]
            assert kinds(begun) == ["connection_attempt", "oauth_required", "authorization_url", "waiting_for_auth"]
            url = httpx.URL(begun[2]["url"])
            assert url.params["code_challenge_method"] == "S256"
            assert url.params["redirect_uri"] == f"{one.url}/v1/tools/mcp/oauth/callback"
            # The browser comes back to another process than the one that waits for it, where there is one.
            back = httpx.get(url, follow_redirects=False).headers["location"].replace(one.url, other.url)
            page = httpx.get(back)
            assert (page.status_code, "Signed in" in page.text) == (200, True)
            assert page.headers["content-security-policy"] == "default-src 'none'"
            assert httpx.get(back).status_code == 400, "each answer is taken once"
            (done,) = events
        assert (done["event"], [tool["name"] for tool in done["tools"]]) == ("success", ["whoami", "forget"])
        assert run(http, server_id) == "access-token-2"
        assert run(there, server_id) == "access-token-2"
        assert kinds(sign_in(http, server_id)) == ["connection_attempt", "success"], "which is kept"


@one_store
@pytest.mark.parametrize(("ending", "outcome"), [("", "success"), ("/", "success"), ("/other", "error")])
def test_a_server_of_sign_ins_may_be_called_so_with_and_without_a_slash(
    start_server: StartServer, ending: str, outcome: str
) -> None:
    """Google's is one; the standard wants both names to be the same, and another one is another server."""
    server = start_server(env=ENV)
    with running(SIGN_IN_SERVER, "http", {"SIGN_IN_ISSUER": ending}) as address, plain_client(server.url) as http:
        *_, last = sign_in(http, add(http, address))
    assert last["event"] == outcome, last


@one_store
@pytest.mark.parametrize(
    ("how", "words"), [("SIGN_IN_IN_VAIN", "the code is over"), ("SIGN_IN_CLOSED", "use a token of its service")]
)
def test_a_sign_in_that_brings_no_token_ends_and_says_why(start_server: StartServer, how: str, words: str) -> None:
    server = start_server(env=ENV)
    with running(SIGN_IN_SERVER, "http", {how: "1"}) as address, plain_client(server.url) as http:
        *_, last = sign_in(http, add(http, address))
    assert (last["event"], words in last["message"]) == ("error", True), last


def test_tokens_are_renewed_and_another_process_learns_of_it(start_server: StartServer, store: str) -> None:
    one = start_server(env=ENV)
    other = start_server(env=ENV) if store == "postgres" else one
    with (
        running(SIGN_IN_SERVER, "http") as address,
        plain_client(one.url) as http,
        plain_client(other.url) as there,
    ):
        server_id = add(http, address)
        sign_in(http, server_id)
        tokens = []
        for each in (http, there, http, there):
            tokens.append(run(each, server_id))
            run(each, server_id, "forget")
        numbers = [int(token.rpartition("-")[2]) for token in tokens]
        assert numbers == sorted(set(numbers)), "each time a newer one, whose last was renewed elsewhere"


def test_tokens_are_renewed_once_by_whoever_needs_them_at_the_same_moment(
    start_server: StartServer, store: str
) -> None:
    """For many servers take a second use of a token for theft."""
    one = start_server(env=ENV)
    other = start_server(env=ENV) if store == "postgres" else one
    with (
        running(SIGN_IN_SERVER, "http") as address,
        plain_client(one.url) as http,
        plain_client(other.url) as there,
        ThreadPoolExecutor(4) as threads,
    ):
        server_id = add(http, address)
        sign_in(http, server_id)
        for number in range(3, 9):
            run(http, server_id, "forget")
            tokens = list(threads.map(lambda each: run(each, server_id), (http, there) * 2))
            assert set(tokens) == {f"access-token-{number}"}


def begin(there: httpx.Client, server_id: str) -> str:
    """End all tokens and begin a sign-in on the page; return the address that it leads to."""
    run(there, server_id, "forget")
    page = there.post(f"/tools/servers/{server_id}/connect").raise_for_status().text
    (found,) = re.findall(r'href="([^"]+/authorize[^"]+)"', page)
    return unescape(found)


@one_store
def test_one_signs_in_under_another_name_of_the_server_than_before(start_server: StartServer) -> None:
    """For a client is registered with the address that browsers come back to."""
    with under_two_names(start_server) as (address, http, there):
        server_id = add(http, address)
        with connecting(http, server_id) as events:
            assert kinds([next(events) for _ in range(4)])[-1] == "waiting_for_auth"  # and nobody comes
        assert kinds(sign_in(there, server_id))[-1] == "success"
        run(http, server_id, "forget")
        assert run(http, server_id).startswith("access-token")


@one_store
def test_tokens_last_until_somebody_has_signed_in_under_another_name_of_the_server(start_server: StartServer) -> None:
    with under_two_names(start_server) as (address, http, there):
        server_id = add(http, address)
        sign_in(http, server_id)
        begin(there, server_id)  # and nobody comes
        assert run(http, server_id) == "access-token-3"
        address = begin(there, server_id)
        assert run(http, server_id) == "access-token-4"
        assert "Signed in" in httpx.get(address, follow_redirects=True).text
        until(lambda: run(http, server_id) == "access-token-6")
        run(http, server_id, "forget")
        assert run(http, server_id) == "access-token-7", "renewed by the client that signed in then"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_who_signs_in_while_tokens_are_renewed_elsewhere_stays_signed_in(
    start_server: StartServer, tmp_path: Path
) -> None:
    """And what was renewed for who was signed in before is not put in the place of that."""
    hold, elsewhere = tmp_path / "hold", start_server(env=ENV)
    with (
        under_two_names(start_server, {"SIGN_IN_HOLD": str(hold)}) as (address, http, there),
        plain_client(elsewhere.url) as renewing,
        ThreadPoolExecutor(1) as thread,
    ):
        server_id = add(http, address)
        sign_in(http, server_id)
        way = begin(there, server_id)
        hold.touch()
        renewed = thread.submit(run, renewing, server_id)
        until(hold.with_suffix(".asked").exists)
        assert "Signed in" in httpx.get(way, follow_redirects=True).text
        assert run(http, server_id) == "access-token-4"
        hold.unlink()
        assert renewed.result() == "access-token-4"
        assert run(http, server_id) == "access-token-4"


@one_store
def test_tokens_outlive_who_needed_them_when_they_were_renewed(start_server: StartServer, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    with (
        running(SIGN_IN_SERVER, "http", {"SIGN_IN_HOLD": str(hold)}) as address,
        plain_client(start_server(env=ENV).url) as http,
    ):
        server_id = add(http, address)
        sign_in(http, server_id)
        tool = next(each for each in http.get(f"/v1/mcp-servers/{server_id}/tools").json() if each["name"] == "whoami")
        agent = http.post("/v1/agents", json={"model": MODEL, "tool_ids": [tool["id"]]}).json()["id"]
        run(http, server_id, "forget")
        hold.touch()
        http.post(f"/v1/agents/{agent}/messages/async", json={"input": "CALL whoami {}"}).raise_for_status()
        until(hold.with_suffix(".asked").exists)
        cancelled = http.post(f"/v1/agents/{agent}/messages/cancel", json={}).json()
        until(lambda: all(http.get(f"/v1/runs/{each}").json()["status"] == "cancelled" for each in cancelled))
        hold.unlink()
        assert run(http, server_id) == "access-token-3"


@one_store
def test_tokens_that_were_being_renewed_for_a_former_address_go_to_no_other(
    start_server: StartServer, tmp_path: Path
) -> None:
    hold, sent = tmp_path / "hold", []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.headers["Authorization"])
            self.send_error(401)

    with (
        running(SIGN_IN_SERVER, "http", {"SIGN_IN_HOLD": str(hold)}) as address,
        ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere,
        plain_client(start_server(env=ENV).url) as http,
        ThreadPoolExecutor(1) as thread,
    ):
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        server_id = add(http, address)
        sign_in(http, server_id)
        run(http, server_id, "forget")
        hold.touch()
        renewing = thread.submit(run, http, server_id)
        until(hold.with_suffix(".asked").exists)
        moved = {"mcp_server_type": "streamable_http", "server_url": f"http://127.0.0.1:{elsewhere.server_port}/"}
        http.patch(f"/v1/mcp-servers/{server_id}", json={"config": moved}).raise_for_status()
        hold.unlink()
        assert renewing.result() == "access-token-3"
        http.patch(f"/v1/mcp-servers/{server_id}/refresh")
        elsewhere.shutdown()
    assert sent
    assert set(sent) == {None}


def test_tokens_are_sealed_and_never_told(start_server: StartServer, database_url: str) -> None:
    server = start_server(env=ENV)
    with running(SIGN_IN_SERVER, "http") as address, plain_client(server.url) as http:
        server_id = add(http, address)
        events = sign_in(http, server_id)
        answers = [
            http.get("/v1/mcp-servers").text,
            http.get(f"/v1/mcp-servers/{server_id}/tools").text,
            http.get("/v1/tools/mcp/servers").text,
            http.patch(f"/v1/mcp-servers/{server_id}/refresh").text,
            json.dumps(events),
        ]
        assert "hush" not in "".join(answers)
    server.stop()
    if database_url.startswith("sqlite"):
        file = Path(database_url.removeprefix("sqlite:///"))
        assert b"hush" not in b"".join(each.read_bytes() for each in file.parent.glob(f"{file.name}*"))


@one_store
def test_each_agent_signs_in_for_itself_where_variables_say_so(start_server: StartServer) -> None:
    with running(SIGN_IN_SERVER, "http") as address, plain_client(start_server(env=ENV).url) as http:
        server_id = add(http, address, custom_headers={"X-User": "{{ USER_NAME }}"})

        def agent(name: str) -> str:
            body = {"name": name, "model": MODEL, "secrets": {"USER_NAME": name}}
            return str(http.post("/v1/agents", json=body).json()["id"])

        ann, ann_too, bob = agent("ann"), agent("ann"), agent("bob")
        assert kinds(sign_in(http, server_id, agent_id=ann))[-1] == "success"
        tool = next(each for each in http.get(f"/v1/mcp-servers/{server_id}/tools").json() if each["name"] == "whoami")

        def said(agent_id: str) -> Any:
            http.patch(f"/v1/agents/{agent_id}/tools/attach/{tool['id']}")
            answer = http.post(f"/v1/agents/{agent_id}/messages", json={"input": "CALL whoami {}"}).json()
            (returned,) = (each for each in answer["messages"] if each["message_type"] == "tool_return_message")
            return returned["status"], returned["tool_return"]

        assert said(ann)[0] == said(ann_too)[0] == "success"
        status, why = said(bob)
        assert (status, "connect" in why) == ("error", True)


@one_store
def test_who_says_no_or_comes_back_with_something_else_is_not_signed_in(
    start_server: StartServer, tmp_path: Path
) -> None:
    deny = tmp_path / "deny"
    deny.touch()
    server = start_server(env=ENV)
    with running(SIGN_IN_SERVER, "http", {"SIGN_IN_DENY": str(deny)}) as address, plain_client(server.url) as http:
        server_id = add(http, address)
        callback = "/v1/tools/mcp/oauth/callback"
        for query in ({}, {"state": "x", "code": "y"}, {"code": "y"}):
            page = http.get(callback, params=query)
            assert (page.status_code, "Not signed in" in page.text) == (400, True)
        with connecting(http, server_id) as events:
            for event in events:
                if event["event"] == "authorization_url":
                    page = httpx.get(event["url"], follow_redirects=True)
                    assert (page.status_code, "refused" in page.text) == (400, True)
        assert event["event"] == "error"
        assert "access_denied" in event["message"]
        assert http.patch(f"/v1/mcp-servers/{server_id}/refresh").status_code == 502


@one_store
def test_a_sign_in_to_a_server_that_is_deleted_meanwhile_ends(start_server: StartServer) -> None:
    server = start_server(env=ENV)
    with running(SIGN_IN_SERVER, "http") as address, plain_client(server.url) as http:
        server_id = add(http, address)
        seen: list[dict[str, Any]] = []
        waiting, done = Event(), Event()

        def watch() -> None:
            with closing(plain_client(server.url)) as other, connecting(other, server_id) as events:
                for event in events:
                    seen.append(event)
                    if event["event"] == "waiting_for_auth":
                        waiting.set()
            done.set()

        thread = Thread(target=watch)
        thread.start()
        assert waiting.wait(PATIENCE)
        assert http.delete(f"/v1/mcp-servers/{server_id}").status_code == 204
        assert done.wait(PATIENCE)
        thread.join()
        assert seen[-1]["event"] == "error"


@one_store
def test_the_older_stream_tells_the_tools_of_a_server_that_need_not_be_there(server: ServerProcess) -> None:
    config = {key: value for key, value in program(PLAIN_SERVER).items() if key != "mcp_server_type"}
    with plain_client(server.url) as http:
        body = {"server_name": "t", "type": "stdio", **config}
        lines = http.post("/v1/tools/mcp/servers/connect", json=body).text.split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert kinds(events) == ["connection_attempt", "success"]
        dead = http.post("/v1/tools/mcp/servers/connect", json={**body, "command": "/nonexistent"}).text
        assert '"event": "error"' in dead
