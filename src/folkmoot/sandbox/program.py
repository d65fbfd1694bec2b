"""Running the code of a call, inside the walls, and telling what came of it as JSON."""

from __future__ import annotations

import ast
import json
import linecache
import os
import socket
import struct
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from folkmoot.sandbox.values import LONGEST_QUESTION, convert_arguments, plain

NAME = "<code>"
"""What the code's file is called in tracebacks."""


class Asking:
    """Asks the server, one question after the other."""

    def __init__(self, descriptor: int) -> None:
        """Ask over a socket."""
        self._server = socket.socket(fileno=descriptor)
        self._one_at_a_time = Lock()

    def ask(self, question: Any) -> Any:
        """Return the answer to a question; both are JSON values.

        Raises:
            ConnectionError: nobody answers any more.
            ValueError: the question is too long.
        """
        data = json.dumps(plain(question)).encode()
        if len(data) > LONGEST_QUESTION:
            raise ValueError(f"this takes {len(data):,} bytes as JSON; at most {LONGEST_QUESTION:,} can be passed")
        with self._one_at_a_time:
            try:
                self._server.sendall(struct.pack("!I", len(data)) + data)
                (length,) = struct.unpack("!I", self._read(4))
                return json.loads(self._read(length))
            except OSError as error:
                raise ConnectionError("nobody answers any more") from error

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = self._server.recv(min(length - len(data), 1 << 20))
            if not piece:
                raise ConnectionResetError
            data += piece
        return bytes(data)


def run(call: Mapping[str, Any], result: int, folder: str, asking: int | None) -> None:
    """Run a call's code and write what came of it to the descriptor `result`; does not return.

    Args:
        call: `source`, `entry`, `arguments`, `adapter`, `variables` and `packages`.
        result: where the answer goes.
        folder: the call's own folder.
        asking: descriptor of a socket to the server, which answers what the adapter asks; None when it may not.
    """
    _arrange(call, folder)
    scope = {} if asking is None else {"ask": Asking(asking).ask}
    try:
        answer: dict[str, Any] = {"value": plain(_evaluate(call, scope))}
        data = json.dumps(answer).encode()
    except SystemExit as exit_:
        data = json.dumps(
            {"value": None} if exit_.code in (None, 0) else {"error": f"SystemExit: {exit_.code}"}
        ).encode()
    except MemoryError:
        data = b'{"error": "MemoryError: more memory was asked for than the call may have", "exceeded": "memory"}'
    except BaseException as error:
        data = json.dumps({"error": _own_lines(error)}).encode()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        view = memoryview(data)
        while view:
            view = view[os.write(result, view) :]
        os._exit(0)


def variables(folder: str) -> dict[str, str]:
    """Return the variables that every program has."""
    return {"HOME": f"{folder}/home", "TMPDIR": folder, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def _arrange(call: Mapping[str, Any], folder: str) -> None:
    home = f"{folder}/home"
    Path(home).mkdir(exist_ok=True)
    os.chdir(home)
    os.environ.clear()
    os.environ.update({**variables(folder), **call["variables"]})
    sys.path[:] = [home, *sys.path, *call["packages"]]
    sys.argv = [NAME]
    sys.executable = getattr(sys, "_base_executable", sys.executable)
    # Line by line, so that what was printed is there when time is up.
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = open(descriptor, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _evaluate(call: Mapping[str, Any], scope: Mapping[str, Any]) -> Any:
    source: str = call["source"]
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    adapter = _adapter(call["adapter"], scope)
    module.__dict__.update(adapter.get("SCOPE", {}))
    tree = ast.parse(source, NAME)
    entry = call["entry"]
    last = tree.body.pop() if entry is None and tree.body and isinstance(tree.body[-1], ast.Expr) else None
    # Hints stay texts, as in this module: what they name need not be there.
    exec(compile(tree, NAME, "exec"), module.__dict__)  # noqa: S102 - what this room is for
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), NAME, "eval"), module.__dict__)  # noqa: S307
    if entry is None:
        return None
    function = getattr(module, entry)
    before, after = adapter.get("before", convert_arguments), adapter.get("after", _as_it_is)
    return after(_finished(function(**before(function, call["arguments"]))))


def _adapter(source: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the module defines that stands between the server and the code; it finds what is in `scope`."""
    names: dict[str, Any] = {"__name__": "_adapter", **scope}
    if source:
        exec(compile(source, "<adapter>", "exec"), names)  # noqa: S102 - the server's own
    return names


def _as_it_is(value: Any) -> Any:
    return value


def _finished(value: Any) -> Any:
    """Return a value, that of an `async def` when it has come to its end."""
    if not hasattr(type(value), "__await__"):
        return value
    import asyncio  # as heavy as everything else here

    async def finish() -> Any:
        return await value

    return asyncio.run(finish())


def _own_lines(error: BaseException) -> str:
    """Return the traceback from the code's first own line on."""
    import traceback  # not before it is needed: a quarter of the start

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != NAME:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))[-20_000:]
