"""How OpenAI's API says things: completions, their chunks, embeddings, models, errors. No network here."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

from support.openai_rules import violations_of

__all__ = ["PATH", "chunks", "completion", "conversation_of", "embeddings", "error", "model_list", "violations_of"]

PATH = "/v1/chat/completions"
MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small")
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 10
MOST_CUTS = 200
"""Pieces in which a call's arguments are streamed, about."""

ERROR_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_CREATED = 1_790_000_000
_numbers = itertools.count(1)


def conversation_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a request, the system's and the memory among them."""
    messages: list[dict[str, Any]] = body["messages"]
    return messages


def completion(
    message: dict[str, Any], body: dict[str, Any], *, finish_reason: str | None = None, tokens: int = PROMPT_TOKENS
) -> dict[str, Any]:
    """Return the whole answer to the request `body`, whose prompt counts as so many tokens."""
    return {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason or _reason(message)}],
        "usage": _usage(tokens),
    }


def chunks(
    message: dict[str, Any], body: dict[str, Any], *, finish_reason: str | None = None, tokens: int = PROMPT_TOKENS
) -> Iterator[bytes]:
    """Yield a streamed answer's server-sent events, the closing `[DONE]` included."""
    head = {"id": f"chatcmpl-{next(_numbers)}", "object": "chat.completion.chunk", "created": _CREATED}
    head["model"] = body["model"]
    for delta in _deltas(message):
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    end = {"index": 0, "delta": {}, "finish_reason": finish_reason or _reason(message)}
    yield _event({**head, "choices": [end]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _usage(tokens)})
    yield b"data: [DONE]\n\n"


def broken_off() -> bytes:
    """Return the event by which a stream tells that it has failed."""
    return _event(error(500, "The server had an error while processing your request."))


def _usage(tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": tokens,
        "completion_tokens": COMPLETION_TOKENS,
        "total_tokens": tokens + COMPLETION_TOKENS,
    }


def _reason(message: dict[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a message into pieces: words of the text, some characters of the arguments."""
    yield {"role": "assistant", "content": ""}
    for field in ("reasoning_content", "content"):
        for piece in words_of(message.get(field) or ""):
            yield {field: piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        arguments = call["function"]["arguments"]
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [opening]}
        for cut in cuts_of(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": cut}}]}


def words_of(text: str) -> list[str]:
    """Return the text cut behind each space, as a model writes it."""
    return [word for word in re.split(r"(?<= )", text) if word]


def cuts_of(arguments: str) -> list[str]:
    """Return a call's arguments cut into 16 characters each, and into longer pieces when that were very many."""
    length = max(16, len(arguments) // MOST_CUTS)
    return [arguments[start : start + length] for start in range(0, len(arguments), length)]


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return an error's body."""
    kind = ERROR_KINDS.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def too_long(tokens: int, window: int) -> dict[str, Any]:
    """Return the body of the refusal of a prompt that does not fit."""
    message = f"This model's maximum context length is {window} tokens, but the messages have {tokens} tokens."
    return error(400, message, "context_length_exceeded")


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
