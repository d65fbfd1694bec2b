"""A scripted model behind OpenAI's API and Anthropic's, on a port of its own, in a thread of the test process.

    with ScriptedModel() as model:
        … a server with OPENAI_BASE_URL=model.base_url is told "CALL memory_insert {…}" …
        assert model.requests[0]["model"] == "gpt-4o-mini"
        assert model.violations == []

`model_script` says what the messages can ask for, by whichever API they come; `openai_rules` and `anthropic_rules` say
what makes a violation. Faults queue up, one for each chat request to come: `fail_next`, `hang_next`, `drop_next`,
`break_next`, `nonsense_next`, `reply_next`, `raw_next`. `hold` keeps answers back. A `window` makes it count tokens and
refuse requests that have more.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from support import anthropic_wire, openai_wire
from support.http_wire import HttpRequest, WatchedReader, read_request, response, stream_head, stream_piece
from support.model_faults import Break, Drop, Fail, Fault, Hang, Held, Nonsense, Raw, Reply
from support.model_script import answer_to, last_user_text, message_of
from support.polling import PATIENCE
from support.wires import Wire

WIRES: dict[str, Wire] = {wire.PATH: wire for wire in (openai_wire, anthropic_wire)}
"""The APIs that the model speaks, by the path of their chat requests."""


class ScriptedModel:
    """The server and its control panel; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._received: list[HttpRequest] = []
        self._violations: list[str] = []
        self._faults: deque[Fault] = deque()
        self._holds: list[Held] = []
        self._gone = 0
        self.window: int | None = None
        self.embeddings = EmbeddingScript()
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="scripted-model", daemon=True)
        self._stopping = asyncio.Event()

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)

    @property
    def base_url(self) -> str:
        """What goes into OPENAI_BASE_URL and ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def reset(self) -> None:
        """Forget what was received and which faults are to come, and release what is held."""
        with self._lock:
            self._received.clear()
            self._violations.clear()
            self._faults.clear()
            self._gone = 0
            self.window = None
            self.embeddings = EmbeddingScript()
            holds, self._holds = self._holds, []
        for held in holds:
            held.release()

    # -- what came in ----------------------------------------------------------------------------------------

    @property
    def received(self) -> list[HttpRequest]:
        """Every request, oldest first, with its path and headers."""
        with self._lock:
            return list(self._received)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests, oldest first."""
        return [request.body for request in self.received if request.path in WIRES]

    @property
    def conversations(self) -> list[list[dict[str, Any]]]:
        """The messages of the chat requests, oldest first, in OpenAI's form by whichever API they came."""
        asked = [request for request in self.received if request.path in WIRES]
        return [WIRES[request.path].conversation_of(request.body) for request in asked]

    @property
    def violations(self) -> list[str]:
        """What the API that was asked would have refused."""
        with self._lock:
            return list(self._violations)

    def wait_for_requests(self, count: int) -> None:
        """Return when `count` chat requests have come in since the last reset."""
        with self._lock:
            if not self._lock.wait_for(lambda: len(self._chats()) >= count, PATIENCE):
                raise TimeoutError(f"{len(self._chats())} of {count} chat requests came in")

    def wait_for_disconnects(self, count: int) -> None:
        """Return when `count` clients have gone while they waited for an answer."""
        with self._lock:
            if not self._lock.wait_for(lambda: self._gone >= count, PATIENCE):
                raise TimeoutError(f"{self._gone} of {count} clients have gone")

    def _chats(self) -> list[HttpRequest]:
        return [request for request in self._received if request.path in WIRES]

    # -- what shall go wrong ---------------------------------------------------------------------------------

    def fail_next(
        self,
        status: int = 500,
        times: int = 1,
        *,
        code: str | None = None,
        message: str = "The scripted model was told to fail.",
        retry_after_ms: int = 1,
    ) -> None:
        """Answer the next `times` chat requests with an error; the client is told to retry at once."""
        headers = {"retry-after-ms": str(retry_after_ms)} if status in {429, 500, 502, 503, 529} else {}
        self._add(*[Fail(status, message, code, headers)] * times)

    def hang_next(self, times: int = 1) -> None:
        """Leave the next chat requests without an answer."""
        self._add(*[Hang()] * times)

    def drop_next(self, times: int = 1, *, after: int = 0) -> None:
        """Cut the connection of the next chat requests, `after` so many pieces of a stream."""
        self._add(*[Drop(after)] * times)

    def break_next(self, times: int = 1, *, after: int = 0) -> None:
        """Tell of a failure in the next chat requests that are streamed, `after` so many pieces."""
        self._add(*[Break(after)] * times)

    def nonsense_next(self, times: int = 1) -> None:
        """Answer the next chat requests with a page that is no JSON."""
        self._add(*[Nonsense()] * times)

    def reply_next(self, message: dict[str, Any], *, finish_reason: str | None = None) -> None:
        """Answer the next chat request with this very message: `{"role": "assistant", "content": …}`."""
        self._add(Reply({"role": "assistant", **message}, finish_reason))

    def raw_next(self, body: Any, stream: bytes = b"") -> None:
        """Answer the next chat request with this body, or this stream where one is asked for, in whatever form."""
        self._add(Raw(body, stream))

    def _add(self, *faults: Fault) -> None:
        with self._lock:
            self._faults.extend(faults)

    @contextmanager
    def hold(self, matching: str = "", *, after: int = 0) -> Iterator[Held]:
        """Keep answers back until released, at the latest when the block ends.

        Args:
            matching: hold only conversations whose last user message contains this.
            after: how many pieces of a streamed answer to send before holding it.
        """
        held = Held(self._loop, matching, after)
        with self._lock:
            self._holds.append(held)
        try:
            yield held
        finally:
            with self._lock:
                if held in self._holds:
                    self._holds.remove(held)
            held.release()

    # -- the server ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(
            lambda: asyncio.StreamReaderProtocol(WatchedReader(), self._connection), sock=self._socket
        )
        await self._stopping.wait()
        server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, WatchedReader)
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while request := await read_request(reader):
                if not await self._respond(request, reader, writer):
                    writer.transport.abort()
                    break
        except (asyncio.CancelledError, ConnectionError):
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _respond(self, request: HttpRequest, reader: WatchedReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is to be cut."""
        with self._lock:
            self._received.append(request)
            self._lock.notify_all()
        if request.method == "POST" and request.path in WIRES:
            return await self._chat(WIRES[request.path], request.body, reader, writer)
        if (request.method, request.path) == ("POST", "/v1/embeddings"):
            if self.embeddings.is_silent:
                await reader.gone.wait()
                return False
            writer.write(_json(*self.embeddings.answer(request.body)))
        elif request.path == "/v1/models":
            wire = anthropic_wire if "anthropic-version" in request.headers else openai_wire
            writer.write(_json(200, wire.model_list()))
        else:
            writer.write(_json(404, openai_wire.error(404, f"no route {request.path}")))
        await writer.drain()
        return True

    async def _chat(self, wire: Wire, body: Any, reader: WatchedReader, writer: asyncio.StreamWriter) -> bool:
        faults = wire.violations_of(body)
        asked = Asked(wire, body) if not faults else None
        with self._lock:
            self._violations.extend(faults)
            fault = self._faults.popleft() if self._faults else None
            window = self.window
            user_text = last_user_text(asked.messages) if asked else ""
            held = next((held for held in self._holds if held.matching in user_text), None)
        if asked is None:
            writer.write(_json(400, wire.error(400, "; ".join(faults))))
            await writer.drain()
            return True
        asked = replace(asked, fault=fault, held=held, window=window)
        answering = asyncio.ensure_future(self._answer(asked, writer))
        return await self._unless_gone(answering, reader)

    async def _unless_gone(self, answering: asyncio.Future[bool], reader: WatchedReader) -> bool:
        """Return what `answering` says; give it up when the client closes the connection first."""
        leaving = asyncio.ensure_future(reader.gone.wait())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
        finally:
            leaving.cancel()
            answering.cancel()
        with self._lock:
            self._gone += 1
            self._lock.notify_all()
        return False

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        fault, wire = asked.fault, asked.wire
        if asked.held is not None and not asked.is_held_amid:
            await asked.held.keep()
        if isinstance(fault, Hang):
            await asyncio.Event().wait()
        if isinstance(fault, Fail):
            body = wire.error(fault.status, fault.message, fault.code)
            writer.write(_json(fault.status, body, **fault.headers))
        elif isinstance(fault, Nonsense):
            writer.write(response(200, b"<html>Bad gateway</html>", content_type="text/html"))
        elif isinstance(fault, Raw) and fault.stream and asked.body.get("stream"):
            for piece in (stream_head(), stream_piece(fault.stream), stream_piece(b"")):
                writer.write(piece)
        elif isinstance(fault, Raw):
            writer.write(_json(200, fault.body))
        elif isinstance(fault, Drop) and not fault.after:
            return False
        elif fault is None and asked.is_too_long:
            writer.write(_json(400, wire.too_long(asked.tokens, asked.window or 0)))
        elif asked.body.get("stream"):
            return await self._stream(asked, writer)
        else:
            reply = self._reply(asked)
            answer = wire.completion(
                reply.message, asked.body, finish_reason=reply.finish_reason, tokens=asked.counted_tokens
            )
            writer.write(_json(200, answer))
            await writer.drain()
            return not isinstance(fault, Drop)
        await writer.drain()
        return True

    async def _stream(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        """Answer with a message in pieces."""
        fault, reply = asked.fault, self._reply(asked)
        writer.write(stream_head())
        pieces = asked.wire.chunks(
            reply.message, asked.body, finish_reason=reply.finish_reason, tokens=asked.counted_tokens
        )
        for number, piece in enumerate(pieces):
            if asked.held is not None and asked.is_held_amid and number == asked.held.after:
                await asked.held.keep()
            if isinstance(fault, Drop) and number == fault.after:
                return False
            if isinstance(fault, Break) and number == fault.after:
                writer.write(stream_piece(asked.wire.broken_off()))
                break
            writer.write(stream_piece(piece))
            await writer.drain()
        writer.write(stream_piece(b""))
        await writer.drain()
        return True

    def _reply(self, asked: Asked) -> Reply:
        """Return what the test or the conversation's script wants said."""
        if isinstance(asked.fault, Reply):
            return asked.fault
        try:
            return Reply(message_of(answer_to(asked.messages)))
        except ValueError as error:
            with self._lock:
                self._violations.append(f"the test's script cannot be read: {error}")
            return Reply({"role": "assistant", "content": "The script cannot be read."})


class EmbeddingScript:
    """What the model's embeddings are, and what shall go wrong with them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        """All texts that vectors were asked for, whether they were given or not."""

        self.dimensions = 1536
        self.meanings: dict[str, str] = {}
        """Words that mean the same as another: `{"feline": "cat"}`."""

        self.longest: int | None = None
        """Characters of a text that is taken; requests with a longer one are refused."""

        self.refused: str | None = None
        """A word whose texts are refused, however short."""

        self.is_down = False
        self.is_silent = False
        """Whether requests are taken and never answered."""

        self.down_for: str | None = None
        """A word in whose texts' requests it is down, and in no others."""

        self.wrong: dict[str, tuple[int, Any]] = {}
        """What requests for a text are answered, status and body, in the place of its vector."""

        self._next: deque[tuple[int, Any]] = deque()

    def answer_next(self, status: int, body: Any, times: int = 1) -> None:
        """Answer the next `times` requests with this."""
        self._next.extend([(status, body)] * times)

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        self.texts += texts
        if self._next:
            return self._next.popleft()
        if wrong := next((self.wrong[text] for text in texts if text in self.wrong), None):
            return wrong
        if self.is_down or (self.down_for is not None and any(self.down_for in text for text in texts)):
            return 503, openai_wire.error(503, "The embeddings are down.")
        if any(len(text) > (self.longest or len(text)) or (self.refused or "\0") in text for text in texts):
            return 400, openai_wire.error(400, "This text cannot be embedded.")
        meant = [" ".join(self.meanings.get(word, word) for word in text.lower().split()) for text in texts]
        return 200, openai_wire.embeddings({"dimensions": self.dimensions, **body, "input": meant})


@dataclass(frozen=True)
class Asked:
    """A sound chat request, and what the test wants to happen to it."""

    wire: Wire
    body: dict[str, Any]
    fault: Fault | None = None
    held: Held | None = None
    window: int | None = None

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, in OpenAI's form."""
        return self.wire.conversation_of(self.body)

    @cached_property
    def tokens(self) -> int:
        """The prompt's tokens."""
        return tokens_of(self.body)

    @property
    def counted_tokens(self) -> int:
        """The prompt's tokens as they are told: counted only by a model with a window."""
        return openai_wire.PROMPT_TOKENS if self.window is None else self.tokens

    @property
    def is_too_long(self) -> bool:
        """Whether the model has a window into which the prompt does not fit."""
        return self.window is not None and self.tokens > self.window

    @property
    def is_held_amid(self) -> bool:
        """Whether the answer is held after some pieces of it, not before them."""
        return self.held is not None and bool(self.held.after) and bool(self.body.get("stream"))


def _json(status: int, body: Any, **headers: str) -> bytes:
    return response(status, json.dumps(body).encode(), headers=headers)


def tokens_of(body: dict[str, Any]) -> int:
    """Return the tokens of a chat request as a model with a `window` counts them."""
    return len(json.dumps([body.get("system", ""), body["messages"], body.get("tools")])) // 4
