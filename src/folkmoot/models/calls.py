"""One call of one model, whole or streamed, with no retries and no deadline: `requests.py` adds those."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings

from folkmoot.models.answers import DeltaReader, reply_of
from folkmoot.models.connections import Connection
from folkmoot.models.exchanges import Exchange, noting, read_body
from folkmoot.models.failures import AnswerBroken
from folkmoot.models.options import parameters_of, settings_of
from folkmoot.models.prompt import Delta, Prompt, Reply, TextDelta, ToolCallDelta
from folkmoot.models.sent_before import continued
from folkmoot.models.tool_call_ids import CallIds
from folkmoot.models.translation import messages_of

_Request: TypeAlias = tuple[list[ModelMessage], ModelSettings | None, ModelRequestParameters]


async def whole(connection: Connection, prompt: Prompt) -> Reply:
    """Return the model's whole answer."""
    with _requesting(connection, prompt) as request:
        if not connection.traced:
            return reply_of(_sound(await connection.model.request(*request)), connection.manner)
        with noting() as exchange:
            response = await connection.model.request(*request)
    return _with_trace(reply_of(_sound(response), connection.manner), exchange)


async def started(connection: Connection, prompt: Prompt) -> ReplyStream:
    """Return the model's answer as a stream that has begun."""
    with _requesting(connection, prompt) as request:
        context = connection.model.request_stream(*request)
        if connection.traced:
            with noting() as exchange:
                response = await context.__aenter__()
        else:
            exchange, response = None, await context.__aenter__()
    stream = ReplyStream(connection, context, response, exchange)
    try:
        await stream.begin()
    except BaseException:
        await stream.aclose()
        raise
    return stream


async def seen(connection: Connection, prompt: Prompt) -> Any:
    """Return the JSON that the model would be sent; nothing is sent."""
    with noting(sends=False) as exchange, _requesting(connection, prompt) as request:
        try:
            await connection.model.request(*request)
        except Exception:
            if exchange.request is None:
                raise
    return None if exchange.request is None else read_body(exchange.request)


@contextmanager
def _requesting(connection: Connection, prompt: Prompt) -> Iterator[_Request]:
    """Give what pydantic-ai is asked with; turns that were sent before are added when it posts."""
    continuing = connection.sent_before.continuing(prompt) if connection.sent_before is not None else None
    rest, calls = (continuing.rest, continuing.sent.calls) if continuing else (prompt, None)
    messages = messages_of(rest, connection.manner, calls)
    with continued(continuing):
        yield messages, settings_of(prompt, connection), parameters_of(prompt, connection)


def _sound(response: ModelResponse, *, streamed: bool = False) -> ModelResponse:
    """Return the answer.

    Raises:
        AnswerBroken: the provider says that it failed amid the answer, or a stream never said that it was whole.
    """
    details = response.provider_details or {}
    if response.finish_reason == "error":
        raise AnswerBroken(f"it ended with {details.get('finish_reason') or 'an error'}.")
    if streamed and response.finish_reason is None and not details.get("finish_reason"):
        raise AnswerBroken("its stream ended without a finish reason.")
    return response


def _with_trace(reply: Reply, exchange: Exchange) -> Reply:
    return replace(reply, trace=exchange.texts())


class ReplyStream:
    """An answer on its way. `started` makes one; whoever has it closes it."""

    def __init__(
        self,
        connection: Connection,
        context: AbstractAsyncContextManager[StreamedResponse],
        response: StreamedResponse,
        exchange: Exchange | None,
    ) -> None:
        """Keep the open response and the context that closes it, and the request where it is traced."""
        self._manner = connection.manner
        self._context = context
        self._response = response
        self._exchange = exchange
        self._events = aiter(response)
        self._ids = CallIds()
        self._reader = DeltaReader(self._ids)
        self._waiting: list[Delta] = []
        self._said: list[str] = []
        self._with_arguments: set[str] = set()
        self._reply: Reply | None = None
        self._ended = False

    async def begin(self) -> None:
        """Wait for the first delta, so that a stream that fails before it can be asked for again."""
        while not self._waiting and not self._ended:
            await self._read()

    async def next(self) -> Delta | None:
        """Return the next delta, or None after the last."""
        while not self._waiting:
            if self._ended:
                return None
            await self._read()
        return self._waiting.pop(0)

    def reply(self) -> Reply:
        """Return the whole answer, once the stream has ended."""
        assert self._reply is not None
        return _with_trace(self._reply, self._exchange) if self._exchange else self._reply

    async def aclose(self) -> None:
        """Close the stream and give its connection back, at its end or in the middle."""
        await self._context.__aexit__(None, None, None)

    async def _read(self) -> None:
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            self._ended = True
            self._end()
            return
        for delta in self._reader.read(event):
            self._waiting.append(delta)
            if isinstance(delta, TextDelta):
                self._said.append(delta.text)
            elif isinstance(delta, ToolCallDelta) and delta.arguments:
                self._with_arguments.add(delta.id)

    def _end(self) -> None:
        """Read the whole answer; what of it came by no event, such as a refusal or `{}`, makes the last deltas."""
        self._reply = reply_of(_sound(self._response.get(), streamed=True), self._manner, self._ids)
        said = "".join(self._said)
        if len(self._reply.text) > len(said) and self._reply.text.startswith(said):
            self._waiting.append(TextDelta(self._reply.text[len(said) :]))
        self._waiting += [
            ToolCallDelta(call.id, None, call.arguments)
            for call in self._reply.tool_calls
            if call.id not in self._with_arguments
        ]
