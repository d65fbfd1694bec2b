"""A server of tools over HTTP, in a thread of the test, that deviates from the protocol in one way for each path.

    with DeviatingServer({"no-content": Deviation(result={"structuredContent": {"a": 1}})}) as server:
        … a server of ours is given server.url("no-content") …

It lists a tool `t`, which answers "fine", and does everything else as it should.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

FINE = {"content": [{"type": "text", "text": "fine"}]}
TOOL = {"name": "t", "inputSchema": {"type": "object", "properties": {}}}
_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "deviating", "version": "1"},
}


@dataclass
class Deviation:
    """How a server deviates, at its path."""

    hello: Mapping[str, Any] = field(default_factory=lambda: _HELLO)
    """What `initialize` answers."""

    listing: Mapping[str, Any] = field(default_factory=lambda: {"tools": [TOOL]})
    result: Any = field(default_factory=lambda: FINE)
    """What a call answers."""

    body: bytes | None = None
    """The whole answer to a call; `%d` in it is the request's number."""

    status: int = 200
    kind: str = "application/json"
    """The content type of `body`."""

    forgotten: tuple[int, str, bytes] | None = None
    """Status, content type and body for a session that is not known, which every one is after its first call."""

    closed: int | None = None
    """The status of every answer, where it is one."""

    slash: bool = False
    """Whether it is found at its path with a slash at the end, and redirects there."""

    sessions: set[str] = field(default_factory=set)
    pages: int = 0
    """How often it was asked for its tools, or more of them."""


class DeviatingServer:
    """The server; its cases are told apart by the first part of the path."""

    def __init__(self, cases: Mapping[str, Deviation]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"cases": cases}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, case: str) -> str:
        """Return the address of a case."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{case}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cases: Mapping[str, Deviation]
    numbers = count(1)

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(405)

    def do_DELETE(self) -> None:
        self._send(405)

    def do_POST(self) -> None:
        case = self.cases[self.path.strip("/")]
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if case.slash and not self.path.endswith("/"):
            self._send(307, headers={"Location": f"{self.path}/"})
        elif "id" not in message or "method" not in message:
            self._send(202)
        else:
            self._answer(case, message)

    def _answer(self, case: Deviation, message: dict[str, Any]) -> None:
        method, number = message["method"], message["id"]
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        if case.closed is not None:
            self._send(case.closed, b'{"error": "invalid_token"}')
        elif method == "initialize":
            session = str(next(self.numbers))
            case.sessions.add(session)
            headers = {"Mcp-Session-Id": session} if case.forgotten is not None else {}
            self._send(200, json.dumps(answer | {"result": case.hello}).encode(), headers=headers)
        elif method not in ("tools/list", "tools/call"):
            error = {"code": -32601, "message": f"no {method}"}
            self._send(200, json.dumps(answer | {"error": error}).encode())
        elif case.forgotten is not None and self.headers.get("mcp-session-id") not in case.sessions:
            status, kind, body = case.forgotten
            self._send(status, body, kind)
        elif method == "tools/list":
            case.pages += 1
            self._send(200, json.dumps(answer | {"result": case.listing}).encode())
        elif case.body is not None:
            self._send(case.status, case.body.replace(b"%d", str(number).encode()), case.kind)
        else:
            case.sessions.clear()
            self._send(200, json.dumps(answer | {"result": case.result}).encode())

    def _send(
        self, status: int, body: bytes = b"", kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
