"""Speaking with a program over its standard input and output, one JSON message a line.

The SDK has such a transport too; it gives the program the server's own environment, and reads lines of any length.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import anyio

from folkmoot.errors import FolkmootError, SandboxUnavailable
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.sandbox.standing import EVERY_HOST, StandingProgram, standing
from folkmoot.tools.mcp.allowance import LARGEST_MESSAGE, LINE, Allowance
from folkmoot.tools.mcp.configuration import MASK, ServerConfiguration
from folkmoot.tools.mcp.legible import made_legible

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

TIME_TO_END = 2.0
"""Seconds that a program gets to end by itself when nothing more comes, and its guard to end it."""

KEPT_ERRORS = 2000
"""Bytes that are kept of what a program last wrote to its standard error."""


SECRET_FROM = 8
"""Characters from which on an argument may be a secret, and no plain word such as `stdio`."""


ENDED = "the program ended"

_FETCHERS = frozenset({"npx", "bunx", "pnpx", "uvx", "pipx"})
"""Programs that fetch what they run."""


class ProgramFailed(Exception):
    """A program could not be started, or ended, or does not speak the protocol."""


class Program:
    """A program that runs: its streams, and what it complains of."""

    def __init__(self, configuration: ServerConfiguration, allowance: Allowance, sandbox: Sandbox | None) -> None:
        """Prepare to start it behind the walls of `sandbox`; without one it is not started."""
        self._configuration = configuration
        self._sandbox = sandbox
        self._allowance = allowance
        self._errors = bytearray()
        self.fault: str | None = None
        """Why it is not listened to any more, if that is its own doing."""

    @property
    def complaint(self) -> str:
        """What it last wrote to its standard error, without the secrets that it was given."""
        said = self._errors.decode(errors="replace").strip()
        given = self._configuration
        arguments = [part for each in given.args for part in (each, each.partition("=")[2]) if len(part) >= SECRET_FROM]
        for value in (*(value for value in given.env.values() if len(value) > 3), *arguments):
            said = said.replace(value, MASK)
        return said

    @property
    def said(self) -> str:
        """What it complained of, and what may be the matter with it, as sentences behind an error."""
        complaint = f" It said: {self.complaint}" if self.complaint else ""
        name = PurePath(self._configuration.command or "").name
        fetches = f" {name} fetches what it runs anew at each start: install that, and name it by its path."
        return complaint + (fetches if name in _FETCHERS else "")

    @asynccontextmanager
    async def run(self) -> AsyncIterator[TransportStreams]:
        """Start it, give the streams of its messages, and end it.

        Raises:
            ProgramFailed: the program could not be started.
        """
        async with AsyncExitStack() as stack:
            process = await self._start(stack)
            received, reading = anyio.create_memory_object_stream[Any](0)
            writing, to_send = anyio.create_memory_object_stream[Any](0)
            tasks = [
                asyncio.create_task(self._read(process, received)),
                asyncio.create_task(self._write(process, to_send)),
                asyncio.create_task(self._listen_to_errors(process)),
            ]
            try:
                yield reading, writing
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for stream in (received, reading, writing, to_send):
                    stream.close()
                await _end(process)

    async def _start(self, stack: AsyncExitStack) -> asyncio.subprocess.Process:
        configuration = self._configuration
        assert configuration.command is not None
        hosts = configuration.allowed_hosts
        program = StandingProgram(
            configuration.command,
            configuration.args,
            configuration.env,
            EVERY_HOST if hosts is None else hosts,
            configuration.readable_paths,
        )
        try:
            if self._sandbox is None:
                raise SandboxUnavailable("there is no sandbox to start it in")
            return await stack.enter_async_context(standing(self._sandbox, program))
        except FolkmootError as error:
            said = error.message.rstrip(".")
            raise ProgramFailed(f"{configuration.command} could not be started: {said}") from error
        except (OSError, ValueError) as error:
            raise ProgramFailed(f"{configuration.command} could not be started: {error}") from error

    async def _read(self, process: asyncio.subprocess.Process, received: Any) -> None:
        """Hand on what the program says, line by line, until it ends or says more than it may."""
        import mcp_types
        from mcp.shared.message import SessionMessage

        assert process.stdout is not None
        rest = bytearray()
        with received, contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while piece := await process.stdout.read(65536):
                *lines, last = piece.split(b"\n")
                await self._allowance.spend(len(piece) + LINE * len(lines))
                for line in lines:
                    message, rest = bytes(rest + line), bytearray()
                    if len(message) > LARGEST_MESSAGE:
                        self.fault = f"it sent a message of more than {LARGEST_MESSAGE:,} bytes"
                        return
                    message = await made_legible(message)
                    with contextlib.suppress(ValueError):  # what is no message is printed for people to read
                        parsed = mcp_types.jsonrpc_message_adapter.validate_json(message, by_name=False)
                        await received.send(SessionMessage(parsed))
                rest += last
                if len(rest) > LARGEST_MESSAGE:
                    self.fault = f"it sent a message of more than {LARGEST_MESSAGE:,} bytes"
                    return
        if not received.statistics().open_receive_streams:
            return
        self.fault = self.fault or ENDED

    async def _write(self, process: asyncio.subprocess.Process, to_send: Any) -> None:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            async for item in to_send:
                process.stdin.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await process.stdin.drain()

    async def _listen_to_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while piece := await process.stderr.read(4096):
            await self._allowance.spend(len(piece))
            self._errors += piece
            del self._errors[:-KEPT_ERRORS]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the program end; then have its guard end it and all that came of it."""
    assert process.stdin is not None
    process.stdin.close()
    # Nobody reads any more: what it still has to say would keep it from ending, and asyncio from seeing its end.
    emptying = [asyncio.create_task(_empty(stream)) for stream in (process.stdout, process.stderr)]
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIME_TO_END):
                await process.wait()
                break
    for task in emptying:
        task.cancel()
    await asyncio.gather(*emptying, return_exceptions=True)


async def _empty(stream: asyncio.StreamReader | None) -> None:
    assert stream is not None
    while await stream.read(1 << 16):
        await asyncio.sleep(0.01)
