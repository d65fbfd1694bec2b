"""Fetching a page of the web as text: from public addresses only, and bounded in time and size."""

from __future__ import annotations

import asyncio
import sys
import zlib
from dataclasses import dataclass

import httpx2

from folkmoot import __version__
from folkmoot.errors import AddressRefused, InvalidInput, ToolFailed
from folkmoot.files.readable import decode_page
from folkmoot.outbound.addresses import check_url
from folkmoot.outbound.connections import guarded_client

FETCH_TIMEOUT = 20.0
"""Seconds for fetching, redirects and all."""

READ_TIMEOUT = 20.0
"""Seconds for making text of a page."""

LARGEST_PAGE = 2_000_000
"""Bytes of a page that are read; what is beyond is cut off, with a mark."""

MOST_REDIRECTS = 5

_HTML = ("text/html", "application/xhtml+xml")
_TEXT = ("application/json", "application/xml", "application/javascript", "application/yaml", "application/x-ndjson")
_reading = asyncio.Semaphore(2)
"""Pages that one server process has made into text at a time; each takes a processor for a second or so."""


@dataclass(frozen=True, slots=True)
class _Page:
    address: str
    media_type: str
    charset: str
    content: bytes
    cut: bool


async def fetch_text(url: str, *, allow_private: bool) -> str:
    """Return what a page says: its address, its title and text in Markdown; JSON and plain text as they are.

    Args:
        url: the page's address, http or https.
        allow_private: read addresses that are not public, too.

    Raises:
        ToolFailed: the address cannot be read, does not answer in time, answers with an error or with what is no text.
    """
    try:
        async with asyncio.timeout(FETCH_TIMEOUT):
            page = await _fetch(url, allow_private)
    except AddressRefused as error:
        raise ToolFailed(
            f"{error.message} Only public addresses can be read, unless FOLKMOOT_PRIVATE_WEBPAGES is set on the server."
        ) from error
    except InvalidInput as error:
        raise ToolFailed(error.message) from error
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise ToolFailed(f"{url} did not answer within {FETCH_TIMEOUT:g} seconds.") from error
    except (httpx2.HTTPError, OSError, zlib.error) as error:
        raise ToolFailed(f"{url} could not be read: {error or type(error).__name__}") from error
    text = await _to_text(page)
    mark = f"\n\n… (only the first {LARGEST_PAGE:,} bytes of the page were read)" if page.cut else ""
    return f"{page.address}\n\n{text or '(The page has no text.)'}{mark}"


async def _fetch(url: str, allow_private: bool) -> _Page:
    """Read the page, behind its redirects; each of their addresses is judged as the first."""
    headers = {"User-Agent": f"Folkmoot/{__version__}", "Accept": "text/html, text/*;q=0.9, */*;q=0.5"}
    headers["Accept-Encoding"] = "gzip"
    address = check_url(url, "url", allow_private=allow_private)
    async with guarded_client(allow_private=allow_private, timeout=FETCH_TIMEOUT) as client:
        request = client.build_request("GET", address, headers=headers)
        for _ in range(1 + MOST_REDIRECTS):
            response = await client.send(request, stream=True)
            try:
                if response.next_request is None:
                    return await _read(response)
                request = response.next_request
                check_url(str(request.url), f"url redirects to {request.url.host}", allow_private=allow_private)
            finally:
                await response.aclose()
    raise ToolFailed(f"{url} redirects more than {MOST_REDIRECTS} times.")


async def _read(response: httpx2.Response) -> _Page:
    address = str(response.url)
    if not response.is_success:
        raise ToolFailed(f"{address} answered with status {response.status_code}.")
    media_type = response.headers.get("Content-Type", "text/html").partition(";")[0].strip().lower()
    if not (media_type in _HTML + _TEXT or media_type.startswith("text/") or media_type.endswith(("+json", "+xml"))):
        raise ToolFailed(f"{address} is {media_type!r}, of which no text can be made.")
    content = await _read_content(response)
    return _Page(
        address, media_type, response.charset_encoding or "", content[:LARGEST_PAGE], len(content) > LARGEST_PAGE
    )


async def _read_content(response: httpx2.Response) -> bytes:
    """Return the body, unpacked, up to one byte more than is wanted; what is packed can be a thousand times it."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise ToolFailed(f"{response.url} is packed as {encoding!r}, which was not asked for.")
    unpack = None if encoding in ("identity", "") else zlib.decompressobj(wbits=47)  # gzip or zlib, as it begins
    content = bytearray()
    async for piece in response.aiter_raw():
        room = LARGEST_PAGE + 1 - len(content)
        content += unpack.decompress(piece, room) if unpack else piece[:room]
        if len(content) > LARGEST_PAGE:
            break
    return bytes(content)


async def _to_text(page: _Page) -> str:
    if page.media_type not in _HTML:
        text = decode_page(page.content, page.charset)
        if "\0" in text:
            raise ToolFailed(f"{page.address} is called {page.media_type!r} but is no text.")
        return text
    async with _reading:
        return await _read_html(page)


async def _read_html(page: _Page) -> str:
    command = (sys.executable, "-P", "-m", "folkmoot.files.readable", page.charset, page.address)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            text, faults = await process.communicate(page.content)
    except TimeoutError as error:
        raise ToolFailed(f"{page.address} took too long to be made into text.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        reason = faults.decode(errors="replace").strip().rsplit("\n", 1)[-1] or f"status {process.returncode}"
        raise ToolFailed(f"{page.address} could not be made into text ({reason}).")
    return text.decode()
