"""Watching blocks and agents' memory: a snapshot, then every version in order, from any process, resumable."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn
from assertions import UNKNOWN, assert_error

from chaos.moot import insertion, make_agent, make_block, ok, open_http, say, write
from folkmoot.application import create_app
from folkmoot.server import connections, event_stream
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.settings import Settings
from support.fixtures import StartServer, one_store
from support.polling import PATIENCE, until
from support.ports import free_port


@dataclass(frozen=True)
class Told:
    """An event as a client gets it."""

    event: str
    id: str | None
    data: Any


class Watch:
    """An open stream, read event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.comments: list[str] = []

    async def next(self) -> Told:
        """Return the next event, or raise StopAsyncIteration when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):  # around heartbeats, too
            while "data" not in fields:
                fields = {}
                while line := await anext(self._lines):
                    name, _, value = line.partition(": ")
                    if line.startswith(":"):
                        self.comments.append(line)
                    fields[name] = value
        return Told(fields["event"], fields.get("id"), json.loads(fields["data"]))

    async def versions(self, count: int) -> list[Told]:
        """Return the next `count` events, which must be versions."""
        told = [await self.next() for _ in range(count)]
        assert {one.event for one in told} <= {"version"}
        return told


@asynccontextmanager
async def watching(http: httpx.AsyncClient, path: str, last: str | None = None) -> AsyncIterator[Watch]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Watch(response)


def of_block(block: dict[str, Any]) -> str:
    return f"/v1/blocks/{block['id']}/watch"


def of_agent(agent: dict[str, Any]) -> str:
    return f"/v1/agents/{agent['id']}/core-memory/watch"


def numbers(told: list[Told]) -> list[int]:
    return [one.data["version"] for one in told]


def changed(text: str, told: Told) -> str:
    """Return a text after a change that was told, as a watcher rebuilds it."""
    for start, end, replacement in reversed(told.data["change"]):
        text = text[:start] + replacement + text[end:]
    return text


# -- one block -----------------------------------------------------------------------------------------------


async def test_a_watch_begins_with_a_snapshot_and_tells_every_version_in_order(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http, "one")
    agent = await make_agent(async_http, block)
    ok(await write(async_http, block, "two"))
    async with watching(async_http, of_block(block)) as watch:
        first = await watch.next()
        assert (first.event, first.id, first.data["value"], first.data["version"]) == ("snapshot", "2", "two", 2)
        turn = await say(async_http, agent, insertion(block, "by an agent"))
        ok(await write(async_http, block, "by a program"))
        by_agent, by_program = await watch.versions(2)
    assert (by_agent.id, by_agent.data["value"]) == ("3", "two\nby an agent")
    assert by_agent.data["author"]["step_id"] == turn["messages"][0]["step_id"]
    assert by_agent.data["edit"]["kind"] == "insert"
    assert (by_program.id, by_program.data["value"], by_program.data["author"]["type"]) == ("4", "by a program", "api")


async def test_a_watch_of_changes_tells_what_differs(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http, "né 𝒶 long text " * 400)
    agent = await make_agent(async_http, block)
    text = block["value"]
    async with (
        watching(async_http, of_block(block) + "?changes=true") as watch,
        watching(async_http, of_agent(agent) + "?changes=true") as of_all,
    ):
        assert [(await each.next()).event for each in (watch, of_all)] == ["snapshot", "snapshot"]
        wanted = [text + "end", "begin" + text, text[:50] + "𝓑" + text[60:], "", "short"]
        for each in wanted:
            ok(await write(async_http, block, each))
        for each in (watch, of_all):
            told, now = await each.versions(len(wanted)), text
            for one, after in zip(told, wanted, strict=True):
                assert "value" not in one.data
                now = changed(now, one)
                assert now == after
    assert len(json.dumps(told[0].data)) < 700


async def test_a_watch_of_changes_goes_on_where_it_was_cut(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http, "né 𝒶\n")
    agent = await make_agent(async_http, block)
    texts = ["né 𝒶\nb", "𝓑 né 𝒶\nb", "", "né", "né 𝒶 𝒶", "𝒶 né"]
    of_one, of_all = of_block(block) + "?changes=true", of_agent(agent) + "?changes=true"
    async with watching(async_http, of_all) as watch:
        seen = await watch.next()
    rebuilt: dict[str, list[str]] = {of_one: [block["value"]], of_all: [block["value"]]}
    last = {of_one: "1", of_all: seen.id or ""}
    for written in (texts[:3], texts[3:]):  # each while nobody watches
        for text in written:
            ok(await write(async_http, block, text))
        for path, known in rebuilt.items():
            for count in (1, len(written) - 1):
                async with watching(async_http, path, last[path]) as watch:
                    for one in await watch.versions(count):
                        known.append(changed(known[-1], one))
                        last[path] = one.id or ""
    assert rebuilt == {of_one: [block["value"], *texts], of_all: [block["value"], *texts]}


async def test_many_edits_at_once_are_told_in_order_without_gap(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http)
    async with watching(async_http, of_block(block)) as watch:
        assert (await watch.next()).event == "snapshot"
        await asyncio.gather(*(write(async_http, block, f"text {number}") for number in range(80)))
        told = await watch.versions(80)
    assert numbers(told) == list(range(2, 82))
    assert [one.id for one in told] == [str(number) for number in range(2, 82)]
    assert {one.data["value"] for one in told} == {f"text {number}" for number in range(80)}


async def test_a_watch_goes_on_behind_the_last_event_it_saw(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http, "one")
    for number in range(2, 8):
        ok(await write(async_http, block, f"text {number}"))
    seen: list[Told] = []
    last = "1"
    for _ in range(3):
        async with watching(async_http, of_block(block), last) as watch:
            seen += await watch.versions(2)
            last = seen[-1].id or ""
    async with watching(async_http, of_block(block), last) as watch:
        ok(await write(async_http, block, "text 8"))
        seen += await watch.versions(1)
    assert numbers(seen) == list(range(2, 9))
    assert [one.data["value"] for one in seen] == [f"text {number}" for number in range(2, 9)]


async def test_a_watch_resumed_from_beyond_the_newest_version_begins_anew(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http, "one")
    async with watching(async_http, of_block(block), "99") as watch:
        assert (await watch.next()).event == "snapshot"
        ok(await write(async_http, block, "two"))
        assert numbers(await watch.versions(1)) == [2]


async def test_the_end_of_a_block_ends_its_watch(async_http: httpx.AsyncClient) -> None:
    block = await make_block(async_http, "one")
    async with watching(async_http, of_block(block)) as watch:
        await watch.next()
        ok(await async_http.delete(f"/v1/blocks/{block['id']}"))
        told = await watch.next()
        assert (told.event, told.data) == ("deleted", {"id": block["id"]})
        with pytest.raises(StopAsyncIteration):
            await watch.next()


@pytest.mark.parametrize(
    "last",
    [
        *("x", "-1", "1.5", "1 2"),
        "²".encode("latin-1"),
    ],
)
async def test_a_last_event_that_is_none_of_the_stream_is_refused(
    async_http: httpx.AsyncClient, last: str | bytes
) -> None:
    block = await make_block(async_http)
    response = await async_http.get(of_block(block), headers={"Last-Event-ID": last})
    assert_error(response, 422, "Last-Event-ID")


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_watch_tells_the_versions_that_another_process_wrote(start_server: StartServer) -> None:
    one, other = start_server(), start_server()
    async with open_http(one.url) as http, open_http(other.url) as elsewhere:
        block = await make_block(http)
        agent = await make_agent(http, block)
        async with watching(http, of_block(block)) as watch, watching(http, of_agent(agent)) as memory:
            assert (await watch.next()).event == (await memory.next()).event == "snapshot"
            await asyncio.gather(*(write(elsewhere, block, f"text {number}") for number in range(20)))
            await say(elsewhere, agent, insertion(block, "by an agent"))
            assert numbers(await watch.versions(21)) == list(range(2, 23))
            assert numbers(await memory.versions(21)) == list(range(2, 23))
        async with watching(elsewhere, of_block(block), "10") as resumed:
            assert numbers(await resumed.versions(12)) == list(range(11, 23))


# -- an agent's memory ---------------------------------------------------------------------------------------


async def test_an_agents_watch_follows_its_blocks_as_they_come_and_go(async_http: httpx.AsyncClient) -> None:
    one, two = await make_block(async_http, "one"), await make_block(async_http, "two")
    agent = await make_agent(async_http, one)
    path = f"/v1/agents/{agent['id']}/core-memory/blocks"
    async with watching(async_http, of_agent(agent)) as watch:
        first = await watch.next()
        assert (first.event, [block["id"] for block in first.data["blocks"]]) == ("snapshot", [one["id"]])
        ok(await write(async_http, one, "one more"))
        (told,) = await watch.versions(1)
        assert (told.data["block_id"], told.data["value"], told.data["version"]) == (one["id"], "one more", 2)
        ok(await async_http.patch(f"{path}/attach/{two['id']}", json={"access": "read"}))
        both = await watch.next()
        assert both.event == "snapshot"
        assert {block["id"]: block["access"] for block in both.data["blocks"]} == {
            one["id"]: "write",
            two["id"]: "read",
        }
        ok(await write(async_http, two, "two more"))
        (told,) = await watch.versions(1)
        assert told.data["block_id"] == two["id"]
        ok(await async_http.patch(f"{path}/detach/{one['id']}"))
        left = await watch.next()
        assert (left.event, [block["id"] for block in left.data["blocks"]]) == ("snapshot", [two["id"]])
        ok(await write(async_http, one, "nobody is told"))
        ok(await write(async_http, two, "two again"))
        (told,) = await watch.versions(1)
        assert told.data["value"] == "two again"


async def test_an_agents_watch_goes_on_behind_the_last_event_it_saw(async_http: httpx.AsyncClient) -> None:
    blocks = [await make_block(async_http), await make_block(async_http)]
    agent = await make_agent(async_http, *blocks)
    async with watching(async_http, of_agent(agent)) as watch:
        last = (await watch.next()).id
        for block in blocks:
            ok(await write(async_http, block, "seen"))
        last = (await watch.versions(2))[-1].id
    for number in range(3):
        for block in blocks:
            ok(await write(async_http, block, f"missed {number}"))
    missed: list[Told] = []
    while len(missed) < 6:
        async with watching(async_http, of_agent(agent), last) as watch:
            missed += await watch.versions(2)
            last = missed[-1].id
    for block in blocks:
        of_this = [one for one in missed if one.data["block_id"] == block["id"]]
        assert [one.data["value"] for one in of_this] == [f"missed {number}" for number in range(3)]
        assert numbers(of_this) == [3, 4, 5]


async def test_an_agents_watch_resumed_after_its_blocks_changed_begins_anew(async_http: httpx.AsyncClient) -> None:
    one, two = await make_block(async_http), await make_block(async_http)
    agent = await make_agent(async_http, one)
    async with watching(async_http, of_agent(agent)) as watch:
        last = (await watch.next()).id
    ok(await async_http.patch(f"/v1/agents/{agent['id']}/core-memory/blocks/attach/{two['id']}"))
    async with watching(async_http, of_agent(agent), last) as watch:
        told = await watch.next()
    assert told.event == "snapshot"
    assert {block["id"] for block in told.data["blocks"]} == {one["id"], two["id"]}


async def test_an_agents_watch_survives_the_deletion_of_a_block(async_http: httpx.AsyncClient) -> None:
    one, two = await make_block(async_http), await make_block(async_http)
    agent = await make_agent(async_http, one, two)
    async with watching(async_http, of_agent(agent)) as watch:
        await watch.next()
        ok(await async_http.delete(f"/v1/blocks/{one['id']}"))
        left = await watch.next()
        assert (left.event, [block["id"] for block in left.data["blocks"]]) == ("snapshot", [two["id"]])
        ok(await write(async_http, two, "on"))
        assert numbers(await watch.versions(1)) == [2]


async def test_the_end_of_an_agent_ends_its_watch(async_http: httpx.AsyncClient) -> None:
    agent = await make_agent(async_http, await make_block(async_http))
    async with watching(async_http, of_agent(agent)) as watch:
        await watch.next()
        ok(await async_http.delete(f"/v1/agents/{agent['id']}"))
        told = await watch.next()
        assert (told.event, told.data) == ("deleted", {"id": agent["id"]})
        with pytest.raises(StopAsyncIteration):
            await watch.next()


async def test_an_agents_watch_resumed_from_beyond_the_newest_version_begins_anew(
    async_http: httpx.AsyncClient,
) -> None:
    block = await make_block(async_http)
    agent = await make_agent(async_http, block)
    last = base64.urlsafe_b64encode(json.dumps({block["id"]: 99}).encode()).decode()
    async with watching(async_http, of_agent(agent), last) as watch:
        assert (await watch.next()).event == "snapshot"


@pytest.mark.parametrize("last", ["x", "7", "bm9uc2Vuc2U=", "WzFd", "W1tb" * 5_000])
async def test_a_last_event_that_is_none_of_the_agents_stream_is_refused(
    async_http: httpx.AsyncClient, last: str
) -> None:
    agent = await make_agent(async_http)
    assert_error(await async_http.get(of_agent(agent), headers={"Last-Event-ID": last}), 422, "Last-Event-ID")
    assert_error(await async_http.get(f"/v1/agents/agent-{UNKNOWN}/core-memory/watch"), 404, UNKNOWN)


# -- silence and slow readers --------------------------------------------------------------------------------


async def test_a_silent_stream_sends_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.01)
    go_on = asyncio.Event()

    async def events() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(b"1", "version", "1")
        await go_on.wait()
        yield ServerSentEvent(b"2", "version", "2")

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b": heartbeat\n\n" in sent:
            go_on.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        await EventStream(events())({"type": "http"}, receive, send)
    stream = b"".join(sent)
    assert stream.startswith(b"event: version\nid: 1\ndata: 1\n\n: heartbeat\n\n")
    assert stream.endswith(b"event: version\nid: 2\ndata: 2\n\n")


@one_store
async def test_a_watch_that_goes_on_says_something_before_there_is_news(async_http: httpx.AsyncClient) -> None:
    block = (await async_http.post("/v1/blocks", json={"label": "a", "value": "x"})).json()["id"]
    async with async_http.stream("GET", f"/v1/blocks/{block}/watch", headers={"Last-Event-ID": "1"}) as response:
        assert await anext(response.aiter_raw()) == b":\n\n"


async def test_a_stream_with_much_to_tell_lets_others_have_their_turn() -> None:
    told = 0
    turns = 0

    async def events() -> AsyncIterator[ServerSentEvent]:
        nonlocal told
        while told < 100:
            told += 1
            yield ServerSentEvent(b"{}")

    async def others() -> None:
        nonlocal turns
        while told < 100:
            turns += 1
            await asyncio.sleep(0)

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(EventStream(events())({"type": "http"}, receive, send), others())
    assert turns >= 100


class InThisProcess(uvicorn.Server):
    """A server that leaves the test's signals alone."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self._serve())
        async with asyncio.timeout(PATIENCE):
            while not self.started:
                await asyncio.sleep(0.01)
        yield
        self.should_exit = True
        await serving


async def test_a_slow_reader_is_cut_off_and_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    cut = asyncio.Event()
    monkeypatch.setattr(connections.logger, "warning", lambda *_: cut.set())
    port = free_port()
    app = create_app(Settings(database=database_url), {})
    http_class: Any = partial(connections.Connection, timeout=0.5, most=100)
    server = InThisProcess(uvicorn.Config(app, port=port, log_level="critical", lifespan="on", http=http_class))
    async with server.running(), open_http(f"http://127.0.0.1:{port}") as http:
        block = await make_block(http, limit=1_000_000)
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", port))
        reader.sendall(f"GET {of_block(block)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        # What is written before the snapshot was taken would be in it, too large to come whole.
        await asyncio.to_thread(until, lambda: b"id: 1\n" in reader.recv(4096, socket.MSG_PEEK))
        versions = 60
        for number in range(2, versions + 1):  # more than the sockets hold; the reader reads none of it
            ok(await write(http, block, f"{number} " + "x" * 200_000))
        await asyncio.wait_for(cut.wait(), PATIENCE)
        received = await asyncio.to_thread(read_all, reader)
        ids = [int(line[4:]) for line in received.split(b"\n") if line.startswith(b"id: ")]
        whole = ids if received.endswith(b"\n\n") else ids[:-1]
        assert whole == list(range(1, len(whole) + 1))
        assert len(whole) < versions, "it was cut off before the end"
        async with watching(http, of_block(block), str(whole[-1])) as watch:
            rest = await watch.versions(versions - whole[-1])
        assert numbers(rest) == list(range(whole[-1] + 1, versions + 1))


def read_all(reader: socket.socket) -> bytes:
    """Return what was sent before the server closed its side."""
    pieces = []
    reader.settimeout(PATIENCE)
    try:
        while piece := reader.recv(1 << 20):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    finally:
        reader.close()
    return b"".join(pieces).replace(b"\r\n", b"")
