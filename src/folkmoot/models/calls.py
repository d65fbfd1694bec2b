"""One call of one model, whole or streamed, with no retries and no deadline: `requests.py` adds those."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings

from folkmoot.models.answers import DeltaReader, reply_of
from folkmoot.models.connections import Connection
from folkmoot.models.exchanges import Exchange, noting
from folkmoot.models.options import parameters_of, settings_of
from folkmoot.models.prompt import Delta, Prompt, Reply
from folkmoot.models.tool_call_ids import CallIds
from folkmoot.models.translation import messages_of


async def whole(connection: Connection, prompt: Prompt) -> Reply:
    """Return the model's whole answer."""
    request = _request(connection, prompt)
    if not connection.traced:
        return reply_of(await connection.model.request(*request), connection.manner)
    with noting() as exchange:
        response = await connection.model.request(*request)
    return _with_trace(reply_of(response, connection.manner), exchange)


async def started(connection: Connection, prompt: Prompt) -> ReplyStream:
    """Return the model's answer as a stream that has begun."""
    context = connection.model.request_stream(*_request(connection, prompt))
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
    with noting(sends=False) as exchange:
        try:
            await connection.model.request(*_request(connection, prompt))
        except Exception:
            if exchange.request is None:
                raise
    return exchange.request


def _request(
    connection: Connection, prompt: Prompt
) -> tuple[list[ModelMessage], ModelSettings | None, ModelRequestParameters]:
    return messages_of(prompt, connection.manner), settings_of(prompt, connection), parameters_of(prompt, connection)


def _with_trace(reply: Reply, exchange: Exchange) -> Reply:
    found = {"request": exchange.request, "response": exchange.response}
    return replace(reply, trace={name: body for name, body in found.items() if body is not None})


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
        reply = reply_of(self._response.get(), self._manner, self._ids)
        return _with_trace(reply, self._exchange) if self._exchange else reply

    async def aclose(self) -> None:
        """Close the stream and give its connection back, at its end or in the middle."""
        await self._context.__aexit__(None, None, None)

    async def _read(self) -> None:
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            self._ended = True
        else:
            self._waiting.extend(self._reader.read(event))
