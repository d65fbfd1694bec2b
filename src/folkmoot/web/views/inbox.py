"""The inbox: what waits for a person, with what it would do; and what was approved beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.agents import Agent
from folkmoot.agents.standing_approvals import (
    StandingApproval,
    agents_with_approvals,
    approval_like,
    approvals_of,
    give_approval,
    revoke_approval,
)
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import FolkmootError, InvalidInput
from folkmoot.models.prompt import ToolCall
from folkmoot.runs.inbox import Waiting, read_inbox
from folkmoot.server.scanning import Scanning
from folkmoot.server.sending import start_in_background
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction
from folkmoot.web import code
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.diffs import around_changes
from folkmoot.web.forms import problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect, render

router = page_router()

AGENTS_SHOWN = 200
"""Agents whose standing approvals are listed."""

APPROVING = ("approve", "like")
"""Decisions that let a call be run; `like` lets calls like it be run from now on too."""


@dataclass(frozen=True, slots=True)
class _Inbox:
    """What the page shows."""

    waiting: Sequence[Waiting]
    approved: Sequence[tuple[Agent, Sequence[StandingApproval]]]
    palette: Palette


@router.get("/inbox")
async def show(request: Request, state: State) -> Response:
    """Show what waits for a person."""
    return await _page(request, state)


@router.post("/inbox/decide")
async def decide(request: Request, state: State) -> Response:
    """Carry out what somebody decided about the calls of one agent that wait; the turn goes on by itself."""
    form = await read_form(request)
    conversation_id = text_of(form, "conversation")
    decided = {
        name.removeprefix("decision "): texts[-1] for name, texts in form.items() if name.startswith("decision ")
    }

    async def waiting(transaction: Transaction) -> tuple[str, Sequence[ToolCall]]:
        conversation = await find_conversation(transaction, conversation_id)
        pending = await pending_in(transaction, conversation)
        return conversation.agent_id, pending.calls if pending is not None else ()

    try:
        agent_id, calls = await state.store.read(waiting)
        if undecided := [call.name for call in calls if call.id not in decided]:
            raise InvalidInput(f"Say of each call whether it may be run; nothing is said of {', '.join(undecided)}.")
        approvals = [
            {
                "type": "approval",
                "tool_call_id": call_id,
                "approve": words in APPROVING,
                "reason": text_of(form, f"reason {call_id}").strip() or None,
            }
            for call_id, words in decided.items()
        ]
        answer = {"messages": [{"type": "approval", "approvals": approvals}], "stream_tokens": True}
        await start_in_background(agent_id, conversation_id, SendMessages.model_validate(answer), state)
        for call in calls:
            if decided[call.id] == "like" and (like := approval_like(call, state.principal.name)) is not None:
                await state.store.write(lambda transaction: give_approval(transaction, agent_id, like))
    except (ValidationError, FolkmootError) as error:
        problem = " ".join(problems_of(error, ()).values())
        status = error.status if isinstance(error, FolkmootError) else 422
        return await _page(request, state, status, {conversation_id: problem})
    return redirect("/inbox")


@router.post("/inbox/revoke")
async def revoke(request: Request, state: State) -> Response:
    """Let calls wait again that were approved beforehand."""
    form = await read_form(request)
    agent_id, approval_id = text_of(form, "agent"), text_of(form, "approval")
    await state.store.write(lambda transaction: revoke_approval(transaction, agent_id, approval_id))
    return redirect("/inbox")


async def _page(
    request: Request, state: ServerState, status: int = 200, problems: Mapping[str, str] | None = None
) -> Response:
    """Return the inbox, with what could not be done by the conversation in which it was to be done."""
    registry = state.services.tools

    async def read(transaction: Transaction) -> _Inbox:
        waiting = await read_inbox(transaction, registry)
        approved = await agents_with_approvals(transaction, AGENTS_SHOWN)
        return _Inbox(waiting, [(each, approvals_of(each)) for each in approved], await read_palette(transaction))

    def shown(inbox: _Inbox) -> Response:
        diffs = {
            each.call.id: around_changes(each.edit.before, each.edit.after)
            for waiting in inbox.waiting
            for each in waiting.calls
            if each.edit is not None and not each.edit.refusal
        }
        values = {"waiting": inbox.waiting, "diffs": diffs, "approved": inbox.approved, "palette": inbox.palette}
        return render(request, "inbox.html", status, problems=problems or {}, calls=code.inbox_calls(), **values)

    return await Scanning(state.store, request)(read, shown)
