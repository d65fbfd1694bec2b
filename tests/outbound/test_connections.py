"""What a guarded client dials: only an address that it judged, at each connection anew."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from folkmoot.errors import AddressRefused, InvalidInput
from folkmoot.outbound import dialling
from folkmoot.outbound.connections import guarded_client
from support.certificates import certificate


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Answers that names of `.test` resolve to, one lookup after the other, the last one for ever."""
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if not str(host).rstrip(".").endswith(".test"):
            return list(real(host, port, *args, **options))
        answers = known[str(host).rstrip(".")]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port or 0))
            for one in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.fixture
def only_one_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes 127.0.0.1 for an address of the public network, and no other one."""
    monkeypatch.setattr(dialling, "is_public", lambda address: address == "127.0.0.1")


@asynccontextmanager
async def serving(
    location: str = "", host: str = "0.0.0.0", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[str]]]:
    """Answer on every address of this machine, with a redirect if told so; keeps each request's first line and host."""
    asked: list[str] = []
    talking: set[asyncio.StreamWriter] = set()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        asked.append(f"{head[0]} {next(line for line in head if line.lower().startswith('host:'))}")
        status = f"302 Found\r\nLocation: {location}" if location and " / " in head[0] else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, host, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], asked
    for writer in talking:  # what is open when the loop ends would be held against some later test
        writer.close()
        with suppress(OSError):  # of TLS too
            await writer.wait_closed()


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["fe80::1%lo"], ["::ffff:127.0.0.2"]],
)
@pytest.mark.usefixtures("only_one_is_public")
async def test_name_with_one_private_address_is_not_dialled(
    addresses: list[str], names: dict[str, list[list[str]]]
) -> None:
    names["a.test"] = [addresses]
    async with serving() as (port, asked), guarded_client(allow_private=False, timeout=5) as client:
        with pytest.raises(AddressRefused, match=r"the host a\.test resolves to an address that is not public"):
            await client.get(f"http://a.test:{port}/")
    assert asked == []


@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "0x7f.2", "0177.0.0.2", "127.0.0.2.", "localhost"])
async def test_private_address_is_not_dialled_however_it_is_written(host: str) -> None:
    async with serving() as (port, asked), guarded_client(allow_private=False, timeout=5) as client:
        with pytest.raises((AddressRefused, httpx2.InvalidURL, httpx2.ConnectError, httpx2.ConnectTimeout)):
            await client.get(f"http://{host}:{port}/")
    assert asked == []


@pytest.mark.usefixtures("only_one_is_public")
async def test_what_is_dialled_is_what_was_judged(names: dict[str, list[list[str]]]) -> None:
    names["a.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    async with serving(host="127.0.0.1") as (port, asked), guarded_client(allow_private=False, timeout=5) as client:
        response = await client.get(f"http://a.test:{port}/x")
    assert response.status_code == 200
    assert asked == [f"GET /x HTTP/1.1 Host: a.test:{port}"]
    assert names["a.test"] == [["127.0.0.2"]]  # looked up once


@pytest.mark.usefixtures("only_one_is_public")
async def test_every_connection_is_judged_anew(names: dict[str, list[list[str]]]) -> None:
    names["a.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    async with serving() as (port, asked), guarded_client(allow_private=False, timeout=5) as client:
        await client.get(f"http://a.test:{port}/x")
        with pytest.raises(AddressRefused):
            await client.get(f"http://a.test:{port}/x")
    assert len(asked) == 1


@pytest.mark.usefixtures("only_one_is_public")
async def test_a_redirect_is_judged_like_the_first_address(names: dict[str, list[list[str]]]) -> None:
    names["a.test"], names["b.test"] = [["127.0.0.1"]], [["127.0.0.2"]]
    async with (
        serving() as (inner, _),
        serving(f"http://b.test:{inner}/") as (port, asked),
        guarded_client(allow_private=False, timeout=5) as client,
    ):
        with pytest.raises(AddressRefused, match=r"the host b\.test"):
            await client.get(f"http://a.test:{port}/", follow_redirects=True)
    assert len(asked) == 1


async def test_a_host_with_a_dot_at_its_end_shows_the_certificate_without_it(
    names: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    names["a.test"] = [["127.0.0.1"]]
    shown, trusted = certificate(tmp_path, "a.test")
    async with (
        serving(tls=shown) as (port, asked),
        guarded_client(allow_private=True, timeout=5, tls=trusted) as client,
    ):
        await client.get(f"https://a.test.:{port}/")
    assert len(asked) == 1


async def test_private_addresses_are_dialled_where_allowed() -> None:
    async with serving() as (port, asked), guarded_client(allow_private=True, timeout=5) as client:
        await client.get(f"http://localhost:{port}/")
    assert len(asked) == 1


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (proxy, through), serving() as (port, asked):
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy}")
        async with guarded_client(allow_private=True, timeout=5) as client:
            await client.get(f"http://127.0.0.1:{port}/")
    assert (len(through), len(asked)) == (0, 1)


async def test_what_is_no_name_is_refused() -> None:
    async with guarded_client(allow_private=True, timeout=5) as client:
        with pytest.raises(InvalidInput, match="is not a host's name"):
            await client.get(f"http://{'a' * 64}.test/")


async def test_a_name_that_nobody_knows_is_a_failed_connection(
    names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with guarded_client(allow_private=True, timeout=5) as client:
        with pytest.raises(httpx2.ConnectError, match=r"nobody\.test could not be looked up"):
            await client.get("http://nobody.test/")
