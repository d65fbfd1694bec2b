"""One call of one model, whole or streamed, with no retries and no deadline: `requests.py` adds those."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings

from folkmoot.models.connections import Connection
from folkmoot.models.prompt import Delta, Prompt, Reply
from folkmoot.models.translation import DeltaReader, messages_of, parameters_of, reply_of, settings_of


async def whole(connection: Connection, prompt: Prompt) -> Reply:
    """Return the model's whole answer."""
    return reply_of(await connection.model.request(*_request(connection, prompt)))


async def started(connection: Connection, prompt: Prompt) -> ReplyStream:
    """Return the model's answer as a stream that has begun."""
    context = connection.model.request_stream(*_request(connection, prompt))
    stream = ReplyStream(context, await context.__aenter__())
    try:
        await stream.begin()
    except BaseException:
        await stream.aclose()
        raise
    return stream


def _request(
    connection: Connection, prompt: Prompt
) -> tuple[list[ModelMessage], ModelSettings | None, ModelRequestParameters]:
    manner = connection.manner
    return messages_of(prompt, manner), settings_of(prompt, manner), parameters_of(prompt)


class ReplyStream:
    """An answer on its way. `started` makes one; whoever has it closes it."""

    def __init__(self, context: AbstractAsyncContextManager[StreamedResponse], response: StreamedResponse) -> None:
        """Keep the open response and the context that closes it."""
        self._context = context
        self._response = response
        self._events = aiter(response)
        self._reader = DeltaReader()
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
        return reply_of(self._response.get())

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
