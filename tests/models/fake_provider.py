"""A provider on 127.0.0.1 that answers from a script and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

HANG = "hang"
DROP = "drop"


@dataclass(frozen=True)
class Asked:
    """One request that was received."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True)
class Answer:
    """One answer; `body` is JSON, or text that is sent as it is, or events of a stream, as bytes sent as they are."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    events: tuple[Any, ...] | None = None
    #: Events that stand for the body when a stream is asked for.
    streamed: tuple[Any, ...] | None = None
    #: Close the connection after the events, with the stream unfinished.
    cut: bool = False


Step = Answer | str
Script = Callable[[Asked], Step]


class FakeProvider:
    """An HTTP server; each request gets what the script says, or the next of a list whose last item repeats."""

    def __init__(self, script: Script | Iterable[Step]) -> None:
        self._script = script if callable(script) else _in_turn(list(script))
        self.asked: list[Asked] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        writers = list(self._writers)
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, raw)
        self.asked.append(asked)
        step = self._script(asked)
        if step == DROP:
            return False
        if step == HANG:
            await reader.read()
            return False
        assert isinstance(step, Answer)
        if step.streamed is not None and asked.body.get("stream"):
            step = Answer(events=step.streamed)
        writer.write(_bytes_of(step))
        await writer.drain()
        return step.events is None


def _in_turn(steps: list[Step]) -> Script:
    return lambda _: steps.pop(0) if len(steps) > 1 else steps[0]


def _bytes_of(answer: Answer) -> bytes:
    headers = dict(answer.headers)
    if answer.events is not None:
        headers |= {"content-type": "text/event-stream", "connection": "close"}
        body = b"".join(map(_event, answer.events))
        if answer.cut:
            headers["content-length"] = str(len(body) + 1000)
    else:
        body = answer.body if isinstance(answer.body, bytes) else _text(answer.body).encode()
        headers.setdefault("content-type", "application/json")
        headers["content-length"] = str(len(body))
    lines = [f"HTTP/1.1 {answer.status} X", *(f"{key}: {value}" for key, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def _event(event: Any) -> bytes:
    if isinstance(event, bytes):
        return event
    name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
    return f"{name}data: {_text(event)}\n\n".encode()


def chat(text: str | None = "Hello.", calls: Iterable[tuple[str, str, str]] = (), **message: Any) -> Answer:
    """Return a Chat Completions answer."""
    made = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": text,
            **({"tool_calls": made} if made else {}),
            **message,
        },
        "finish_reason": "tool_calls" if made else "stop",
    }
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    return Answer(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
    )


def chat_stream(*deltas: dict[str, Any], finish: str = "stop", cut: bool = False) -> Answer:
    """Return a Chat Completions stream."""
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events: list[Any] = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if not cut:
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        events += [{**base, "choices": [], "usage": usage}, "[DONE]"]
    return Answer(events=tuple(events), cut=cut)


def claude(*content: dict[str, Any], stop: str = "end_turn") -> Answer:
    """Return an Anthropic Messages answer, whole or as a stream."""
    usage = {
        "input_tokens": 20,
        "output_tokens": 5,
        "cache_read_input_tokens": 8,
        "cache_creation_input_tokens": 2,
    }
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": list(content)}
    message |= {"stop_reason": stop, "stop_sequence": None, "usage": usage}
    start = {**message, "content": [], "stop_reason": None}
    events: list[Any] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(content):
        empty, deltas = _claude_block(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": stop, "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return Answer(message, streamed=tuple(events))


def _claude_block(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "tool_use":
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    if block["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [thought, signature]
    return block, []


def thought(name: str, *, sealed: str | None = "sealed", summary: str = "") -> dict[str, Any]:
    """Return a reasoning item of the Responses API."""
    shown = [{"type": "summary_text", "text": summary}] if summary else []
    return {"type": "reasoning", "id": name, "summary": shown, "encrypted_content": sealed}


def said(name: str, text: str, **rest: Any) -> dict[str, Any]:
    """Return a message of the Responses API."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": name, "role": "assistant", "status": "completed", "content": content, **rest}


def called(name: str, call_id: str, tool: str = "look", arguments: str = "{}") -> dict[str, Any]:
    """Return a function call of the Responses API."""
    return {
        "type": "function_call",
        "id": name,
        "call_id": call_id,
        "name": tool,
        "arguments": arguments,
        "status": "completed",
    }


def responses(*items: dict[str, Any], status: str = "completed") -> Answer:
    """Return an answer of the Responses API, whole or as a stream."""
    usage = {
        "input_tokens": 20,
        "output_tokens": 5,
        "total_tokens": 25,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status}
    response |= {"output": list(items), "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    if status == "incomplete":
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    begun = {**response, "output": [], "status": "in_progress", "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(items):
        events += [{"output_index": index, **event} for event in _response_item(item)]
    events.append({"type": f"response.{status}", "response": response})
    numbered = [{"sequence_number": number, **event} for number, event in enumerate(events)]
    return Answer(response, streamed=tuple(numbered))


def _response_item(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of one item of a streamed response."""
    place = {"item_id": item["id"], "content_index": 0}
    if item["type"] == "message":
        text = item["content"][0]["text"]
        empty: dict[str, Any] = {**item, "content": [], "status": "in_progress"}
        pieces = [{"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in text]
    elif item["type"] == "function_call":
        empty = {**item, "arguments": "", "status": "in_progress"}
        pieces = [{"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}]
        pieces.append({"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]})
    else:
        empty = {**item, "summary": [], "encrypted_content": None}
        pieces = [
            {"type": "response.reasoning_summary_text.delta", **place, "summary_index": number, "delta": part["text"]}
            for number, part in enumerate(item["summary"])
        ]
    added, done = "response.output_item.added", "response.output_item.done"
    return [{"type": added, "item": empty}, *pieces, {"type": done, "item": item}]


def gemini(*parts: dict[str, Any]) -> Answer:
    """Return a Gemini answer."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 20, "candidatesTokenCount": 5, "totalTokenCount": 25}
    return Answer({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini"})


def failure(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """Return an error in the form that OpenAI and Anthropic share."""
    body = {"type": "error", "error": {"type": code or "error", "message": message, "code": code}}
    return Answer(body, status, {key.replace("_", "-"): value for key, value in headers.items()})
