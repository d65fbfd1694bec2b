"""Agents as files: one is handed out, and the form that takes one in and says what of it could not be taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import UploadFile

from folkmoot.agents.agents import find_agent
from folkmoot.errors import FolkmootError
from folkmoot.server.routes.agent_files import export_file, take_in
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.common import AgentId
from folkmoot.transfer.exporting import ExportOptions
from folkmoot.transfer.importing import ImportOptions
from folkmoot.web import code
from folkmoot.web.responses import SECURITY, page_router, render

router = page_router()

CHOICES = {
    "strip_messages": "Take nothing that was said",
    "leave_out": "Leave out what cannot be taken",
    "override_existing_tools": "Let its tools replace those of the same name, for all agents that have them",
    "open_hosts": "Let its tools reach the hosts that it names",
}
"""What may be ticked, as the form says it."""


@router.get("/agents/{agent_id}/export")
async def export(agent_id: AgentId, state: State, scan: Scan) -> Response:
    """Hand out an agent's file."""
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    file = await export_file(agent_id, ExportOptions(), state, scan)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", agent.name).strip("-.") or "agent"
    file.headers.update(SECURITY)
    file.headers["Content-Disposition"] = f'attachment; filename="{name[:100]}.af"'
    return file


@router.get("/agents/import")
async def new(request: Request) -> Response:
    """Show the form that takes a file."""
    return _page(request)


@router.post("/agents/import")
async def take(request: Request, state: State) -> Response:
    """Make the agents of a file, and say what of it could not be taken, or why nothing was."""
    async with request.form(max_files=1, max_fields=10) as form:
        sent, name = form.get("file"), str(form.get("name") or "").strip()
        ticked = [choice for choice in CHOICES if form.get(choice)]
        if not isinstance(sent, UploadFile) or not sent.filename:
            return _page(request, 422, name=name, ticked=ticked, problem="Choose a file.")
        data = await sent.read()
    options = ImportOptions(
        name=name or None,
        strip_messages="strip_messages" in ticked,
        leave_out="leave_out" in ticked,
        override_existing_tools=True if "override_existing_tools" in ticked else None,
        open_hosts="open_hosts" in ticked,
    )
    try:
        imported = await take_in(data, options, state)
    except FolkmootError as error:
        refused = error.extra.get("refused", ())
        problem = "Nothing was taken, for this has no place here:" if refused else error.message
        return _page(request, error.status, name=name, ticked=ticked, problem=problem, refused=refused)
    made = [
        await state.store.read(lambda transaction, agent_id=agent_id: find_agent(transaction, agent_id))  # type: ignore[misc]
        for agent_id in imported.agent_ids
    ]
    return _page(request, made=made, left_out=imported.left_out, changed=imported.changed)


def _page(
    request: Request,
    status: int = 200,
    *,
    name: str = "",
    ticked: Sequence[str] = (),
    problem: str = "",
    refused: Sequence[str] = (),
    made: Sequence[Any] = (),
    left_out: Sequence[str] = (),
    changed: Sequence[str] = (),
) -> Response:
    return render(
        request,
        "agent_import.html",
        status,
        choices=CHOICES,
        name=name,
        ticked=ticked,
        problem=problem,
        refused=refused,
        made=made,
        left_out=left_out,
        changed=changed,
        calls=code.import_calls(),
    )
