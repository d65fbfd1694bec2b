"""A server of tools written by hand, which starts at once: `python plain_tool_server.py stdio|http`.

It speaks the protocol of 2025. Some of its tools do what the SDK's server of the tests (`tool_server.py`) does, each
other goes wrong in its own way; with the variable `FAULTY_LISTING` its list of tools is none either. While the file
that the variable `TOOL_SERVER_MORE` names is there, it starts with one tool more, `extra`. With the variable
`TOOL_SERVER_OLD` it ends when a client does not begin with `initialize`.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

HUGE = 10_000_000
PROCESS = uuid4().hex
"""Tells processes apart; behind walls each is number one."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PLAIN = {"type": "object", "properties": {}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def takes(**types: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return {"type": "object", "properties": properties, "required": list(types)}


TOOLS: dict[str, Any] = {
    "mcp_add": takes(a="integer", b="integer"),
    "shout": takes(word="string"),
    "env_value": takes(key="string"),
    "record_of": takes(name="string"),
    "fails": takes(x="string"),
    "process": PLAIN,
    "picture": PLAIN,
    "grow": takes(name="string"),
    "shrink": takes(name="string"),
    "after": takes(path="string"),
    **dict.fromkeys(("ok", "hang", "flood", "huge", "die", "garbage", "ask", "not_a_result", "input", "packed"), PLAIN),
    "lying_result": PLAIN,
    "lies_deep": deep(60),
    "lies_far": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/secret"}}},
    "lies_enum": {"type": "object", "properties": {"a": {"enum": "x"}}},
    "lies_large": {"type": "object", "properties": {"a": {"description": "x" * 70_000}}},
}


def listing() -> list[dict[str, Any]]:
    if "FAULTY_LISTING" in os.environ:
        return [{"name": "banana", "inputSchema": {"type": "banana"}}]
    return [
        {"name": name, "description": f"{name}.", "inputSchema": schema}
        | ({"outputSchema": {"type": "object", "required": ["never"]}} if name == "lying_result" else {})
        for name, schema in TOOLS.items()
    ]


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def grow(name: str) -> dict[str, Any]:
    TOOLS[name] = PLAIN
    return text("grown")


def shrink(name: str) -> dict[str, Any]:
    del TOOLS[name]
    return text("shrunk")


def record_of(name: str) -> dict[str, Any]:
    record = {"name": name, "n": 2}
    return {**text(json.dumps(record)), "structuredContent": record}


def after(path: str) -> dict[str, Any]:
    Path(f"{path}.asked").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return text("fine")


WORKING: dict[str, Callable[..., dict[str, Any]]] = {
    "ok": lambda: text("fine"),
    "mcp_add": lambda a, b: text(str(a + b)),
    "shout": lambda word: text(f"{word.upper()}!"),
    "env_value": lambda key: text(os.environ.get(key, "unset")),
    "record_of": record_of,
    "picture": lambda: {"content": [{"type": "image", "data": PIXEL, "mimeType": "image/png"}]},
    "fails": lambda x: {**text(f"mock failure {x}"), "isError": True},
    "process": lambda: text(PROCESS),
    "after": after,
    "grow": grow,
    "shrink": shrink,
}


def result_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result or error of a request that is answered at once."""
    method = message["method"]
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        told = {
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "f", "version": "1"},
        }
        return {"result": told}
    if method == "tools/list":
        return {"result": {"tools": listing()}}
    if method != "tools/call":
        return {"error": {"code": -32601, "message": "no such method"}}
    name, given = message["params"]["name"], message["params"].get("arguments", {})
    if name in WORKING:
        return {"result": WORKING[name](**given)}
    if name == "grown" and name in TOOLS:
        return {"result": text("grown")}
    if name == "huge":
        return {"result": text("x" * HUGE)}
    if name == "not_a_result":
        return {"result": {"content": 7}}
    if name == "lying_result":
        return {"result": {**text("fine"), "structuredContent": {"other": 1}}}
    if name == "input":
        return {"result": {"resultType": "input_required", "inputRequests": {}}}
    return None


def noise(name: str) -> Iterator[bytes]:
    """Yield what a tool says instead of an answer."""
    if name == "garbage":
        yield b"\xff\xfe this is no JSON {{{"
    number = 0
    while name in ("flood", "ask"):
        number += 1
        if name == "flood":
            said: dict[str, Any] = {"method": "notifications/message", "params": {"level": "info", "data": "x"}}
        else:
            said = {"id": f"ask-{number}", "method": "ping"}
        yield json.dumps({"jsonrpc": "2.0", **said}).encode()


def serve_stdio() -> None:
    lock = threading.Lock()

    def say(line: bytes) -> None:
        with lock:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()

    def misbehave(name: str) -> None:
        for line in noise(name):
            say(line)

    for number, line in enumerate(sys.stdin.buffer):
        message = json.loads(line)
        if number == 0 and message["method"] != "initialize" and "TOOL_SERVER_OLD" in os.environ:
            sys.exit("it began with something else")
        if "id" not in message or "method" not in message:
            continue
        answer = result_of(message)
        if answer is not None:
            say(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode())
            if message["method"] == "tools/call" and message["params"]["name"] in ("grow", "shrink"):
                say(json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).encode())
            continue
        name = message["params"]["name"]
        if name == "die":
            sys.stderr.write("out of luck with hush-hush\n")
            sys.stderr.flush()
            os._exit(3)
        threading.Thread(target=misbehave, args=(name,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_error(405)

    def do_DELETE(self) -> None:
        self.send_error(405)

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "id" not in message or "method" not in message:
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        answer = result_of(message)
        if answer is not None:
            self.answer(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode())
            return
        name = message["params"]["name"]
        if name == "die":
            self.close_connection = True
            self.connection.close()
        elif name == "hang":
            time.sleep(600)
        elif name == "garbage":
            self.answer(next(noise(name)))
        elif name == "packed":
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": text("x" * 100_000)}
            self.answer(gzip.compress(json.dumps(answer).encode()), packed=True)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for line in noise(name):
                self.wfile.write(b"event: message\ndata: " + line + b"\n\n")

    def answer(self, body: bytes, *, packed: bool = False) -> None:
        self.send_response(200)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if Path(os.environ.get("TOOL_SERVER_MORE", "/nonexistent")).exists():
        TOOLS["extra"] = PLAIN
    if sys.argv[1] == "stdio":
        serve_stdio()
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()
