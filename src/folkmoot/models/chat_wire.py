"""What servers that speak OpenAI's Chat Completions API send a little off its schema, put right.

Whole answers and the chunks of a stream become what OpenAI itself would have sent: arguments are text, a call has an id
and an index of its own, tags of thoughts are pieces of their own, and an answer that is not whole is an error with a
status.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from folkmoot.models.streamed_calls import StreamedCalls
from folkmoot.models.thoughts import CLOSING, OPENING, TagCutter, with_sound_tags
from folkmoot.models.wire import UNREADABLE, error_in, status_of_error

BROKEN_OFF = frozenset({"error", "abort", "aborted", "cancelled", "failed", "insufficient_system_resource"})
"""Finish reasons of answers that are not whole."""

_HEAD = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_TELLING = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "context_length_exceeded",
        "model_not_found",
        "invalid_api_key",
    }
)
"""Codes of errors that say more than the status they go with."""


@dataclass(slots=True)
class Habits:
    """What one model's server has shown of itself; kept with its connection."""

    sent: frozenset[str] = frozenset()
    """The parameters of its newest request."""

    refused: set[str] = field(default_factory=set)
    """Parameters that it does not know, not sent any more."""

    begins_in_thought: bool = False
    """Its answers begin with a thought that no tag opens."""


def failure_in(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the error of an answer or a chunk that is none, or is not whole."""
    if error := error_in(answer):
        return error
    choice = _choice(answer)
    if choice is None:
        return None
    if error := error_in(choice):
        return error
    reason = choice.get("finish_reason")
    return {"message": f"The answer broke off: {reason}.", "code": UNREADABLE} if reason in BROKEN_OFF else None


def mend_completion(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer as OpenAI would send it; what has no sound reading stays as it is."""
    answer = {**answer}
    _mend_usage(answer)
    choice = _choice(answer)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, dict):
        return answer
    message = {"role": "assistant", **message}
    if isinstance(message.get("content"), str):
        message["content"] = with_sound_tags(message["content"])
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [_mended_call(call) for call in calls]
    answer["choices"] = [{"index": 0, **choice, "message": message}]
    return {"id": "", "object": "chat.completion", "created": 0, "model": "", **answer}


def as_chunks(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a whole answer as the chunks of a stream, for a server that was asked for one and does not stream."""
    choice = _choice(answer)
    if choice is None:
        return [answer]
    delta = {**(choice.get("message") or {})}
    if isinstance(delta.get("content"), str):
        delta["content"] = with_sound_tags(delta["content"])
    if isinstance(delta.get("tool_calls"), list):
        delta["tool_calls"] = [{**_mended_call(call), "index": n} for n, call in enumerate(delta["tool_calls"])]
    reason = choice.get("finish_reason") or ("tool_calls" if delta.get("tool_calls") else "stop")
    head = {**answer, "object": "chat.completion.chunk"}
    return [
        {**head, "usage": None, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
    ]


def _choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _mend_usage(answer: dict[str, Any]) -> None:
    """Make every figure of the usage a count."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        answer["usage"] = None
        return
    mended = {**usage, **{name: _count(usage.get(name)) for name in _COUNTS}}
    for name in _DETAILS:
        details = usage.get(name)
        if isinstance(details, dict):
            mended[name] = {key: _count(value) for key, value in details.items() if value == _count(value)}
        elif name in usage:
            mended[name] = None
    answer["usage"] = mended


def _count(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _usage_in(event: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage that a chunk tells, there or where Moonshot and Groq have told it, made of counts."""
    beside = event.get("x_groq")
    places = (event, choice, beside if isinstance(beside, dict) else {})
    told = {"usage": next((place["usage"] for place in places if place.get("usage")), None)}
    _mend_usage(told)
    usage = told["usage"]
    return usage if usage and any(usage[name] for name in _COUNTS) else None


def _mended_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    mended = {**function, "arguments": _text(function.get("arguments")), "name": function.get("name") or ""}
    call_id = call.get("id")
    return {
        **call,
        "id": str(call_id) if call_id not in (None, "") else f"call_{uuid4().hex}",
        "type": "function",
        "function": mended,
    }


def _text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "{}" if arguments is None else json.dumps(arguments)


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {**_HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


class ChatMender:
    """Mends the chunks of one streamed answer."""

    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._cutter = TagCutter()
        self._assumed: list[str] | None = [] if habits.begins_in_thought else None
        self._calls = StreamedCalls()
        self._usage: dict[str, Any] | None = None
        self._finished = False
        self._failed = False

    def mend(self, event: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return what to pass on in place of a chunk; None passes it on as it is."""
        if self._failed:
            return []
        if error := failure_in(event):
            return [self._failure(error)]
        choice = _choice(event)
        told = self._take_usage(event, choice or {})
        if choice is None:
            return [event] if told else None
        delta, reason = choice.get("delta"), choice.get("finish_reason")
        if not isinstance(delta, dict):
            delta = {}
        content = delta.get("content")
        pieces = self._texts(content) if isinstance(content, str) and content else [content]
        odd_calls = self._mend_calls(delta) if delta.get("tool_calls") else False
        last: list[str] = []
        if reason and not self._finished:
            self._finished = True
            last = self._last_texts()
        if pieces == [content] and not (odd_calls or told or last):
            return None
        return self._chunks(event, choice, delta, [*pieces, *last])

    def end(self) -> list[dict[str, Any]]:
        """Return the usage; an error where no finish reason has come: the answer is not whole."""
        if self._failed:
            return []
        if not self._finished:
            return [self._failure({"message": "The answer broke off: its stream ended without a finish reason."})]
        calls = self._calls.rest()
        held = [_chunk({"tool_calls": calls})] if calls else []
        return [*held, {**_HEAD, "choices": [], "usage": self._usage}] if self._usage else held

    def lost(self, data: bytes) -> list[dict[str, Any]]:
        """Return an error for a chunk that cannot be read: a piece of the answer would be missing."""
        if self._failed or b'"choices"' not in data:
            return []
        return [self._failure({"message": "A piece of the answer cannot be read."})]

    def _take_usage(self, event: dict[str, Any], choice: dict[str, Any]) -> bool:
        """Take the usage out of a chunk, if any; the last that counts is told at the end.

        Some servers tell with every chunk what was taken so far, and who reads the chunks adds it up.
        """
        if not (event.get("usage") or "x_groq" in event or choice.get("usage")):
            return False
        self._usage = _usage_in(event, choice) or self._usage
        event["usage"] = None
        return True

    def _failure(self, error: dict[str, Any]) -> dict[str, Any]:
        self._failed = True
        message = error.get("message")
        words = message if isinstance(message, str) and message else json.dumps(error)
        code = error["code"] if error.get("code") in _TELLING else str(status_of_error(error))
        return {"error": {**error, "message": words, "code": code}}

    def _chunks(
        self, event: dict[str, Any], choice: dict[str, Any], delta: dict[str, Any], texts: list[Any]
    ) -> list[dict[str, Any]]:
        """Return a chunk for each text, the rest of the event with the last of them."""
        *before, last = [text for text in texts if text] or [None]
        head = {**event, "usage": None}
        chunks = [
            {**head, "choices": [{**choice, "delta": {"content": text}, "finish_reason": None}]} for text in before
        ]
        return [*chunks, {**event, "choices": [{**choice, "delta": {**delta, "content": last}}]}]

    def _texts(self, content: str) -> list[str]:
        if self._assumed is None:
            pieces = self._cutter.feed(content)
            self._habits.begins_in_thought = self._habits.begins_in_thought or self._cutter.stray
            return pieces
        opening = self._cutter.feed(OPENING) if not self._cutter.thinks else []
        self._assumed.append(content)
        pieces = self._cutter.feed(content)
        if CLOSING in pieces:
            self._assumed = None
        return [*opening, *pieces]

    def _last_texts(self) -> list[str]:
        """Return what was held back; also what was taken for a thought and has turned out to be the answer."""
        texts = self._cutter.end()
        if self._assumed:
            self._habits.begins_in_thought = False
            texts += ["".join(self._assumed).replace(OPENING, "").lstrip()]
        return texts

    def _mend_calls(self, delta: dict[str, Any]) -> bool:
        """Make the pieces of calls add up; tell whether that was needed."""
        pieces = self._calls.mended(delta["tool_calls"])
        odd: bool = pieces != delta["tool_calls"]
        delta["tool_calls"] = pieces
        return odd
