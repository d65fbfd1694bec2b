"""What the benchmark's helpers serve with: a small HTTP/1.1 server that answers JSON, or streams events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

Respond: TypeAlias = Callable[[str, bytes], Awaitable[Any]]
"""Takes a path and a body; returns what is sent as JSON, or an async iterator of pieces to send as they come."""

_LARGEST = 2**28
_JSON = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def run(respond: Respond) -> None:
    """Serve on a free port until the process is ended, and say which port."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(respond))


async def _serve(respond: Respond) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection until it is closed."""
        try:
            while True:
                answer = await respond(*await _read(reader))
                if isinstance(answer, AsyncIterator):
                    writer.write(_STREAM)
                    async for piece in answer:
                        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    writer.write(b"0\r\n\r\n")
                else:
                    content = json.dumps(answer).encode()
                    head = (
                        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
                    )
                    writer.write(head.encode() + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=_LARGEST, backlog=2048)
    print(f"address http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _read(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    length = int(lower[start + 17 : lower.index(b"\r\n", start + 17)]) if start >= 0 else 0
    return head.split(b" ", 2)[1].decode(), await reader.readexactly(length)
