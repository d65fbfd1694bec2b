"""Running the code of a call, inside the walls, and telling what came of it as JSON."""

from __future__ import annotations

import ast
import json
import linecache
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from folkmoot.sandbox.values import convert_arguments, plain

NAME = "<code>"
"""What the code's file is called in tracebacks."""


def run(call: Mapping[str, Any], result: int, folder: str) -> None:
    """Run a call's code and write what came of it to the descriptor `result`; does not return.

    Args:
        call: `source`, `entry`, `arguments`, `adapter`, `variables` and `packages`.
        result: where the answer goes.
        folder: the call's own folder.
    """
    _arrange(call, folder)
    try:
        answer: dict[str, Any] = {"value": plain(_evaluate(call))}
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


def _evaluate(call: Mapping[str, Any]) -> Any:
    source: str = call["source"]
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    adapter = _adapter(call["adapter"])
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


def _adapter(source: str) -> dict[str, Any]:
    """Return what the module defines that stands between the server and the code."""
    names: dict[str, Any] = {"__name__": "_adapter"}
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
