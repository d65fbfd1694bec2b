"""Tool calls that wait for somebody: for approval, or for the client that runs the tool itself.

A step whose model calls such a tool ends its turn with an `approval_request_message` that holds the calls. They are
open until a return of theirs is stored: by the turn that brings the decisions, or by whatever settles them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.agents.tool_calls import Outcome, not_run
from folkmoot.agents.tool_rules import Called
from folkmoot.conversations.messages import Message
from folkmoot.errors import BadRequest, Conflict
from folkmoot.models.prompt import ToolCall

DENIED = "The call was denied, so the tool was not run."

NOTHING_WAITS = "No tool call is currently awaiting approval."
"""Clients match on these words, on "waiting for approval" and on "Invalid tool call IDs" to get out of trouble."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about one call; `outcome` is the return of a tool that the client ran itself."""

    call_id: str
    approve: bool = True
    reason: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """An answer to an approval request. `every` holds for all its calls, in the wire format's older form.

    `message` is the answer as it is stored.
    """

    message: Message
    each: Sequence[Decision] = ()
    every: Decision | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """An approval request and those of its calls that are still open."""

    request: Message
    calls: Sequence[ToolCall]


def find_pending(messages: Sequence[Message]) -> Pending | None:
    """Return the approval request at the end of a conversation whose calls are open, oldest message first."""
    returned: set[str] = set()
    for message in reversed(messages):
        if message.message_type == "tool_return_message":
            returned.add(message.body["tool_call_id"])
        elif message.message_type == "approval_request_message":
            calls = [call for call in calls_of(message.body) if call.id not in returned]
            return Pending(message, calls) if calls else None
        elif message.message_type == "user_message":
            return None
    return None


def calls_of(body: Mapping[str, Any]) -> list[ToolCall]:
    """Return the calls that an approval request holds."""
    return [ToolCall(call["tool_call_id"], call["name"], call["arguments"]) for call in body["tool_calls"]]


def request_message(calls: Sequence[ToolCall], run_id: str, step_id: str) -> Message:
    """Return the message that asks for decisions about `calls`."""
    shown = [{"name": call.name, "arguments": call.arguments, "tool_call_id": call.id} for call in calls]
    return Message("approval_request_message", {"tool_calls": shown}, run_id=run_id, step_id=step_id)


def refuse_while_pending(pending: Pending) -> Conflict:
    """Return the error for a message that comes while decisions are awaited."""
    detail = {
        "code": "PENDING_APPROVAL",
        "message": (
            "The agent is waiting for approval of a tool call. Approve or deny it, or cancel, before you go on."
        ),
        "pending_request_id": pending.request.id,
    }
    return Conflict(str(detail["message"]), detail=detail)


def decide(pending: Pending | None, decisions: Decisions) -> list[tuple[ToolCall, Decision]]:
    """Return each open call with what was decided about it.

    Raises:
        BadRequest: nothing is open, a decision names another call, or a call has no decision.
    """
    if pending is None:
        raise BadRequest(f"{NOTHING_WAITS} Send the agent a message instead.")
    named = decisions.message.body.get("approval_request_id")
    if named not in (None, pending.request.id):
        raise BadRequest(f"approval_request_id: {named!r} is not the request that waits, {pending.request.id!r}.")
    if decisions.every is not None:
        return [(call, decisions.every) for call in pending.calls]
    given = {decision.call_id: decision for decision in decisions.each}
    known = [call.id for call in pending.calls]
    if set(given) != set(known):
        raise BadRequest(f"Invalid tool call IDs. Expected '{known}', but received '{list(given)}'.")
    return [(call, given[call.id]) for call in pending.calls]


def denial(decision: Decision) -> Outcome:
    """Return what a model reads of a call that was denied."""
    return not_run(f"{DENIED} Reason: {decision.reason}" if decision.reason else DENIED)


def called_since_asked(messages: Sequence[Message]) -> list[Called]:
    """Return the calls that were run since the agent was last asked something, also before an approval."""
    called: list[Called] = []
    for message in messages:
        if message.message_type == "user_message":
            called = []
        elif message.message_type == "tool_return_message" and message.body.get("ran", True):
            body = message.body
            called += [
                Called(each["name"], each["tool_return"], each["status"] == "error")
                for each in body.get("inner_calls") or ()
            ]
            called.append(Called(message.name or "", body["tool_return"], body["status"] == "error"))
    return called
