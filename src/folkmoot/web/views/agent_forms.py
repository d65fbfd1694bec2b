"""What the forms of an agent's page do where no script does it: each does its work and leads back to a page."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.folders import attach_folder, detach_folder
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import FolkmootError
from folkmoot.server.routes import agents as api
from folkmoot.server.routes import archives, core_memory, messages, schedules
from folkmoot.server.sending import start_in_background
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.agents import ModifyApproval
from folkmoot.server.wire.archives import AttachArchive
from folkmoot.server.wire.blocks import AttachBlock
from folkmoot.server.wire.common import AgentId
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction
from folkmoot.web.forms import problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect
from folkmoot.web.views.agents import Decided, Refused, agent_page

router = page_router()


@router.post("/agents/{agent_id}/messages")
async def send(request: Request, agent_id: AgentId, state: State) -> Response:
    """Say something to the agent, whose turn goes on while the page is shown."""
    words = text_of(await read_form(request), "message").strip()
    if not words:
        return _back(agent_id)
    try:
        await start_in_background(agent_id, agent_id, SendMessages(input=words, stream_tokens=True), state)
    except (ValidationError, FolkmootError) as error:
        return await _refuse(request, agent_id, state, error, "message", {"message": words})
    return _back(agent_id)


@router.post("/agents/{agent_id}/stop")
async def stop(agent_id: AgentId, state: State) -> Response:
    """Stop what the agent is doing."""
    await messages.cancel(agent_id, state)
    return _back(agent_id)


@router.post("/agents/{agent_id}/decide")
async def decide(request: Request, agent_id: AgentId, state: State) -> Response:
    """Take a decision about a call that waits; the turn goes on when all of them are decided."""
    form = await read_form(request)
    reasons = {name.removeprefix("reason "): texts[0].strip() for name, texts in form.items()}
    decided = {
        call_id: Decided(approve, reasons.get(call_id) or None)
        for approve, field in ((True, "approve"), (False, "deny"))
        for call_id in form.get(field, ())
    }

    async def waiting(transaction: Transaction) -> list[str]:
        pending = await pending_in(transaction, await find_conversation(transaction, agent_id))
        return [call.id for call in pending.calls] if pending is not None else []

    if not decided or not set(await state.store.read(waiting)) <= set(decided):
        return await agent_page(request, agent_id, state, decisions=decided)
    try:
        await start_in_background(agent_id, agent_id, _answer(decided), state)
    except (ValidationError, FolkmootError) as error:
        return await _refuse(request, agent_id, state, error, "message", {"message": ""})
    return _back(agent_id)


@router.post("/agents/{agent_id}/delete")
async def delete(agent_id: AgentId, state: State) -> Response:
    """Delete the agent."""
    await api.delete(agent_id, state)
    return redirect("/agents")


@router.post("/agents/{agent_id}/open")
async def open_archive(request: Request, agent_id: AgentId, state: State) -> Response:
    """Attach an archive to the agent."""
    form = await read_form(request)
    body = AttachArchive.model_validate({"access": text_of(form, "access") or None})
    await archives.attach(agent_id, text_of(form, "archive"), state, body)
    return _back(agent_id)


@router.post("/agents/{agent_id}/close")
async def close_archive(request: Request, agent_id: AgentId, state: State) -> Response:
    """Detach an archive from the agent."""
    await archives.detach(agent_id, text_of(await read_form(request), "archive"), state)
    return _back(agent_id)


@router.post("/agents/{agent_id}/lend")
async def lend_folder(request: Request, agent_id: AgentId, state: State) -> Response:
    """Give the agent a folder."""
    folder_id = text_of(await read_form(request), "folder")
    await state.store.write(lambda transaction: attach_folder(transaction, agent_id, folder_id))
    return _back(agent_id)


@router.post("/agents/{agent_id}/return")
async def return_folder(request: Request, agent_id: AgentId, state: State) -> Response:
    """Take a folder from the agent."""
    folder_id = text_of(await read_form(request), "folder")
    await state.store.write(lambda transaction: detach_folder(transaction, agent_id, folder_id))
    return _back(agent_id)


@router.post("/agents/{agent_id}/attach")
async def attach(request: Request, agent_id: AgentId, state: State) -> Response:
    """Attach a block to the agent."""
    form = await read_form(request)
    body = AttachBlock.model_validate({"access": text_of(form, "access") or None})
    await core_memory.attach_block(agent_id, text_of(form, "block"), state, body)
    return _back(agent_id)


@router.post("/agents/{agent_id}/detach")
async def detach(request: Request, agent_id: AgentId, state: State) -> Response:
    """Detach a block from the agent."""
    await core_memory.detach_block(agent_id, text_of(await read_form(request), "block"), state)
    return _back(agent_id)


@router.post("/agents/{agent_id}/give")
async def give(request: Request, agent_id: AgentId, state: State, back: str = "") -> Response:
    """Give the agent a tool."""
    await api.attach(agent_id, text_of(await read_form(request), "tool"), state)
    return _back(agent_id, back)


@router.post("/agents/{agent_id}/take")
async def take(request: Request, agent_id: AgentId, state: State, back: str = "") -> Response:
    """Take a tool from the agent."""
    await api.detach(agent_id, text_of(await read_form(request), "tool"), state)
    return _back(agent_id, back)


@router.post("/agents/{agent_id}/unschedule")
async def unschedule(request: Request, agent_id: AgentId, state: State) -> Response:
    """Delete one of the agent's schedules."""
    await schedules.delete(agent_id, text_of(await read_form(request), "schedule"), state)
    return _back(agent_id)


@router.post("/agents/{agent_id}/approval")
async def ask_first(request: Request, agent_id: AgentId, state: State, back: str = "") -> Response:
    """Say whether calls of a tool wait for somebody's approval."""
    form = await read_form(request)
    body = ModifyApproval.model_validate({"requires_approval": text_of(form, "requires_approval")})
    await api.set_approval(agent_id, text_of(form, "tool"), state, body)
    return _back(agent_id, back)


def _answer(decided: Mapping[str, Decided]) -> SendMessages:
    approvals = [
        {"type": "approval", "tool_call_id": call_id, "approve": each.approve, "reason": each.reason}
        for call_id, each in decided.items()
    ]
    answer = {"type": "approval", "approvals": approvals}
    return SendMessages.model_validate({"messages": [answer], "stream_tokens": True})


def _back(agent_id: str, back: str = "") -> Response:
    """Lead back to the agent's page, or to where its settings list its tools."""
    return redirect(f"/agents/{agent_id}/settings#tools" if back == "settings" else f"/agents/{agent_id}")


async def _refuse(
    request: Request,
    agent_id: str,
    state: ServerState,
    error: ValidationError | FolkmootError,
    form: str,
    values: Mapping[str, str],
) -> Response:
    """Show the agent's page with what was written and why it could not be done."""
    status = error.status if isinstance(error, FolkmootError) else 422
    problem = " ".join(problems_of(error, ()).values())
    return await agent_page(request, agent_id, state, status, refused=Refused(form, problem, values))
