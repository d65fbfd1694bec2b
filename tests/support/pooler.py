"""A pooler between a client and PostgreSQL, which speaks as much of the protocol as poolers do.

As they do, it takes no setting with which a connection would begin, makes up the number of the process that a client is
told, and in transaction mode leads each transaction over whichever connection was free last.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Self
from urllib.parse import urlsplit

TLS, GSS = 80877103, 80877104
PROTOCOL = 196608
TAKEN = {"user", "database", "application_name", "client_encoding"}


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def startup(**parameters: str) -> bytes:
    body = struct.pack(">I", PROTOCOL) + b"".join(f"{key}\0{value}\0".encode() for key, value in parameters.items())
    return struct.pack(">I", len(body) + 5) + body + b"\0"


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    return kind, await reader.readexactly(length - 4)


class _Server:
    """A connection to PostgreSQL, and the client whose turn it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.greeting: list[bytes] = []
        self.client: asyncio.StreamWriter | None = None


class Pooler:
    """A pooler before the database at `url`, whose address is `url` of its own.

    async with Pooler(database_url, mode="transaction") as pooler: …
    """

    def __init__(self, url: str, mode: str) -> None:
        self._parts = urlsplit(url)
        self._mode = mode
        self._free: list[_Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: list[asyncio.StreamWriter] = []
        self._forgotten: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._opened), return_exceptions=True)

    @property
    def url(self) -> str:
        """The database's address, through this."""
        port = self._listener.sockets[0].getsockname()[1]
        return f"postgresql://{self._parts.username}@127.0.0.1:{port}{self._parts.path}"

    def forget(self) -> None:
        """Hand nothing on any more over the connections that there are, and say nothing of it, as some firewalls do."""
        self._forgotten.update(self._opened)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._opened.append(writer)
        server: _Server | None = None
        try:
            asked = await self._greet(reader, writer)
            if asked is None:
                return
            server = await self._take(asked.get("application_name", ""))
            writer.write(b"".join(server.greeting) + message(b"Z", b"I"))
            if self._mode == "transaction":
                self._free.append(server)
            else:
                server.client = writer
            while True:
                kind, body = await read_message(reader)
                if kind == b"X":
                    return
                if self._mode == "transaction" and (server is None or server.client is not writer):
                    server = await self._take()
                    server.client = writer
                assert server is not None
                if writer not in self._forgotten:
                    server.writer.write(message(kind, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()
            if server is not None and server.client is writer:
                server.writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str] | None:
        """Read how a client begins; refuse it, and return None, when it asks for more than a pooler takes."""
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            if struct.unpack(">I", body[:4])[0] not in (TLS, GSS):
                break
            writer.write(b"N")
        words = body[4:].decode().split("\0")
        asked = dict(zip(words[::2], words[1::2], strict=False))
        for key in asked:
            if key and key not in TAKEN:
                writer.write(message(b"E", f"SFATAL\0C08P01\0Munsupported startup parameter: {key}\0\0".encode()))
                return None
        return asked

    async def _take(self, name: str = "") -> _Server:
        if self._free:
            return self._free.pop()
        server = _Server(*await asyncio.open_connection(self._parts.hostname, self._parts.port))
        self._opened.append(server.writer)
        server.writer.write(
            startup(
                user=str(self._parts.username),
                database=self._parts.path[1:],
                client_encoding="UTF8",
                application_name=name,
            )
        )
        while (told := await read_message(server.reader))[0] != b"Z":
            kind, body = told
            server.greeting.append(message(kind, struct.pack(">II", 1, 2) if kind == b"K" else body))
        task = asyncio.create_task(self._answer(server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return server

    async def _answer(self, server: _Server) -> None:
        """Tell the client whose turn it is what PostgreSQL says; its turn may be over with a transaction."""
        while True:
            kind, body = await read_message(server.reader)
            client = server.client
            if kind == b"Z" and body == b"I" and self._mode == "transaction":
                server.client = None
                self._free.append(server)
            if client is not None and client not in self._forgotten:
                client.write(message(kind, body))
