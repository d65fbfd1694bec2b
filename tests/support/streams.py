"""Reading streams of server-sent events, whose heartbeats would let a test wait for ever for what does not come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MOST_HEARTBEATS = 4
"""Heartbeats in a row with nothing between them; the server sends one every 15 seconds."""


def lines_of(stream: Iterable[str]) -> Iterator[str]:
    """Yield a stream's lines without its heartbeats.

    A heartbeat begins a client's read timeout anew, so that a stream which tells nothing else fails the test here.
    """
    silent = 0
    for line in stream:
        if line.startswith(":"):
            silent += 1
            assert silent < MOST_HEARTBEATS, f"the stream told nothing between {silent} heartbeats"
            continue
        if line:
            silent = 0
        yield line
