"""The process that servers are forked from: `python -m support.preloaded LISTENER LIFELINE`.

It imports everything and leads one server's life (`support.rehearsal`), then forks and reaps for each process of the
tests that connects to LISTENER. A client's forks end when it hangs up; everything ends when nobody holds the other end
of LIFELINE any more. It has one thread and no event loop.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import typer.main

from folkmoot import cli
from folkmoot.sandbox import sandbox
from folkmoot.tools.mcp import connection
from support.rehearsal import rehearse

MODULES = (
    "alembic.command",
    "cryptography.fernet",
    "encodings.idna",
    "folkmoot.mcp_server.protocol",
    "folkmoot.serving",
    "folkmoot.store.bulk_postgres",
    "folkmoot.store.bulk_sqlite",
    "folkmoot.store.migrate",
    "folkmoot.store.postgres",
    "letta_client",
    "logging.config",
    "mcp.server.auth.provider",
    "mcp.server.mcpserver",
    "re2",
    "sqlalchemy.ext.asyncio",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.websockets.auto",
    *connection._MODULES,
)
"""What the rehearsal does not import, what a server loads when it is first needed among it: a fork needs it soon."""

LONGEST_PIECE = 1 << 16
STREAMS = 3
"""How many descriptors a question may bring, which become the fork's standard streams."""

TRIAL_SECONDS = 60.0
"""How long after its start a fork tries the sandbox's walls, when most have ended; who needs them has them tried."""


@dataclass(eq=False)
class Client:
    """A process of the tests, and what was forked for it and has not been reaped."""

    channel: socket.socket
    living: set[int] = field(default_factory=set)

    def question(self) -> tuple[bytes, list[int]]:
        """Return the next question, with the descriptors that came with it; nothing when the client has hung up."""
        line, descriptors = b"", list[int]()
        while not line.endswith(b"\n"):
            piece, given, *_ = socket.recv_fds(self.channel, LONGEST_PIECE, STREAMS)
            if not piece:
                return b"", descriptors
            line += piece
            descriptors += given
        return line, descriptors

    def close(self) -> None:
        """Hang up."""
        self.channel.close()


class ForkServer:
    """Answers clients, one question of each at a time."""

    def __init__(self, listener: int, lifeline: int) -> None:
        self._listener = socket.socket(fileno=listener)
        self._lifeline = socket.socket(fileno=lifeline)
        self._selector = selectors.DefaultSelector()
        self._clients: set[Client] = set()

    def serve(self) -> None:
        """Fork and reap as told until the lifeline is cut."""
        for end in (self._listener, self._lifeline):
            self._selector.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._lifeline:
                    for client in self._clients:
                        self._end_forks(client)
                    return
                if key.fileobj is self._listener:
                    self._welcome()
                else:
                    self._answer(key.data)

    def _welcome(self) -> None:
        channel, _ = self._listener.accept()
        client = Client(channel)
        self._clients.add(client)
        self._selector.register(channel, selectors.EVENT_READ, client)

    def _answer(self, client: Client) -> None:
        line, descriptors = client.question()
        if not line:
            self._selector.unregister(client.channel)
            self._clients.discard(client)
            self._end_forks(client)
            client.close()
            return
        question = json.loads(line)
        if "reap" in question:
            pid = question["reap"]
            number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            client.living.discard(pid)
        else:
            number = self._fork(question["fork"], descriptors)
            client.living.add(number)
            for descriptor in descriptors:
                os.close(descriptor)
        client.channel.sendall(b"%d\n" % number)

    def _fork(self, order: Mapping[str, Any], streams: Sequence[int]) -> int:
        pid = os.fork()
        if not pid:
            self._selector.close()
            for end in (self._listener, self._lifeline):
                end.close()
            for client in self._clients:
                client.close()
            _become(order, streams)
        return pid

    def _end_forks(self, client: Client) -> None:
        for pid in client.living:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _become(order: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Be what `python -m folkmoot`, or Python with a script, would be in this folder, with this environment."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not streams:
        appending = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        streams = (0, *(os.open(order[name], appending, 0o666) for name in ("output", "errors")))
    for number, file in enumerate(streams):
        if file != number:
            os.dup2(file, number)
            os.close(file)
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    sys.argv[1:] = order["arguments"]
    try:
        if script := order["script"]:
            sys.path[0] = str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")
        else:
            sys.path[0] = order["folder"]
            runpy.run_module("folkmoot", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end(end.code)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)


def _end(code: str | int | None) -> NoReturn:
    """End as an interpreter does, but for freeing all that it holds, which takes longer than most servers live."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are not daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main(listener: int, lifeline: int) -> None:
    """Make ready, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in MODULES:
        __import__(module)
    # Typer makes every command anew for each start, from signatures that it reads again.
    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(cli.application)
    rehearse()
    sandbox.BEHIND_SECONDS = TRIAL_SECONDS
    gc.collect()
    gc.freeze()  # so that a fork's collector does not write to the pages that it shares
    assert threading.active_count() == 1, "a process with threads is not safe to fork"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which ends it only as long as there is no fork to end
    ForkServer(listener, lifeline).serve()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
