"""fetch_webpage: readable text of a page, from public addresses only, bounded in time and size."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from folkmoot.errors import ToolFailed
from folkmoot.files.readable import readable_text
from folkmoot.tools.pages import fetching
from folkmoot.tools.pages.fetching import LARGEST_PAGE, fetch_text


@dataclass
class Site:
    """Answers each path with a head and a body; keeps what it was asked for."""

    answers: dict[str, tuple[str, bytes]]
    port: int = 0
    asked: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
            self.asked.append(path)
            if self.hold:
                await self.hold.wait()
            head, body = self.answers[path]
            status = head if head[:3].isdigit() else f"200 OK\r\n{head}"
            length = f"\r\nContent-Length: {len(body)}" if "Content-Length" not in head else ""
            writer.write(f"HTTP/1.1 {status}{length}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except ConnectionError:
            pass  # whoever asks has read enough
        finally:
            writer.close()


@asynccontextmanager
async def site(**answers: tuple[str, bytes]) -> AsyncIterator[Site]:
    """Serve answers by the name of their path."""
    made = Site({f"/{name}": answer for name, answer in answers.items()})
    server = await asyncio.start_server(made.reply, "0.0.0.0", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


HTML = "Content-Type: text/html"


async def test_a_page_is_read_as_its_title_and_text() -> None:
    page = (
        b"<title>Moots</title><nav>Menu</nav><script>evil()</script><main><h1>Folk</h1><p>They <b>met</b> at "
        b"<a href='/hill'>the hill</a>.</p><p hidden>secret</p><ul><li>one<li>two</ul></main><footer>Imprint</footer>"
    )
    async with site(page=(HTML, page)) as served:
        text = await fetch_text(f"{served.address}/page", allow_private=True)
    assert text == (
        f"{served.address}/page\n\n# Moots\n\n# Folk\n\n"
        f"They **met** at [the hill]({served.address}/hill).\n\n- one\n- two"
    )


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (f"{HTML}; charset=iso-8859-1", "<p>Grüße".encode("latin-1")),
        (HTML, '<meta charset="shift_jis"><p>会議'.encode("shift_jis")),
        (f"{HTML}; charset=nonsense", '<meta charset="utf-8"><p>Grüße'.encode()),
        (f"{HTML}; charset=euc-kr", "<p>회의".encode("euc-kr")),
        (HTML, "<p>Grüße".encode()),
        (HTML, "<p>Grüße".encode("cp1252")),
        (HTML, "\ufeff<p>Grüße".encode("utf-16-le")),
        ("Content-Type: text/plain; charset=latin1", "Grüße".encode("latin-1")),
        ("Content-Type: text/plain; charset=punycode", "Grüße".encode()),
        ("Content-Type: text/plain; charset=base64", "Grüße".encode()),
        ("Content-Type: text/markdown", "\ufeffGrüße".encode()),
        ("Content-Type: application/ld+json", '"Grüße"'.encode()),
        (f"{HTML}\r\nContent-Encoding: gzip", gzip.compress('<meta charset="utf-8"><p>Grüße'.encode(), mtime=0)),
    ],
)
async def test_text_is_read_in_its_encoding(head: str, body: bytes) -> None:
    async with site(page=(head, body)) as served:
        text = await fetch_text(f"{served.address}/page", allow_private=True)
    assert text.split("\n\n", 1)[1].strip('"') in ("Grüße", "会議", "회의")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (("404 Gone", b""), "answered with status 404"),
        (("500 Ouch", b"<p>x"), "answered with status 500"),
        (("Content-Type: image/png", b"\x89PNG"), "is 'image/png', of which no text can be made"),
        (("Content-Type: text/plain", b"a\0b"), "is no text"),
        ((f"{HTML}\r\nContent-Encoding: br", b"x"), "is packed as 'br'"),
        ((f"{HTML}\r\nContent-Encoding: gzip", b"no gzip"), "could not be read"),
        (("302 Found\r\nLocation: /page", b""), "redirects more than 5 times"),
        (("302 Found\r\nLocation: file:///etc/passwd", b""), "has to begin with http"),
        (("302 Found\r\nLocation: http://user:secret@example.com/", b""), "must not hold a user or a password"),
    ],
)
async def test_what_is_no_page_is_told(answer: tuple[str, bytes], told: str) -> None:
    async with site(page=answer) as served:
        with pytest.raises(ToolFailed, match=told) as refused:
            await fetch_text(f"{served.address}/page", allow_private=True)
    assert "secret" not in refused.value.message


async def test_redirects_are_followed_and_links_are_the_last_pages() -> None:
    async with site(old=("301 Moved\r\nLocation: /new/", b"")) as served:
        served.answers["/new/"] = (HTML, b"<a href=x>y</a>")
        text = await fetch_text(f"{served.address}/old", allow_private=True)
    assert text == f"{served.address}/new/\n\n[y]({served.address}/new/x)"


@pytest.mark.parametrize("url", ["ftp://example.com/", "file:///etc/passwd", "example.com", "http://", ""])
async def test_only_addresses_of_the_web_are_read(url: str) -> None:
    with pytest.raises(ToolFailed, match=r"^url: has"):
        await fetch_text(url, allow_private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_not_read(host: str) -> None:
    async with site(page=(HTML, b"<p>inner")) as served:
        with pytest.raises(ToolFailed, match="FOLKMOOT_PRIVATE_WEBPAGES"):
            await fetch_text(f"http://{host}:{served.port}/page", allow_private=False)
    assert served.asked == []


async def test_a_redirect_to_a_private_address_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folkmoot.outbound.addresses.is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr("folkmoot.outbound.dialling.is_public", lambda address: address == "127.0.0.1")
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        return real("127.0.0.2" if host in ("inner.test", b"inner.test") else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with site(page=(HTML, b"<p>inner")) as inner:
        for host in ("127.0.0.2", "localhost", "inner.test"):  # written, and by name
            async with site(page=(f"302 Found\r\nLocation: http://{host}:{inner.port}/page", b"")) as outer:
                with pytest.raises(ToolFailed, match=r"not a? ?public"):
                    await fetch_text(f"{outer.address}/page", allow_private=False)
    assert inner.asked == []


async def test_a_large_page_is_cut_with_a_mark() -> None:
    large = b"x" * (LARGEST_PAGE + 10)
    packed = gzip.compress(b"x" * 100_000_000, 1)
    plain = "Content-Type: text/plain"
    async with site(page=(plain, large), packed=(f"{plain}\r\nContent-Encoding: gzip", packed)) as served:
        for name in ("page", "packed"):
            text = await fetch_text(f"{served.address}/{name}", allow_private=True)
            assert text.count("x") == LARGEST_PAGE
            assert text.endswith("… (only the first 2,000,000 bytes of the page were read)")


async def test_a_page_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FETCH_TIMEOUT", 0.1)
    async with site(page=(HTML, b"")) as served:
        served.hold = asyncio.Event()
        with pytest.raises(ToolFailed, match=r"did not answer within 0\.1 seconds"):
            await fetch_text(f"{served.address}/page", allow_private=True)
        served.hold.set()


async def test_a_page_that_keeps_its_reader_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "READ_TIMEOUT", 0.001)
    async with site(page=(HTML, b"<p>" * 300_000)) as served:
        with pytest.raises(ToolFailed, match="took too long to be made into text"):
            await fetch_text(f"{served.address}/page", allow_private=True)


def test_odd_pages_are_read() -> None:
    assert readable_text(b"", "", "http://x/") == ""
    assert readable_text(b'<a href="http://[">x</a>', "", "http://x/") == "[x](http://[)"
    assert readable_text(b"<p>x <img src='data:AAAA' alt=y><table onclick=z><tr><td class=c>1", "", "http://x/") == (
        "x\n\n<table><tbody><tr><td>1</td></tr></tbody></table>"
    )
    assert "deep" in readable_text(b"<div>" * 3000 + b"deep", "", "http://x/")
