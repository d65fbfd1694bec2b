"""A scripted model behind OpenAI's API that answers at once, in a process of its own: `python -m bench.model`.

The last user message says what to answer: `CALL <tool> <JSON arguments>` is that tool call, then "done"; anything
else is "ok". `GET /stats` tells how many calls were answered. Nothing is checked; the tests have a model that does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

_numbers = itertools.count(1)
_USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
_LARGEST = 2**28


class Model:
    """Answers the requests of one connection after the other."""

    def __init__(self) -> None:
        """Start with nothing answered."""
        self._answered = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection until it is closed."""
        try:
            while True:
                path, body = await _read(reader)
                content = json.dumps(self._answer(path, body)).encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
                writer.write(head.encode() + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/chat/completions"):
            self._answered += 1
            return _completion(json.loads(body)["messages"])
        if path == "/stats":
            return {"answered": self._answered}
        return {
            "object": "list",
            "data": [{"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "openai"}],
        }


async def _read(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    length = int(lower[start + 17 : lower.index(b"\r\n", start + 17)]) if start >= 0 else 0
    return head.split(b" ", 2)[1].decode(), await reader.readexactly(length)


def _completion(messages: list[dict[str, Any]]) -> dict[str, Any]:
    called = False
    text = ""
    for message in reversed(messages):
        called = called or message["role"] == "tool"
        if message["role"] == "user":
            text = _text(message["content"])
            break
    reply: dict[str, Any] = {"role": "assistant", "content": "done" if called else "ok"}
    number = next(_numbers)
    reason = "stop"
    if text.startswith("CALL ") and not called:
        name, _, arguments = text.removeprefix("CALL ").partition(" ")
        function = {"name": name, "arguments": arguments}
        reply |= {"content": None, "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}]}
        reason = "tool_calls"
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": reply, "finish_reason": reason}],
        "usage": _USAGE,
    }


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or ())


async def main() -> None:
    """Serve on a free port and say which."""
    server = await asyncio.start_server(Model().serve, "127.0.0.1", 0, limit=_LARGEST)
    print(f"address http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
