"""Answering what the code of a call asks while it runs."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from folkmoot.sandbox.calls import Answer
from folkmoot.sandbox.values import LONGEST_QUESTION

MOST_QUESTIONS = 1000
"""Questions of one call; who asks more, as in a loop that goes on after errors, is not answered either."""


class _NoQuestion(Exception):
    """What came is none: the code has ended, or writes to the socket itself."""


async def answer_all(way: socket.socket, answer: Answer) -> None:
    """Answer the questions that come over a socket, one after the other, until no further one comes or too many did.

    Args:
        way: the server's end, which is closed with this.
        answer: gives the answers.
    """
    reader, writer = await asyncio.open_unix_connection(sock=way)
    try:
        for _ in range(MOST_QUESTIONS):
            told = await answer(await _question(reader))
            data = (await asyncio.to_thread(json.dumps, told)).encode()
            writer.write(struct.pack("!I", len(data)) + data)
            await writer.drain()
    except (_NoQuestion, ConnectionError):
        return
    finally:
        writer.transport.abort()


async def _question(reader: asyncio.StreamReader) -> Any:
    try:
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        if length > LONGEST_QUESTION:
            raise _NoQuestion
        return await asyncio.to_thread(json.loads, await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ValueError, RecursionError) as error:
        raise _NoQuestion from error
