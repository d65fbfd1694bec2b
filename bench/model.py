"""A scripted model behind OpenAI's API, in a process of its own: `python -m bench.model`.

The last user message says what to answer: `CALL <tool> <JSON arguments>` is that tool call, then "done"; `SLOWLY
<words> <seconds>` is so many words, one each so many seconds, for a request that streams; anything else is "ok". All
but the slow answer come at once. `GET /stats` tells how many calls were answered. Nothing is checked; the tests have a
model that does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from bench import answering

_numbers = itertools.count(1)
_USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class Model:
    """Answers requests."""

    def __init__(self) -> None:
        """Start with nothing answered."""
        self._answered = 0

    async def respond(self, path: str, body: bytes) -> Any:
        """Answer one request."""
        if path.endswith("/chat/completions"):
            self._answered += 1
            request = json.loads(body)
            return _stream(request["messages"]) if request.get("stream") else _completion(request["messages"])
        if path == "/stats":
            return {"answered": self._answered}
        return {
            "object": "list",
            "data": [{"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "openai"}],
        }


def _completion(messages: list[dict[str, Any]]) -> dict[str, Any]:
    text, called = _asked(messages)
    reply: dict[str, Any] = {"role": "assistant", "content": "done" if called else "ok"}
    number = next(_numbers)
    reason = "stop"
    if text.startswith("CALL ") and not called:
        name, _, arguments = text.removeprefix("CALL ").partition(" ")
        function = {"name": name, "arguments": arguments}
        reply |= {"content": None, "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}]}
        reason = "tool_calls"
    choice = {"index": 0, "message": reply, "finish_reason": reason}
    return {**_head("chat.completion", number), "choices": [choice], "usage": _USAGE}


async def _stream(messages: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    text, _ = _asked(messages)
    words, seconds = (text.split()[1:] if text.startswith("SLOWLY ") else ("1", "0"))[:2]
    head = _head("chat.completion.chunk", next(_numbers))
    for number in range(int(words)):
        await asyncio.sleep(float(seconds))
        delta = {"role": "assistant", "content": f"word {number} "}
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield _event({**head, "choices": [], "usage": _USAGE}) + b"data: [DONE]\n\n"


def _asked(messages: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return what the user said last, and whether a tool has been called since."""
    called = False
    for message in reversed(messages):
        called = called or message["role"] == "tool"
        if message["role"] == "user":
            return _text(message["content"]), called
    return "", called


def _head(kind: str, number: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1, "model": "gpt-4o-mini"}


def _event(shown: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(shown).encode() + b"\n\n"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or ())


if __name__ == "__main__":
    answering.run(Model().respond)
