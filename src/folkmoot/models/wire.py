"""Answers as providers really send them, mended before an SDK reads them: errors, bodies, events. No network here.

What the SDKs expect is what the makers of each API send. Servers that speak the same API send more: an error with
status 200, keep-alive lines that are no JSON, text that is no UTF-8. `chat_wire` mends what is peculiar to Chat
Completions.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import Any, Protocol

log = logging.getLogger(__name__)

UNREADABLE = 502
"""The status of a failure whose own code says nothing: it may pass."""

A_PAGE = {"code": 404, "message": "A web page, where an answer should be. The address of most servers ends in /v1."}
"""The error of an answer that is a page."""

_STATUS_OF_CODE = {
    400: r"context_length_exceeded|invalid_request|invalid_argument|bad_request|string_above_max|request_too_large",
    401: r"invalid_api_key|authentication|unauthenticated|unauthorized",
    402: r"payment_required|billing_error",
    403: r"permission|forbidden",
    404: r"not_found",
    429: r"rate_limit|too_many_requests|insufficient_quota|resource_exhausted|quota",
    503: r"overloaded|unavailable|over_?capacity",
    504: r"time_?out|deadline_exceeded",
    500: r"server_error|api_error|internal",
}
_STATUS_BY_WORD = {status: re.compile(words, re.IGNORECASE) for status, words in _STATUS_OF_CODE.items()}


def error_in(value: Any) -> dict[str, Any] | None:
    """Return the error that an answer or a piece of one holds in place of what was asked for.

    >>> error_in({"error": "model is loading"})
    {'message': 'model is loading'}
    """
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if not error and value.get("object") == "error":
        error = value
    if isinstance(error, dict):
        return error
    return {"message": str(error)} if error else None


def words_in(said: Any) -> str:
    """Return the words of an error, in whatever form its server gives them.

    >>> words_in([{"error": {"message": "no"}}]), words_in({"detail": [{"loc": ["body", "n"], "msg": "too big"}]})
    ('no', 'body.n: too big')
    """
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return "; ".join(filter(None, map(words_in, said)))
    if not isinstance(said, dict):
        return ""
    words = next(
        filter(None, (words_in(said.get(name)) for name in ("error", "message", "detail", "msg", "errors"))), ""
    )
    place = said.get("loc")
    return f"{'.'.join(map(str, place))}: {words}" if words and isinstance(place, list) else words


def status_of_error(error: dict[str, Any]) -> int:
    """Return the HTTP status that an error would have come with, from its own code.

    >>> status_of_error({"code": 429}), status_of_error({"type": "overloaded_error"}), status_of_error({})
    (429, 503, 502)
    """
    said = [error.get(name) for name in ("code", "status", "status_code", "type")]
    for code in said:
        if isinstance(code, int | str) and str(code).isdigit() and 400 <= int(code) < 600:
            return int(code)
    for code in said:
        for status, words in _STATUS_BY_WORD.items():
            if isinstance(code, str) and words.search(code):
                return status
    return UNREADABLE


def read_json(body: bytes) -> tuple[Any, bool]:
    """Return what a body says, and whether it was sound UTF-8; bytes that are not become lone surrogates.

    Raises:
        ValueError: the body is no JSON, or JSON that nothing can read.
    """
    try:
        text, sound = body.decode(), True
    except UnicodeDecodeError:
        text, sound = body.decode("utf-8", "surrogateescape"), False
    try:
        return json.loads(text), sound
    except RecursionError as exc:
        raise ValueError("The JSON is nested too deep.") from exc


class Mender(Protocol):
    """Mends the events of one stream of an API."""

    names_events: bool
    """Whether who reads the stream goes by the names of its events, which some servers leave out."""

    def mend(self, event: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return what to pass on in place of an event; None passes it on as it is."""
        ...

    def end(self, *, told: bool) -> list[dict[str, Any]]:
        """Return what is still to be said at the end of the stream, of which its server has told or not."""
        ...

    def lost(self, data: bytes) -> list[dict[str, Any]]:
        """Return what to say in place of an event that cannot be read."""
        ...


class PlainMender:
    """Passes the events of an API on that needs no mending of its own."""

    names_events = False

    def mend(self, event: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Pass the event on."""
        return None

    def end(self, *, told: bool) -> list[dict[str, Any]]:
        """Add nothing."""
        return []

    def lost(self, data: bytes) -> list[dict[str, Any]]:
        """Pass over what is no event of the API."""
        return []


class EventStream:
    """A stream of server-sent events, mended as its bytes come in.

    Events that are empty or no JSON object are left out; the last one needs no blank line behind it.
    """

    def __init__(self, mender: Mender) -> None:
        self._mender = mender
        self._parts: list[bytes] = []
        self._data: list[bytes] = []
        self._fields: list[bytes] = []
        self._done = False

    def feed(self, received: bytes) -> bytes:
        """Return what to pass on of the bytes received so far."""
        head, newline, tail = received.rpartition(b"\n")
        if not newline:
            self._parts.append(received)
            return b""
        lines = b"".join([*self._parts, head]).split(b"\n")
        self._parts = [tail] if tail else []
        return b"".join(piece for line in lines for piece in self._line(line.rstrip(b"\r")))

    def end(self) -> bytes:
        """Return what is left when the last byte has come."""
        rest = b"".join(self._parts)
        self._parts = []
        return b"".join([*self._line(rest), *self._line(b""), *self._finish(told=False)])

    def _line(self, line: bytes) -> Iterable[bytes]:
        if self._done:
            return
        if not line:
            yield from self._event()
        elif line.startswith(b"data:"):
            self._data.append(line[5:].strip())
        elif line.startswith((b"event:", b"id:", b"retry:")):
            self._fields.append(line)
        elif line.startswith(b"error:"):  # as older llama.cpp tells what went wrong amid a stream
            self._data.append(b'{"error":%s}' % line[6:])
        elif line.startswith(b"{"):  # lines of JSON, or a whole answer of another content type
            self._data.append(line)
        elif line.lstrip()[:5].lower() in (b"<html", b"<!doc"):
            yield from map(_written, self._mender.mend({"error": A_PAGE}) or ())

    def _event(self) -> Iterable[bytes]:
        lines, fields = self._data, self._fields
        self._data, self._fields = [], []
        data = b"\n".join(lines).strip()
        if not data:
            return
        if data.startswith(b"[DONE]"):
            yield from self._finish(told=True)
            yield b"data: [DONE]\n\n"
            return
        try:
            event, sound = read_json(data)
        except ValueError:
            if len(lines) > 1:  # events that no blank line parts
                for line in lines:
                    self._data = [line]
                    yield from self._event()
                return
            log.warning("a line of %d bytes amid a model's answer is no JSON; it is passed over", len(data))
            yield from map(_written, self._mender.lost(data))
            return
        if not isinstance(event, dict):
            return
        mended = self._mender.mend(event)
        if self._mender.names_events:
            fields = [field for field in fields if not field.startswith(b"event:")]
        rest = b"".join(field + b"\n" for field in fields)
        if mended is None:
            whole = data.replace(b"\n", b" ") if sound else json.dumps(event).encode()
            yield self._name(event) + rest + b"data: " + whole + b"\n\n"
        else:
            yield from (self._name(piece) + rest + _written(piece) for piece in mended)

    def _name(self, event: dict[str, Any]) -> bytes:
        return b"event: %s\n" % str(event.get("type")).encode() if self._mender.names_events else b""

    def _finish(self, *, told: bool) -> Iterable[bytes]:
        if not self._done:
            self._done = True
            yield from map(_written, self._mender.end(told=told))


def _written(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"
