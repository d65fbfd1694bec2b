"""Projects: create, list, delete. Agents, blocks and identities name theirs, and lists are narrowed by it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from folkmoot.access import projects
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.state import State
from folkmoot.server.wire.common import Number
from folkmoot.server.wire.projects import CreateProject, ProjectDeleted, ProjectId, ProjectList, ProjectReply

router = APIRouter(prefix="/v1/projects", tags=["projects"], route_class=BodyRoute)


@router.post("", response_model=ProjectReply)
async def create(body: CreateProject, state: State) -> ProjectReply:
    """Make a project."""
    return ProjectReply.of(await state.store.write(lambda each: projects.create_project(each, body.name)))


@router.get("", response_model=ProjectList)
async def list_all(
    state: State,
    name: Annotated[str | None, Query(description="A part of the name.")] = None,
    offset: Number = 0,
    limit: Annotated[int, Query(ge=1, le=projects.LARGEST_PAGE)] = projects.LARGEST_PAGE,
) -> ProjectList:
    """List projects, the default one first."""
    found, more = await state.store.read(lambda each: projects.list_projects(each, name, offset, limit))
    return ProjectList(projects=[ProjectReply.of(project) for project in found], hasNextPage=more)


@router.delete("/{project_id}", response_model=ProjectDeleted)
async def delete(project_id: ProjectId, state: State) -> ProjectDeleted:
    """Delete a project that no agent is in."""
    await state.store.write(lambda transaction: projects.delete_project(transaction, project_id))
    return ProjectDeleted()
