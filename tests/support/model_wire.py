"""How OpenAI's API says things: completions, their chunks, embeddings, models, errors. No network here."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

from support.model_script import Answer

MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small")
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
_CREATED = 1_790_000_000
_numbers = itertools.count(1)


def message_of(answer: Answer) -> dict[str, Any]:
    """Return the assistant message that says `answer`, each call with an id never used before."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{next(_numbers):08d}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
    return message


def completion(message: dict[str, Any], model: str, finish_reason: str | None = None) -> dict[str, Any]:
    """Return the body of a whole answer."""
    return {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason or _reason(message)}],
        "usage": USAGE,
    }


def chunks(
    message: dict[str, Any], model: str, *, finish_reason: str | None = None, with_usage: bool = False
) -> Iterator[bytes]:
    """Yield a streamed answer's server-sent events, the closing `[DONE]` included."""
    head = {"id": f"chatcmpl-{next(_numbers)}", "object": "chat.completion.chunk", "created": _CREATED}
    for delta in _deltas(message):
        yield _event({**head, "model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    end = {"index": 0, "delta": {}, "finish_reason": finish_reason or _reason(message)}
    yield _event({**head, "model": model, "choices": [end]})
    if with_usage:
        yield _event({**head, "model": model, "choices": [], "usage": USAGE})
    yield b"data: [DONE]\n\n"


def _reason(message: dict[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a message into pieces: words of the text, 16 characters of the arguments."""
    yield {"role": "assistant", "content": ""}
    words = (message.get("content") or "").split(" ")
    for place, word in enumerate(words):
        piece = word if place == len(words) - 1 else word + " "
        if piece:
            yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        arguments = call["function"]["arguments"]
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [opening]}
        for start in range(0, len(arguments), 16):
            piece = {"index": index, "function": {"arguments": arguments[start : start + 16]}}
            yield {"tool_calls": [piece]}


def error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """Return an error's body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def model_list() -> dict[str, Any]:
    """Return the body of `GET /v1/models`."""
    return {
        "object": "list",
        "data": [{"id": id_, "object": "model", "created": _CREATED, "owned_by": "openai"} for id_ in MODELS],
    }


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to an embeddings request; texts that share words lie near each other."""
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    dimensions = body.get("dimensions") or 1536
    vectors = [embedding(str(text), dimensions) for text in texts]
    packed = body.get("encoding_format") == "base64"
    return {
        "object": "list",
        "model": body.get("model"),
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ],
    }


def embedding(text: str, dimensions: int = 1536) -> list[float]:
    """Return a unit vector made of the text's words alone, the same on every machine."""
    vector = [0.0] * dimensions
    for word in text.lower().split() or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4], "big") % dimensions] += 1.0
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
