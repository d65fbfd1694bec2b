"""The HTTP client of all providers' SDKs, between which and the network answers are mended; see `wire`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import httpx2

from folkmoot.models.chat_wire import ChatMender, Habits, as_chunks, failure_in, mend_completion
from folkmoot.models.exchanges import note_response
from folkmoot.models.messages_wire import MessagesMender
from folkmoot.models.translation import clean_json
from folkmoot.models.wire import A_PAGE, EventStream, Mender, PlainMender, error_in, read_json, status_of_error
from folkmoot.outbound.bounded import BoundedClient, rewritten

chat_of: ContextVar[Habits | None] = ContextVar("chat_of", default=None)
"""Set while Chat Completions are asked: what is known of the server that is asked."""


class WireClient(BoundedClient):
    """Sends requests, and mends what comes back before anybody reads it."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request as any client does; an error that came with status 200 gets the status it should have."""
        response = await super().send(request, stream=stream, **options)
        await note_response(response)
        if response.status_code != 200 or request.method != "POST":
            return response
        habits = chat_of.get()
        if not stream or "json" in response.headers.get("content-type", ""):
            return _whole(response, await response.aread(), habits, streams=stream)
        return rewritten(response, 200, stream=_Mended(response, EventStream(_mender(request, habits))))


def _mender(request: httpx2.Request, habits: Habits | None) -> Mender:
    if habits is not None:
        return ChatMender(habits)
    return MessagesMender() if request.url.path.endswith("/v1/messages") else PlainMender()


class _Mended(httpx2.AsyncByteStream):
    """The body of a streamed answer, mended."""

    def __init__(self, response: httpx2.Response, events: EventStream) -> None:
        self._response = response
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for received in self._response.aiter_bytes():
            if mended := self._events.feed(received):
                yield mended
        if rest := self._events.end():
            yield rest

    async def aclose(self) -> None:
        await self._response.aclose()


def _whole(response: httpx2.Response, body: bytes, habits: Habits | None, *, streams: bool) -> httpx2.Response:
    try:
        answer, sound = read_json(body)
    except ValueError:
        if body.lstrip()[:5].lower() in (b"<html", b"<!doc"):
            return rewritten(response, 404, content=json.dumps({"error": A_PAGE}).encode())
        return response
    if isinstance(answer, list) and len(answer) == 1:  # as Gemini answers who speaks OpenAI's API, with an error
        answer = answer[0]
    if not isinstance(answer, dict):
        return response
    if error := (error_in(answer) if habits is None else failure_in(answer)):
        return rewritten(response, status_of_error(error), content=json.dumps({"error": error}).encode())
    if habits is None:
        return response if sound else rewritten(response, 200, content=_written(answer))
    if streams:
        events = EventStream(ChatMender(habits))
        chunks = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in as_chunks(answer))
        return rewritten(response, 200, content=events.feed(chunks) + events.end())
    mended = mend_completion(answer)
    if mended == answer and sound and b"\\u" not in body:
        return response
    return rewritten(response, 200, content=_written(mended))


def _written(answer: Any) -> bytes:
    """Return an answer as JSON; half a character, which no reader takes, becomes U+FFFD."""
    try:
        return json.dumps(answer, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(clean_json(answer), ensure_ascii=False).encode()
