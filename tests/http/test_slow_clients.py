"""Clients that send or read too slowly are cut off, too many are refused, and nobody else is."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import uvicorn
from uvicorn.server import ServerState

from folkmoot.server.connections import LARGEST_HEAD, LINGER, LONGEST_LINGER, LOOKS, PIECE, Connection
from folkmoot.serving import uvicorn_options
from folkmoot.settings import Settings
from support.polling import PATIENCE, until
from support.server import ServerProcess
from support.streams import lines_of

TIMEOUT = 1.0
MORE_THAN_BUFFERS = 4_000_000
"""Bytes that the kernel does not hold for a server that reads no more."""


# -- a real server -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that waits no longer than a second, and takes few connections."""
    home: Path = tmp_path_factory.mktemp("impatient")
    env = {"FOLKMOOT_REQUEST_TIMEOUT": str(TIMEOUT), "FOLKMOOT_MAX_CONNECTIONS": "20"}
    with ServerProcess(database=f"sqlite:///{home / 'folkmoot.sqlite3'}", home=home, env=env) as server:
        yield server


@pytest.fixture
def http(impatient: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=impatient.url, timeout=PATIENCE) as client:
        yield client


def connect(server: ServerProcess, receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", server.port))
    return client


def read_to_end(client: socket.socket) -> bytes:
    """Return what comes until the server closes; a reset, which may take an answer from the client, fails the test."""
    return b"".join(iter(lambda: client.recv(1 << 16), b""))


def answer(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the one answer that comes before the server closes."""
    head, _, body = read_to_end(client).partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


def drip(client: socket.socket, piece: bytes) -> None:
    """Send the piece again and again, until the server has answered or gone."""
    client.settimeout(TIMEOUT / 10)
    try:
        for _ in range(10_000):
            try:
                client.sendall(piece)
                assert client.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                continue
            break
    finally:
        client.settimeout(PATIENCE)


def test_a_connection_that_says_nothing_is_closed(impatient: ServerProcess) -> None:
    with closing(connect(impatient)) as client:
        assert read_to_end(client) == b""


POST = b"POST /v1/blocks HTTP/1.1\r\nHost: localhost\r\n"
HALF = {
    "half a head": (POST, None),
    "a head that drips": (POST, b"X-Y: z\r\n"),
    "no body": (POST + b"Content-Length: 99999\r\n\r\n", None),
    "a body that drips": (POST + b"Content-Length: 99999\r\n\r\n", b"x"),
    "chunks that drip": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


@pytest.mark.parametrize(("begun", "piece"), HALF.values(), ids=HALF)
def test_a_request_that_does_not_come_is_answered_408(
    impatient: ServerProcess, begun: bytes, piece: bytes | None
) -> None:
    with closing(connect(impatient)) as client:
        client.sendall(begun)
        if piece is not None:
            drip(client, piece)
            client.sendall(b"x" * PIECE)  # still on its way when the answer came
        status, body = answer(client)
    assert status == 408
    assert "FOLKMOOT_REQUEST_TIMEOUT" in body["detail"]
    assert httpx.get(f"{impatient.url}/v1/health").is_success  # by then what was begun for the client is over
    assert "Traceback" not in impatient.log()


def test_a_head_that_is_too_large_is_answered_431(impatient: ServerProcess) -> None:
    with closing(connect(impatient)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        client.sendall(b"GET / HTTP/1.1\r\nX-Y: " + b"z" * (LARGEST_HEAD + 1))
        client.sendall(b"z" * MORE_THAN_BUFFERS)  # before it reads: what is refused is taken all the same
        status, body = answer(client)
    assert status == 431
    assert f"{LARGEST_HEAD:,}" in body["detail"]


def test_a_body_that_is_refused_before_it_has_come_may_come_to_its_end(impatient: ServerProcess) -> None:
    head = POST + b"Connection: close\r\nContent-Length: 20000000\r\n\r\n"
    with closing(connect(impatient)) as client:
        client.sendall(head + b"x" * 20_000_000)
        assert answer(client)[0] == 413


def test_a_client_that_does_not_read_is_gone_with_its_memory(impatient: ServerProcess, http: httpx.Client) -> None:
    value = "x" * 8_000_000
    made = http.post("/v1/blocks", json={"label": uuid4().hex, "value": value, "limit": len(value)}).json()
    request = f"GET /v1/blocks/{made['id']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    process = psutil.Process(impatient.process.pid)
    before, readers = process.memory_info().rss, 10

    def held(ports: set[int]) -> int:
        """Count the server's ends of these connections, the kernel's orphans too."""
        found = psutil.net_connections(kind="tcp")
        return sum(bool(c.raddr) and c.laddr.port == impatient.port and c.raddr.port in ports for c in found)

    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(impatient, 4096))) for _ in range(readers)]
        for client in clients:
            client.sendall(request)
        ports = {client.getsockname()[1] for client in clients}
        assert held(ports) == readers
        until(lambda: process.memory_info().rss > before + readers * 3_000_000)
        until(lambda: held(ports) == 0)
        until(lambda: process.memory_info().rss < before + readers * 1_000_000)
    assert "read too slowly" in impatient.log()


def test_what_is_alive_stays(impatient: ServerProcess, http: httpx.Client) -> None:
    """A stream with nothing to tell outlives connections that owe something."""
    block = http.post("/v1/blocks", json={"label": uuid4().hex, "value": "one"}).json()["id"]
    with http.stream("GET", f"/v1/blocks/{block}/watch") as watch:
        lines = lines_of(watch.iter_lines())
        assert "event: snapshot" in lines
        for _ in range(2):
            with closing(connect(impatient)) as silent:
                assert read_to_end(silent) == b""
        assert http.patch(f"/v1/blocks/{block}", json={"value": "two"}).status_code == 200
        assert "event: version" in lines


def test_too_many_connections_are_told_so(impatient: ServerProcess, http: httpx.Client) -> None:
    block = http.post("/v1/blocks", json={"label": uuid4().hex, "value": "one"}).json()["id"]
    request = f"GET /v1/blocks/{block}/watch HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(21):  # the client of `http`, which rests, is one too and makes room
            client = stack.enter_context(closing(connect(impatient)))
            client.sendall(request)
            head = client.recv(1 << 16)
            if b"503" in head.splitlines()[0]:
                break
        assert b"503" in head.splitlines()[0]
        told = head + read_to_end(client)
        assert b"FOLKMOOT_MAX_CONNECTIONS" in told
        assert b"retry-after: 1" in told.lower()
    until(lambda: _status(impatient) == 200)


RESTING = {
    "asked and answered": (b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", b"200 OK"),
    "answered before its body had come": (
        b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n",
        b"ab",
        b"404 Not Found",
    ),
}


@pytest.mark.parametrize(("request_", "rest", "status"), RESTING.values(), ids=RESTING)
def test_a_connection_at_rest_makes_room_for_another(
    impatient: ServerProcess, request_: bytes, rest: bytes, status: bytes
) -> None:
    def ask(client: socket.socket) -> bytes:
        client.sendall(request_)
        answer = b""
        while not answer.endswith(b"}"):
            answer += client.recv(1 << 16)
        client.sendall(rest)
        return answer.splitlines()[0]

    with ExitStack() as stack:
        for _ in range(25):
            client = stack.enter_context(closing(connect(impatient)))
            assert ask(client) == b"HTTP/1.1 " + status
        assert ask(client) == b"HTTP/1.1 " + status, "it is not its own that is closed"


def test_a_connection_rests_longer_than_clients_and_proxies_keep_theirs() -> None:
    options = uvicorn_options(Settings())
    assert options["timeout_keep_alive"] > max(httpx.Limits().keepalive_expiry or 0, 60)


def _status(server: ServerProcess) -> int:
    with closing(connect(server)) as client:
        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return int(read_to_end(client).split()[1])


# -- its rules, by a clock of the test's ---------------------------------------------------------------------


class Clock:
    """An event loop's clock, which the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None], *_: Any) -> Any:
        self.due.append((self.now + seconds, call))
        return self

    def call_soon(self, call: Callable[[], None], *_: Any) -> Any:
        return self.call_later(0, call)

    def cancel(self) -> None:
        """Nothing: a handle that is not looked at."""

    def create_task(self, coroutine: Any) -> Any:
        coroutine.close()  # the application never answers by itself
        return Task()

    def go(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [each for each in self.due if each[0] <= until]:
            first = min(due, key=lambda each: each[0])
            self.due.remove(first)
            self.now = first[0]
            first[1]()
        self.now = until


class Task:
    def add_done_callback(self, _: Any) -> None:
        """Never done."""


class Transport:
    """A transport that remembers what was done to it."""

    def __init__(self) -> None:
        self.written = b""
        self.calls = 0
        self.waiting = 0
        self.end: str | None = None

    def write(self, data: bytes) -> None:
        assert self.end is None, "an event loop refuses to write to what is closed"
        self.written += data
        self.calls += 1

    def writelines(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write_eof(self) -> None:
        self.written += b"<end>"

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def is_closing(self) -> bool:
        return self.end is not None

    def get_extra_info(self, _: str) -> None:
        return None

    def pause_reading(self) -> None:
        """Allowed."""

    def resume_reading(self) -> None:
        """Allowed."""


async def _application(scope: Any, receive: Any, send: Any) -> None:
    """Never run: the clock's tasks are none."""


class Talk:
    """A connection, its transport and its clock."""

    def __init__(self) -> None:
        self.clock, self.transport = Clock(), Transport()
        config: Any = uvicorn.Config(_application, log_config=None)
        clock: Any = self.clock
        self.connection = Connection(config, ServerState(), {}, clock, timeout=10.0, most=5)
        transport: Any = self.transport
        self.connection.connection_made(transport)

    @property
    def end(self) -> str | None:
        return self.transport.end

    def complete(self, waiting: int = 0) -> None:
        """Have the application answer, so that so many bytes wait for the client."""
        self.connection.cycle.response_started = self.connection.cycle.response_complete = True
        self.transport.waiting = waiting


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_body_that_comes_piece_by_piece_is_waited_for() -> None:
    talk = Talk()
    talk.connection.data_received(HEAD)
    for _ in range(10):
        talk.clock.go(9)
        talk.connection.data_received(b"x" * PIECE)
        talk.connection.cycle.body.clear()
        talk.connection.flow.resume_reading()
    assert talk.end is None
    talk.connection.data_received(b"x" * (PIECE - 1))
    talk.clock.go(9)
    while not talk.transport.written:
        talk.clock.go(LINGER / 4)
    assert (talk.end, talk.transport.written.endswith(b"<end>")) == (None, True)
    talk.connection.data_received(b"x" * PIECE)
    talk.clock.go(LINGER)
    assert talk.end == "closed"
    assert talk.transport.written.count(b"HTTP/1.1 408") == 1


def test_a_refused_client_that_still_sends_may_come_to_its_end_but_not_for_ever() -> None:
    talk = Talk()
    talk.connection.data_received(b"GET / HTTP/1.1\r\nX-Y: " + b"z" * LARGEST_HEAD)
    assert b"431" in talk.transport.written
    sent = 0.0
    while talk.end is None:
        talk.clock.go(LINGER / 2)
        talk.connection.data_received(b"z" * PIECE)
        sent += LINGER / 2
    assert sent == LONGEST_LINGER


def test_a_body_that_drips_gets_no_time_anew() -> None:
    talk = Talk()
    talk.connection.data_received(HEAD)
    for _ in range(14):
        talk.clock.go(1)
        if talk.end is None:
            talk.connection.data_received(b"x")
    assert talk.transport.written.count(b"HTTP/1.1 408") == 1


def test_a_body_that_this_server_does_not_take_is_waited_for() -> None:
    talk = Talk()
    talk.connection.data_received(HEAD + b"x" * 2 * PIECE)
    assert talk.connection.flow.read_paused
    talk.clock.go(100)
    assert talk.end is None


def test_a_long_turn_is_waited_for_whatever_the_client_adds() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    talk.connection.data_received(b"\r\n")
    talk.clock.go(100)
    assert talk.end is None
    talk.complete()
    talk.clock.go(20 + 10 / LOOKS)
    assert talk.end == "closed", "but nothing followed when it was over"


def test_an_idle_stream_stays_while_little_is_unread() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    talk.transport.waiting = 1000
    talk.clock.go(100)
    assert talk.end is None


def test_a_stream_that_is_not_read_is_cut() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    talk.transport.waiting = 2 * PIECE
    talk.connection.pause_writing()
    talk.clock.go(9)
    assert talk.end is None
    talk.clock.go(1 + 2 * 10 / LOOKS)
    assert talk.end == "aborted"


def test_an_answer_that_is_read_piece_by_piece_stays() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    talk.complete(waiting=20 * PIECE)
    for _ in range(19):
        talk.clock.go(9)
        talk.transport.waiting -= PIECE
    assert talk.end is None
    talk.clock.go(10 + 2 * 10 / LOOKS)
    assert talk.end == "aborted", "the rest was not read"


def test_an_answer_that_is_not_read_is_cut_though_the_connection_is_closing() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    talk.transport.waiting = 100
    talk.transport.close()
    talk.clock.go(10 + 2 * 10 / LOOKS)
    assert talk.end == "aborted"


def test_trailers_without_end_are_refused() -> None:
    talk = Talk()
    talk.connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    for _ in range(LARGEST_HEAD // 1000 + 1):
        if talk.end is None:
            talk.connection.data_received(b"X-Y: " + b"z" * 993 + b"\r\n")
    assert b"431" in talk.transport.written


def test_connections_far_beyond_the_most_are_closed_at_once() -> None:
    talk = Talk()
    state = talk.connection.server_state
    config: Any = talk.connection.config
    clock: Any = talk.clock
    ends = []
    for _ in range(200):
        transport: Any = Transport()
        Connection(config, state, {}, clock, timeout=10.0, most=5).connection_made(transport)
        ends.append(transport.end)
    assert ends[0] is None
    assert ends[-1] == "aborted"


# -- how its answers are written -------------------------------------------------------------------------------


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def test_an_answers_head_goes_with_its_body() -> None:
    talk = Talk()
    for answered in (1, 2):
        talk.connection.data_received(GET)
        send = talk.connection.cycle.send
        await send({**START, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})
        talk.clock.go(0)
        assert talk.transport.calls == answered
        assert talk.transport.written.endswith(b"\r\ncontent-length: 5\r\n\r\nhello")


async def test_a_streams_head_does_not_wait_for_what_it_has_to_say() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    send = talk.connection.cycle.send
    await send(START)
    talk.clock.go(0)
    assert talk.transport.written.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    assert talk.transport.written.endswith(b"\r\n\r\n5\r\nhello\r\n")


async def test_a_head_without_a_body_is_written_before_the_connection_closes() -> None:
    talk = Talk()
    talk.connection.data_received(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await talk.connection.cycle.send(START)
    await talk.connection.cycle.send({"type": "http.response.body"})
    assert talk.transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert talk.end == "closed"


async def test_a_head_whose_client_has_gone_is_dropped() -> None:
    talk = Talk()
    talk.connection.data_received(GET)
    await talk.connection.cycle.send(START)
    talk.transport.abort()
    talk.clock.go(0)
    assert talk.transport.written == b""
