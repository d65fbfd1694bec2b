"""Callbacks, sent to a real server on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from folkmoot.errors import InvalidInput
from folkmoot.runs import callbacks
from folkmoot.runs.callbacks import CallbackResult, check_callback_url, send_callback
from folkmoot.store import clock
from support.certificates import certificate
from support.polling import PATIENCE

BODY = {"run_id": "run-1", "status": "completed", "text": "Grüße 👋"}


@dataclass
class Receiver:
    """Answers each request with the next status, the last one for ever; keeps headers and raw bodies."""

    statuses: list[int] = field(default_factory=lambda: [200])
    headers: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    location: str = ""
    port: int = 0
    answer_late: asyncio.Event | None = None
    endless: bool = False
    drip: float = 0
    """Seconds before each byte of a header that never ends."""
    _talking: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield
        for writer in self._talking:  # what is open when the loop ends would be held against some later test
            writer.close()
            with suppress(OSError):  # of TLS too
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talking.append(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:])}
            body = await reader.readexactly(int(headers["content-length"]))
            self.lines.append(head[0])
            self.headers.append(headers)
            self.bodies.append(body)
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if self.answer_late is not None:
                await self.answer_late.wait()
            if status == 0:
                return  # closes the connection without an answer
            while self.drip:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(self.drip)
            location = f"Location: {self.location}\r\n" if self.location else ""
            length = 10**12 if self.endless else 2
            writer.write(f"HTTP/1.1 {status} Said\r\n{location}Content-Length: {length}\r\n\r\nok".encode())
            await writer.drain()
            if self.endless:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender hung up, as some tests want
        finally:
            writer.close()


class Pauses(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


Send = Callable[..., Awaitable[CallbackResult]]


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def send(pauses: Pauses) -> Send:
    """Send BODY to this machine, private addresses allowed, without waiting between tries."""

    async def send(url: str, **options: Any) -> CallbackResult:
        settings = {"secret": None, "allow_private": True, "pause": pauses, **options}
        return await send_callback(url, BODY, **settings)

    return send


async def test_body_is_posted_once_as_json(send: Send, pauses: Pauses) -> None:
    receiver = Receiver()
    before = clock.now()
    async with receiver.serve():
        result = await send(f"http://127.0.0.1:{receiver.port}/hook?key=1#part")
    assert (result.status_code, result.error) == (200, None)
    assert before <= result.sent_at <= clock.now()
    assert receiver.lines == ["POST /hook?key=1 HTTP/1.1"]
    assert [json.loads(body) for body in receiver.bodies] == [BODY]
    assert receiver.headers[0]["content-type"] == "application/json"
    assert receiver.headers[0]["host"] == f"127.0.0.1:{receiver.port}"
    assert "folkmoot-signature" not in receiver.headers[0]
    assert pauses == []


async def test_signature_is_the_hmac_of_time_and_body(send: Send) -> None:
    receiver, began = Receiver(), int(time.time())
    async with receiver.serve():
        await send(f"http://127.0.0.1:{receiver.port}/", secret=b"hush")
    parts = dict(part.split("=") for part in receiver.headers[0]["folkmoot-signature"].split(","))
    assert began <= int(parts["t"]) <= time.time()
    signed = parts["t"].encode() + b"." + receiver.bodies[0]
    assert parts == {"t": parts["t"], "v1": hmac.new(b"hush", signed, hashlib.sha256).hexdigest()}


def test_signature_of_a_known_body() -> None:
    # printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac hush
    assert callbacks.signature(b"hush", 1700000000, b'{"a":1}') == (
        "t=1700000000,v1=7cfd1df542c33ab7251748ffdc6e7fed278c63b83d4ece95a4534b0ad465571b"
    )


@pytest.mark.parametrize(
    ("statuses", "last", "tries"),
    [
        pytest.param([503, 429, 200], 200, 3, id="passing faults, then taken"),
        pytest.param([0, 204], 204, 2, id="no answer, then taken"),
        pytest.param([500], 500, 4, id="never taken"),
        pytest.param([404], 404, 1, id="not found"),
        pytest.param([400, 200], 400, 1, id="refused"),
    ],
)
async def test_passing_faults_are_tried_again(
    statuses: list[int], last: int, tries: int, send: Send, pauses: Pauses
) -> None:
    receiver = Receiver(list(statuses))
    async with receiver.serve():
        result = await send(f"http://127.0.0.1:{receiver.port}/")
    assert result.status_code == last
    assert result.error == (None if last < 300 else f"127.0.0.1 answered with status {last}.")
    assert len(receiver.bodies) == tries
    assert pauses == list(callbacks.PAUSES[: tries - 1])


async def test_nobody_there(send: Send, pauses: Pauses) -> None:
    with socket.socket() as unused:  # bound, but not listening
        unused.bind(("127.0.0.1", 0))
        result = await send(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (result.status_code, result.error) == (None, "127.0.0.1 could not be reached (ConnectError).")
    assert len(pauses) == 3


async def test_late_answer_is_given_up(send: Send, pauses: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "TIMEOUT", 0.1)
    released = asyncio.Event()
    receiver = Receiver(answer_late=released)
    async with receiver.serve():
        result = await send(f"http://127.0.0.1:{receiver.port}/")
        released.set()
    assert (result.status_code, result.error) == (None, "127.0.0.1 did not answer within 0.1 seconds.")
    assert len(pauses) == 3
    assert receiver.bodies


async def test_answer_that_drips_is_given_up(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "TIMEOUT", 0.2)
    receiver = Receiver(drip=0.01)
    async with receiver.serve(), asyncio.timeout(PATIENCE):
        result = await send(f"http://127.0.0.1:{receiver.port}/")
    assert (result.status_code, result.error) == (None, "127.0.0.1 did not answer within 0.2 seconds.")


async def test_endless_answer_is_not_read(send: Send) -> None:
    receiver = Receiver(endless=True)
    async with receiver.serve(), asyncio.timeout(PATIENCE):
        result = await send(f"http://127.0.0.1:{receiver.port}/")
    assert result.status_code == 200


async def test_redirect_is_not_followed(send: Send) -> None:
    elsewhere = Receiver()
    async with elsewhere.serve():
        receiver = Receiver([307], location=f"http://127.0.0.1:{elsewhere.port}/")
        async with receiver.serve():
            result = await send(f"http://127.0.0.1:{receiver.port}/")
    assert (result.status_code, result.error) == (307, "127.0.0.1 answered with status 307.")
    assert elsewhere.bodies == []


async def test_proxy_of_the_environment_is_not_used(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, receiver = Receiver(), Receiver()
    async with proxy.serve(), receiver.serve():
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        await send(f"http://127.0.0.1:{receiver.port}/")
    assert (len(proxy.bodies), len(receiver.bodies)) == (0, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_private_host_is_never_sent_to(host: str, send: Send, pauses: Pauses) -> None:
    receiver = Receiver()
    async with receiver.serve():
        result = await send(f"http://{host}:{receiver.port}/", allow_private=False)
    assert result.status_code is None
    assert result.error is not None
    assert result.error.startswith("callback_url: ")
    assert receiver.bodies == []
    assert pauses == []


class Names:
    """Answers for one name with the next list of addresses, the last one for ever, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str]) -> None:
        self.lookups = 0
        self._answers = list(answers)
        real = socket.getaddrinfo

        def look_up(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
            if host not in (name, name.encode()):
                return list(real(host, port, *args, **options))
            self.lookups += 1
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if not answer:
                raise socket.gaierror(socket.EAI_AGAIN, "try again")
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port or 0))
                for one in answer
            ]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.1"], id="private"),
        pytest.param(["8.8.8.8", "127.0.0.1"], id="one of two is private"),
        pytest.param(["::ffff:10.0.0.1"], id="mapped"),
    ],
)
async def test_name_of_a_private_address_is_refused(
    addresses: list[str], send: Send, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    Names(monkeypatch, "callback.test", addresses)
    async with receiver.serve():
        result = await send(f"http://callback.test:{receiver.port}/", allow_private=False)
    expected = "callback_url: the host callback.test resolves to an address that is not public."
    assert (result.status_code, result.error) == (None, expected)
    assert receiver.bodies == []
    assert pauses == []


async def test_connection_goes_to_the_address_that_was_checked(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    names = Names(monkeypatch, "callback.test", ["127.0.0.1"], ["127.0.0.2"])
    async with receiver.serve():
        result = await send(f"http://callback.test:{receiver.port}/")
    assert result.status_code == 200
    assert names.lookups == 1
    assert receiver.headers[0]["host"] == f"callback.test:{receiver.port}"


async def test_address_is_checked_again_at_each_try(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    names = Names(monkeypatch, "callback.test", [], ["127.0.0.1"])
    async with receiver.serve():
        result = await send(f"http://callback.test:{receiver.port}/", allow_private=False)
    assert result.error is not None
    assert "not public" in result.error
    assert names.lookups == 2
    assert receiver.bodies == []


async def test_next_address_is_used_when_the_first_takes_no_connection(
    send: Send, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    Names(monkeypatch, "callback.test", ["127.0.0.2", "127.0.0.1"])
    async with receiver.serve():
        result = await send(f"http://callback.test:{receiver.port}/")
    assert result.status_code == 200
    assert pauses == []


async def test_unresolvable_name_is_tried_again(send: Send, pauses: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "callback.test", [])
    result = await send("http://callback.test/")
    assert (result.status_code, result.error) == (None, "callback.test could not be reached (ConnectError).")
    assert len(pauses) == 3


async def test_impossible_name_is_an_error_not_an_exception(send: Send) -> None:
    result = await send(f"http://{'a' * 64}.test/")
    assert result.error is not None
    assert "is not a host's name" in result.error


@pytest.mark.parametrize(("name", "status"), [("localhost", 200), ("other.test", None)])
async def test_certificate_has_to_be_the_hosts(name: str, status: int | None, send: Send, tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path, name)
    receiver = Receiver()
    async with receiver.serve(serving):
        result = await send(f"https://localhost:{receiver.port}/", tls=trusting)
    assert result.status_code == status
    assert len(receiver.bodies) == (1 if status else 0)


async def test_unknown_certificate_is_refused(send: Send, tmp_path: Path) -> None:
    serving, _ = certificate(tmp_path, "localhost")
    receiver = Receiver()
    async with receiver.serve(serving):
        result = await send(f"https://localhost:{receiver.port}/")
    assert (result.status_code, receiver.bodies) == (None, [])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com/", "has to begin with http"),
        ("file:///etc/passwd", "has to begin with http"),
        ("example.com/hook", "has to begin with http"),
        ("", "has to begin with http"),
        ("http:///hook", "has no host"),
        ("http://:80/", "has no host"),
        ("http://a b/", "has no host"),
        ("http://[fe80::1%25eth0]/", "has no host"),
        ("http://user:secret@example.com/", "must not hold a user"),
        ("http://example.com\\@127.0.0.1/", "must not hold a user"),
        ("http://example.com:99999/", "99999 is not a port"),
        ("http://example.com:0/", "0 is not a port"),
        ("http://example.com\n/", "Invalid non-printable"),
        ("http://[nonsense]/", "Invalid IPv6"),
        (f"http://example.com/{'a' * 2083}", "longer than 2,083 characters"),
    ],
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_unusable_address_is_refused(url: str, message: str, allow_private: bool) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_callback_url(url, allow_private)
    assert refused.value.message.startswith(f"callback_url: {message}")
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127。0。0。1",
        "localhost",
        "LOCALHOST.",
        "db.localhost",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_private_address_is_refused_unless_allowed(host: str) -> None:
    with pytest.raises(InvalidInput, match="is not a public address"):
        check_callback_url(f"http://{host}/", allow_private=False)
    check_callback_url(f"http://{host}/", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?run=1",
        "http://bücher.example:8080",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[64:ff9b::808:808]/",
        "https://127.0.0.1.example.com/",
    ],
)
def test_public_address_is_taken(url: str) -> None:
    check_callback_url(url, allow_private=False)
