"""Code reaches whom its call names, by name, and nobody else; each attempt is seen to succeed where it may."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio

from folkmoot.errors import InvalidInput
from folkmoot.outbound import dialling
from folkmoot.sandbox import relay
from folkmoot.sandbox.calls import Call, Limits, Network, Result
from folkmoot.sandbox.reach import read_hosts
from folkmoot.sandbox.sandbox import Sandbox
from support.polling import PATIENCE

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's"),
    pytest.mark.asyncio(loop_scope="module"),
]

PUBLIC, PRIVATE = "127.0.0.9", "127.0.0.1"
LIMITS = Limits(seconds=20.0)
_FETCH = "import urllib.request; urllib.request.urlopen('http://{}/', timeout=5).read().decode()"


@dataclass
class Elsewhere:
    """A server that answers at every address of this machine, and what came to it."""

    port: int = 0
    redirect: str | None = None
    names: dict[str, list[str]] = field(default_factory=dict)
    connected: int = 0
    most: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request with `reached`, a redirect, or whatever length is asked for; keep `/hold` open."""
        self.connected += 1
        self.most = max(self.most, self.connected)
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            if path == "/hold":
                writer.write(b"held")
                await reader.read()
                return
            status, body = "200 OK", b"reached"
            if path.startswith("/long"):
                body = bytes(int(path.removeprefix("/long")))
            if self.redirect is not None and path == "/":
                status = f"302 Found\r\nLocation: {self.redirect}"
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.connected -= 1
            self.ended.set()
            writer.close()

    def look_up(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        """Stand in for `getaddrinfo`: the answers for a name in their order, the last one for ever."""
        answers = self.names.get(host, [host if host[0].isdigit() else PUBLIC])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port or 0))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox("strict")
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def elsewhere(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Elsewhere]:
    """Serve at every address, of which one is taken for public; every name resolves to that."""
    there = Elsewhere()
    monkeypatch.setattr(socket, "getaddrinfo", there.look_up)
    monkeypatch.setattr(dialling, "is_public", lambda address: address == PUBLIC)
    server = await asyncio.start_server(there.answer, "0.0.0.0", 0)
    async with server:
        there.port = server.sockets[0].getsockname()[1]
        yield there


Ask = Callable[..., Awaitable[Result]]


@pytest.fixture
def ask(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run code with a network."""

    async def run(source: str, *, private: tuple[str, ...] = (), limits: Limits = LIMITS, **network: Any) -> Result:
        monkeypatch.setattr(sandbox, "private_hosts", read_hosts(private))
        return await sandbox.run(Call(source, limits=limits, network=Network(**network)))

    return run


ATTEMPTS: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a host": ("other.test:PORT", {"hosts": ("other.test:PORT",)}, {"hosts": ("named.test:PORT",)}),
    "a name's end": ("a.other.test:PORT", {"hosts": ("*.other.test:PORT",)}, {"hosts": ("*.her.test:PORT",)}),
    "any host": ("other.test:PORT", {"hosts": ("*:PORT",)}, {"hosts": ("*",)}),
    "a port": ("named.test:PORT", {"hosts": ("named.test:PORT",)}, {"hosts": ("named.test:1", "other.test:PORT")}),
    "an address": (f"{PUBLIC}:PORT", {"hosts": (f"{PUBLIC}:PORT",)}, {"hosts": ("named.test:PORT",)}),
    "an address beside a star": (f"{PUBLIC}:PORT", {"hosts": (f"{PUBLIC}:PORT",)}, {"hosts": ("*:PORT",)}),
    "a private address": (
        "10.1.2.3:PORT",
        {"hosts": ("10.1.2.3:PORT",), "private": ("10.1.2.3:PORT",)},
        {"hosts": ("10.1.2.3:PORT", "*:PORT")},
    ),
    "the cloud's metadata": (
        "169.254.169.254:PORT",
        {"hosts": ("169.254.169.254:PORT",), "private": ("169.254.169.254:PORT",)},
        {"hosts": ("169.254.169.254:PORT", "*:PORT")},
    ),
    "a name of a private address": (
        "private.test:PORT",
        {"hosts": ("private.test:PORT",), "private": ("private.test:PORT",)},
        {"hosts": ("private.test:PORT", "*:PORT"), "private": ("private.test:1", "other.test:PORT")},
    ),
    "the server, or a database beside it": ("127.0.0.1:PORT", {"server": "127.0.0.1:PORT"}, {"hosts": ("*:PORT",)}),
    "it by name": (
        "localhost:PORT",
        {"hosts": ("localhost:PORT",), "private": ("localhost:PORT",)},
        {"hosts": ("localhost:PORT", "*:PORT")},
    ),
    "another port of the server": ("127.0.0.1:PORT", {"server": "127.0.0.1:PORT"}, {"server": "127.0.0.1:1"}),
}  # fmt: skip


def aimed(network: dict[str, Any], port: int) -> dict[str, Any]:
    def aim(value: Any) -> Any:
        return tuple(map(aim, value)) if isinstance(value, tuple) else value.replace("PORT", str(port))

    return {name: aim(value) for name, value in network.items()}


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_code_reaches_whom_its_call_names_and_nobody_else(ask: Ask, name: str, elsewhere: Elsewhere) -> None:
    elsewhere.names = {
        "private.test": [PRIVATE], "localhost": [PRIVATE], "10.1.2.3": [PRIVATE], "169.254.169.254": [PRIVATE]
    }  # fmt: skip
    target, allowed, refused = ATTEMPTS[name]
    source = _FETCH.format(target.replace("PORT", str(elsewhere.port)))
    reached = await ask(source, **aimed(allowed, elsewhere.port))
    assert (reached.value, reached.refused) == ("reached", ()), reached
    seen = elsewhere.most
    elsewhere.most = 0
    result = await ask(source, **aimed(refused, elsewhere.port))
    assert (result.status, elsewhere.most, seen) == ("error", 0, 1), result


_LOOK = """
import ipaddress, socket

found = [socket.gethostbyname(name) for name in ("a.test", "b.test")]
[found, all(ipaddress.ip_address(each).is_global for each in found)]
"""


async def test_names_have_addresses_that_programs_take_for_public_ones(ask: Ask) -> None:
    result = await ask(_LOOK, hosts=("a.test", "b.test", "11.0.0.2"))
    assert result.value == [["11.0.0.1", "11.0.0.3"], True], "of two names and a host that is named by its address"


async def test_a_refusal_says_what_was_refused(ask: Ask, elsewhere: Elsewhere) -> None:
    elsewhere.names = {"private.test": [PRIVATE]}
    name = f"private.test:{elsewhere.port}"
    result = await ask(_FETCH.format("other.test"), hosts=(name,))
    assert result.refused == ("other.test is not among the hosts that it may reach",)
    result = await ask(_FETCH.format(name), hosts=(name,))
    assert result.refused == ("the host private.test resolves to an address that is not public.",)


async def test_every_connection_is_judged_anew(ask: Ask, elsewhere: Elsewhere) -> None:
    source = f"""
import urllib.request
def fetch():
    try:
        return urllib.request.urlopen("http://rebound.test:{elsewhere.port}/").read().decode()
    except OSError:
        return "refused"
[fetch(), fetch(), fetch()]
"""
    elsewhere.names = {"rebound.test": [PUBLIC, PRIVATE, PUBLIC]}
    result = await ask(source, hosts=("*:" + str(elsewhere.port),))
    assert result.value == ["reached", "refused", "reached"], result


@pytest.mark.parametrize("target", ["private.test", PRIVATE, "169.254.169.254", "10.1.2.3"])
async def test_a_redirect_leads_nowhere_else(ask: Ask, target: str, elsewhere: Elsewhere) -> None:
    elsewhere.names = {"private.test": [PRIVATE], target: [PRIVATE]}
    elsewhere.redirect = f"http://{target}:{elsewhere.port}/there"
    hosts = (f"*:{elsewhere.port}",)
    source = _FETCH.format(f"named.test:{elsewhere.port}")
    assert (await ask(source, hosts=hosts)).status == "error"
    listed = f"{target}:{elsewhere.port}"
    assert (await ask(source, hosts=(*hosts, listed), private=(listed,))).value == "reached"


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.socket(socket.AF_INET6)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)",
        "socket.create_server(('127.0.0.1', 0))",
    ],
)
async def test_nothing_but_connections_is_let_through(ask: Ask, attempt: str) -> None:
    source = f"import socket; {attempt}.close(); 'REACHED'"
    try:
        exec(source)
    except PermissionError:
        assert os.geteuid() != 0 and "AF_PACKET" in attempt
    result = await ask(source, hosts=("*",))
    assert result.status == "error" and "PermissionError" in str(result.error)


async def test_connections_end_with_the_call(ask: Ask, elsewhere: Elsewhere) -> None:
    source = f"""
import os, socket, time
held = socket.create_connection(("named.test", {elsewhere.port}))
held.sendall(b"GET /hold HTTP/1.1\\r\\n\\r\\n")
held.recv(4)  # it is connected inside before it is dialled outside
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
"""
    assert (await ask(source, hosts=(f"named.test:{elsewhere.port}",))).status == "ok"
    await asyncio.wait_for(elsewhere.ended.wait(), PATIENCE)
    assert elsewhere.connected == 0
    assert [task for task in asyncio.all_tasks() if "Relay" in repr(task)] == []  # so that nothing answers any more


@pytest.mark.parametrize(
    ("limits", "source", "refused"),
    [
        (
            replace(LIMITS, received=100_000),
            "import urllib.request\nurllib.request.urlopen('http://HOST/long200000').read()",
            "it received more bytes than it may",
        ),
        (  # what is cut off is not taken for the end of it
            replace(LIMITS, received=100_000),
            """
import socket
held = socket.create_connection(("named.test", PORT))
held.sendall(b"GET /long200000 HTTP/1.1\\r\\n\\r\\n")
while held.recv(65536):
    pass
""",
            "it received more bytes than it may",
        ),
        (
            replace(LIMITS, sent=100_000),
            "import socket\nsocket.create_connection(('named.test', PORT)).sendall(bytes(20_000_000))",
            "it sent more bytes than it may",
        ),
        (
            LIMITS,
            "import socket\nfor _ in range(60): socket.create_connection(('named.test', PORT))",
            "it made too many connections",
        ),
        (
            replace(LIMITS, seconds=1.0),
            "import socket\ns = socket.socket(socket.AF_INET, 2)\nwhile True: s.sendto(b'?', ('127.0.0.1', 53))",
            "it asked for too many names",
        ),
        (
            LIMITS,
            "import socket\nfor n in range(300): socket.gethostbyname(f'n{n}.star.test')",
            "n256.star.test is not among the hosts that it may reach",
        ),
    ],
)
async def test_a_network_is_bounded(
    ask: Ask, limits: Limits, source: str, refused: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MOST_CONNECTIONS", 50)
    monkeypatch.setattr(relay, "MOST_QUESTIONS", 1000)
    host = f"named.test:{elsewhere.port}"
    source = source.replace("HOST", host).replace("PORT", str(elsewhere.port))
    result = await ask(source, limits=limits, hosts=(host, f"*.star.test:{elsewhere.port}"))
    assert result.status in ("error", "ended")
    assert refused in result.refused


async def test_connections_at_once_are_bounded(ask: Ask, elsewhere: Elsewhere) -> None:
    source = f"""
import threading, urllib.request
def fetch():
    got.append(urllib.request.urlopen("http://named.test:{elsewhere.port}/").read().decode())
got = []
threads = [threading.Thread(target=fetch) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
got
"""
    hosts = (f"named.test:{elsewhere.port}", "named.test:1", "named.test:2")
    result = await ask(source, limits=replace(LIMITS, connections=2), hosts=hosts)
    assert result.value == ["reached"] * 12
    assert 0 < elsewhere.most <= 2


async def test_the_next_call_has_its_own_network(ask: Ask, elsewhere: Elsewhere) -> None:
    """Guards that wait for a next call of the same ports know nothing of hosts."""
    named, other = f"named.test:{elsewhere.port}", f"other.test:{elsewhere.port}"
    calls = [await ask(_FETCH.format(named), hosts=hosts) for hosts in ((named,), (other,), (named,), ())]
    assert [call.value for call in calls] == ["reached", None, "reached", None]


@pytest.mark.parametrize(
    "host",
    (
        *("", "http://example.org", "example.org/path", "a b", "-a.example", "exa*mple.org", "*.", "a..b", "a.b:0"),
        *("example.org:65536", "example.org:", "1.2.3", "127.1", "0x7f.1.1.300", "[::1]", "::1", "a" * 64, "ü.example"),
    ),
)
async def test_what_is_no_host_is_refused_by_name(ask: Ask, host: str) -> None:
    with pytest.raises(InvalidInput, match=r"allowed_hosts: .*"):
        await ask("1", hosts=(host,))


async def test_hosts_and_ports_are_bounded(ask: Ask) -> None:
    with pytest.raises(InvalidInput, match="at most 64"):
        await ask("1", hosts=tuple(f"h{number}.test" for number in range(65)))
    with pytest.raises(InvalidInput, match="more than 16 ports"):
        await ask("1", hosts=tuple(f"h.test:{number}" for number in range(1, 18)))
