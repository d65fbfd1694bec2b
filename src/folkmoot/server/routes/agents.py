"""Agents: create, retrieve, list, count, update, delete, and their tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.agents import attach_tool, detach_tool, find_agent, tools_of, update_agent
from folkmoot.agents.conversations import keep_in_context
from folkmoot.agents.creation import choose_model
from folkmoot.agents.deletion import remove_agent
from folkmoot.agents.folders import set_folders
from folkmoot.agents.identities import set_identities
from folkmoot.agents.listing import AgentFilter, count_agents, list_agents, list_tags
from folkmoot.errors import Forbidden, InvalidInput, NotFound
from folkmoot.groups.sleeptime import create_with_partner, ensure_partner
from folkmoot.server.agent_views import Include, changed_agent, view_agent, view_listed
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.agent_replies import AgentReply, AgentView, show_agent, show_secrets
from folkmoot.server.wire.agents import CreateAgent, ModifyApproval, UpdateAgent
from folkmoot.server.wire.common import AgentId, Deleted, ToolId, json_response, page_of
from folkmoot.server.wire.tools import ToolReply
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, page_of_list
from folkmoot.tools.tool import Tool

router = APIRouter(prefix="/v1/agents", tags=["agents"], route_class=BodyRoute)
internal_router = APIRouter(prefix="/v1", include_in_schema=False)
"""Paths that only some clients ask for."""

tags_router = APIRouter(prefix="/v1/tags", tags=["tags"], route_class=BodyRoute)


ORDERS: dict[str, Literal["created_at", "updated_at", "last_run_at"]] = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "last_run_completion": "last_run_at",
}
"""What each name in a query orders a list by."""


async def read_filter(
    name: str | None = None,
    query_text: str | None = None,
    tags: Annotated[list[str] | None, Query()] = None,
    match_all_tags: bool = False,
    last_stop_reason: str | None = None,
    created_by_id: str | None = None,
    project_id: str | None = None,
    template_id: str | None = None,
    base_template_id: str | None = None,
    identity_id: str | None = None,
    identifier_keys: Annotated[list[str] | None, Query()] = None,
    order_by: Literal["created_at", "updated_at", "last_run_completion"] | None = None,
    sort_by: Literal["created_at", "updated_at", "last_run_completion"] | None = None,
) -> AgentFilter:
    """Read from the query which agents are wanted."""
    return AgentFilter(
        name=name,
        query_text=query_text,
        tags=tags or (),
        match_all_tags=match_all_tags,
        last_stop_reason=last_stop_reason,
        created_by_id=created_by_id,
        project_id=project_id,
        template_id=template_id,
        base_template_id=base_template_id,
        identity_id=identity_id,
        identifier_keys=identifier_keys or (),
        order_by=ORDERS[order_by or sort_by or "created_at"],
    )


CHANGEABLE = frozenset(
    [
        "name",
        "description",
        "system",
        "embedding",
        "timezone",
        "hidden",
        "tags",
        "block_ids",
        "project_id",
        "template_id",
        "base_template_id",
    ]
)
"""Fields of a request that are columns of an agent, or lists that belong to it."""

Wanted = Annotated[AgentFilter, Depends(read_filter)]
NewestFirst = Annotated[Page, Depends(page_of("desc", by=None))]
AsAttached = Annotated[Page, Depends(page_of("asc"))]
ByName = Annotated[Page, Depends(page_of("asc", by="name"))]


@router.post("", response_model=AgentReply)
async def create(body: CreateAgent, state: State) -> Response:
    """Create an agent with its blocks, tools and first messages."""
    plan = body.to_plan()
    model = await choose_model(plan, state.services)

    async def write(transaction: Transaction) -> AgentView:
        agent = await create_with_partner(transaction, plan, model, state.services, state.author)
        return await view_agent(transaction, agent.id, state)

    return json_response(show_agent(await state.store.write(write)))


@router.get("", response_model=list[AgentReply])
async def list_all(
    wanted: Wanted, page: NewestFirst, include: Include, state: State, scan: Scan, ascending: bool | None = None
) -> Response:
    """List agents, the newest first unless the request says otherwise."""
    if ascending is not None:
        page = replace(page, order="asc" if ascending else "desc")

    async def read(transaction: Transaction) -> list[AgentView]:
        found = await list_agents(transaction, wanted, page)
        return await view_listed(transaction, found, include.of_listed, state)

    return await scan(read, lambda views: json_response([show_agent(view) for view in views]))


@internal_router.get("/_internal_agents/count")
@router.get("/count")
async def count(wanted: Wanted, scan: Scan) -> int:
    """Count agents."""
    return await scan(lambda transaction: count_agents(transaction, wanted), int)


@router.get("/{agent_id}", response_model=AgentReply)
async def retrieve(agent_id: AgentId, include: Include, state: State) -> Response:
    """Return an agent; with everything that belongs to it unless the request asks for less."""
    view = await state.store.read(lambda transaction: view_agent(transaction, agent_id, state, include.of_one))
    return json_response(show_agent(view))


@router.patch("/{agent_id}", response_model=AgentReply)
async def update(agent_id: AgentId, body: UpdateAgent, state: State) -> Response:
    """Change an agent."""
    if state.principal.policy is not None:
        _check_policy(body)
    if (model := body.model_handle()) is not None:
        await state.services.catalogue.find_handle(model)

    return await changed_agent(agent_id, state, lambda transaction: change_agent(transaction, agent_id, body, state))


async def change_agent(transaction: Transaction, agent_id: str, body: UpdateAgent, state: ServerState) -> None:
    """Change what a request names of an agent.

    Raises:
        NotFound: there is no such agent, or something that the request names is not there.
        InvalidInput: the model's handle cannot be used.
        Conflict: two of its blocks would have the same label, or two of its tools the same name.
    """
    changes, configuration = _changes(body, state)
    if body.tool_ids is not None:
        changes["tools"] = await state.services.tools.find(transaction, body.tool_ids)
    if body.reasoning is not None:
        kept = (await find_agent(transaction, agent_id)).configuration.get("llm_config") or {}
        configuration["llm_config"] = {**kept, "enable_reasoner": body.reasoning, **configuration.get("llm_config", {})}
    await update_agent(transaction, agent_id, changes, configuration)
    if body.enable_sleeptime:
        await ensure_partner(transaction, agent_id, state.services, state.author)
    folder_ids = body.folders()
    if folder_ids is not None:
        await set_folders(transaction, agent_id, folder_ids)
    if body.identity_ids is not None:
        await set_identities(transaction, agent_id, body.identity_ids)
    if body.message_ids is not None:
        await keep_in_context(transaction, agent_id, body.message_ids)


def _check_policy(body: UpdateAgent) -> None:
    """Refuse what a scoped token does not change.

    Raises:
        Forbidden: the request names some of it.
    """
    has = {"block_ids": body.block_ids, "tool_ids": body.tool_ids, "folder_ids": body.folders()}
    for name, value in {**has, "identity_ids": body.identity_ids}.items():
        if value is not None:
            raise Forbidden(f"{name}: a scoped token does not change what an agent has and whom it belongs to.")
    for name in ("tool_rules", "secrets", "tool_exec_environment_variables"):
        if getattr(body, name) is not None:
            raise Forbidden(f"{name}: a scoped token does not change what an agent may do and what it is trusted with.")
    if body.enable_sleeptime:
        raise Forbidden("enable_sleeptime: a scoped token makes no agents.")


@router.delete("/{agent_id}")
async def delete(agent_id: AgentId, state: State) -> Deleted:
    """Delete an agent and its conversations; its blocks stay."""
    await remove_agent(state.store, agent_id, state.author)
    return Deleted(message=f"Agent id={agent_id} successfully deleted")


@router.get("/{agent_id}/tools", response_model=list[ToolReply])
async def list_tools(agent_id: AgentId, page: AsAttached, state: State) -> Response:
    """List the agent's tools in the order they were attached."""

    async def read(transaction: Transaction) -> Sequence[Tool]:
        await find_agent(transaction, agent_id)
        return await tools_of(transaction, agent_id, state.services.tools)

    tools = page_of_list(await state.store.read(read), page, lambda tool: tool.id)
    return json_response([ToolReply.of(tool, state.principal.organization_id) for tool in tools])


@router.patch("/{agent_id}/tools/attach/{tool_id}", response_model=AgentReply)
async def attach(agent_id: AgentId, tool_id: ToolId, state: State) -> Response:
    """Give the agent a tool."""

    async def change(transaction: Transaction) -> None:
        for tool in await state.services.tools.find(transaction, [tool_id]):
            await attach_tool(transaction, agent_id, tool, state.services.tools)

    return await changed_agent(agent_id, state, change)


@router.patch("/{agent_id}/tools/detach/{tool_id}", response_model=AgentReply)
async def detach(agent_id: AgentId, tool_id: ToolId, state: State) -> Response:
    """Take a tool from the agent."""
    return await changed_agent(agent_id, state, lambda transaction: detach_tool(transaction, agent_id, tool_id))


@router.get("/{agent_id}/secrets")
async def list_secrets(agent_id: AgentId, state: State) -> list[dict[str, Any]]:
    """List the agent's secrets with their values, as the agent shows them with `include=agent.secrets`."""
    if not state.shows_secrets:
        raise Forbidden(
            "The values of an agent's secrets are shown to who may set them, and to no key for some agents."
        )
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    return show_secrets(agent, state.services.sealer.unseal(agent.configuration.get("sealed_variables")))


@router.patch("/{agent_id}/tools/approval/{tool_name}", response_model=AgentReply)
async def set_approval(
    agent_id: AgentId,
    tool_name: str,
    state: State,
    body: ModifyApproval | None = None,
    requires_approval: bool | None = None,
) -> Response:
    """Say whether calls of a tool wait for somebody's approval."""
    wanted = body.requires_approval if body is not None else requires_approval
    if wanted is None:
        raise InvalidInput("requires_approval: say true or false.")

    async def change(transaction: Transaction) -> None:
        agent = await find_agent(transaction, agent_id, lock=True)
        if tool_name not in {tool.name for tool in await tools_of(transaction, agent_id, state.services.tools)}:
            raise NotFound(f"Agent {agent_id} has no tool {tool_name!r}.")
        rule = {"tool_name": tool_name, "type": "requires_approval"}
        rules = [each for each in agent.configuration.get("tool_rules") or () if not _is_approval(each, tool_name)]
        await update_agent(transaction, agent_id, {}, {"tool_rules": [*rules, rule] if wanted else rules})

    return await changed_agent(agent_id, state, change)


@tags_router.get("")
async def list_all_tags(page: ByName, scan: Scan, query_text: str | None = None, name: str | None = None) -> list[str]:
    """List the tags of all agents and blocks, by name."""
    return await scan(lambda transaction: list_tags(transaction, page, name or query_text), list)


def _is_approval(rule: Mapping[str, Any], tool_name: str) -> bool:
    return rule.get("type") == "requires_approval" and rule.get("tool_name") == tool_name


def _changes(body: UpdateAgent, state: ServerState) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns and lists that the request changes, and the configuration that it changes."""
    changes = body.model_dump(include=set(CHANGEABLE), exclude_unset=True)
    for name in ("name", "system", "timezone", "tags", "block_ids"):
        if name in changes and changes[name] is None:
            del changes[name]
    model = body.model_handle()
    if model is not None:
        changes["model"] = state.services.catalogue.handle_of(model)
    return changes, {**body.configuration(), **_sealed(body, state)}


def _sealed(body: CreateAgent | UpdateAgent, state: ServerState) -> dict[str, Any]:
    variables = body.variables()
    return {} if variables is None else {"sealed_variables": state.services.sealer.seal(variables)}
