"""Running a program that a model wrote, in the sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from folkmoot.errors import SandboxBusy, SandboxUnavailable, ToolFailed
from folkmoot.sandbox.calls import Call, Language, Result
from folkmoot.tools.tool import ToolContext, ToolResult

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
    if context.sandbox is None:
        raise ToolFailed("run_code cannot be run here: there is no sandbox.")
    seconds = context.settings.tool_timeout
    limits = replace(
        context.sandbox.limits, seconds=max(seconds - 1, seconds / 2)
    )  # ahead of the time of the tool, which keeps no output
    try:
        result = await context.sandbox.run(Call(code, language=_LANGUAGES[language], limits=limits))
    except (SandboxUnavailable, SandboxBusy) as error:
        raise ToolFailed(f"run_code could not run the program: {error.message}. Nothing was done.") from error
    return ToolResult(
        _told(result),
        stdout=result.stdout.splitlines(),
        stderr=result.stderr.splitlines(),
        failed=result.status != "ok",
    )


def _told(result: Result) -> str:
    """Return what a model reads of it: what was printed, then the value or the error."""
    value = None if result.value is None else json.dumps(result.value, ensure_ascii=False)
    refused = "\n".join(f"network: {line}" for line in result.refused)
    parts = [result.stdout.rstrip(), result.stderr.rstrip(), value, result.error, refused]
    return "\n".join(part for part in parts if part) or "The program ended and printed nothing."
