"""In which of an agent's conversations a request goes on that speaks one of OpenAI's protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Header

from folkmoot.agents.agents import Agent
from folkmoot.agents.approvals import calls_of
from folkmoot.agents.conversations import conversation_of_session, create_conversation, fork_conversation
from folkmoot.conversations.conversations import MAIN_CONVERSATION, find_conversation
from folkmoot.conversations.messages import list_messages
from folkmoot.conversations.search import find_message
from folkmoot.errors import BadRequest, InvalidInput, NotFound
from folkmoot.identifiers import EXAMPLE_UUID, check_id
from folkmoot.memory.authors import Author
from folkmoot.models.prompt import ToolCall
from folkmoot.runs.reading import is_newest, messages_of_run, run_that_waits
from folkmoot.runs.runs import Run, find_run
from folkmoot.server.wire.response_input import ANSWERS, InputItem
from folkmoot.server.wire.response_output import message_of_item
from folkmoot.server.wire.responses import ResponseRequest, told_of
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

LONGEST_SESSION = 500
"""Characters of a program's own name of a session."""

SessionHeader = Annotated[str | None, Header(max_length=LONGEST_SESSION)]


async def session_of(
    x_session_id: SessionHeader = None,
    x_openwebui_chat_id: Annotated[str | None, Header(alias="X-OpenWebUI-Chat-Id", max_length=LONGEST_SESSION)] = None,
) -> str | None:
    """Return the program's own name of the session that a request belongs to, where it has one."""
    return x_session_id or x_openwebui_chat_id or None


Session = Annotated[str | None, Depends(session_of)]


def instructions_of(agent: Agent, told: str | None) -> str | None:
    """Return the agent's instructions with those of a request behind them; None when it has none."""
    return f"{agent.system}\n\n{told}" if told else None


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a request goes on, and what of it is new there."""

    conversation_id: str
    items: Sequence[InputItem]
    """What is said to the agent."""

    approvals: Sequence[dict[str, Any]] = ()
    """What was decided about calls of its tools, as it is sent to agents."""

    approved: dict[str, dict[str, str]] = field(default_factory=dict)
    """Those calls that are to be run, as a response shows them."""


async def continue_conversation(
    transaction: Transaction, agent_id: str, body: ResponseRequest, session: str | None, author: Author
) -> Continuation:
    """Find where a request for a response goes on: where it says, behind the agent's own items in it, or anew.

    Behind a response that something followed already, the conversation is forked.

    Raises:
        NotFound: what it names does not exist, or is another agent's.
        BadRequest: it answers calls, and it is not known which conversation's.
    """
    conversation_id = await _named(transaction, agent_id, body)
    if conversation_id is None and body.previous_response_id is not None:
        run = await _previous(transaction, agent_id, body.previous_response_id)
        conversation_id = await _behind(transaction, run, author)
    if conversation_id is None and session is not None:
        conversation_id = await conversation_of_session(transaction, agent_id, session, author)
    if conversation_id is None and (last := await _run_of_items(transaction, agent_id, body)) is not None:
        conversation_id = await _behind(transaction, last, author)
    if conversation_id is not None:
        items = _behind_agents_own(body.items)
        approvals, approved = await _decided(transaction, items)
        return Continuation(conversation_id, items, approvals, approved)
    if any(item.type in ANSWERS for item in _behind_agents_own(body.items)):
        raise BadRequest(
            "input: answers calls that the agent does not wait for, and does not say which conversation's. Name "
            "previous_response_id or conversation, or send the agent's own items along with their ids."
        )
    begun = await create_conversation(transaction, agent_id, author)
    return Continuation(begun.id, [item for item in body.items if item.type == "message"])


async def standing_at(transaction: Transaction, agent_id: str, body: ResponseRequest) -> tuple[str, str] | None:
    """Return the conversation that a request goes on in, and its last message there; None when it would begin one.

    Nothing is begun and nothing forked. The message is the last of the response that the request names, or of the
    conversation.

    Raises:
        NotFound: what it names does not exist, or is another agent's.
    """
    conversation_id = await _named(transaction, agent_id, body)
    if conversation_id is not None:
        newest = await list_messages(transaction, conversation_id, Page(limit=1, order="desc"))
        return conversation_id, newest[0].id
    if body.previous_response_id is not None:
        run: Run | None = await _previous(transaction, agent_id, body.previous_response_id)
    else:
        run = await _run_of_items(transaction, agent_id, body)
    if run is None:
        return None
    said = await messages_of_run(transaction, run.id)
    return run.conversation_id, said[-1].id


async def find_response(transaction: Transaction, response_id: str, field_name: str = "response_id") -> Run:
    """Return the run that is shown as a response.

    Raises:
        NotFound: there is no such response, or it was not to be stored.
    """
    kind, _, uuid = response_id.partition("_")
    if kind != "resp":
        raise InvalidInput(
            f"{field_name}: {response_id[:80]!r} is no response's identifier, which looks like 'resp_{EXAMPLE_UUID}'."
        )
    run = await find_run(transaction, check_id("run", f"run-{uuid}", field_name))
    if not told_of(run).get("store"):
        raise NotFound(f"{field_name}: there is no response {response_id}.")
    return run


async def _named(transaction: Transaction, agent_id: str, body: ResponseRequest) -> str | None:
    named = body.conversation_id
    if named is None:
        return None
    if named == MAIN_CONVERSATION:
        return agent_id
    conversation_id = check_id("agent" if named.startswith("agent-") else "conv", named, "conversation")
    conversation = await find_conversation(transaction, conversation_id)
    if conversation.agent_id != agent_id:
        raise NotFound(f"conversation: {conversation_id} is none of agent {agent_id}.")
    return conversation.id


async def _previous(transaction: Transaction, agent_id: str, response_id: str) -> Run:
    run = await find_response(transaction, response_id, "previous_response_id")
    if run.agent_id != agent_id:
        raise NotFound(f"previous_response_id: response {response_id} is none of agent {agent_id}.")
    return run


async def _run_of_items(transaction: Transaction, agent_id: str, body: ResponseRequest) -> Run | None:
    """Return the run of the agent's last item in the input, which a caller sends who keeps what was said itself.

    Some callers leave out the ids of calls, so that the run is found by the calls that it waits for.
    """
    answered = body.answered_calls
    if answered and (waiting := await run_that_waits(transaction, agent_id, answered)) is not None:
        return waiting
    message_id = next(body.items_by_message, None)
    if message_id is None:
        return None
    try:
        found = await find_message(transaction, message_id)
        if found.agent_id != agent_id or found.message.run_id is None:
            return None
        return await find_run(transaction, found.message.run_id)
    except NotFound:  # deleted since, or another server's: then what was said is told again
        return None


async def _behind(transaction: Transaction, run: Run, author: Author) -> str:
    """Return the conversation that goes on behind a run: its own, or a fork where something else came behind it."""
    if await is_newest(transaction, run):
        return run.conversation_id
    said = await messages_of_run(transaction, run.id)
    if not said:
        return run.conversation_id
    return (await fork_conversation(transaction, run.conversation_id, author, said[-1].id)).id


def _behind_agents_own(items: Sequence[InputItem]) -> list[InputItem]:
    """Return what follows the agent's last own item, which is what it does not know yet."""
    own = [place for place, item in enumerate(items) if item.is_by_agent]
    return list(items[own[-1] + 1 :] if own else items)


async def _decided(
    transaction: Transaction, items: Sequence[InputItem]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """Return what the input decides about calls of the agent's own tools, and those that it lets run."""
    approvals: list[dict[str, Any]] = []
    approved: dict[str, dict[str, str]] = {}
    for item in items:
        if item.type != "mcp_approval_response":
            continue
        request_id = item.approval_request_id or ""
        call = await _requested(transaction, request_id)
        approvals.append({"type": "approval", "tool_call_id": call.id, "approve": item.approve, "reason": item.reason})
        if item.approve:
            item_id = request_id.replace("mcpr_", "mcp_", 1)
            approved[call.id] = {
                "name": call.name,
                "arguments": call.arguments,
                "request_id": request_id,
                "item_id": item_id,
            }
    return approvals, approved


async def _requested(transaction: Transaction, request_id: str) -> ToolCall:
    """Return the call that an item asks about."""
    message_id, place = message_of_item(request_id), request_id.rpartition("_")[2]
    if message_id is not None and place.isdigit():
        message = (await find_message(transaction, message_id)).message
        calls = calls_of(message.body) if message.message_type == "approval_request_message" else []
        if int(place) < len(calls):
            return calls[int(place)]
    raise NotFound(f"approval_request_id: there is no request {request_id}.")
