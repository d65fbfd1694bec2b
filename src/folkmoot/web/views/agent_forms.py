"""What the forms of an agent's page do where no script does it: each does its work and leads back to a page."""

from __future__ import annotations

from fastapi import Request, Response

from folkmoot.agents.folders import attach_folder, detach_folder
from folkmoot.server.routes import agents as api
from folkmoot.server.routes import archives, core_memory, schedules
from folkmoot.server.state import State
from folkmoot.server.wire.agents import ModifyApproval
from folkmoot.server.wire.archives import AttachArchive
from folkmoot.server.wire.blocks import AttachBlock
from folkmoot.server.wire.common import AgentId
from folkmoot.web.forms import text_of
from folkmoot.web.responses import page_router, read_form, redirect

router = page_router()


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


def _back(agent_id: str, back: str = "") -> Response:
    """Lead back to the agent's page, or to where its settings list its tools."""
    return redirect(f"/agents/{agent_id}/settings#tools" if back == "settings" else f"/agents/{agent_id}")
