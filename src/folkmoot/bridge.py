"""`folkmoot mcp`: the door over stdin and stdout, for clients that start a program in place of asking an address.

Each message goes to the door of the running server and what that answers comes back; nothing is understood here but
what the two transports do differently. Where no server runs, this process serves the database itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import IO, Any, TypeAlias

import httpx2
import uvloop
from pydantic import SecretStr

from folkmoot.errors import ProxyUnusable, StartupError
from folkmoot.outbound.proxies import client_for
from folkmoot.settings import USUAL_ADDRESS, Settings, read_settings

PATH = "/mcp"

LAST_ANSWERS_SECONDS = 5.0
"""How long what was asked is still answered when nothing more is to come."""

LISTEN_AGAIN_SECONDS = 2.0
"""How long after its end a session's stream is asked for again."""

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Requests whose parameter of this name stands in a header too."""

INTERNAL_ERROR = -32603

Json: TypeAlias = dict[str, Any]


def run() -> int:
    """Bridge until stdin ends, and return the process's exit code."""
    try:
        uvloop.run(_run(read_settings({})))
    except (StartupError, ProxyUnusable) as error:
        print(f"folkmoot: {error.message}", file=sys.stderr)  # noqa: T201 - this is the terminal
        return 1
    return 0


async def _run(settings: Settings) -> None:
    async with _server(settings) as (address, key):
        headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
        timeout = httpx2.Timeout(30, read=None)
        limits = httpx2.Limits(max_connections=None)
        async with client_for(
            address, httpx2.AsyncClient, base_url=address, headers=headers, timeout=timeout, limits=limits
        ) as client:
            await Bridge(client, sys.stdout.buffer).run(_lines(sys.stdin.buffer))


class Bridge:
    """Sends a client's messages to a server's door, and back what is answered."""

    def __init__(self, client: httpx2.AsyncClient, output: IO[bytes]) -> None:
        """Ask with `client` and write to `output`."""
        self._client = client
        self._output = output
        self._session: dict[str, str] = {}
        """Headers of clients that have shaken hands; the others say everything in each message."""

        self._asked: dict[Any, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Answer each line until there are no more."""
        async for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, dict):
                self._write({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Not a JSON object."}})
                continue
            if message.get("method") == "notifications/cancelled":
                self._cancel(message)
            await self._begin(message)
        waiting = list(self._asked.values())
        if waiting:
            await asyncio.wait(waiting, timeout=LAST_ANSWERS_SECONDS)
        if self._listening is not None:
            waiting.append(self._listening)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _begin(self, message: Json) -> None:
        """Ask in a task of its own, but wait for a handshake, on which what follows depends."""
        request_id = json.dumps(message.get("id"))
        task = asyncio.create_task(self._ask(message))
        self._asked[request_id] = task
        task.add_done_callback(lambda done: self._asked.pop(request_id, None))
        if message.get("method") == "initialize" or "id" not in message:
            await asyncio.wait([task])

    def _cancel(self, message: Json) -> None:
        """Give up a request: over HTTP that is said by going away."""
        task = self._asked.get(json.dumps((message.get("params") or {}).get("requestId")))
        if task is not None:
            task.cancel()

    async def _ask(self, message: Json) -> None:
        request_id = message.get("id")
        try:
            async with self._client.stream("POST", PATH, json=message, headers=self._headers(message)) as response:
                async for answer in _answers(response):
                    if answer.get("id", 0) is None:
                        answer["id"] = request_id  # it was refused before it was read
                    self._note(message, answer, response.headers)
                    if request_id is not None:
                        self._write(answer)
        except (httpx2.HTTPError, ValueError) as error:
            if request_id is not None:
                told = f"The server at {self._client.base_url} did not answer: {error or type(error).__name__}."
                failed = {"code": INTERNAL_ERROR, "message": told}
                self._write({"jsonrpc": "2.0", "id": request_id, "error": failed})

    def _headers(self, message: Json) -> Mapping[str, str]:
        """Return what the HTTP transport says in headers beside the message."""
        headers = {"accept": "application/json, text/event-stream", **self._session}
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        version = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
        if isinstance(params, dict) and isinstance(version, str):
            method = str(message.get("method"))
            headers |= {"mcp-protocol-version": version, "mcp-method": method}
            if isinstance(name := params.get(NAMED_BY.get(method, "")), str):
                headers["mcp-name"] = _header_value(name)
        return headers

    def _note(self, message: Json, answer: Json, headers: Mapping[str, str]) -> None:
        """Remember what a handshake has come to, for the headers of what follows."""
        result = answer.get("result")
        if message.get("method") == "initialize" and isinstance(result, dict):
            self._session = {"mcp-protocol-version": str(result.get("protocolVersion"))}
            if "mcp-session-id" in headers and self._listening is None:
                self._session["mcp-session-id"] = headers["mcp-session-id"]
                self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Hand on what a session is told of unasked, for as long as its server has such a stream."""
        while True:
            headers = {"accept": "text/event-stream", **self._session}
            with suppress(httpx2.HTTPError, ValueError):  # the server is being started anew, say
                async with self._client.stream("GET", PATH, headers=headers) as response:
                    if response.is_client_error:
                        return
                    async for message in _answers(response):
                        self._write(message)
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    def _write(self, message: Json) -> None:
        self._output.write(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        self._output.flush()


async def _answers(response: httpx2.Response) -> AsyncIterator[Json]:
    """Yield the messages of a response: one, or those of a stream as they come."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        body = await response.aread()
        if body:
            yield json.loads(body)
        return
    data: list[str] = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []


async def _lines(source: IO[bytes]) -> AsyncIterator[bytes]:
    """Yield lines as they come; a thread waits for them that does not keep the process alive."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def read() -> None:
        for line in iter(source.readline, b""):
            loop.call_soon_threadsafe(queue.put_nowait, line)
        loop.call_soon_threadsafe(queue.put_nowait, b"")

    threading.Thread(target=read, daemon=True).start()
    while line := await queue.get():
        if line.strip():
            yield line


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[tuple[str, SecretStr | None]]:
    """Give the address of the running server and the key for it, or of one in this process.

    Raises:
        StartupError: no server is at the address that was set, or the database cannot be opened.
    """
    address = settings.url or USUAL_ADDRESS
    async with client_for(address, httpx2.AsyncClient, base_url=address, timeout=30) as client:
        try:
            await client.get("/v1/health")
        except httpx2.TransportError as error:
            if settings.url is not None:
                raise StartupError(f"No server answers at {address} (FOLKMOOT_URL): {error}.") from error
        else:
            yield address, settings.api_key
            return
    from folkmoot.serving import serve_within  # it takes two seconds to load, and most often a server runs

    try:
        async with serve_within(settings) as own:
            yield own
    except StartupError as error:
        raise StartupError(
            f"{error.message} No server answers at {USUAL_ADDRESS}; if one runs elsewhere, name it with FOLKMOOT_URL. "
            "Several clients share one database by `folkmoot serve`."
        ) from error


def _header_value(text: str) -> str:
    """Return a text as the protocol writes it into a header.

    >>> _header_value("insert"), _header_value("memory://ü")
    ('insert', '=?base64?bWVtb3J5Oi8vw7w=?=')
    """
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
