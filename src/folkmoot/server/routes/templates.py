"""Templates: an agent's plan, kept in versions, from which agents are made and to which they are led later.

The older clients name a project in the path; a template's name is unique without it, so that the project only says
where a new one belongs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Query, Response
from pydantic import Field

from folkmoot.errors import InvalidInput
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.routes.agent_files import read_file
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import Number, Reply, Text
from folkmoot.server.wire.snapshots import Snapshot
from folkmoot.server.wire.templates import (
    AgentsFromTemplate,
    CreateTemplate,
    DeploymentReply,
    Describe,
    Done,
    FileForTemplate,
    Fork,
    FromAgent,
    FromFile,
    FromGroup,
    MadeAgents,
    MigrateDeployment,
    Rename,
    RollBack,
    SaveVersion,
    TemplateReply,
    Templates,
    VersionReply,
    Versions,
)
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE
from folkmoot.store.projects import NO_PROJECT
from folkmoot.templates.deployments import choose_models, deploy, find_deployment, list_deployments, migrate
from folkmoot.templates.gathering import named_as, plan_of_agent, plan_of_file, plan_of_group
from folkmoot.templates.migrating import migrate_all
from folkmoot.templates.templates import (
    CURRENT,
    Template,
    TemplateFilter,
    create_template,
    delete_template,
    describe_template,
    find_template,
    list_templates,
    list_versions,
    plan_of,
    rename_template,
    roll_back,
    save_changes,
    save_version,
    set_plan,
    split_name,
)
from folkmoot.transfer.importing import ImportOptions, Loading
from folkmoot.transfer.kinds.tools import Tools

router = APIRouter(prefix="/v1/templates", tags=["templates"], route_class=BodyRoute)

ProjectId: TypeAlias = Annotated[Text, Field(max_length=200)]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]


@router.get("", response_model=Templates)
async def list_all(
    scan: Scan,
    offset: Number = 0,
    limit: Limit = 50,
    exact: Annotated[bool, Query(description="Whether `name` is the whole name.")] = False,
    version: Annotated[Number | None, Query(description="Only those that have this version.")] = None,
    template_id: str | None = None,
    name: str | None = None,
    search: Annotated[str | None, Query(description="A part of the name.")] = None,
    project_slug: str | None = None,
    project_id: str | None = None,
    sort_by: Literal["updated_at", "created_at"] = "updated_at",
) -> Response:
    """List templates, the newest first."""
    wanted = TemplateFilter(
        id=template_id,
        name=name if exact else None,
        part_of_name=search or (None if exact else name),
        project_id=project_id or project_slug,
        version=version,
        order_by=sort_by,
    )
    return await scan(
        lambda transaction: list_templates(transaction, wanted, offset, limit),
        lambda found: _shown(
            Templates(templates=[TemplateReply.of(each) for each in found[0]], has_next_page=found[1])
        ),
    )


async def create(body: CreateTemplate, state: State, project_id: ProjectId = NO_PROJECT) -> Response:
    """Keep the plan of an agent, of a group, or of what an agent file asks for, as a new template."""
    loading = await _load(body.agent_file, body.update_existing_tools, state) if isinstance(body, FromFile) else None

    async def write(transaction: Transaction) -> Template:
        if isinstance(body, FromAgent):
            plan = await plan_of_agent(transaction, body.agent_id, state.services)
        elif isinstance(body, FromGroup):
            plan = await plan_of_group(transaction, body.group_id, state.services)
        else:
            assert loading is not None
            plan = await plan_of_file(transaction, loading)
        return await create_template(transaction, plan, body.name, project_id)

    return _shown(TemplateReply.of(await state.store.write(write)), 201)


async def make_agents(template_version: str, state: State, body: AgentsFromTemplate | None = None) -> Response:
    """Make the agents of a template's version: `name:3`, `name:latest` or `name:current`."""
    name, version = split_name(template_version)
    wish = (body or AgentsFromTemplate()).to_wish()

    async def read(transaction: Transaction) -> tuple[Template, Any]:
        template = await find_template(transaction, name)
        return template, await plan_of(transaction, template, version)

    template, (plan, number) = await state.store.read(read)
    models = await choose_models(plan, state.services)
    deployment_id, agent_ids, group_id = await state.store.write(
        lambda transaction: deploy(transaction, template, plan, number, models, wish, state.services, state.author)
    )
    made = MadeAgents(agent_ids=agent_ids, group_id=group_id, deployment_id=deployment_id)
    return Response(made.model_dump_json(), 201, media_type="application/json")


async def save(template_name: str, state: State, body: SaveVersion | None = None) -> Response:
    """Save what is being worked on as the next version; agents that were made earlier are led to it when asked for."""
    wanted = body or SaveVersion()

    async def write(transaction: Transaction) -> Template:
        template = await find_template(transaction, template_name, lock=True)
        saved = await save_version(transaction, template, wanted.message)
        if wanted.migrate_agents:
            await migrate_all(transaction, saved, wanted.migration(), state.author)
        return saved

    return _shown(TemplateReply.of(await state.store.write(write)))


async def rollback(template_name: str, body: RollBack, state: State) -> Response:
    """Let an earlier version be the current one; changes that were not saved are saved as a version first."""

    async def write(transaction: Transaction) -> int:
        template = await find_template(transaction, template_name, lock=True)
        return await roll_back(transaction, template, body.version)

    number = await state.store.write(write)
    return _shown(Done(message=f"The current version of {template_name!r} is what version {number} says."))


async def delete(template_name: str, state: State) -> Response:
    """Delete a template with its versions; agents that were made from it stay."""

    async def write(transaction: Transaction) -> None:
        await delete_template(transaction, await find_template(transaction, template_name, lock=True))

    await state.store.write(write)
    return _shown(Done())


async def set_from_file(template_name: str, body: FileForTemplate, state: State) -> Response:
    """Let the current version be what an agent file asks for."""
    loading = await _load(body.agent_file_json, body.update_existing_tools, state)

    async def write(transaction: Transaction) -> None:
        template = await find_template(transaction, template_name, lock=True)
        if body.save_existing_changes:
            template = await save_changes(transaction, template, "Saved before an agent file took its place")
        before, _ = await plan_of(transaction, template, CURRENT)
        await set_plan(transaction, template, named_as(await plan_of_file(transaction, loading), before))

    await state.store.write(write)
    return _shown(Done(message="; ".join(loading.left_out) or None))


@router.get("/{project_id}/{name}/versions", response_model=Versions)
async def versions(project_id: ProjectId, name: str, scan: Scan, offset: Number = 0, limit: Limit = 50) -> Response:
    """List a template's versions, the newest first."""

    async def read(transaction: Transaction) -> Versions:
        template = await find_template(transaction, name)
        found, count = await list_versions(transaction, template, offset, limit)
        shown = [VersionReply.of(each, template) for each in found]
        return Versions(versions=shown, has_next_page=offset + len(shown) < count, total_count=count)

    return await scan(read, _shown)


@router.get("/{project_id}/{name}/deployments", response_model=list[DeploymentReply])
async def all_deployments(
    project_id: ProjectId, name: str, scan: Scan, offset: Number = 0, limit: Limit = 50
) -> Response:
    """List what was made from a template, the newest first: at which version each deployment is, and its agents."""

    async def read(transaction: Transaction) -> list[dict[str, Any]]:
        template = await find_template(transaction, name)
        found = await list_deployments(transaction, template, offset, limit)
        return [DeploymentReply.of(*each).model_dump(mode="json") for each in found]

    return await scan(read, lambda found: Response(json.dumps(found), media_type="application/json"))


@router.get("/{project_id}/{template_version}/snapshot", response_model=Snapshot)
async def snapshot(project_id: ProjectId, template_version: str, scan: Scan) -> Response:
    """Return all that a version plans."""
    name, version = split_name(template_version)

    async def read(transaction: Transaction) -> Snapshot:
        template = await find_template(transaction, name)
        plan, number = await plan_of(transaction, template, version)
        return Snapshot.of(plan, version if version == CURRENT else str(number))

    return await scan(read, lambda found: Response(found.model_dump_json(by_alias=True), media_type="application/json"))


@router.put("/{project_id}/{template_version}/snapshot", response_model=Done)
async def set_from_snapshot(project_id: ProjectId, template_version: str, body: Snapshot, state: State) -> Response:
    """Let the current version be this one."""
    name, version = split_name(template_version)
    if ":" in template_version and version != CURRENT:
        raise InvalidInput(f"template_version: a version that was saved does not change; name {name}:{CURRENT}.")
    plan = body.to_plan()

    async def write(transaction: Transaction) -> None:
        await set_plan(transaction, await find_template(transaction, name, lock=True), plan)

    await state.store.write(write)
    return _shown(Done())


@router.post("/{project_id}/{template_version}/fork", response_model=TemplateReply)
async def fork(project_id: ProjectId, template_version: str, state: State, body: Fork | None = None) -> Response:
    """Make a new template of a version."""
    name, version = split_name(template_version)

    async def write(transaction: Transaction) -> Template:
        template = await find_template(transaction, name)
        plan, _ = await plan_of(transaction, template, version)
        new_name = body.name if body is not None else None
        return await create_template(transaction, plan, new_name, project_id, template.description)

    return _shown(TemplateReply.of(await state.store.write(write)))


@router.patch("/{project_id}/{template_name}/name", response_model=Done)
async def rename(project_id: ProjectId, template_name: str, body: Rename, state: State) -> Response:
    """Give a template another name."""

    async def write(transaction: Transaction) -> None:
        template = await find_template(transaction, template_name, lock=True)
        await rename_template(transaction, template, body.new_name)

    await state.store.write(write)
    return _shown(Done())


@router.patch("/{project_id}/{template_name}/description", response_model=Done)
async def describe(project_id: ProjectId, template_name: str, state: State, body: Describe | None = None) -> Response:
    """Give a template another description."""

    async def write(transaction: Transaction) -> None:
        template = await find_template(transaction, template_name, lock=True)
        await describe_template(transaction, template, body.description if body is not None else None)

    await state.store.write(write)
    return _shown(Done())


@router.post("/{project_id}/{template_name}/deployments/{deployment_id}/migrate", response_model=Done)
async def migrate_one(
    project_id: ProjectId, template_name: str, deployment_id: str, body: MigrateDeployment, state: State
) -> Response:
    """Lead a deployment's agents to a version, all or nothing."""

    async def write(transaction: Transaction) -> int:
        template = await find_template(transaction, template_name)
        deployment = await find_deployment(transaction, template, deployment_id)
        return await migrate(
            transaction, template, deployment, body.version, body.migration(), state.services, state.author
        )

    number = await state.store.write(write)
    return _shown(Done(message=f"The deployment is at version {number}."))


def _add_in_both_forms() -> None:
    """Add the routes that the newer clients ask for without a project, and the older ones with one."""
    with_project: list[tuple[str, str, str, Callable[..., Any], Any, int]] = [
        ("POST", "/{template_version}/agents", "/{project_id}/{template_version}/agents", make_agents, MadeAgents, 201),
        ("POST", "/{template_name}/rollback", "/{project_id}/{template_name}/rollback", rollback, Done, 200),
        ("POST", "/{template_name}/save", "/{project_id}/{template_name}", save, TemplateReply, 200),
        ("POST", "", "/{project_id}", create, TemplateReply, 201),
        ("PATCH", "/{template_name}", "/{project_id}/{template_name}/agent-file", set_from_file, Done, 200),
        ("DELETE", "/{template_name}", "/{project_id}/{template_name}", delete, Done, 200),
    ]
    for method, plain, _, answer, model, status in with_project:
        router.add_api_route(plain, answer, methods=[method], response_model=model, status_code=status)
    for method, _, older, answer, model, status in with_project:
        verb = "PUT" if older.endswith("agent-file") else method
        router.add_api_route(older, answer, methods=[verb], response_model=model, status_code=status)


_add_in_both_forms()


async def _load(content: dict[str, Any], update_tools: bool, state: ServerState) -> Loading:
    """Read an agent file and its tools.

    Raises:
        BadRequest: it is of another format, or something in it cannot be taken.
    """
    file, plans = await asyncio.to_thread(lambda: read_file(json.dumps(content).encode()))
    options = ImportOptions(override_existing_tools=update_tools)
    loading = Loading(file, plans, options, state.services, state.author)
    await asyncio.to_thread(Tools().prepare, loading)
    if loading.refused:
        raise InvalidInput("agent_file: " + " ".join(loading.refused))
    return loading


def _shown(reply: Reply, status: int = 200) -> Response:
    """Return a reply without what it has not: the wire format's optional fields here are never null."""
    return Response(reply.model_dump_json(exclude_none=True), status, media_type="application/json")
