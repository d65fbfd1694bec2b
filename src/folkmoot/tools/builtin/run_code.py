"""Running a program that a model wrote, in the sandbox; one kind of it calls the agent's tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from folkmoot.errors import SandboxBusy, SandboxUnavailable, ToolFailed
from folkmoot.sandbox.calls import Call, Language, Result
from folkmoot.tools.tool import ToolContext, ToolResult

LONGEST_VALUE = 1_000_000
"""Characters of what a tool returns to code, as JSON."""

_LANGUAGES: Mapping[str, Language] = {"python": "python", "js": "javascript", "ts": "typescript"}


async def run_code(context: ToolContext, code: str, language: Literal["python", "js", "ts", "r", "java"]) -> ToolResult:
    """Run a program and read what it prints; in Python the value of its last line, too.

    Each program starts afresh, in an empty folder, without a network; nothing of it is kept. JavaScript and TypeScript
    are modules for Node.js, and print with console.log.

    Args:
        code: The program.
        language: The language it is written in; r and java cannot be run here.
    """
    if language not in _LANGUAGES:
        raise ToolFailed(f"{language} cannot be run here; write the program in python.")
    return await _run(context, Call(code, language=_LANGUAGES[language]), "run_code")


async def run_code_with_tools(context: ToolContext, code: str) -> ToolResult:
    """Run a Python program that calls your other tools, and read what it prints and the value of its last line.

    Use it where many calls depend on each other, or where only a little of what they return matters: you read what the
    program prints, not what each tool returned. Each of your tools is a function of its name that takes its arguments
    and returns what you would read, as a string, or the value itself where a tool of somebody's own returns one. A tool
    that fails raises ToolError with the reason. Tools that need approval, that ask other agents, or that end your turn
    cannot be called. What was done before an error stays done. The program starts in an empty folder, without a
    network; nothing of it is kept.

    Args:
        code: The program.
    """
    if context.own_tools is None:
        raise ToolFailed("run_code_with_tools was not run: code that it runs cannot run more of it.")
    own = context.own_tools

    async def answer(question: Any) -> Any:
        if not isinstance(question, dict) or not isinstance(question.get("arguments"), dict):
            return {"error": "That is no call of a tool."}
        try:
            value = await own.call(str(question.get("name")), question["arguments"], context)
        except ToolFailed as error:
            return {"error": error.message}
        length = len(value) if isinstance(value, str) else len(await asyncio.to_thread(json.dumps, value))
        if length > LONGEST_VALUE:
            return {"error": f"It returned {length:,} characters, and code gets at most {LONGEST_VALUE:,} of a call."}
        return {"value": value}

    known = {each.name: list(each.parameters.get("properties", {})) for each in own.schemas}
    adapter = f"{_functions()}\nSCOPE = functions({known!r})\n"
    return await _run(context, Call(code, adapter=adapter, answer=answer), "run_code_with_tools")


async def _run(context: ToolContext, call: Call, name: str) -> ToolResult:
    """Run a call for a tool of this name.

    Raises:
        ToolFailed: no code can be run here, or not now.
    """
    if context.sandbox is None:
        raise ToolFailed(f"{name} cannot be run here: there is no sandbox.")
    seconds = context.settings.tool_timeout
    limits = replace(
        context.sandbox.limits, seconds=max(seconds - 1, seconds / 2)
    )  # ahead of the time of the tool, which keeps no output
    try:
        result = await context.sandbox.run(replace(call, limits=limits))
    except (SandboxUnavailable, SandboxBusy) as error:
        raise ToolFailed(f"{name} could not run the program: {error.message}. Nothing was done.") from error
    return ToolResult(
        _told(result),
        stdout=result.stdout.splitlines(),
        stderr=result.stderr.splitlines(),
        failed=result.status != "ok",
    )


@cache
def _functions() -> str:
    return (Path(__file__).parent / "tool_functions.py").read_text()


def _told(result: Result) -> str:
    """Return what a model reads of it: what was printed, then the value or the error."""
    value = None if result.value is None else json.dumps(result.value, ensure_ascii=False)
    refused = "\n".join(f"network: {line}" for line in result.refused)
    parts = [result.stdout.rstrip(), result.stderr.rstrip(), value, result.error, refused]
    return "\n".join(part for part in parts if part) or "The program ended and printed nothing."
