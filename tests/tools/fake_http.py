"""An HTTP server for one test, on a free port, that answers as it was told and keeps what it was asked."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakeHttp:
    """Answers every request with `status` and `body` after `delay` seconds."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = b"{}"
        self.delay = 0.0
        self.drip = 0.0
        """Seconds before each byte of the body."""
        self.paths: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def address(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, value: Any, status: int = 200) -> None:
        """Answer with a JSON value from now on."""
        self.status, self.body = status, json.dumps(value).encode()

    def __enter__(self) -> FakeHttp:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                fake.bodies.append(json.loads(self.rfile.read(length)))
                self._answer()

            def _answer(self) -> None:
                parts = urlsplit(self.path)
                fake.paths.append(parts.path)
                fake.queries.append({key: values[0] for key, values in parse_qs(parts.query).items()})
                fake.headers.append({key.lower(): value for key, value in self.headers.items()})
                time.sleep(fake.delay)
                try:
                    self.send_response(fake.status)
                    self.send_header("Content-Length", str(len(fake.body)))
                    self.end_headers()
                    if not fake.drip:
                        self.wfile.write(fake.body)
                    for byte in fake.body if fake.drip else b"":
                        time.sleep(fake.drip)
                        self.wfile.write(bytes([byte]))
                except ConnectionError:
                    pass  # the client has given up, as some tests want

            def log_message(self, *_: object) -> None:
                pass

        return Handler
