"""A client that reads no answer beyond a bound, however small it was packed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from folkmoot.errors import ProviderError

LARGEST_ANSWER = 50_000_000
"""Bytes of a whole answer, unpacked: many vectors in one."""

LARGEST_STREAM = 200_000_000
"""Bytes of a stream of events, which is read as it comes: a text has some 400 for each of its tokens."""

LARGEST_ERROR = 50_000
"""Bytes of an answer that is an error; what stands behind them is not read."""

_PIECE = 4096

_OF_CODING = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class BoundedClient(httpx2.AsyncClient):
    """Sends requests as any client does; of what comes back it reads so much and no more."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request; the body of its answer is bounded, also while it is unpacked.

        Raises:
            ProviderError: the answer is larger; while it is read, where it is streamed.
        """
        response = await super().send(request, stream=True, **options)
        if "content-encoding" in response.headers:
            response.stream = _InPieces(response.stream)
            unpacked = _Bounded(response.aiter_bytes(), response)
            response = rewritten(response, response.status_code, stream=unpacked)
        else:
            response.stream = _Bounded(response.stream, response)
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response


def _bound_of(response: httpx2.Response) -> int:
    """Return how many bytes of an answer are read at most."""
    if response.is_error:
        return LARGEST_ERROR
    return LARGEST_STREAM if "event-stream" in response.headers.get("content-type", "") else LARGEST_ANSWER


class _InPieces(httpx2.AsyncByteStream):
    """A body as it comes, in pieces of which none unpacks to more than some megabytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for received in self._stream:
            for place in range(0, len(received), _PIECE):
                yield received[place : place + _PIECE]

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, up to its bound."""

    def __init__(self, pieces: Any, response: httpx2.Response) -> None:
        """Read `pieces`, and close what `response` is read from."""
        self._pieces = pieces
        self._source = response.stream
        self._bound = _bound_of(response)
        self._is_error = response.is_error
        self._host = response.request.url.host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._bound
        async for piece in self._pieces:
            left -= len(piece)
            if left < 0:
                yield piece[:left]
                break
            yield piece
        if left < 0:
            await self.aclose()
            if not self._is_error:
                raise ProviderError(
                    f"{self._host} sent an answer of more than {self._bound:,} bytes; it was not read on."
                )

    async def aclose(self) -> None:
        await self._source.aclose()  # type: ignore[union-attr]  # a client of this kind has no other


def rewritten(response: httpx2.Response, status: int, **body: Any) -> httpx2.Response:
    """Return a response with another status or body."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _OF_CODING]
    return httpx2.Response(status, headers=headers, request=response.request, extensions=response.extensions, **body)
