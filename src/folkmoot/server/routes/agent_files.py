"""Agents move out into a file, and in from one."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Header, Query, Response, UploadFile

from folkmoot.errors import BadRequest
from folkmoot.groups.groups import SLEEPTIME, managed_groups
from folkmoot.server.agent_views import view_agent
from folkmoot.server.authorization import authorize
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.agent_files import ExportAgent, ImportedAgents, complete, read_plans, read_variables
from folkmoot.server.wire.agent_replies import AgentView
from folkmoot.server.wire.common import AgentId
from folkmoot.store.engine import Transaction
from folkmoot.transfer.agent_file import AgentFile, read_agent_file
from folkmoot.transfer.exporting import ExportOptions, export_agents
from folkmoot.transfer.importing import Imported, ImportOptions, Loading, Plans, import_agents
from folkmoot.transfer.kinds import BEFORE_AGENTS, EXPORTED, IMPORTED_AFTER

router = APIRouter(prefix="/v1/agents", tags=["agents"], route_class=BodyRoute)
import_router = APIRouter(prefix="/v1/agents", tags=["agents"])  # its body is a form, whose file is read elsewhere


@router.get("/{agent_id}/export")
async def export(
    agent_id: AgentId,
    state: State,
    scan: Scan,
    conversation_id: str | None = None,
    scrub_messages: bool = False,
    use_legacy_format: Annotated[bool, Query(deprecated=True)] = False,
    max_steps: Annotated[int | None, Query(deprecated=True, description="Means nothing any more.")] = None,
) -> Response:
    """Return an agent and all that belongs to it as a file that other servers take."""
    if use_legacy_format:
        raise BadRequest("use_legacy_format: the older format of a single agent is not written; leave it out.")
    return await export_file(agent_id, ExportOptions(conversation_id, scrub_messages), state, scan)


@router.post("/{agent_id}/export")
async def export_with(agent_id: AgentId, state: State, scan: Scan, body: ExportAgent | None = None) -> Response:
    """Return an agent as a file, with skills that ride along in it."""
    wanted = body or ExportAgent()
    skills = [skill.model_dump() for skill in wanted.skills]
    return await export_file(
        agent_id, ExportOptions(wanted.conversation_id, wanted.scrub_messages, skills), state, scan
    )


async def export_file(agent_id: str, options: ExportOptions, state: ServerState, scan: Scan) -> Response:
    """Return an agent's file, made on a reader's thread."""

    async def read(transaction: Transaction) -> tuple[dict[str, Any], dict[str, AgentView]]:
        agent_ids = [agent_id, *await _partners(transaction, agent_id)]
        views = [await view_agent(transaction, each, state) for each in agent_ids]
        content = await export_agents(transaction, agent_ids, state.services, options, EXPORTED)
        return content, {entry["id"]: view for entry, view in zip(content["agents"], views, strict=True)}

    data = await scan(read, lambda found: complete(*found))
    return Response(data, media_type="application/json")


async def _partners(transaction: Transaction, agent_id: str) -> list[str]:
    """Return the agents that tend this one's memory, which go where it goes."""
    groups = (await managed_groups(transaction, [agent_id])).get(agent_id, ())
    members = [member for group in groups if group.manager_type in SLEEPTIME for member in group.agent_ids]
    return list(dict.fromkeys(members))


@import_router.post("/import")
async def import_file(
    state: State,
    file: Annotated[UploadFile, File(description="An agent file.")],
    name: Annotated[str | None, Form(description="Name of the file's first agent.")] = None,
    model: Annotated[str | None, Form(description="Handle of the agents' model.")] = None,
    embedding: Annotated[str | None, Form(description="Handle of the agents' embedding model.")] = None,
    secrets: Annotated[str | None, Form(description="Variables for the agents' tools, as a JSON object.")] = None,
    override_existing_tools: Annotated[
        bool | None,
        Form(description="Let the file's tools replace those here; when left out, those that no agent here has."),
    ] = None,
    open_hosts: Annotated[bool, Form(description="Let the file's tools reach the hosts that it names.")] = False,
    strip_messages: Annotated[bool, Form(description="Take nothing that was said.")] = False,
    leave_out: Annotated[bool, Form(description="Leave out what cannot be taken instead of refusing.")] = False,
    append_copy_suffix: Annotated[bool, Form(description="Put `_copy` behind names.")] = True,
    project_id: Annotated[str | None, Form()] = None,
    override_name: Annotated[str | None, Form(deprecated=True)] = None,
    override_model_handle: Annotated[str | None, Form(deprecated=True)] = None,
    override_embedding_handle: Annotated[str | None, Form(deprecated=True)] = None,
    env_vars_json: Annotated[str | None, Form(deprecated=True)] = None,
    x_override_embedding_model: Annotated[str | None, Header()] = None,
) -> ImportedAgents:
    """Make the agents of a file with all that belongs to them, all or nothing."""
    options = ImportOptions(
        name=name or override_name or None,
        copy_suffix=append_copy_suffix,
        override_existing_tools=override_existing_tools,
        open_hosts=open_hosts,
        strip_messages=strip_messages,
        leave_out=leave_out,
        project_id=project_id or None,
        model=model or override_model_handle or None,
        embedding=await _embedding(embedding or override_embedding_handle or x_override_embedding_model, state),
        variables=read_variables(("env_vars_json", env_vars_json), ("secrets", secrets)),
    )
    imported = await take_in(await file.read(), options, state)
    return ImportedAgents.of(imported)


async def take_in(data: bytes, options: ImportOptions, state: ServerState) -> Imported:
    """Make the agents of a file.

    Raises:
        BadRequest: it is of another format, or something in it cannot be taken.
        NotFound: the model that was asked for is not known.
        Forbidden: it has tools, which the principal may not make.
    """
    file, plans = await asyncio.to_thread(read_file, data)
    if plans.tools:
        authorize(state.principal, "POST", "/v1/tools")
    loading = Loading(file, plans, options, state.services, state.author)
    return await import_agents(loading, BEFORE_AGENTS, IMPORTED_AFTER)


def read_file(data: bytes) -> tuple[AgentFile, Plans]:
    """Read an agent file; it takes a while and is for a thread.

    Raises:
        BadRequest: it is of another format, or something in it does not fit.
    """
    file = read_agent_file(data)
    return file, read_plans(file)


async def _embedding(handle: str | None, state: ServerState) -> str | None:
    """Return the handle of an embedding model whose provider is known.

    Raises:
        BadRequest: it is not.
    """
    if not handle:
        return None
    return await state.services.embeddings.find_handle(handle)
