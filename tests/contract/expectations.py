"""Where the recordings are not the measure: calls that come later, faults of the recorded server, known differences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from recordings import Recording

LATER = frozenset(
    {
        # streams
        "stream steps",
        "stream tokens",
        "stream tokens tool",
        "stream via messages flag",
        "stream background",
        # runs and steps
        "message async",
        "run retrieve",
        "run messages",
        "run usage",
        "run steps",
        "run metrics",
        "runs list",
        "steps list",
        # conversations
        "conversation create",
        "conversation list",
        "conversation message",
        "conversation message stream",
        "conversation messages",
        # search, passages, archives
        "messages search",
        "passage create",
        "passage list",
        "passage search",
        "archive create",
        "archives list",
        "archive passage create",
        "archive attach",
        # custom tools, approvals, client tools
        "tool create",
        "tool create again",
        "tool upsert",
        "tool attach",
        "message custom tool",
        "tool run",
        "tool approval",
        "message needs approval",
        "message while approval pending",
        "message approve",
        "message needs approval 2",
        "message deny",
        "tool create bad source",
        "message client tool",
        "message client tool return",
        # folders and identities
        "folder create",
        "folder attach",
        "file upload",
        "folder files",
        "agent files",
        "identity create",
        "identities list",
        # the rest
        "providers list",
        "mcp servers list",
        "agent context",
        "agent export",
        "chat completions",
        "chat completions stream",
        "agent recompile",
        "agent reset messages",
    }
)
"""Calls that Folkmoot does not answer yet; taking a name out makes the call part of the test."""

SHAPE_ONLY = {
    "block list": "the recorded server had blocks of earlier programs, which come first",
    "block list by label": "the same",
    "messages list": "the last messages are those of calls that come later",
}
"""Calls whose elements are other ones than the recorded, so that only their shape can be compared."""


@dataclass(frozen=True)
class Allowed:
    """A difference that is meant; `call` and `difference` are patterns with `*`."""

    call: str
    difference: str
    reason: str

    def covers(self, call: str, difference: str) -> bool:
        """Tell whether a call's difference is this one."""
        return fnmatchcase(call, self.call) and fnmatchcase(difference, self.difference.replace("[]", "[[]]"))


ALLOWED: tuple[Allowed, ...] = ()


def _refused(recording: Recording) -> Recording:
    """A block's limit is enforced."""
    return dataclasses.replace(recording, status=422, response={"trace_id": "", "detail": ""})


def _unknown_block(recording: Recording) -> Recording:
    """An unknown entry of block_ids is an error that names it."""
    return dataclasses.replace(recording, status=404, response={"detail": ""})


def _parallel_calls(recording: Recording) -> Recording:
    """All calls of one reply are run in one step: first the calls, then what they returned.

    The recorded server ran the first call only, so that the model made both again in a second step.
    """
    response = json.loads(json.dumps(recording.response))
    first, first_return, second, second_return, answer = response["messages"]
    for message in (second, second_return):
        message["step_id"] = first["step_id"]
    for call in (second["tool_call"], *second["tool_calls"]):
        call["arguments"] = call["arguments"].replace('"one"', '"two"')
    response["messages"] = [first, second, first_return, second_return, answer]
    response["usage"].update(completion_tokens=20, prompt_tokens=200, total_tokens=220, step_count=2)
    return dataclasses.replace(recording, response=response)


INSTEAD: dict[str, Callable[[Recording], Recording]] = {
    "block create over limit": _refused,
    "block update over limit": _refused,
    "agent create unknown block": _unknown_block,
    "message parallel tools": _parallel_calls,
}
"""Calls that Folkmoot answers otherwise, by the contract's own list of the recorded server's faults."""

OVER_LIMIT = {"value": "testing testing", "limit": 5}
BEFORE = {"value": "Organization: Letta\nupdated", "limit": 4000}


def as_if_refused(value: Any) -> Any:
    """Return a recorded body with the organization block as it is when the update over its limit was refused."""
    if isinstance(value, list):
        return [as_if_refused(part) for part in value]
    if isinstance(value, dict):
        changed = {name: as_if_refused(part) for name, part in value.items()}
        return changed | BEFORE if OVER_LIMIT.items() <= changed.items() else changed
    return value


def expected(recording: Recording) -> Recording:
    """Return what Folkmoot should answer."""
    if recording.name in INSTEAD:
        return INSTEAD[recording.name](recording)
    return dataclasses.replace(recording, response=as_if_refused(recording.response))
