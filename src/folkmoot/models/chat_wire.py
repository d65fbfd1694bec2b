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
from folkmoot.models.wire import UNREADABLE, error_in, status_of_error, words_in

BROKEN_OFF = frozenset({"error", "abort", "aborted", "cancelled", "failed", "insufficient_system_resource"})
"""Finish reasons of answers that are not whole."""

_TOO_LONG = "model_context_window_exceeded"
_AT_ITS_LIMIT = frozenset({"max_tokens", "model_length", "max_length", _TOO_LONG})
"""What servers call `length`."""

_OF_ERRORS = frozenset({"code", "type", "status", "status_code"})
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

    forgets_thoughts: bool = False
    """It does not take back what its model thought, which is not sent any more."""

    wants_texts: bool = False
    """It takes no null for the text of a message: one that only calls tools gets an empty one."""

    begins_in_thought: bool = False
    """Its answers begin with a thought that no tag opens."""


def failure_in(answer: dict[str, Any], *, said: bool = False) -> dict[str, Any] | None:
    """Return the error of an answer or a chunk that is none, or is not whole; `said` when others came before."""
    if error := error_in(answer):
        return error
    if "choices" not in answer and ("detail" in answer or ("message" in answer and answer.keys() & _OF_ERRORS)):
        return {**answer, "message": words_in(answer)}
    choice = _choice(answer)
    if choice is None:
        return None
    if error := error_in(choice):
        return error
    reason = choice.get("finish_reason")
    if reason == _TOO_LONG and not said and not (choice.get("message") or {}).get("content"):
        return {"message": "The prompt leaves no room for an answer.", "code": "context_length_exceeded"}
    return {"message": f"The answer broke off: {reason}.", "code": UNREADABLE} if reason in BROKEN_OFF else None


def mend_completion(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer as OpenAI would send it; what has no sound reading stays as it is."""
    choice = _choice(answer)
    message = choice.get("message") if choice is not None else None
    answer = {**answer, **_head_of(answer, "chat.completion")}
    _mend_usage(answer)
    if choice is None or not isinstance(message, dict):
        return answer
    message = {**message, "role": "assistant"}
    _mend_content(message)
    if isinstance(message.get("content"), str):
        message["content"] = with_sound_tags(message["content"])
    if calls := _calls_in(message):
        message["tool_calls"] = [_mended_call(call) for call in calls]
    elif "tool_calls" in message:
        message["tool_calls"] = None
    answer["choices"] = [{**choice, "index": 0, "message": message, "finish_reason": _reason(choice)}]
    return answer


def as_chunks(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a whole answer as the chunks of a stream, for a server that was asked for one and does not stream."""
    choice = _choice(answer)
    if choice is None:
        return [answer]
    delta = {**(choice.get("message") or {})}
    _mend_content(delta)
    if isinstance(delta.get("content"), str):
        delta["content"] = with_sound_tags(delta["content"])
    calls = [_mended_call(call) for call in _calls_in(delta)]
    delta["tool_calls"] = [{**call, "index": n} if isinstance(call, dict) else call for n, call in enumerate(calls)]
    reason = _reason(choice) or ("tool_calls" if calls else "stop")
    head = {**answer, **_head_of(answer, "chat.completion.chunk")}
    return [
        {**head, "usage": None, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
    ]


def _head_of(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return what an answer says of itself, as far as that can be read."""
    created = answer.get("created")
    names = {name: answer[name] if isinstance(answer.get(name), str) else "" for name in ("id", "model")}
    return {**names, "object": kind, "created": created if type(created) is int else 0}


def _reason(choice: dict[str, Any]) -> Any:
    """Return why an answer ended, in OpenAI's word where it ended at its limit; None where that is not said."""
    reason = choice.get("finish_reason")
    return "length" if isinstance(reason, str) and reason.lower() in _AT_ITS_LIMIT else reason or None


def _calls_in(message: dict[str, Any]) -> list[Any]:
    """Return the calls of a message, also one in the form that calls had first, which is taken out of it."""
    calls, older = message.get("tool_calls"), message.pop("function_call", None)
    if not calls and isinstance(older, dict) and (older.get("name") or older.get("arguments")):
        return [{"index": 0, "function": older}]
    return calls if isinstance(calls, list) else [calls] if isinstance(calls, dict) else []


def _mend_content(message: dict[str, Any]) -> bool:
    """Make text of a content that is a list of parts, and reasoning of its thoughts; tell whether it was one."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return False
    texts, thoughts = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and "thinking" in part:
            inner = part["thinking"] if isinstance(part["thinking"], list) else [part["thinking"]]
            thoughts += [str(each.get("text", "")) if isinstance(each, dict) else str(each) for each in inner]
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
    message["content"] = "".join(texts) or None
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    return True


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


class ChatMender:
    """Mends the chunks of one streamed answer."""

    names_events = False

    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._cutter = TagCutter()
        self._assumed: list[str] | None = [] if habits.begins_in_thought else None
        self._calls = StreamedCalls()
        self._usage: dict[str, Any] | None = None
        self._by_messages: bool | None = None
        self._said = False
        self._finished = False
        self._failed = False

    def mend(self, event: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return what to pass on in place of a chunk; None passes it on as it is."""
        if self._failed:
            return []
        if error := failure_in(event, said=self._said or self._calls.begun):
            return [self._failure(error)]
        choice = _choice(event)
        told = self._take_usage(event, choice or {})
        if choice is None:
            return [event] if told else None
        delta, odd = self._delta_of(choice)
        content, reason = delta.get("content"), _reason(choice)
        pieces = self._texts(content) if isinstance(content, str) and content else [content]
        self._said = self._said or bool(content)
        last: list[str] = []
        if reason and not self._finished:
            self._finished = True
            last = self._last_texts()
        odd = odd or told or bool(last) or reason != (choice.get("finish_reason") or None)
        if pieces == [content] and not odd:
            return None
        return self._chunks(event, {**choice, "finish_reason": reason}, delta, [*pieces, *last])

    def end(self, *, told: bool) -> list[dict[str, Any]]:
        """Return what was held back, and the usage; an error where no finish reason has come, or the end was not told
        of either: the answer is not whole.
        """
        if self._failed:
            return []
        chunks: list[dict[str, Any]] = []
        if not self._finished:
            if not told or not (self._calls.are_whole() if self._calls.begun else self._said):
                return [self._failure({"message": "The answer broke off: its stream ended without a finish reason."})]
            reason = "tool_calls" if self._calls.begun else "stop"
            chunks += self._chunks(_HEAD, {"index": 0, "finish_reason": reason}, {}, self._last_texts())
        if calls := self._calls.rest():
            chunks.append({**_HEAD, "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]})
        if self._usage:
            chunks.append({**_HEAD, "choices": [], "usage": self._usage})
        return chunks

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

    def _delta_of(self, choice: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return what a choice adds, and whether it had to be mended; some servers call it a message."""
        delta, message = choice.get("delta"), choice.get("message")
        if odd := not isinstance(delta, dict) and isinstance(message, dict) and self._by_messages is not False:
            delta = {**message}
        if not isinstance(delta, dict):
            return {}, False
        self._by_messages = odd
        odd = _mend_content(delta) or odd
        if calls := _calls_in(delta):
            pieces = self._calls.mended(calls)
            odd = odd or pieces != delta.get("tool_calls")
            delta["tool_calls"] = pieces
        return delta, odd
